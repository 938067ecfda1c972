"""Predictors: pictures and words in, arrays and frozen results out."""
