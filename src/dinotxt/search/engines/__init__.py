"""Exact and approximate search."""
