"""Caches of frozen tokens."""
