"""Zero-shot evaluation on your own data: classification, retrieval and segmentation."""

from dinotxt.evaluation.job import Job, Options
from dinotxt.evaluation.run import evaluate

__all__ = ["Job", "Options", "evaluate"]
