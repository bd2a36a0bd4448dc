"""ONNX: a file becomes a Network, and runs in ONNX Runtime."""
