"""The replay: the equations run over time and over the graph.

One engine serves two arithmetics. Over `PLAIN` it gives the float64 replay that the notebook did by hand; over
an `Analysis` the same run carries noise (and bounds) along. In both, weights and inputs are first rounded to
the precision that the layer computes in, as the implementation's own cast does.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType

import numpy as np

from rnncheck.equations.arithmetic import PLAIN, Arithmetic, computing, receive_input, received, receiving
from rnncheck.equations.cells import CELLS, cell_of, sizes, units
from rnncheck.equations.layers import operation_of
from rnncheck.equations.operands import Weights, X, choose, join
from rnncheck.network import Array, Layer, Network, Tensor
from rnncheck.rounding.precision import PRECISIONS, Precision
from rnncheck.rounding.rounded import Rounded

# How many numbers of x·kernel + bias are computed ahead of the recurrence, so that they stay in the cache; more
# steps at once also mean that two threads get in each other's way less often.
_AHEAD = 2**17

# By how much the mean square that growth is measured by falls at a step at most: states of relu may all be zero for
# some steps, and the noise that the next ones inherit has not grown by that.
_FADING = 0.96

States = Mapping[str, tuple[X, ...]]  # layer name -> its states, for layers that are stateful


@dataclass(frozen=True)
class Replayed:
    """What the equations give in one call.

    Attributes:
        outputs: the model's outputs, in its order.
        states: the states that stateful layers keep for the next call.
        tensors: what every layer put out.
        sequences: recurrent layer -> its state h after every step, (N, T, ..., M), in processing order; where asked
            for.
        growths: how far errors were amplified in each sample, (N,): the largest noise of any state at any step, as
            a share of the sample's states and in units of u. 0 over plain arrays.
    """

    outputs: tuple[X, ...]
    states: States = field(default_factory=dict)
    tensors: Mapping[Tensor, X] = field(default_factory=dict)
    sequences: Mapping[str, X] = field(default_factory=dict)
    growths: Array = field(default_factory=partial(np.zeros, 1))


def replay(
    network: Network,
    inputs: Sequence[Array],
    *,
    states: States | None = None,
    arithmetic: Arithmetic = PLAIN,
    every_step: bool = False,
    known: Mapping[Tensor, X] = MappingProxyType({}),
) -> Replayed:
    """Run the network's equations on the inputs, step by step, from their own previous state.

    Args:
        network: what to run.
        inputs: one array for each of `network.inputs`; sequences (N, T, D).
        states: what an earlier call left in stateful layers; zeros at first.
        arithmetic: `PLAIN` for values, `FREE_RUNNING` for values with their noise, `Emulation` for an
            implementation's.
        every_step: whether to keep the states after every step of every recurrent layer.
        known: what layers give, where that is known from another run; none that is stateful, or whose steps are kept.
    """
    kept = dict(states or {})
    pairs = zip(network.inputs, inputs, strict=True)
    values: dict[Tensor, X] = {Tensor(spec.name): receive_input(array, spec.dtype) for spec, array in pairs}
    given = frozenset(values)
    sequences: dict[str, X] = {}
    growths = np.zeros(1)
    with np.errstate(all="ignore"):  # what overflows or is no number shows in the result
        for layer in network.layers:
            read = Reader(values, given, receiving(layer))
            if Tensor(layer.name) in known:
                values |= {tensor: x for tensor, x in known.items() if tensor.layer == layer.name}
                continue
            if layer.kind in CELLS:
                before = kept.get(layer.name)
                output, after, sequence, grown = _scan(layer, read, before, arithmetic, every_step=every_step)
                if every_step:
                    sequences[layer.name] = sequence
                results = (output, *after) if layer.options["return_state"] else (output,)
                if layer.options["stateful"]:
                    kept[layer.name] = after
                growths = np.maximum(growths, _by_sample(grown, len(inputs[0])))
            else:
                received_inputs = [read(tensor) for tensor in layer.inputs]
                result = operate(layer, received_inputs, arithmetic, arithmetic.weights(layer))
                is_exact = operation_of(layer).exact  # numbers that are only moved are not rounded again
                results = (result if is_exact else arithmetic.store(result, PRECISIONS[layer.dtype]),)
            values |= {Tensor(layer.name, index): result for index, result in enumerate(results)}
    outputs = tuple(values[tensor] for tensor in network.outputs)
    # Infinite states have infinite noise, whose share of them is no number.
    growths = np.where(np.isnan(growths), np.inf, growths)
    return Replayed(outputs, kept, {t: x for t, x in values.items() if t not in given}, sequences, growths)


def processing_order(layer: Layer, sequence: X) -> X:
    """Return a view of (N, T, ...) with the steps in the order in which the layer takes them."""
    return sequence[:, ::-1] if layer.options["go_backwards"] else sequence


@dataclass(frozen=True)
class Reader:
    """Reads tensors as a layer receives them: cast to the layer's precision."""

    values: Mapping[Tensor, X]
    given: frozenset[Tensor]  # the network's inputs; layers have rounded what they put out
    precision: Precision

    def __call__(self, tensor: Tensor) -> X:
        """Return a whole tensor."""
        return self.cast(tensor, self.values[tensor])

    def cast(self, tensor: Tensor, part: X) -> X:
        """Return a part of a tensor as the layer receives it."""
        if isinstance(part, Rounded):
            return part.to(self.precision)
        return received(part, self.precision) if tensor in self.given else part


