"""Every form of ``--data``, read into records."""
