"""The step check: every step of every recurrent layer, and every other layer, on its own.

Numbers are held against the equations applied to what the implementation itself had before them. In large layers
bounds are left out at first, and computed for the rows that look suspicious and for the worst.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import NamedTuple

import numpy as np

from rnncheck.checks.blocks import in_threads, with_calls
from rnncheck.checks.expected import Checked, Look, Recurrent, Strand, as_stored, checked_in, strands_of
from rnncheck.checks.observed import Call
from rnncheck.checks.scores import Summary, alike
from rnncheck.checks.thresholds import FEW, SUSPICIOUS
from rnncheck.checks.verdicts import Check, Row, Verdict, judge
from rnncheck.equations.arithmetic import KERNELS, Analysis, receiving
from rnncheck.equations.cells import CELLS, units
from rnncheck.equations.layers import HELPERS, operation_of
from rnncheck.network import Array, Layer, Network
from rnncheck.rounding.products import OrderedMatrix
from rnncheck.rounding.rounded import EXACT, Bounds, Rounded


def step_rows(network: Network, calls: Sequence[Call], layers: Sequence[Layer] | None = None) -> list[Row]:
    """Check every layer, or some, from what the implementation itself had before it, as `observe` saw it.

    A recurrent layer is checked at every step from the implementation's own previous state, all steps at
    once, so that errors do not accumulate. A layer whose input or output was not observed has no row.
    """
    chosen = network.layers if layers is None else layers
    return [row for layer in chosen for row in _rows(layer, calls)]


def sees(layer: Layer, calls: Sequence[Call]) -> bool:
    """Whether enough was seen of a layer to check it."""
    return layer.kind not in HELPERS and bool(checked_in(layer, calls))


def unseen(network: Network, calls: Sequence[Call]) -> list[str]:
    """Return the recurrent layers whose states were recorded, but not all that their steps start from."""
    recorded = calls[0].recording.states
    return [layer.name for layer in network.layers if layer.name in recorded and not sees(layer, calls)]


def all_steps_match(network: Network, rows: Sequence[Row]) -> bool:
    """Whether every layer whose output somebody sees has step rows, and all of them match."""
    moved = {layer.name for layer in network.layers if layer.kind == "Moved"}
    if any(tensor.layer in moved for tensor in network.outputs):
        return False  # what a fault does to an output has no row
    to_check = {layer.name: layer for layer in network.layers if layer.kind not in HELPERS}
    unchecked = [to_check[name] for name in to_check.keys() - {row.layer for row in rows}]
    # A layer that only moves numbers has no row where nobody recorded them.
    exact = all(layer.kind not in CELLS and operation_of(layer).exact for layer in unchecked)
    return bool(rows) and exact and all(row.verdict is Verdict.MATCH for row in rows)


@dataclass(frozen=True)
class Differences:
    """How far a layer's numbers are from what its equations give, each from what the implementation had before it."""

    # actual - expected, in the shape of what the layer put out: (N, T, ..., M) or (N, ..., K); 0 where both are the
    # same infinity or NaN.
    value: Array
    noise: Array  # one standard deviation of what rounding makes of it, same shape; infinite there

    @property
    def scores(self) -> Array:
        """|difference|/noise."""
        with np.errstate(all="ignore"):
            return np.abs(self.value) / self.noise


def differences(layer: Layer, calls: Sequence[Call], analysis: Analysis | None = None) -> list[Differences]:
    """Return every difference of a layer for each call, which `step_rows` sums up; none where too little was seen."""
    by_call = checked_in(layer, calls)
    careful = Look(analysis or Analysis(), layer)
    found = {
        id(checked): Differences(np.empty(checked.actual.shape), np.empty(checked.actual.shape))
        for checked in by_call
    }
    with np.errstate(all="ignore"):
        for strand in strands_of(by_call):
            memory = None
            for checked, block in strand:
                piece, memory = checked.piece(block, careful, memory)
                actual, expected = checked.actual[block.window], as_stored(piece.expected, piece.actual, piece.stored)
                if not isinstance(expected, Rounded):  # what was copied
                    expected = Rounded(np.asarray(expected, np.float64), EXACT, EXACT, receiving(layer))
                if checked.remembers:
                    expected = expected.reshape(block.time_major.shape).swapaxes(0, 1)
                expected = expected.reshape(block.shape)
                agreed = ~np.isfinite(expected.value) & alike(actual, expected.value)
                found[id(checked)].value[block.window] = np.where(agreed, 0.0, actual - expected.value)
                found[id(checked)].noise[block.window] = np.where(agreed, np.inf, expected.noise)
    return list(found.values())


def _rows(layer: Layer, calls: Sequence[Call]) -> list[Row]:
    by_call = checked_in(layer, calls)
    if not by_call or layer.kind in HELPERS:
        return []
    compared = in_threads(partial(_check_strand, Looks.at(layer, by_call)), strands_of(by_call))
    return [
        judge(
            reduce(Found.__add__, (found[output] for found in compared if output in found)).with_bound(),
            layer=layer.name,
            output=output,
            check=Check.STEP,
            shape=with_calls(shape, len(calls)),
        )
        for output, shape in by_call[0].shapes.items()
    ]


