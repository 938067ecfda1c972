"""Published data sets as they are unpacked: ``NAME:FOLDER`` or ``NAME:FOLDER#SPLIT``.

Segmentation sets are data: one YAML file each, read by ``layout``. Any other folder, tar or table
goes to the readers of ``dinotxt.data``.
"""

from dinotxt.evaluation.datasets.labelled import open_labelled
from dinotxt.evaluation.datasets.masks import open_masks
from dinotxt.evaluation.datasets.pairs import open_pairs

__all__ = ["open_labelled", "open_masks", "open_pairs"]
