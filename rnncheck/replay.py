"""The replay: the equations run over time and over the graph.

One engine serves two arithmetics. Over `PLAIN` it gives the float64 replay that the notebook did by hand; over
an `Analysis` the same run carries noise (and bounds) along. In both, weights and inputs are first rounded to
the precision that the layer computes in, as the implementation's own cast does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from rnncheck.equations import CELLS, LAYERS, Weights, X
from rnncheck.network import Array, Layer, Network, Tensor
from rnncheck.precision import PRECISIONS, Precision
from rnncheck.products import Matrix
from rnncheck.rounding import Rounded

# How many numbers of x·kernel + bias are computed ahead of the recurrence, so that they stay in the cache; more
# steps at once also mean that two threads get in each other's way less often.
_AHEAD = 2**17


class Arithmetic(Protocol):
    """What a layer's weights become before the equations see them."""

    def weights(self, layer: Layer) -> Weights:
        """Return the layer's weights, rounded to its precision, ready for the equations."""
        ...


class PlainArithmetic:
    """Plain float64 arrays: the replay."""

    def weights(self, layer: Layer) -> Weights:
        """Return float64 arrays."""
        precision = PRECISIONS[layer.dtype]
        return {name: precision.round(weight) for name, weight in layer.weights.items()}


@dataclass(frozen=True)
class Analysis:
    """Arithmetic that carries noise along, and bounds where asked for.

    Attributes:
        bounded: whether the worst-case bound is carried. Over many steps it grows without use.
        matrix: how a kernel's products are analysed: `Matrix`, `ScreeningMatrix` or `OrderedMatrix`.
    """

    bounded: bool
    matrix: type[Matrix] = Matrix

    def weights(self, layer: Layer) -> Weights:
        """Return kernels as `Matrix`, so that `x @ kernel` becomes `Rounded`; biases stay exact arrays."""
        precision = PRECISIONS[layer.dtype]
        rounded = {name: precision.round(weight) for name, weight in layer.weights.items()}
        return {
            name: self.matrix(weight, precision, bounded=self.bounded) if weight.ndim == 2 else weight
            for name, weight in rounded.items()
        }


PLAIN = PlainArithmetic()
FREE_RUNNING = Analysis(bounded=False)

States = Mapping[str, tuple[X, ...]]  # layer name -> its states, for layers that are stateful


@dataclass(frozen=True)
class Replayed:
    """What the equations give in one call.

    Attributes:
        outputs: the model's outputs, in its order.
        states: the states that stateful layers keep for the next call.
        growth: the largest noise that any state had at any step, as a share of the states' root mean square and
            in units of u: how far errors were amplified on the way. 0 over plain arrays.
    """

    outputs: tuple[X, ...]
    states: States = field(default_factory=dict)
    growth: float = 0.0


def replay(
    network: Network,
    inputs: Sequence[Array],
    *,
    states: States | None = None,
    arithmetic: Arithmetic = PLAIN,
) -> Replayed:
    """Run the network's equations on the inputs, step by step, from their own previous state.

    Args:
        network: what to run.
        inputs: one array for each of `network.inputs`; sequences (N, T, D).
        states: what an earlier call left in stateful layers; zeros at first.
        arithmetic: `PLAIN` for values, `FREE_RUNNING` for values with their noise.

    Returns:
        The outputs, (N, K), (N, T, M), ... as the network declares them, and the states that stateful layers keep.
    """
    kept = dict(states or {})
    values: dict[Tensor, X] = {
        Tensor(spec.name): receive_input(array, spec.dtype)
        for spec, array in zip(network.inputs, inputs, strict=True)
    }
    given = frozenset(values)
    growth = 0.0
    with np.errstate(all="ignore"):
        for layer in network.layers:
            read = _Reader(values, given, PRECISIONS[layer.dtype])
            if layer.kind in CELLS:
                scan = _scan(layer, read, kept.get(layer.name), arithmetic)
                results = (scan.output, *scan.states) if layer.options["return_state"] else (scan.output,)
                if layer.options["stateful"]:
                    kept[layer.name] = scan.states
                growth = max(growth, scan.growth)
            else:
                weights = arithmetic.weights(layer)
                results = (LAYERS[layer.kind](read(layer.inputs[0]), weights, layer.options),)
            for index, result in enumerate(results):
                values[Tensor(layer.name, index)] = result
    return Replayed(tuple(values[tensor] for tensor in network.outputs), kept, growth)


def receive_input(array: Array, dtype: str) -> Array:
    """Return an input as the model's input layer casts it: numbers of the declared dtype, in any float dtype."""
    if array.dtype.name == dtype:
        return array
    if dtype == "bool":
        return array.astype(bool)
    return PRECISIONS[dtype].round(array) if dtype in PRECISIONS else array.astype(dtype).astype(np.float64)


