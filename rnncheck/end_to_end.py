"""The end-to-end check: the outputs of the whole run against the replay's own run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np

from rnncheck.comparator import Block, Check, Row, Summary, compare, judge, total
from rnncheck.equations import CELLS, X, units
from rnncheck.network import Array, Layer, Network, Tensor
from rnncheck.precision import PRECISIONS
from rnncheck.recording import Recording
from rnncheck.replay import FREE_RUNNING, States, replay
from rnncheck.rounding import Rounded
from rnncheck.steps import Mapper, axis_names, sample_parts, with_calls


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
    parts = _parts(network, recordings[0])
    compared = list(mapper(partial(_compare_part, network, recordings, tolerance), parts))
    rows = []
    for number, (tensor, check) in enumerate(product(network.outputs, _end_to_end_checks(tolerance))):
        position = network.outputs.index(tensor)
        row = judge(
            total(summaries[number] for summaries, _ in compared),
            layer=tensor.layer,
            output=output_name(tensor),
            check=check,
            shape=with_calls(recordings[0].outputs[position].shape, len(recordings)),
            steps_checked=steps_checked,
            growth=max(growth for _, growth in compared),
        )
        rows.append(row)
    return rows


def _parts(network: Network, recording: Recording) -> list[slice]:
    """Cut the samples for two threads; not where something in the network belongs to particular samples."""
    samples = len(recording.inputs[0])
    if any(_knows_samples(layer) for layer in network.layers):
        return [slice(0, samples)]
    width = max((units(layer) for layer in network.layers if layer.kind in CELLS), default=1)
    return sample_parts(samples, width)


def _knows_samples(layer: Layer) -> bool:
    return layer.kind == "Moved" or (layer.kind == "Constant" and len(layer.weights["value"]) > 1)


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
    """Return what a row calls an output of a layer: first its `output`, then the final `state` and the final `c`."""
    return ("output", "state", "c")[tensor.index]