def operate(layer: Layer, inputs: Sequence[X], arithmetic: Arithmetic, weights: Weights) -> X:
    """Return what a layer without a state makes of received inputs, with the weights of the arithmetic."""
    operation = operation_of(layer)
    if not operation.exact:
        inputs = [arithmetic.lift(x, computing(layer)) for x in inputs]
    result = operation.apply(inputs, weights, layer.options)
    is_cast = isinstance(result, Rounded) and computing(layer) is not PRECISIONS[layer.dtype]
    return result.to(PRECISIONS[layer.dtype]) if is_cast else result


def _scan(
    layer: Layer, read: Reader, kept: tuple[X, ...] | None, arithmetic: Arithmetic, *, every_step: bool
) -> tuple[X, tuple[X, ...], X | None, Array]:
    # Returns the output, (N, T, ..., M) with return_sequences, else (N, ..., M); the states; the sequence, where it
    # is kept, (N, T, ..., M); the growths. Under a mask, a step that does not count keeps the states and repeats the
    # previous output, which is zero before the first step that counts, as Keras has it on TensorFlow.
    cell, weights = cell_of(layer), arithmetic.weights(layer)
    if cell.loop.across_samples:
        return _scan_across_samples(layer, read, kept, arithmetic, every_step=every_step)
    # Each state is (N, ..., M), the mask (N, T).
    t_steps = read.values[layer.inputs[0]].shape[1]
    mask = None if layer.mask is None else processing_order(layer, read.values[layer.mask])
    states: tuple[X, ...] = ()
    all_states: list[tuple[X, ...]] = []  # those before the first step, and after every step
    output = first = returned = None
    outputs: list[X] = []
    growths, scale = np.zeros(1), np.zeros(1)
    for t, projected in _projections(layer, read, weights):
        states = states or _first_states(layer, read, kept, projected.shape[:-1])
        if cell.loop.recorded and every_step:
            all_states.append(states)
        after = cell.step(projected, states, weights, layer.options)
        after = tuple(arithmetic.store(state, PRECISIONS[layer.dtype]) for state in after)
        if mask is None:
            states, output = after, after[0]
        else:
            counts = expanded(mask[:, t], after[0])
            before = first if cell.loop.repeats_first else output
            if before is None or layer.options["zero_output_for_mask"]:
                before = np.zeros(after[0].shape)
            output = choose(counts, after[0], before)
            states = tuple(
                choose(counts, new, cell.loop.passed(old, new) if cell.loop.passed else old)
                for new, old in zip(after, states, strict=True)
            )
        first = output if first is None else first
        returned = output if t == cell.loop.returned % t_steps else returned
        if isinstance(states[0], Rounded):
            scale = np.maximum(_FADING * scale, _mean_square(states[0].value))
            growths = np.maximum(growths, _growths(states[0], cell.unit, scale))
        if layer.options["return_sequences"] or every_step:
            outputs.append(output)
    sequence = stack(outputs) if outputs else None
    result = sequence if layer.options["return_sequences"] else returned
    if cell.loop.recorded and every_step:
        sequence = stack(list(cell.loop.recorded([*all_states[1:], states], all_states[0])))
    return result, states, sequence, growths


