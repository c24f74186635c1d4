"""Clients: which packets come, when, and how much work they are."""
