"""Weights in files: our own format, Meta's layouts, named models and downloads."""
