"""What a curation did, in figures, examples and pictures; it draws in torch."""

from dinotxt.curation.report.report import write_report

__all__ = ["write_report"]
