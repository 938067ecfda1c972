"""A model as ONNX files that run where torch is not installed."""
