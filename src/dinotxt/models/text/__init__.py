"""The text towers."""
