"""Attacks that once succeeded."""
