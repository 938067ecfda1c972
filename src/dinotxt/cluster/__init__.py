"""Clustering: k-means over vectors in memory or larger than memory."""

from dinotxt.cluster.blocks import Block, blocks_of
from dinotxt.cluster.kmeans import Clustering, Lloyd, kmeans

__all__ = ["Block", "Clustering", "Lloyd", "blocks_of", "kmeans"]
