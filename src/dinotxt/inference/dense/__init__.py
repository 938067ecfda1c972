"""Segmentation modes: score maps of whole pictures, windows and crops."""
