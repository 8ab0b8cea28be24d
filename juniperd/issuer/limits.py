"""Limits before any cryptography: sizes, and how often one subject or one address may ask."""

from __future__ import annotations

from juniperd.rate import Rate

__all__ = ["CHECKS_PER_SECOND", "MAX_BODY", "Rate"]

MAX_BODY = 32 * 1024
CHECKS_PER_SECOND = 50
"""Signatures checked for an address that has used its bucket up: who comes from there with a good one still gets in."""
