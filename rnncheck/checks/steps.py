"""The step check: every step of every recurrent layer, and every other layer, on its own.

Numbers are held against the equations applied to what the implementation itself had before them. In large layers
bounds are left out at first, and computed for the rows that look suspicious and for the worst.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial, reduce
from typing import NamedTuple

import numpy as np

from rnncheck.checks.blocks import (
    Block,
    axis_names,
    cut_in_blocks,
    in_threads,
    rows_of,
    sample_parts,
    whole_block,
    with_calls,
)
from rnncheck.checks.observed import Call, Samples, Steps
from rnncheck.checks.scores import Comparison, Summary, alike, compare
from rnncheck.checks.thresholds import ALARMING, FEW, SUSPICIOUS
from rnncheck.checks.verdicts import Check, Row, Verdict, judge
from rnncheck.equations.activations import ACROSS_UNITS
from rnncheck.equations.arithmetic import KERNELS, Analysis, received, receiving
from rnncheck.equations.cells import CELLS, Cell, cell_of, units
from rnncheck.equations.layers import HELPERS, Operation, operation_of
from rnncheck.equations.operands import Weights, X, choose
from rnncheck.equations.replay import expanded, operate, time_major
from rnncheck.network import Activation, Array, Layer, Network, Tensor
from rnncheck.rounding.precision import PRECISIONS
from rnncheck.rounding.products import OrderedMatrix
from rnncheck.rounding.recurrence import recurrence
from rnncheck.rounding.rounded import EXACT, Bounds, Rounded

# Where more rows of a block are alarming it is no accident of the order in which they were summed.
_ACCIDENTS = 64


def step_rows(network: Network, calls: Sequence[Call], layers: Sequence[Layer] | None = None) -> list[Row]:
    """Check every layer, or some, from what the implementation itself had before it, as `observe` saw it.

    A recurrent layer is checked at every step from the implementation's own previous state, all steps at
    once, so that errors do not accumulate. A layer whose input or output was not observed has no row.
    """
    chosen = network.layers if layers is None else layers
    return [row for layer in chosen for row in _rows(layer, calls)]


def sees(layer: Layer, calls: Sequence[Call]) -> bool:
    """Whether enough was seen of a layer to check it."""
    return layer.kind not in HELPERS and bool(_jobs(layer, calls))


def unseen(network: Network, calls: Sequence[Call]) -> list[str]:
    """Return the recurrent layers whose states were recorded, but not all that their steps start from."""
    recorded = calls[0].recording.states
    return [layer.name for layer in network.layers if layer.name in recorded and not sees(layer, calls)]


def all_steps_match(network: Network, rows: Sequence[Row]) -> bool:
    """Whether every layer whose output somebody sees has step rows, and all of them match."""
    to_check = {layer.name for layer in network.layers if layer.kind not in HELPERS}
    return {row.layer for row in rows} == to_check and all(row.verdict is Verdict.MATCH for row in rows)


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


def differences(layer: Layer, calls: Sequence[Call]) -> list[Differences]:
    """Return every difference of a layer for each call, which `step_rows` sums up; none where too little was seen."""
    jobs = _jobs(layer, calls)
    careful = Look(Analysis(), layer)
    found = {id(job): Differences(np.empty(job.actual.shape), np.empty(job.actual.shape)) for job in jobs}
    with np.errstate(all="ignore"):
        for strand in _strands(jobs):
            memory = None
            for job, block in strand:
                piece, memory = job.piece(block, careful, memory)
                actual, expected = job.actual[block.window], piece.expected
                if not isinstance(expected, Rounded):  # what was copied
                    expected = Rounded(np.asarray(expected, np.float64), EXACT, EXACT, receiving(layer))
                if job.remembers:
                    expected = expected.reshape(block.time_major.shape).swapaxes(0, 1)
                expected = expected.reshape(block.shape)
                agreed = ~np.isfinite(expected.value) & alike(actual, expected.value)
                found[id(job)].value[block.window] = np.where(agreed, 0.0, actual - expected.value)
                found[id(job)].noise[block.window] = np.where(agreed, np.inf, expected.noise)
    return list(found.values())


def _rows(layer: Layer, calls: Sequence[Call]) -> list[Row]:
    jobs = _jobs(layer, calls)
    if not jobs or layer.kind in HELPERS:
        return []
    compared = in_threads(partial(_check_strand, Looks.at(layer, jobs)), _strands(jobs))
    return [
        judge(
            reduce(Found.__add__, (found[output] for found in compared if output in found)).with_bound(),
            layer=layer.name,
            output=output,
            check=Check.STEP,
            shape=with_calls(shape, len(calls)),
        )
        for output, shape in jobs[0].shapes.items()
    ]


@dataclass(frozen=True)
class Look:
    """An arithmetic, with a layer's weights prepared for it on first use."""

    analysis: Analysis
    layer: Layer

    @cached_property
    def weights(self) -> Weights:
        """The layer's weights."""
        return self.analysis.weights(self.layer)


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
    def at(cls, layer: Layer, jobs: Sequence[_Job]) -> Looks:
        """Return those for a layer."""
        looks = cls.with_bounds(layer)
        few = sum(job.actual.size for job in jobs) <= FEW
        # A bound takes products of its own: it is worth leaving out where there are many.
        if few or not KERNELS & set(layer.weights) or not all(job.by_row for job in jobs):
            return looks
        return looks._replace(first=Look(Analysis(Bounds.LEFT_OUT), layer))


