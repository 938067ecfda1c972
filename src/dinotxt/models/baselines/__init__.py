"""Other models behind the same interface."""
