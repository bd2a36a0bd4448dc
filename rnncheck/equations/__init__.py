"""What each layer computes: its equations, and how they are run.

Importing a module registers its layers in `layers.LAYERS`, so all modules that have any are imported here.
"""

from rnncheck.equations import attention, layers, moves, normalization, windows

__all__ = ["attention", "layers", "moves", "normalization", "windows"]