@dataclass(frozen=True)
class Piece:
    """Some rows of a layer, R of them, and what is expected of them."""

    actual: Array  # what the layer put out, (R, ...)
    expected: X  # what the equation gives for the operands, (R, ...)
    operands: tuple[X, ...] = ()  # what the equation needs, each (R, ...)
    # (operands, look) -> what the equation gives; None where rows do not stand alone.
    evaluate: Callable[[tuple[X, ...], Look], X] | None = None

    def only(self, rows: Array) -> Piece:
        """Return some of the rows."""
        operands = tuple(operand[rows] for operand in self.operands)
        return Piece(self.actual[rows], self.expected[rows], operands, self.evaluate)

    def closely(self, block: Block, ordered: Look, rows: Array | None = None) -> Summary:
        """Compare the rows of a block, or some; those that are alarming once more, with sums in index order."""
        comparison = Comparison(self.actual, self.expected, rows)
        alarming = comparison.rows_above(ALARMING)
        if self.evaluate is None or not 0 < alarming.size <= _ACCIDENTS:
            return comparison.summary(block)
        alarmed = self.only(alarming)
        again = self.evaluate(alarmed.operands, ordered)
        in_order = Comparison(alarmed.actual, again, alarming if rows is None else rows[alarming])
        return comparison.without(alarming).summary(block) + in_order.summary(block)


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
        for place, (job, block) in enumerate(strand):
            output = next(iter(job.shapes))
            in_order = block.time_major if job.remembers else block
            piece, memory = job.piece(block, looks.first, memory)
            if looks.first is looks.careful:
                see(output, Found(piece.closely(in_order, looks.ordered)))
            else:
                # Rows that may be wrong get their bounds below, and are left out of this sum.
                comparison = Comparison(piece.actual, piece.expected)
                rows = comparison.suspicious_rows(SUSPICIOUS)
                if rows.size:
                    suspicious[place] = rows
                    comparison = comparison.without(rows)
                if len(comparison):
                    again = partial(_look_at_worst, looks, strand, place, *comparison.worst)
                    see(output, Found(comparison.summary(in_order), again))
            if isinstance(job, _RecurrentJob) and memory is not None:
                for name, summary in job.memory_summary(block, memory).items():
                    see(name, Found(summary))
        if suspicious:
            see(output, Found(_look_again(looks, strand, suspicious)))
    return found


