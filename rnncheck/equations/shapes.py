"""The shapes of a network's tensors, found by a run on zeros."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rnncheck.equations.arithmetic import PLAIN
from rnncheck.equations.cells import CELLS, units
from rnncheck.equations.layers import LAYERS
from rnncheck.equations.replay import operate
from rnncheck.errors import UnsupportedError
from rnncheck.network import Array, Layer, Network, Tensor

Shape = tuple[int, ...]

# The length of an axis that the model leaves open, long enough for a convolution's window.
_OPEN = 64


def rehearse(network: Network) -> Network:
    """Return the network if the shapes of weights, inputs and masks fit together.

    Raises:
        UnsupportedError: they do not.
    """
    constants = (len(layer.weights["value"]) for layer in network.layers if layer.kind == "Constant")
    steps = (spec.shape[0] for spec in network.inputs if len(spec.shape) > 1 and spec.shape[0] is not None)
    problems: dict[str, str] = {}
    on_zeros(network, _sizes(network, max(constants, default=1), next(steps, _OPEN)), problems)
    for layer, problem in problems.items():
        raise UnsupportedError(
            f"layer {layer!r}: got shapes that do not fit together ({problem}); expected ones that do."
        )
    return network


def shapes(network: Network, n: int, steps: int) -> dict[str, Shape]:
    """Return the shape of each layer's output, where the layer can run on so many samples and steps."""
    values = on_zeros(network, _sizes(network, n, steps), {})
    return {layer.name: values[Tensor(layer.name)].shape for layer in network.layers if Tensor(layer.name) in values}


def _sizes(network: Network, n: int, steps: int) -> list[Shape]:
    specs = network.inputs
    return [(spec.samples or n, *(steps if size is None else size for size in spec.shape)) for spec in specs]


def on_zeros(
    network: Network, inputs: Sequence[Shape], problems: dict[str, str] | None = None
) -> dict[Tensor, Array]:
    """Return the tensors of a run on zeros of these shapes, in which no recurrent layer goes over the steps.

    `problems` is filled with why a layer cannot run; layers that read its output are left out too. Without it, the
    error is raised.
    """
    values: dict[Tensor, Array] = {
        Tensor(spec.name): _zeros(bool if spec.dtype == "bool" else np.float64, shape)
        for spec, shape in zip(network.inputs, inputs, strict=True)
    }
    for layer in network.layers:
        if all(tensor in values for tensor in layer.reads):
            try:
                with np.errstate(all="ignore"):
                    outputs = _outputs(layer, values)
            except (ValueError, IndexError) as error:  # NumPy's: the layer does not take this size
                if problems is None:
                    raise
                problems[layer.name] = str(error)
            else:
                # Of every output the shape alone is kept.
                values |= {tensor: _zeros(x.dtype, x.shape) for tensor, x in outputs.items()}
    return values


def _zeros(dtype: Any, shape: Shape) -> Array:
    # One zero that stands for all: a sequence may have a million steps.
    return np.broadcast_to(np.zeros((), dtype), shape)


def sequence_shapes(network: Network, values: Mapping[Tensor, Array]) -> dict[str, Shape]:
    """Return the shape (N, T, ..., M) of the states of each recurrent layer, given what `on_zeros` returns."""
    sequences: dict[str, Shape] = {}
    for layer in network.layers:
        if layer.kind in CELLS:
            n, *others = values[Tensor(layer.name, 1)].shape
            sequences[layer.name] = (n, values[layer.inputs[0]].shape[1], *others)
    return sequences


def _outputs(layer: Layer, values: Mapping[Tensor, Array]) -> dict[Tensor, Array]:
    # Of a recurrent layer only the input's share of the first step runs, which has the shape of its gates.
    weights = PLAIN.weights(layer)
    if layer.kind in LAYERS:
        return {Tensor(layer.name): operate(layer, [values[tensor] for tensor in layer.inputs], PLAIN, weights)}
    x = values[layer.inputs[0]]
    cell = CELLS[layer.kind]
    state = np.zeros((*cell.project(x[:, 0], weights, layer.options).shape[:-1], units(layer)))
    if layer.mask is not None and values[layer.mask].shape != x.shape[:2]:
        raise ValueError(f"a mask of shape {values[layer.mask].shape} for (N, T) = {x.shape[:2]}")
    for given in layer.initial_state:  # raises where a state does not fit
        np.broadcast_to(values[given], state.shape)
    finals = {Tensor(layer.name, 1 + k): state for k in range(len(cell.states))}
    steps = (len(state), x.shape[1], *state.shape[1:])
    output = np.broadcast_to(state[:, np.newaxis], steps) if layer.options["return_sequences"] else state
    return {Tensor(layer.name): output, **finals}
