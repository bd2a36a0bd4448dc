"""The checks: which numbers are compared with which equations.

`step_rows` holds every step of every recurrent layer, and every other layer, against the equations applied to
what the implementation itself had before it. `end_to_end_rows` holds the outputs against the replay's own run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, Protocol

import numpy as np

from rnncheck.comparator import Block, Check, Comparison, Row, Summary, compare, judge, total
from rnncheck.equations import CELLS, LAYERS, REARRANGING, Weights, X
from rnncheck.network import Array, Layer, Network, Tensor
from rnncheck.observed import Call, Steps, observe
from rnncheck.precision import PRECISIONS
from rnncheck.products import Matrix, OrderedMatrix, ScreeningMatrix
from rnncheck.recording import Recording
from rnncheck.replay import FREE_RUNNING, Analysis, States, replay
from rnncheck.rounding import Rounded
from rnncheck.thresholds import ALARMING, SUSPICIOUS

# How many numbers of a layer are checked at once: enough for an efficient product, few enough for the cache.
_BLOCK = 3 * 2**15
# How many numbers of state each of two threads must have at a step for splitting the samples to pay.
_WORTH_A_THREAD = 2**13

# Runs a function over many items, results in order: `map`, or one that uses several threads.
Mapper = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


def step_rows(network: Network, recordings: Sequence[Recording], mapper: Mapper = map) -> list[Row]:
    """Check every layer from what the implementation itself had before it.

    A recurrent layer is checked at every step from the implementation's own previous state, all steps at
    once, so that errors do not accumulate. A layer whose input or output was not observed has no row.

    Args:
        network: the equations.
        recordings: what the implementation produced, one for each call in a row.
        mapper: `map`, or a function like it that uses several threads.
    """
    calls = list(observe(network, recordings))
    rows = (_step_row(layer, calls, mapper) for layer in network.layers)
    return [row for row in rows if row is not None]


def _step_row(layer: Layer, calls: Sequence[Call], mapper: Mapper) -> Row | None:
    jobs = [job for call in calls if (job := _job(layer, call)) is not None]
    if len(jobs) < len(calls):
        return None
    with np.errstate(all="ignore"):
        arithmetics = [Analysis(bounded=True, matrix=matrix).weights(layer) for matrix, _ in _CLOSER_LOOKS]
    shape = jobs[0].actual.shape
    summaries = (
        summary
        for job, call in zip(jobs, calls, strict=True)
        for summary in mapper(partial(_check_block, job, arithmetics), _blocks(shape, call.index))
    )
    return judge(
        total(summaries),
        layer=layer.name,
        output="h" if layer.kind in CELLS else "output",
        check=Check.STEP,
        shape=_with_calls(shape, len(calls)),
    )


class _Job(Protocol):
    """How one layer is checked: what it put out, and what its equation makes of what it had before."""

    @property
    def actual(self) -> Array:
        """What the layer put out."""

    def operands(self, block: Block) -> tuple[Array, ...]:
        """Return what the equation needs for a block: arrays with one row for each of the block's rows."""

    def evaluate(self, operands: tuple[Array, ...], weights: Weights) -> X:
        """Return what the equation gives for some rows."""

    def settle(self, block: Block, rows: Array | slice, expected: X) -> X:
        """Return what is expected of some rows of a block, given what the equation says of them."""


@dataclass(frozen=True)
class _RecurrentJob:
    """Every step of a recurrent layer, from the state that was observed before it."""

    layer: Layer
    steps: Steps

    @property
    def actual(self) -> Array:
        return self.steps.h

    def operands(self, block: Block) -> tuple[Array, ...]:
        precision = PRECISIONS[self.layer.dtype]
        x = precision.round(self.steps.x[block.window[:2]]).reshape(-1, self.steps.x.shape[2])
        return x, precision.round(self.steps.before(block))

    def evaluate(self, operands: tuple[Array, ...], weights: Weights) -> X:
        cell = CELLS[self.layer.kind]
        x, before = operands
        (h,) = cell.step(cell.project(x, weights), (before,), weights, self.layer.options)
        return h

    def settle(self, block: Block, rows: Array | slice, expected: X) -> X:
        uncounted = self.steps.uncounted(block)
        if uncounted is None:
            return expected
        counts, repeated = uncounted
        return Rounded.where(counts[rows], expected, repeated[rows])


