"""Features of a frozen backbone, cached on the disk."""

from dinotxt.data.features.store import FeatureStore, StoreSpec, plan_bytes
from dinotxt.data.features.writer import FeatureStoreWriter, Shard

__all__ = [
    "FeatureStore",
    "FeatureStoreWriter",
    "Shard",
    "StoreSpec",
    "plan_bytes",
]
