"""Frozen results of the predictors and evaluations; NumPy and Pillow only."""