@dataclass(frozen=True)
class _LayerJob:
    """A layer without states, from the input that was observed."""

    layer: Layer
    x: Array
    output: Array

    @property
    def actual(self) -> Array:
        return self.output

    def operands(self, block: Block) -> tuple[Array, ...]:
        leading = block.window[: min(self.x.ndim, len(block.shape)) - 1]
        rows = PRECISIONS[self.layer.dtype].round(self.x[leading])
        return (rows if self.layer.kind in REARRANGING else rows.reshape(-1, self.x.shape[-1]),)

    def evaluate(self, operands: tuple[Array, ...], weights: Weights) -> X:
        return LAYERS[self.layer.kind](operands[0], weights, self.layer.options)

    def settle(self, block: Block, rows: Array | slice, expected: X) -> X:  # noqa: ARG002 - every row counts
        return expected


def _job(layer: Layer, call: Call) -> _Job | None:
    """Return how a layer is checked in a call; None where too little was observed."""
    if layer.kind in CELLS:
        steps = call.steps(layer)
        return None if steps is None else _RecurrentJob(layer, steps)
    x, output = call.tensor(layer.inputs[0]), call.tensor(Tensor(layer.name))
    return None if x is None or output is None else _LayerJob(layer, x, output)


# How a block is looked at: by which arithmetic, and the score from which a row is looked at by the next one.
_CLOSER_LOOKS = ((ScreeningMatrix, SUSPICIOUS), (Matrix, ALARMING), (OrderedMatrix, math.inf))


def _check_block(job: _Job, arithmetics: Sequence[Weights], block: Block) -> Summary:
    """Compare one block by the cheapest arithmetic, then the rows that look suspicious by more careful ones."""
    operands = job.operands(block)
    with np.errstate(all="ignore"):
        expected = job.settle(block, slice(None), job.evaluate(operands, arithmetics[0]))
        comparison = Comparison(job.actual[block.window], expected)
        if not isinstance(expected, Rounded):
            return comparison.summary(block)
        for (_, score), arithmetic in zip(_CLOSER_LOOKS, arithmetics[1:], strict=False):
            rows = comparison.rows_above(score)
            if not rows.size:
                break
            again = job.evaluate(tuple(operand[rows] for operand in operands), arithmetic)
            comparison.look_again(rows, job.settle(block, rows, again))
        return comparison.summary(block)


