"""Error analyses of open-vocabulary segmentation (dino.txt, section 4.5 and appendix B)."""

from dinotxt.evaluation.analysis.boundaries import analyze_boundaries
from dinotxt.evaluation.analysis.class_names import analyze_class_names
from dinotxt.evaluation.analysis.embeddings import analyze_embeddings
from dinotxt.evaluation.analysis.errors import analyze_errors
from dinotxt.evaluation.analysis.naming import Search
from dinotxt.evaluation.analysis.study import Finding

__all__ = [
    "Finding",
    "Search",
    "analyze_boundaries",
    "analyze_class_names",
    "analyze_embeddings",
    "analyze_errors",
]
