"""Captions: the metadata, the matching, the balancing."""

from dinotxt.curation.text.balance import balance_captions, flag
from dinotxt.curation.text.match import match_captions
from dinotxt.curation.text.metadata import build_metadata, needs_captions

__all__ = ["balance_captions", "build_metadata", "flag", "match_captions", "needs_captions"]
