"""Juniper against servers that other people wrote."""
