"""Curation: captions and pictures balanced together (paper sections 3.2 and 4.2).

The stages write below one output folder; ``keep/`` is what training reads, through
`dinotxt.data.order.curated.CuratedPairs`. The guide is ``docs/guides/curation.md``.
"""