def _look_at_worst(looks: Looks, strand: Strand, place: int, row: int, number: int) -> Summary:
    # What is seen with bounds of a row, or of one unit of it where that is enough: its memory runs from the first
    # block on.
    job = strand[place][0]
    if isinstance(job, _RecurrentJob) and job.by_unit:
        unit = number % units(job.layer)
        strand = [(each.only(unit), block) for each, block in strand[: place + 1] if isinstance(each, _RecurrentJob)]
        looks = Looks.with_bounds(strand[0][0].layer)
    return _look_again(looks, strand, {place: np.array([row])})


def _look_again(looks: Looks, strand: Strand, wanted: Mapping[int, Array]) -> Summary:
    # What is seen with bounds of some rows, by the place of their block in the strand.
    summary, memory = Summary(), None
    with np.errstate(all="ignore"):
        if not strand[0][0].remembers:
            for place, rows in wanted.items():
                job, block = strand[place]
                summary += job.piece(block, looks.careful, picked=rows)[0].closely(block, looks.ordered, rows)
            return summary
        # Memory runs from the first block on, of the samples of these rows alone.
        starts = (strand[place][1].start[0] + rows % strand[place][1].shape[0] for place, rows in wanted.items())
        samples = np.unique(np.concatenate(list(starts)))
        for place, (job, block) in enumerate(strand[: max(wanted) + 1]):
            first, n = block.start[0], block.shape[0]
            picked = samples[(samples >= first) & (samples < first + n)] - first
            if picked.size:
                piece, memory = job.piece(block, looks.careful, memory, picked)
                if place in wanted:
                    rows = wanted[place]
                    inside = rows // n * len(picked) + np.searchsorted(picked, rows % n)
                    summary += piece.only(inside).closely(block.time_major, looks.ordered, rows)
    return summary


