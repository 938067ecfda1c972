"""Pictures embedded, clustered and balanced."""
