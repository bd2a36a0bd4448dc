"""Inputs for a network that came without any: random, and so that every layer has something to show."""

from __future__ import annotations

import numpy as np

from rnncheck.builder import make_mask
from rnncheck.network import Array, InputSpec, Network, Tensor

# Samples and steps where neither the model nor anybody says how many.
SAMPLES, STEPS = 4, 12


def random_inputs(
    network: Network, seed: int, samples: int | None = None, steps: int | None = None
) -> tuple[Array, ...]:
    """Return one array (N, ...) for each input of the network.

    Numbers are drawn from a standard normal distribution; ids from what the embeddings that read them have; masks,
    and the steps that a Masking layer or an embedding leaves out, have holes, ends of several lengths and a sample in
    which nothing counts.

    Args:
        network: whose inputs they are.
        seed: of the random numbers.
        samples: N; what a stateful model's batch is, or 4.
        steps: the length of open axes; 12.
    """
    rng = np.random.default_rng(seed)
    fixed = next((spec.samples for spec in network.inputs if spec.samples is not None), None)
    n = samples or fixed or SAMPLES
    return tuple(_random_input(network, spec, n, steps or STEPS, rng) for spec in network.inputs)


def _random_input(network: Network, spec: InputSpec, n: int, steps: int, rng: np.random.Generator) -> Array:
    shape = (n, *(steps if size is None else size for size in spec.shape))
    if spec.dtype == "bool":
        return make_mask("mixed", n, shape[1], rng) if len(shape) == 2 else rng.random(shape) > 0.3
    floats = spec.dtype.startswith(("float", "bfloat"))
    values = rng.normal(size=shape).astype(np.float32) if floats else rng.integers(1, _ids(network, spec), size=shape)
    left_out = _left_out(network, spec)
    if left_out is not None and len(shape) >= 2:
        counts = make_mask("mixed", n, shape[1], rng)
        values[~counts] = left_out
    return values


def _ids(network: Network, spec: InputSpec) -> int:
    """Return how many ids an integer input may have: what the smallest embedding that reads it knows."""
    own = (Tensor(spec.name),)
    readers = (layer for layer in network.layers if layer.kind == "Embedding" and layer.inputs == own)
    return min((len(layer.weights["embeddings"]) for layer in readers), default=10)


def _left_out(network: Network, spec: InputSpec) -> float | None:
    """Return the value by which a step of an input says that it does not count; None where there is none."""
    tests = (layer for layer in network.layers if layer.kind == "NotEqual" and layer.inputs == (Tensor(spec.name),))
    return next((float(layer.options["value"]) for layer in tests), None)
