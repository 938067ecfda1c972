"""Shards as a stream: fetched, indexed, ordered."""
