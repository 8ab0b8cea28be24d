"""Attacks that should fail: each test states what must hold."""
