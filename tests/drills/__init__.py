"""Leavers and emergencies: how long anything is still minted after it was taken away, as figures."""
