"""Captions matched and balanced."""
