"""Keras: read, build, load and run its models."""
