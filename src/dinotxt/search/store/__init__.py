"""The folder of an index."""
