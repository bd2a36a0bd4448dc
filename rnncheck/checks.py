"""The checks: which numbers are compared with which equations.

`step_rows` holds every step of every recurrent layer, and every other layer, against the equations applied to
what the implementation itself had before it. `end_to_end_rows` holds the outputs against the replay's own run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise, product
from typing import Any

import numpy as np

from rnncheck.comparator import Block, Check, Row, Summary, compare, judge, total
from rnncheck.equations import CELLS, LAYERS, REARRANGING, Weights, X
from rnncheck.network import Array, Layer, Network, Tensor
from rnncheck.observed import Call, Steps, observe
from rnncheck.precision import PRECISIONS
from rnncheck.recording import Recording
from rnncheck.replay import FREE_RUNNING, Analysis, States, replay
from rnncheck.rounding import Rounded
from rnncheck.thresholds import SUSPICIOUS

# How many numbers of a layer are checked at once: enough for an efficient product, few enough for the cache.
_BLOCK = 2**17
# In how many parts the samples are replayed, so that two threads have work.
_PARTS = 2

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
    analyses = Analysis(bounded=True, screening=True), Analysis(bounded=True)
    arithmetics = [analysis.weights(layer) for analysis in analyses]
    summaries: list[Summary] = []
    shape: tuple[int, ...] = ()
    for call in calls:
        job = _recurrent_job(layer, call) if layer.kind in CELLS else _layer_job(layer, call)
        if job is None:
            return None
        actual, expect = job
        shape = actual.shape
        check = partial(_check_block, actual, expect, arithmetics)
        summaries.extend(mapper(check, _blocks(shape, call.index)))
    return judge(
        total(summaries),
        layer=layer.name,
        output="h" if layer.kind in CELLS else "output",
        check=Check.STEP,
        shape=_with_calls(shape, len(calls)),
    )


Expect = Callable[[Block, Weights], X]


def _recurrent_job(layer: Layer, call: Call) -> tuple[Array, Expect] | None:
    """Return the states of a layer and what the equations expect of a block of them."""
    steps = call.steps(layer)
    if steps is None:
        return None
    return steps.h, partial(_expected_states, layer, steps)


def _expected_states(layer: Layer, steps: Steps, block: Block, weights: Weights) -> X:
    cell, precision = CELLS[layer.kind], PRECISIONS[layer.dtype]
    x = precision.round(steps.x[block.window[:2]]).reshape(-1, steps.x.shape[2])
    before = precision.round(steps.before(block))
    (h,) = cell.step(cell.project(x, weights), (before,), weights, layer.options)
    uncounted = steps.uncounted(block)
    return h if uncounted is None else Rounded.where(uncounted[0], h, uncounted[1])


def _layer_job(layer: Layer, call: Call) -> tuple[Array, Expect] | None:
    """Return what a layer without states put out and what its equation expects of a block of it."""
    x, actual = call.tensor(layer.inputs[0]), call.tensor(Tensor(layer.name))
    if x is None or actual is None:
        return None
    return actual, partial(_expected_output, layer, x)


def _expected_output(layer: Layer, x: Array, block: Block, weights: Weights) -> X:
    leading = block.window[: min(x.ndim, len(block.shape)) - 1]
    rows = PRECISIONS[layer.dtype].round(x[leading])
    if layer.kind not in REARRANGING:
        rows = rows.reshape(-1, x.shape[-1])
    return LAYERS[layer.kind](rows, weights, layer.options)


def _check_block(actual: Array, expect: Expect, arithmetics: Sequence[Weights], block: Block) -> Summary:
    """Compare one block by the cheap arithmetic, and by the exact one where that looks suspicious."""
    numbers = actual[block.window]
    screening, exact = arithmetics
    with np.errstate(all="ignore"):
        summary = compare(numbers, expect(block, screening), block)
        if summary.score_max > SUSPICIOUS:
            summary = compare(numbers, expect(block, exact), block)
    return summary


def _blocks(shape: tuple[int, ...], call: int | None) -> Iterator[Block]:
    """Cut an array into blocks that keep the last axis whole; few samples with all steps, or one with some."""
    *leading, units = shape
    rows = max(1, _BLOCK // units)
    if len(leading) == 1:
        sizes = (rows,)
    else:
        sizes = (max(1, rows // leading[1]), min(rows, leading[1]))
    axes = axis_names(len(shape))
    starts = np.ndindex(*(-(-length // size) for length, size in zip(leading, sizes, strict=True)))
    for index in starts:
        start = tuple(i * size for i, size in zip(index, sizes, strict=True))
        lengths = tuple(
            min(size, length - first) for size, length, first in zip(sizes, leading, start, strict=True)
        )
        yield Block(axes, (*start, 0), (*lengths, units), call)


def axis_names(rank: int) -> tuple[str, ...]:
    """Return the names of the axes of an array of that rank: n, t, unit."""
    return ("n", "unit") if rank == 2 else ("n", "t", "unit")


@dataclass(frozen=True)
class Tolerance:
    """A limit that somebody asked for: |actual - expected| <= atol + rtol·|expected|."""

    rtol: float
    atol: float

    def around(self, expected: Rounded) -> Rounded:
        """Return the expected values with the tolerance in the place of both noise and bound."""
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
    samples = recordings[0].outputs[0].shape[0]
    ends = np.linspace(0, samples, min(_PARTS, samples) + 1).astype(int)
    parts = [slice(*pair) for pair in pairwise(ends)]
    compared = list(mapper(partial(_compare_part, network, recordings, tolerance), parts))
    rows = []
    for number, (tensor, check) in enumerate(product(network.outputs, _end_to_end_checks(tolerance))):
        position = network.outputs.index(tensor)
        row = judge(
            total(part[number] for part in compared),
            layer=tensor.layer,
            output=output_name(tensor),
            check=check,
            shape=_with_calls(recordings[0].outputs[position].shape, len(recordings)),
            steps_checked=steps_checked,
        )
        rows.append(row)
    return rows


def _end_to_end_checks(tolerance: Tolerance | None) -> list[Check]:
    return [Check.END_TO_END] if tolerance is None else [Check.END_TO_END, Check.TOLERANCE]


def _compare_part(
    network: Network, recordings: Sequence[Recording], tolerance: Tolerance | None, samples: slice
) -> list[Summary]:
    """Replay some of the samples through all calls; one summary for each output and check."""
    states: States = {}
    by_call = []
    for index, recording in enumerate(recordings):
        inputs = [array[samples] for array in recording.inputs]
        replayed = replay(network, inputs, states=states, arithmetic=FREE_RUNNING)
        states = replayed.states
        call = index if len(recordings) > 1 else None
        by_call.append(
            [
                compare(actual[samples], around, _whole(actual[samples], samples.start, call))
                for actual, expected in zip(recording.outputs, replayed.outputs, strict=True)
                for around in _limits(expected, tolerance)
            ]
        )
    return [total(summaries) for summaries in zip(*by_call, strict=True)]


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
