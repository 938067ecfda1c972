"""Pictures embedded, clustered and sampled; it draws in torch."""

from dinotxt.curation.pictures.cluster import cluster_pictures, embedding_blocks
from dinotxt.curation.pictures.copies import image_ref, read_pictures
from dinotxt.curation.pictures.embed import embed_pictures
from dinotxt.curation.pictures.level import needs_split, num_cells, sample_points
from dinotxt.curation.pictures.sample import pair_clusters, sample_pictures

__all__ = [
    "cluster_pictures",
    "embed_pictures",
    "embedding_blocks",
    "image_ref",
    "needs_split",
    "num_cells",
    "pair_clusters",
    "read_pictures",
    "sample_pictures",
    "sample_points",
]
