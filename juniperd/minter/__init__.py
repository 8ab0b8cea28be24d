"""The minter: makes and deletes GitLab deploy tokens by the orders of an issuer, and of nobody else."""