def processing_order(layer: Layer, sequence: Array) -> Array:
    """Return a view of (N, T, ...) with the steps in the order in which the layer takes them."""
    return sequence[:, ::-1] if layer.options["go_backwards"] else sequence


@dataclass(frozen=True)
class _Reader:
    """Reads tensors as a layer receives them: cast to the layer's precision."""

    values: Mapping[Tensor, X]
    given: frozenset[Tensor]
    precision: Precision

    def __call__(self, tensor: Tensor) -> X:
        return self.cast(tensor, self.values[tensor])

    def cast(self, tensor: Tensor, part: X) -> X:
        """Return a part of a tensor as the layer receives it."""
        if isinstance(part, Rounded):
            return part.to(self.precision)
        return self.precision.round(part) if tensor in self.given else part


@dataclass(frozen=True)
class _Scan:
    output: X  # (N, T, M) with return_sequences, else (N, M)
    states: tuple[X, ...]
    growth: float


def _scan(layer: Layer, read: _Reader, kept: tuple[X, ...] | None, arithmetic: Arithmetic) -> _Scan:
    """Run one recurrent layer over the time axis.

    Under a mask, a step that does not count keeps the states and repeats the previous output, which is zero before
    the first step that counts.
    """
    cell, weights = CELLS[layer.kind], arithmetic.weights(layer)
    mask = None if layer.mask is None else processing_order(layer, read.values[layer.mask])
    samples = read.values[layer.inputs[0]].shape[0]
    states = _first_states(layer, read, kept, (samples, layer.options["units"]))
    output = None
    outputs: list[X] = []
    growth = 0.0
    for t, projected in _projections(layer, read, weights):
        after = cell.step(projected, states, weights, layer.options)
        growth = max(growth, _growth(after[0]))
        if mask is None:
            states, output = after, after[0]
        else:
            counts = mask[:, t, np.newaxis]
            output = _output(layer, counts, after[0], output)
            states = tuple(choose(counts, new, old) for new, old in zip(after, states, strict=True))
        if layer.options["return_sequences"]:
            outputs.append(output)
    return _Scan(stack(outputs) if layer.options["return_sequences"] else output, states, growth)


def _growth(h: X) -> float:
    """The largest noise of a state as a share of the states' root mean square, in units of u; 0 if exact."""
    if not isinstance(h, Rounded):
        return 0.0
    share = math.sqrt(np.max(h.variance) / max(np.mean(np.square(h.value)), np.finfo(float).tiny))
    return share / h.precision.unit if math.isfinite(share) else math.inf


def _first_states(layer: Layer, read: _Reader, kept: tuple[X, ...] | None, shape: tuple[int, int]) -> tuple[X, ...]:
    if layer.initial_state:
        return tuple(read(tensor) for tensor in layer.initial_state)
    return kept or tuple(np.zeros(shape) for _ in CELLS[layer.kind].states)


def _projections(layer: Layer, read: _Reader, weights: Weights) -> Iterator[tuple[int, X]]:
    """Yield (t, the input's share of step t, shape (N, ...)), computed for many steps at once."""
    (source,) = layer.inputs
    x = processing_order(layer, read.values[source])
    n, t_steps, _ = x.shape
    ahead = max(1, _AHEAD // (n * layer.options["units"]))
    for start in range(0, t_steps, ahead):
        block = read.cast(source, time_major(x[:, start : start + ahead]))
        projected = CELLS[layer.kind].project(block, weights)
        for row in range(0, block.shape[0], n):
            yield start + row // n, projected[row : row + n]


def _output(layer: Layer, counts: Array, h: X, previous: X | None) -> X:
    if previous is None or layer.options["zero_output_for_mask"]:
        previous = np.zeros(h.shape)
    return choose(counts, h, previous)


def choose(counts: Array, new: X, old: X) -> X:
    """`new` where a step counts, else `old`."""
    if not isinstance(new, Rounded) and not isinstance(old, Rounded):
        return np.where(counts, new, old)
    return Rounded.where(counts, new, old)


def time_major(x: X) -> X:
    """Return (N, T, D) as rows (T·N, D), the samples of the first step first."""
    n, t_steps, features = x.shape
    return x.swapaxes(0, 1).reshape((t_steps * n, features))


def stack(steps: list[X]) -> X:
    """Return T arrays (N, M) as one (N, T, M)."""
    return Rounded.stack(steps) if any(isinstance(s, Rounded) for s in steps) else np.stack(steps, axis=1)