class Looks(NamedTuple):
    """How the numbers of a layer are looked at."""

    first: Look  # all of them
    careful: Look  # those that look suspicious, with bounds
    ordered: Look  # those that still do, with sums in index order besides

    @classmethod
    def with_bounds(cls, layer: Layer) -> Looks:
        """Return those that carry bounds from the first look on."""
        careful = Look(Analysis(), layer)
        return cls(careful, careful, Look(Analysis(matrix=OrderedMatrix), layer))

    @classmethod
    def at(cls, layer: Layer, by_call: Sequence[Checked]) -> Looks:
        """Return those for a layer."""
        looks = cls.with_bounds(layer)
        few = sum(checked.actual.size for checked in by_call) <= FEW
        # A bound takes products of its own: it is worth leaving out where there are many.
        if few or not KERNELS & set(layer.weights) or not all(checked.by_row for checked in by_call):
            return looks
        return looks._replace(first=Look(Analysis(Bounds.LEFT_OUT), layer))


@dataclass(frozen=True)
class Found:
    """What a comparison saw."""

    summary: Summary
    # Looks at the worst row again, for the use of its bound in the table; at nothing where bounds were carried.
    look_again: Callable[[], Summary] = Summary

    def __add__(self, other: Found) -> Found:
        larger = self if self.summary.score_max >= other.summary.score_max else other
        return Found(self.summary + other.summary, larger.look_again)

    def with_bound(self) -> Summary:
        """Return what was seen, with the bound of the worst row."""
        return self.summary + Summary(bound_use=self.look_again().bound_use)


def _check_strand(looks: Looks, strand: Strand) -> dict[str, Found]:
    # What was seen of the blocks of a strand, by the name of what was put out.
    found: dict[str, Found] = {}
    suspicious: dict[int, Array] = {}  # rows, by the place of their block in the strand
    memory = None

    def see(output: str, new: Found) -> None:
        found[output] = found[output] + new if output in found else new

    with np.errstate(all="ignore"):
        for place, (checked, block) in enumerate(strand):
            output = next(iter(checked.shapes))
            in_order = block.time_major if checked.remembers else block
            piece, memory = checked.piece(block, looks.first, memory)
            if looks.first is looks.careful:
                see(output, Found(piece.closely(in_order, looks.ordered)))
            else:
                # Rows that may be wrong get their bounds below, and are left out of this sum.
                comparison = piece.comparison()
                rows = comparison.suspicious_rows(SUSPICIOUS)
                if rows.size:
                    suspicious[place] = rows
                    comparison = comparison.without(rows)
                if len(comparison):
                    again = partial(_look_at_worst, looks, strand, place, *comparison.worst)
                    see(output, Found(comparison.summary(in_order), again))
            if isinstance(checked, Recurrent) and memory is not None:
                for name, summary in checked.memory_summary(block, memory).items():
                    see(name, Found(summary))
        if suspicious:
            see(output, Found(_look_again(looks, strand, suspicious)))
    return found


def _look_at_worst(looks: Looks, strand: Strand, place: int, row: int, number: int) -> Summary:
    # What is seen with bounds of a row, or of one unit of it where that is enough: its memory runs from the first
    # block on.
    checked = strand[place][0]
    if isinstance(checked, Recurrent) and checked.by_unit:
        unit = number % units(checked.layer)
        strand = [(each.only(unit), block) for each, block in strand[: place + 1] if isinstance(each, Recurrent)]
        looks = Looks.with_bounds(strand[0][0].layer)
    return _look_again(looks, strand, {place: np.array([row])})


def _look_again(looks: Looks, strand: Strand, wanted: Mapping[int, Array]) -> Summary:
    # What is seen with bounds of some rows, by the place of their block in the strand.
    summary, memory = Summary(), None
    with np.errstate(all="ignore"):
        if not strand[0][0].remembers:
            for place, rows in wanted.items():
                checked, block = strand[place]
                summary += checked.piece(block, looks.careful, picked=rows)[0].closely(block, looks.ordered, rows)
            return summary
        # Memory runs from the first block on, of the samples of these rows alone.
        starts = (strand[place][1].start[0] + rows % strand[place][1].shape[0] for place, rows in wanted.items())
        samples = np.unique(np.concatenate(list(starts)))
        for place, (checked, block) in enumerate(strand[: max(wanted) + 1]):
            first, n = block.start[0], block.shape[0]
            picked = samples[(samples >= first) & (samples < first + n)] - first
            if picked.size:
                piece, memory = checked.piece(block, looks.careful, memory, picked)
                if place in wanted:
                    rows = wanted[place]
                    inside = rows // n * len(picked) + np.searchsorted(picked, rows % n)
                    summary += piece.only(inside).closely(block.time_major, looks.ordered, rows)
    return summary
