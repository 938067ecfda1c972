"""Neural modules: they take tensors and give tensors; predictors live in ``inference``."""
