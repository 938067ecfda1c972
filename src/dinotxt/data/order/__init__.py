"""Which items an epoch shows: counter hashes, samplers, curation draws."""
