"""A first run of a network's equations, before anybody relies on it."""

from __future__ import annotations

import numpy as np

from rnncheck.errors import UnsupportedError
from rnncheck.network import InputSpec, Network
from rnncheck.replay import replay

# The length of an axis that the model leaves open, long enough for a convolution's window.
_OPEN = 64


def rehearse(network: Network) -> Network:
    """Run the equations once on zeros; return the network if shapes of weights, inputs and masks fit together.

    Raises:
        UnsupportedError: they do not.
    """
    fixed = (len(layer.weights["value"]) for layer in network.layers if layer.kind == "Constant")
    samples = max(fixed, default=1)
    inputs = [
        np.zeros((spec.samples or samples, *(_OPEN if size is None else size for size in spec.shape)), _plain_dtype(spec))
        for spec in network.inputs
    ]
    try:
        replay(network, inputs)
    except (ValueError, IndexError) as error:
        raise UnsupportedError(
            f"model {network.name!r}: its layers do not fit together ({error}); expected shapes that do."
        ) from error
    return network


def _plain_dtype(spec: InputSpec) -> str:
    return "float32" if spec.dtype.startswith("bfloat") else spec.dtype