def _scan_across_samples(
    layer: Layer, read: Reader, kept: tuple[X, ...] | None, arithmetic: Arithmetic, *, every_step: bool
) -> tuple[X, tuple[X, ...], X | None, Array]:
    # `_scan`, where a sample starts from the states that the one before it left: one sample after the other.
    cell = cell_of(layer)
    layer = replace(layer, equations=replace(cell, loop=replace(cell.loop, across_samples=False)))
    kept = None if kept is None else tuple(state[-1:] for state in kept)
    found = []
    for n in range(read.values[layer.inputs[0]].shape[0]):
        own = {tensor: read.values[tensor] for tensor in layer.reads}
        values = {tensor: x[n : n + 1] if len(x.shape) and x.shape[0] > n else x for tensor, x in own.items()}
        found.append(_scan(layer, replace(read, values=values), kept, arithmetic, every_step=every_step))
        layer, kept = replace(layer, initial_state=()), found[-1][1]
    outputs, states, sequences, growths = zip(*found, strict=True)
    every = join(sequences, np.concatenate) if every_step else None
    after = tuple(join(each, np.concatenate) for each in zip(*states, strict=True))
    return join(outputs, np.concatenate), after, every, np.concatenate(growths)


def _by_sample(growths: Array, samples: int) -> Array:
    # A layer inside TimeDistributed has a row for each step of a sample.
    whole, rest = divmod(growths.size, samples)
    largest: Array = growths.reshape(-1, 1 if rest else whole).max(axis=1)
    return np.broadcast_to(largest.max(), samples) if rest else largest


def _mean_square(h: Array) -> Array:
    rows = h.reshape(len(h), -1)
    squares: Array = np.einsum("ni,ni->n", rows, rows) / rows.shape[1]
    return squares


def _growths(h: Rounded, unit: float | None, scale: Array) -> Array:
    # The largest noise of a state as a share of the states' scale, a mean square, in units of u, by sample.
    variance = h.variance.reshape(len(scale), -1).max(axis=1) if np.ndim(h.variance) else h.variance
    shares: Array = np.sqrt(variance / np.maximum(scale, sys.float_info.min))
    return shares / (unit or h.precision.unit)


def _first_states(layer: Layer, read: Reader, kept: tuple[X, ...] | None, leading: tuple[int, ...]) -> tuple[X, ...]:
    # Each is (N, ..., M), with those axes before M; a constant may stand for all samples.
    shapes = [(*leading, size) for size in sizes(layer)]
    if layer.initial_state:
        states = tuple(read(tensor) for tensor in layer.initial_state)
        pairs = zip(states, shapes, strict=True)
        return tuple(h if isinstance(h, Rounded) else np.broadcast_to(h, shape) for h, shape in pairs)
    return kept or tuple(map(np.zeros, shapes))


def _projections(layer: Layer, read: Reader, weights: Weights) -> Iterator[tuple[int, X]]:
    # Yields t and the input's share of step t, (N, ...), computed for many steps at once.
    (source,) = layer.inputs
    x = processing_order(layer, read.values[source])
    n, t_steps, *space, _ = x.shape
    ahead = max(1, _AHEAD // (n * units(layer) * math.prod(space)))
    for start in range(0, t_steps, ahead):
        block = read.cast(source, time_major(x[:, start : start + ahead]))
        projected = cell_of(layer).project(block, weights, layer.options)
        for row in range(0, block.shape[0], n):
            yield start + row // n, projected[row : row + n]


def expanded(rows: Array, like: X) -> Array:
    """Return (N,) or (N, T) with axes of length 1 appended, so that it stands beside `like`."""
    return rows.reshape(rows.shape + (1,) * (len(like.shape) - rows.ndim))


def time_major(x: X) -> X:
    """Return (N, T, ...) as rows (T·N, ...), the samples of the first step first."""
    n, t_steps, *rest = x.shape
    return x.swapaxes(0, 1).reshape((t_steps * n, *rest))


def stack(steps: list[X]) -> X:
    """Return T arrays (N, ..., M) as one (N, T, ..., M)."""
    return join(steps, partial(np.stack, axis=1))
