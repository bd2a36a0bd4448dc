"""LiteRT: a `.tflite` file runs."""