def _blocks(shape: tuple[int, ...], call: int | None) -> Iterator[Block]:
    """Cut an array along n, and along t where it has steps: few samples with all steps, or one with some."""
    leading = shape[: min(2, len(shape) - 1)]
    whole = shape[len(leading) :]
    rows = max(1, _BLOCK // math.prod(whole))
    sizes: tuple[int, ...] = (rows,) if len(leading) == 1 else (max(1, rows // leading[1]), min(rows, leading[1]))
    axes = axis_names(len(shape))
    starts = np.ndindex(*(-(-length // size) for length, size in zip(leading, sizes, strict=True)))
    for index in starts:
        start = tuple(i * size for i, size in zip(index, sizes, strict=True))
        lengths = tuple(min(size, length - first) for size, length, first in zip(sizes, leading, start, strict=True))
        yield Block(axes, (*start, *(0 for _ in whole)), (*lengths, *whole), call)


def axis_names(rank: int) -> tuple[str, ...]:
    """Return the names of the axes of an array of that rank: n, t, axis_2, axis_3, ..., unit."""
    leading = ["n", "t", *(f"axis_{k}" for k in range(2, rank))]
    return (*leading[: rank - 1], "unit")


@dataclass(frozen=True)
class Tolerance:
    """A limit that somebody asked for: |actual - expected| <= atol + rtol·|expected|."""

    rtol: float
    atol: float

    def around(self, expected: X) -> Rounded:
        """Return the expected values with the tolerance in the place of both noise and bound."""
        if not isinstance(expected, Rounded):  # what was copied, in no precision of its own
            expected = Rounded(expected, 0.0, None, PRECISIONS["float64"])
        allowed = self.atol + self.rtol * np.abs(expected.value)
        return Rounded(expected.value, np.square(allowed), allowed, expected.precision)


def end_to_end_rows(
    network: Network,
    recordings: Sequence[Recording],
    mapper: Mapper = map,
    *,
    steps_checked: bool = False,
    tolerance: Tolerance | None = None,
) -> list[Row]:
    """Compare each output of the whole run with the replay's own run.

    Args:
        network: the equations.
        recordings: what the implementation produced, one for each call in a row.
        mapper: `map`, or a function like it that uses several threads.
        steps_checked: whether each step on the way to the outputs has a row that can be relied on.
        tolerance: a limit to check besides; it gives each output one more row.
    """
    units = max((layer.options["units"] for layer in network.layers if layer.kind in CELLS), default=1)
    parts = sample_parts(recordings[0].outputs[0].shape[0], units)
    compared = list(mapper(partial(_compare_part, network, recordings, tolerance), parts))
    rows = []
    for number, (tensor, check) in enumerate(product(network.outputs, _end_to_end_checks(tolerance))):
        position = network.outputs.index(tensor)
        row = judge(
            total(summaries[number] for summaries, _ in compared),
            layer=tensor.layer,
            output=output_name(tensor),
            check=check,
            shape=_with_calls(recordings[0].outputs[position].shape, len(recordings)),
            steps_checked=steps_checked,
            growth=max(growth for _, growth in compared),
        )
        rows.append(row)
    return rows


def sample_parts(samples: int, units: int) -> list[slice]:
    """Cut the samples in two for two threads, or leave them whole where that would not pay."""
    middle = samples // 2
    if middle * units < _WORTH_A_THREAD:
        return [slice(0, samples)]
    return [slice(0, middle), slice(middle, samples)]


def _end_to_end_checks(tolerance: Tolerance | None) -> list[Check]:
    return [Check.END_TO_END] if tolerance is None else [Check.END_TO_END, Check.TOLERANCE]


def _compare_part(
    network: Network, recordings: Sequence[Recording], tolerance: Tolerance | None, samples: slice
) -> tuple[list[Summary], float]:
    """Replay some of the samples through all calls; return a summary for each output and check, and the growth."""
    states: States = {}
    growth = 0.0
    by_call = []
    for index, recording in enumerate(recordings):
        inputs = [array[samples] for array in recording.inputs]
        replayed = replay(network, inputs, states=states, arithmetic=FREE_RUNNING)
        states, growth = replayed.states, max(growth, replayed.growth)
        call = index if len(recordings) > 1 else None
        by_call.append(
            [
                compare(actual[samples], around, _whole(actual[samples], samples.start, call))
                for actual, expected in zip(recording.outputs, replayed.outputs, strict=True)
                for around in _limits(expected, tolerance)
            ]
        )
    return [total(summaries) for summaries in zip(*by_call, strict=True)], growth


def _limits(expected: X, tolerance: Tolerance | None) -> list[X]:
    return [expected] if tolerance is None else [expected, tolerance.around(expected)]


def _whole(array: Array, first_sample: int, call: int | None) -> Block:
    start = (int(first_sample), *(0 for _ in array.shape[1:]))
    return Block(axis_names(array.ndim), start, array.shape, call)


def output_name(tensor: Tensor) -> str:
    """Return what a row calls an output of a layer: its first is `output`, the second the final `state`."""
    return "output" if tensor.index == 0 else "state"


def _with_calls(shape: tuple[int, ...], calls: int) -> tuple[int, ...]:
    return shape if calls == 1 else (calls, *shape)
