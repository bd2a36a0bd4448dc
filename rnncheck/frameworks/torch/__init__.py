"""PyTorch: a module becomes a Network, and runs."""
