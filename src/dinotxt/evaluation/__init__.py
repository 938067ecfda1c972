"""Zero-shot evaluation on your own data: classification, retrieval and segmentation."""

from dinotxt.evaluation.run import evaluate

__all__ = ["evaluate"]