@dataclass(frozen=True)
class _RecurrentJob:
    """Every step of a recurrent layer in one call, from the state that was observed before it.

    A state that no step shows (an LSTM's c) is the layer's memory. It is carried along by the equations, from block
    to block, while h is taken from the implementation. Rows are then those of all samples of a step, step after step.
    """

    layer: Layer
    steps: Steps
    call: int | None  # which of several in a row
    unit: int | None = None  # the only one that is looked at; None for all

    @property
    def by_unit(self) -> bool:  # whether every unit has a memory of its own
        activations = [each for each in self.layer.options.values() if isinstance(each, Activation)]
        mixes = any(each.function or each.name in ACROSS_UNITS for each in activations)
        return self.remembers and self.layer.equations is None and not mixes

    def only(self, unit: int) -> _RecurrentJob:
        # The same for one unit, whose gates read all of h.
        m = units(self.layer)
        weights = {name: weight[..., unit::m] for name, weight in self.layer.weights.items()}
        return replace(self, layer=replace(self.layer, weights=weights), unit=unit)

    def _seen(self, array: Array) -> Array:
        return array if self.unit is None else array[..., self.unit : self.unit + 1]

    @property
    def _cell(self) -> Cell:
        return cell_of(self.layer)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        # Of each kind of number that is compared, by name; the first is that of `actual`.
        finals = zip(self._cell.states[1:], self.steps.final_memory, strict=False)
        return {"h": self.steps.h.shape, **{name: final.shape for name, final in finals}}

    @property
    def actual(self) -> Array:
        return self.steps.h

    @property
    def by_row(self) -> bool:  # whether every row can be checked on its own, given the memory before it
        return not self.steps.final_memory  # which is compared with its bound

    @property
    def remembers(self) -> bool:
        return self._cell.remembers

    def strands(self) -> Iterator[list[Block]]:
        h = self.steps.h
        width = math.prod(h.shape[2:-1]) * self.layer.weights["recurrent_kernel"].shape[-1]
        if not self.remembers:
            yield from ([block] for block in cut_in_blocks(h.shape, width, self.call))
            return
        # A block can only be checked when the one before is: many samples at once are worth more than many steps.
        samples = max(part.stop - part.start for part in sample_parts(h.shape[0], width))
        samples = min(samples, rows_of(width))
        for first in range(0, h.shape[0], samples):
            yield list(cut_in_blocks(h.shape, width, self.call, slice(first, first + samples)))

    def piece(
        self, block: Block, look: Look, memory: X | None = None, picked: Array | None = None
    ) -> tuple[Piece, X | None]:
        # The rows of a block, or some of them (of its samples, where the cell remembers), and the memory after it.
        # Where the cell remembers, samples are picked with all their steps; else rows stand alone.
        samples: Samples = block.window[0]
        steps: slice = block.window[1]
        rows: slice | Array = slice(None)
        if picked is not None and self.remembers:
            samples = block.start[0] + picked
        elif picked is not None:
            rows = picked

        def as_rows(array: Array) -> Array:
            return (time_major(array) if self.remembers else array.reshape(-1, *array.shape[2:]))[rows]

        precision = PRECISIONS[self.layer.dtype]
        seen = (self.steps.x[samples, steps], self.steps.before(samples, steps))
        operands: tuple[X, ...] = tuple(precision.round(as_rows(array)) for array in seen)
        masked: tuple[Array, ...] = ()
        counted = None if self.steps.counts is None else self.steps.counts[samples, steps]
        if counted is not None:
            masked = (as_rows(counted), as_rows(self._seen(self.steps.repeated(samples, steps))))
        if self.remembers:
            if block.start[1] == 0 and self.steps.memory[0] is not None:
                start = precision.round(self._seen(self.steps.memory[0][samples]))
                memory = Rounded(start, EXACT, EXACT, precision, bounds=look.analysis.bounds)
            assert memory is not None  # where it is not known before a call's first step, the call before left it
            expected, memories = self._remember(operands, look, memory, counted)
            expected = _settled(expected, *masked)
            operands, memory = (*operands, memories.reshape((-1, *memories.shape[2:])), *masked), memories[-1]
        else:
            operands = (*operands, *masked)
            expected = self._evaluate(operands, look)
        actual = as_rows(self._seen(self.steps.h[samples, steps]))
        return Piece(actual, expected, operands, self._evaluate), memory

    def _remember(self, operands: tuple[X, ...], look: Look, memory: X, counted: Array | None) -> tuple[X, X]:
        # The h that the equations give, as rows, and the memory from before the first step on.
        x, h = operands
        projected = self._cell.project(x, look.weights, self.layer.options)
        gates = self._cell.gates(projected, h, look.weights, self.layer.options)
        decay, gain, *rest = (gate.reshape((-1, *memory.shape)) for gate in gates)
        memories = recurrence(decay, gain, memory, None if counted is None else counted.swapaxes(0, 1))
        expected = self._cell.output((decay, gain, *rest), memories[1:], self.layer.options)
        return expected.reshape((-1, *memory.shape[1:])), memories

    def _evaluate(self, operands: tuple[X, ...], look: Look) -> X:
        # What is expected of some rows, from x, the states before, and under a mask what `_settled` takes.
        given = 1 + len(self._cell.states)
        x, *states = operands[:given]
        projected = self._cell.project(x, look.weights, self.layer.options)
        h = self._cell.step(projected, tuple(states), look.weights, self.layer.options)[0]
        return _settled(h, *operands[given:])

    def memory_summary(self, block: Block, memory: X) -> dict[str, Summary]:
        # What is seen of the memory after the last block, by name, where the implementation shows it.
        is_last = block.start[1] + block.shape[1] == self.steps.h.shape[1]
        if not self.steps.final_memory or not is_last:
            return {}
        start, shape = (block.start[0], *block.start[2:]), (block.shape[0], *block.shape[2:])
        (final,) = self.steps.final_memory
        whole = Block(axis_names(len(shape)), start, shape, block.call)
        return {self._cell.states[1]: compare(final[block.window[0]], memory, whole)}


def _settled(h: X, counted: Array | None = None, repeated: Array | None = None) -> X:
    # What rows put out, (R, ...), where a step that does not count repeats what was put out before.
    if counted is not None:
        h = choose(expanded(counted, h), h, repeated)
    return h.reshape((h.shape[0], -1))


