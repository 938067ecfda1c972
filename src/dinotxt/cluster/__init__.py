"""Clustering: k-means over vectors in memory or larger than memory."""

from dinotxt.cluster.assignment import nearest
from dinotxt.cluster.blocks import Block, Vectors, block_rows, blocks_of, width_of
from dinotxt.cluster.lloyd import Lloyd, kmeans

__all__ = ["Block", "Lloyd", "Vectors", "block_rows", "blocks_of", "kmeans", "nearest", "width_of"]
