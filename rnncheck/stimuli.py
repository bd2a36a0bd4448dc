"""Inputs for a network that came without any: random, and so that every layer has something to show."""

from __future__ import annotations

import math
from numbers import Integral

import numpy as np

from rnncheck.builder import make_mask
from rnncheck.case import half_of_memory, readable_bytes
from rnncheck.errors import InputError
from rnncheck.inputs import embeddings_of
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

    Raises:
        InputError: the model does not leave these sizes open, or they are too large for this machine.
    """
    if not isinstance(seed, Integral) or seed < 0:
        raise InputError(f"random inputs: seed={seed!r} came; expected a whole number from 0 up.")
    _check_sizes(network, samples, steps)
    rng = np.random.default_rng(seed)
    fixed = next((spec.samples for spec in network.inputs if spec.samples is not None), None)
    shapes = [_shape(spec, samples or fixed or SAMPLES, steps or STEPS) for spec in network.inputs]
    _check_memory(shapes)
    return tuple(_random_input(network, spec, shape, rng) for spec, shape in zip(network.inputs, shapes, strict=True))


def _check_sizes(network: Network, samples: int | None, steps: int | None) -> None:
    for name, size in (("N", samples), ("T", steps)):
        if size is not None and (not isinstance(size, Integral) or size < 1):
            raise InputError(f"random inputs: {name}={size!r} came; expected a whole number from 1 up.")
    for spec in network.inputs:
        if samples is not None and spec.samples not in {None, samples}:
            raise InputError(
                f"random inputs: N={samples} came; expected {spec.samples}, the batch that the model fixes for input "
                f"{spec.name!r}."
            )
    if steps is not None and not any(None in spec.shape for spec in network.inputs):
        shapes = ", ".join(f"{spec.name!r} {('N', *spec.shape)}".replace("'N'", "N") for spec in network.inputs)
        raise InputError(f"random inputs: T={steps} came; expected none, since the model fixes its steps: {shapes}.")


def _check_memory(shapes: list[tuple[int, ...]]) -> None:
    needed = sum(8 * math.prod(shape) for shape in shapes)
    most = half_of_memory()
    if needed > most:
        raise InputError(
            f"random inputs: {', '.join(map(str, shapes))} came; they would need {readable_bytes(needed)}, expected "
            f"at most {readable_bytes(most)}, half of this machine's memory. Use smaller sizes."
        )


def _shape(spec: InputSpec, n: int, steps: int) -> tuple[int, ...]:
    return (n, *(steps if size is None else size for size in spec.shape))


def _random_input(network: Network, spec: InputSpec, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    if spec.dtype == "bool":
        return make_mask("mixed", shape[0], shape[1], rng) if len(shape) == 2 else rng.random(shape) > 0.3
    values = _numbers(network, spec, shape, rng)
    left_out = _left_out(network, spec)
    if left_out is not None and len(shape) >= 2:
        values[~make_mask("mixed", shape[0], shape[1], rng)] = left_out
    return values


def _numbers(network: Network, spec: InputSpec, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Return ids from 1 for embeddings, which may have 0 left out, and for integer inputs; else normal numbers."""
    tables = [len(layer.weights["embeddings"]) for layer in embeddings_of(network, spec)]
    floats = spec.dtype.startswith(("float", "bfloat"))
    if floats and not tables:
        return rng.normal(size=shape).astype(np.float32)
    most = min(tables, default=10)
    ids = rng.integers(min(1, most - 1), most, size=shape)
    return ids.astype(np.float32) if floats else ids


def _left_out(network: Network, spec: InputSpec) -> float | None:
    """Return the value by which a step of an input says that it does not count; None where there is none."""
    tests = (layer for layer in network.layers if layer.kind == "NotEqual" and layer.inputs == (Tensor(spec.name),))
    return next((float(layer.options["value"]) for layer in tests), None)
