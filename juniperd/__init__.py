"""Juniper: the short-lived scope a GitLab job of yours would hold, in the tools on your laptop."""

__version__ = "0.1.0"
