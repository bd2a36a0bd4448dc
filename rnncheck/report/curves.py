"""What pictures show of an entry: one layer's numbers by both sides, computed when somebody asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncheck.checks.blocks import axis_names
from rnncheck.checks.observed import observe
from rnncheck.checks.one_step import OneStep
from rnncheck.checks.steps import differences
from rnncheck.checks.thresholds import SCORE_LIMIT
from rnncheck.checks.verdicts import Check, Row
from rnncheck.equations.cells import CELLS
from rnncheck.equations.replay import Replayed, States, replay
from rnncheck.network import Array, Tensor
from rnncheck.report.entry import Entry, failures_of


@dataclass(frozen=True, eq=False)
class Curves:
    """A layer's numbers in one call: (N, T, M) of states, else (N, M), where M counts all axes behind.

    Attributes:
        row: what the report says of them.
        sample: the one to look at: that of the first wrong number, or of the one nearest to its limit.
        step: its step; 0 where there are no steps.
        unit: its unit.
        wrong: whether it is wrong.
        actual: what the implementation had.
        of_run: what the equations' own run gives.
        one_step: actual - expected, each from what the implementation had before it; None where nobody saw that.
        allowed: the largest difference that its score allows there.
        gates: the first wrong step; None where none is.
    """

    row: Row
    sample: int
    step: int
    unit: int
    wrong: bool
    actual: Array
    of_run: Array
    one_step: Array | None = None
    allowed: Array | None = None
    gates: OneStep | None = None

    @property
    def has_steps(self) -> bool:
        """Whether these are states, each step of which is checked on its own."""
        return self.row.output == "h" and self.one_step is not None

    @property
    def end_to_end(self) -> Array:
        """|actual - of_run|; 0 where both are the same infinity or NaN."""
        with np.errstate(invalid="ignore"):
            return np.where(self.actual == self.of_run, 0.0, np.abs(self.actual - self.of_run))

    @property
    def scores(self) -> Array:
        """|one_step| in units of its rounding, as in the table."""
        assert self.one_step is not None
        assert self.allowed is not None
        with np.errstate(all="ignore"):
            scores = SCORE_LIMIT * np.abs(self.one_step) / self.allowed
        return np.where(self.one_step == 0.0, 0.0, np.where(np.isnan(scores), np.inf, scores))


def curves_of(entry: Entry) -> Curves | None:
    """Return the numbers of the row that failed first, or else of the steps nearest to their limit.

    None where nothing was compared, and where the entry comes from another process.
    """
    row = _row_to_look_at(entry)
    if entry.network is None or row is None:
        return None
    place = row.first or row.worst or {}
    number = place.get("call", 0)
    run, recording = _own_runs(entry)[number], entry.recordings[number]
    one_step = allowed = None
    actual: Any
    if row.check == Check.STEP:
        layer, calls = entry.network.layer(row.layer), observe(entry.network, entry.recordings)
        found = differences(layer, calls)[number]
        one_step, allowed = found.value, SCORE_LIMIT * found.noise
        is_state = layer.kind in CELLS
        actual = recording.states[layer.name] if is_state else calls[number].tensor(Tensor(layer.name))
        of_run = run.sequences[layer.name] if is_state else run.tensors[Tensor(layer.name)]
    elif row.output == "h":  # states that are held against the equations' own run
        actual, of_run = recording.states[row.layer], run.sequences[row.layer]
    else:
        position = entry.network.outputs.index(Tensor(row.layer, ("output", "state", "c").index(row.output)))
        actual, of_run = recording.outputs[position], run.outputs[position]
    axes = 2 if row.output == "h" else 1
    behind = [place[axis] for axis in axis_names(np.ndim(actual))[axes:]]
    return Curves(
        row,
        sample=place["n"],
        step=place["t"] if axes == 2 else 0,
        unit=int(np.ravel_multi_index(behind, np.shape(actual)[axes:])) if behind else 0,
        wrong=row.first is not None,
        actual=_flat(actual, axes),
        of_run=_flat(of_run, axes),
        one_step=None if one_step is None else _flat(one_step, axes),
        allowed=None if allowed is None else _flat(allowed, axes),
        gates=entry.step,
    )


def _flat(array: Any, axes: int) -> Array:
    return np.asarray(array, np.float64).reshape(*np.shape(array)[:axes], -1)


def _row_to_look_at(entry: Entry) -> Row | None:
    rows = [row for row in entry.rows if row.shape and row.worst and row.check in {Check.STEP, Check.END_TO_END}]
    rows = [row for row in rows if row.check == Check.END_TO_END or row.output != "c"]  # which one call shows once
    failed = [row for _, row in failures_of([entry]) if row in rows]
    states = [row for row in rows if row.output == "h" and row.check == Check.STEP]
    return max(failed[:1] or states or rows, key=lambda row: row.score_max, default=None)


def _own_runs(entry: Entry) -> list[Replayed]:
    # What the equations give in each call, from their own states.
    assert entry.network is not None
    runs: list[Replayed] = []
    states: States = {}
    for recording in entry.recordings:
        runs.append(replay(entry.network, recording.inputs, states=states, every_step=True))
        states = runs[-1].states
    return runs


def score_map(curves: Curves, height: int, width: int) -> tuple[Array, str, int]:
    """Return the largest scores, with at most so many lines and columns; what a line is; and which is looked at.

    A line is a sample and a column a step; where there is one sample, a line is a unit.
    """
    by_sample = len(curves.actual) > 1
    scores = curves.scores.max(axis=2) if by_sample else curves.scores[0].T
    line = curves.sample if by_sample else curves.unit
    return thinned(thinned(scores, height), width, axis=1), "sample" if by_sample else "unit", line


def thinned(numbers: Array, most: int, axis: int = 0) -> Array:
    """Return an array with at most so many entries along an axis, each the largest of those in its place."""
    return np.maximum.reduceat(numbers, starts(numbers.shape[axis], most), axis=axis)


def starts(length: int, most: int) -> Array:
    """Return where the parts begin into which `thinned` cuts an axis."""
    return np.arange(min(length, most)) * length // min(length, most)
