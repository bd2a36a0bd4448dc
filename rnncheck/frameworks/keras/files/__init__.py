"""Model files of Keras, opened without it."""