@dataclass(frozen=True)
class _LayerJob:
    """A layer without states in one call, from the inputs that were observed. It has what `_RecurrentJob` has."""

    layer: Layer
    inputs: tuple[Array, ...]
    actual: Array
    call: int | None

    remembers = False

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"output": self.actual.shape}

    @property
    def _operation(self) -> Operation:
        return operation_of(self.layer)

    @property
    def by_row(self) -> bool:
        return self._operation.rowwise and not self._operation.exact and len(self.inputs) == 1

    def strands(self) -> Iterator[list[Block]]:
        shape = self.actual.shape
        if self.by_row:
            yield from ([block] for block in cut_in_blocks(shape, math.prod(shape[2:] or shape[1:]), self.call))
        elif self._operation.exact:
            yield [whole_block(shape, self.call)]
        else:
            samples = rows_of(max(x[0].size for x in (self.actual, *self.inputs)))
            for first in range(0, shape[0], samples):
                yield [whole_block((min(samples, shape[0] - first), *shape[1:]), self.call, first)]

    def piece(
        self, block: Block, look: Look, memory: X | None = None, picked: Array | None = None
    ) -> tuple[Piece, X | None]:
        precision = receiving(self.layer)
        actual, inputs = self.actual[block.window], self.inputs
        if self.by_row:
            rows = slice(None) if picked is None else picked
            leading = block.window[: min(inputs[0].ndim, len(block.shape)) - 1]
            x = inputs[0][leading]
            operands: tuple[X, ...] = (received(x.reshape(-1, x.shape[-1])[rows], precision),)
            expected = self._evaluate(operands, look)
            actual = actual.reshape(-1, *expected.shape[1:])[rows]
            return Piece(actual, expected, operands, self._evaluate), memory
        if not self._operation.exact:  # a constant has one sample for all of the block's
            inputs = tuple(x[block.window[0]] if len(x) == len(self.actual) else x for x in inputs)
        operands = tuple(received(x, precision) for x in inputs)
        return Piece(actual, self._evaluate(operands, look)), memory

    def _evaluate(self, operands: tuple[X, ...], look: Look) -> X:
        if self.layer.reads_its_inside and not self._operation.exact:
            operands = tuple(self._unseen(x) for x in operands)
        return operate(self.layer, operands, look.analysis, look.weights)

    def _unseen(self, x: Array) -> Rounded:
        # Numbers inside the layer, as another computation of them showed them. Each of the two errs by about u, and
        # no bound holds for both. Graph compilers also turn (a + b) + (c + d) into one sum, whose terms may be as
        # large as the largest number of the row, as far as one can see.
        precision = receiving(self.layer)
        size = np.broadcast_to(np.abs(x).max(axis=-1, keepdims=True), x.shape)
        variance = 8.0 * precision.unit_variance * np.square(size)
        return Rounded(x, variance, None, precision, bounds=Bounds.LEFT_OUT)


_Job = _RecurrentJob | _LayerJob


def _jobs(layer: Layer, calls: Sequence[Call]) -> list[_Job]:
    # How a layer is checked in each call; none where too little was seen in one of them.
    jobs = [job for call in calls if (job := _job(layer, call)) is not None]
    return jobs if len(jobs) == len(calls) else []


def _job(layer: Layer, call: Call) -> _Job | None:
    if layer.kind in CELLS:
        steps = call.steps(layer)
        return None if steps is None else _RecurrentJob(layer, steps, call.index)
    inputs, output = [call.tensor(tensor) for tensor in layer.inputs], call.tensor(Tensor(layer.name))
    if output is None or any(x is None for x in inputs):
        return None
    return _LayerJob(layer, tuple(x for x in inputs if x is not None), output, call.index)


# Blocks in the order in which memory runs through them, from call to call; strands can be checked side by side.
Strand = list[tuple[_Job, Block]]


def _strands(jobs: Sequence[_Job]) -> list[Strand]:
    by_call = [[[(job, block) for block in blocks] for blocks in job.strands()] for job in jobs]
    if any(len(strands) != len(by_call[0]) for strands in by_call):  # calls of different lengths
        return [[pair for strands in by_call for strand in strands for pair in strand]]
    return [[pair for strand in strands for pair in strand] for strands in zip(*by_call, strict=True)]
