"""What runs the towers: torch or ONNX Runtime."""
