"""The step check: every step of every recurrent layer, and every other layer, on its own.

Numbers are held against the equations applied to what the implementation itself had before them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, Protocol

import numpy as np

from rnncheck.checks.blocks import (
    Block,
    axis_names,
    block_of_samples,
    cut_in_blocks,
    rows_of,
    sample_parts,
    whole_block,
    with_calls,
)
from rnncheck.checks.observed import Call, Steps
from rnncheck.checks.scores import alike, compare
from rnncheck.checks.screening import Found, Look, Looks, look_closer
from rnncheck.checks.verdicts import Check, Row, Verdict, judge
from rnncheck.equations.arithmetic import received, receiving
from rnncheck.equations.cells import CELLS, Cell, cell_of
from rnncheck.equations.layers import HELPERS, Operation, operation_of
from rnncheck.equations.operands import X, choose
from rnncheck.equations.replay import expanded, operate, time_major
from rnncheck.network import Array, Layer, Network, Tensor
from rnncheck.rounding.estimates import has_lost_noise
from rnncheck.rounding.precision import PRECISIONS
from rnncheck.rounding.recurrence import recurrence
from rnncheck.rounding.rounded import EXACT, Rounded

# Runs a function over many items, results in order: `map`, or one that uses several threads.
Mapper = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


def step_rows(
    network: Network, calls: Sequence[Call], mapper: Mapper = map, layers: Sequence[Layer] | None = None
) -> list[Row]:
    """Check every layer from what the implementation itself had before it.

    A recurrent layer is checked at every step from the implementation's own previous state, all steps at
    once, so that errors do not accumulate. A layer whose input or output was not observed has no row.

    Args:
        network: the equations.
        calls: what `observe` saw of the implementation.
        mapper: `map`, or a function like it that uses several threads.
        layers: which of the network's layers to check; all when None.
    """
    chosen = network.layers if layers is None else layers
    return [row for layer in chosen for row in _rows(layer, calls, mapper)]


def sees(layer: Layer, calls: Sequence[Call]) -> bool:
    """Whether enough was seen of a layer to check it."""
    return layer.kind not in HELPERS and bool(_jobs(layer, calls))


def unseen(network: Network, calls: Sequence[Call]) -> list[str]:
    """Return the recurrent layers whose states were recorded, but not all that their steps start from."""
    recorded = calls[0].recording.states
    return [layer.name for layer in network.layers if layer.name in recorded and not sees(layer, calls)]


def _rows(layer: Layer, calls: Sequence[Call], mapper: Mapper) -> list[Row]:
    """Return the rows of one layer, one for each kind of number that it shows; none where too little was seen."""
    jobs = _jobs(layer, calls)
    if not jobs or layer.kind in HELPERS:
        return []
    looks = _looks(layer, jobs)
    compared = list(mapper(partial(_check_strand, looks), _strands(jobs, calls)))
    return [
        judge(
            reduce(Found.__add__, (found[output] for found in compared if output in found)).settled(),
            layer=layer.name,
            output=output,
            check=Check.STEP,
            shape=with_calls(shape, len(calls)),
        )
        for output, shape in jobs[0].shapes.items()
    ]


def all_steps_match(network: Network, rows: Iterable[Row]) -> bool:
    """Whether every layer whose output somebody sees has step rows, and all of them match."""
    rows = list(rows)
    to_check = {layer.name for layer in network.layers if layer.kind not in HELPERS}
    return {row.layer for row in rows} == to_check and all(row.verdict is Verdict.MATCH for row in rows)


@dataclass(frozen=True)
class Differences:
    """How far a layer's numbers are from what its equations give, each from what the implementation had before it.

    Attributes:
        value: actual - expected, in the shape of what the layer put out: (N, T, ..., M) or (N, ..., K); 0 where both
            are the same infinity or NaN.
        noise: one standard deviation of what rounding makes of it, same shape; infinite there.
    """

    value: Array
    noise: Array

    @property
    def scores(self) -> Array:
        """|difference|/noise."""
        with np.errstate(all="ignore"):
            return np.abs(self.value) / self.noise


def differences(layer: Layer, calls: Sequence[Call]) -> list[Differences]:
    """Return every difference of a layer for each call, which `step_rows` sums up; none where too little was seen."""
    jobs = _jobs(layer, calls)
    if not jobs:
        return []
    look = _looks(layer, jobs).first
    found = {id(job): Differences(np.empty(job.actual.shape), np.empty(job.actual.shape)) for job in jobs}
    with np.errstate(all="ignore"):
        for strand in _strands(jobs, calls):
            memory = None
            for job, block in strand:
                expected, memory = job.settled(block, look, memory)
                actual = job.actual[block.window]
                agreed = ~np.isfinite(expected.value) & alike(actual, expected.value)
                found[id(job)].value[block.window] = np.where(agreed, 0.0, actual - expected.value)
                found[id(job)].noise[block.window] = np.where(agreed, np.inf, expected.noise)
    return [found[id(job)] for job in jobs]


_Summaries = dict[str, Found]  # what was put out -> the comparison


class _Job(Protocol):
    """How one layer is checked in one call: what it put out, and what its equation makes of what it had before."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each kind of number that is compared, by name; the first is cut in blocks."""

    def windows(self, call: int | None) -> Iterator[list[Block]]:
        """Yield the blocks that must be checked one after the other, for each part that stands alone."""

    @property
    def actual(self) -> Array:
        """What the layer put out: what is cut in blocks."""

    def check(self, block: Block, looks: Looks, memory: X | None) -> tuple[_Summaries, X | None]:
        """Compare one block, given the memory of the block before; return it as it is after this one."""

    def settled(self, block: Block, look: Look, memory: X | None) -> tuple[Rounded, X | None]:
        """Return what is expected of a block, in its shape, and the memory after it."""


def _jobs(layer: Layer, calls: Sequence[Call]) -> list[_Job]:
    """Return how a layer is checked in each call; none where too little was seen in one of them."""
    jobs = [job for call in calls if (job := _job(layer, call)) is not None]
    return jobs if len(jobs) == len(calls) else []


def _looks(layer: Layer, jobs: Sequence[_Job]) -> Looks:
    return Looks.at(layer, sum(job.actual.size for job in jobs))


Strand = list[tuple[_Job, Block]]


def _strands(jobs: Sequence[_Job], calls: Sequence[Call]) -> list[Strand]:
    """Return what can be checked side by side: lists of blocks, in the order in which memory runs through them."""
    by_call = [
        [[(job, block) for block in blocks] for blocks in job.windows(call.index)]
        for job, call in zip(jobs, calls, strict=True)
    ]
    if any(len(strands) != len(by_call[0]) for strands in by_call):  # calls of different lengths
        return [[pair for strands in by_call for strand in strands for pair in strand]]
    return [[pair for strand in strands for pair in strand] for strands in zip(*by_call, strict=True)]


def _check_strand(looks: Looks, strand: Strand) -> _Summaries:
    found: _Summaries = {}
    memory = None
    with np.errstate(all="ignore"):
        for job, block in strand:
            summaries, memory = job.check(block, looks, memory)
            found |= {output: found[output] + new if output in found else new for output, new in summaries.items()}
    return found


@dataclass(frozen=True)
class _RecurrentJob:
    """Every step of a recurrent layer, from the state that was observed before it.

    A state that no step shows (an LSTM's c) is carried along by the equations, while h is taken from the
    implementation.
    """

    layer: Layer
    steps: Steps

    @property
    def _cell(self) -> Cell:
        return cell_of(self.layer)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        finals = zip(self._cell.states[1:], self.steps.final_memory, strict=False)
        return {"h": self.steps.h.shape, **{name: final.shape for name, final in finals}}

    def windows(self, call: int | None) -> Iterator[list[Block]]:
        h = self.steps.h
        width = math.prod(h.shape[2:-1]) * self.layer.weights["recurrent_kernel"].shape[-1]
        if self._cell.memory is None:
            yield from ([block] for block in cut_in_blocks(h.shape, width, call))
            return
        # A block can only be checked when the one before is: many samples at once are worth more than many steps.
        samples = max(part.stop - part.start for part in sample_parts(h.shape[0], width))
        samples = min(samples, rows_of(width))
        for first in range(0, h.shape[0], samples):
            yield list(cut_in_blocks(h.shape, width, call, slice(first, first + samples)))

    def check(self, block: Block, looks: Looks, memory: X | None) -> tuple[_Summaries, X | None]:
        operands, expected, memory = self.expect(block, looks, memory)
        summaries = {"h": self._compare(block, operands, expected, looks)}
        if memory is not None and self.steps.final_memory and self._is_last(block):
            summaries[self._cell.states[1]] = self._compare_memory(block, memory)
        return summaries, memory

    @property
    def actual(self) -> Array:
        return self.steps.h

    def settled(self, block: Block, look: Look, memory: X | None) -> tuple[Rounded, X | None]:
        _, rows, memory = self.expect(block, Looks(look, look, ()), memory)
        expected = self._settle(block, slice(None), rows)
        if self._cell.memory is None:
            return expected.reshape(block.shape), memory
        return expected.reshape(block.time_major.shape).swapaxes(0, 1), memory

    def _is_last(self, block: Block) -> bool:
        return bool(block.start[1] + block.shape[1] == self.steps.h.shape[1])

    def expect(self, block: Block, looks: Looks, memory: X | None) -> tuple[tuple[X, ...], X, X | None]:
        """Return what the equations need for a block, the h that they give, as rows, and the memory after it."""
        precision = PRECISIONS[self.layer.dtype]
        x, h = self._as_rows(self.steps.x[block.window[:2]]), self._as_rows(self.steps.before(block))
        operands: tuple[X, ...] = (precision.round(x), precision.round(h))
        if self._cell.memory is None:
            return operands, self.evaluate(operands, looks.first), None
        if block.start[1] == 0 and self.steps.memory[0] is not None:
            memory = Rounded(precision.round(self.steps.memory[0][block.window[0]]), EXACT, EXACT, precision)
        assert memory is not None  # where it is not known before the first step of a call, the call before left it
        ordered = block.time_major
        decay, gain, *rest = (gate.reshape(ordered.shape) for gate in self._known_gates(operands, looks))
        counted = self.steps.counted(block)
        memories = recurrence(decay, gain, memory, None if counted is None else counted.swapaxes(0, 1))
        expected = self._cell.output((decay, gain, *rest), decay.lift(memories[1:]), self.layer.options)
        rows = (-1, *ordered.shape[2:])
        return (*operands, memories.reshape(rows)), expected.reshape(rows), memories[-1]

    def _as_rows(self, steps: Array) -> Array:
        """Return (N, T, ...) as rows: a memory runs through all samples of a step after the other."""
        return steps.reshape(-1, *steps.shape[2:]) if self._cell.memory is None else time_major(steps)

    def _known_gates(self, operands: tuple[X, ...], looks: Looks) -> tuple[X, ...]:
        """Return the gates of some rows, exactly where the first look lost a noise that the memory would hand on."""
        gates = self._gates(operands, looks.first)
        if looks.first is looks.careful:
            return gates
        unknown = np.flatnonzero(reduce(np.logical_or, map(has_lost_noise, gates[:2])))
        if not unknown.size:
            return gates
        careful = self._gates(tuple(operand[unknown] for operand in operands), looks.careful)
        replaced = (gate.replaced(unknown, again) for gate, again in zip(gates[:2], careful, strict=False))
        return *replaced, *gates[2:]

    def _gates(self, operands: tuple[X, ...], look: Look) -> tuple[X, ...]:
        x, h, *_ = operands
        projected = self._cell.project(x, look.weights, self.layer.options)
        return self._cell.gates(projected, h, look.weights, self.layer.options)

    def evaluate(self, operands: tuple[X, ...], look: Look) -> X:
        """Return the new h of some rows, from x, the h before and the memory before."""
        x, *states = operands
        projected = self._cell.project(x, look.weights, self.layer.options)
        return self._cell.step(projected, tuple(states), look.weights, self.layer.options)[0]

    def _compare(self, block: Block, operands: tuple[X, ...], expected: X, looks: Looks) -> Found:
        actual = self._as_rows(self.steps.h[block.window])
        ordered = block if self._cell.memory is None else block.time_major
        return look_closer(actual, ordered, operands, expected, looks, self.evaluate, partial(self._settle, block))

    def _settle(self, block: Block, rows: Array | slice, expected: X) -> X:
        counted = self.steps.counted(block)
        if counted is None:
            return expected
        counts = expanded(self._as_rows(counted)[rows], expected)
        return choose(counts, expected, self._as_rows(self.steps.repeated(block))[rows])

    def _compare_memory(self, block: Block, expected: X) -> Found:
        start, shape = (block.start[0], *block.start[2:]), (block.shape[0], *block.shape[2:])
        (final,) = self.steps.final_memory
        whole = Block(axis_names(len(shape)), start, shape, block.call)
        return Found(compare(final[block.window[0]], expected, whole))


@dataclass(frozen=True)
class _LayerJob:
    """A layer without states, from the inputs that were observed."""

    layer: Layer
    inputs: tuple[Array, ...]
    output: Array

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"output": self.output.shape}

    @property
    def _operation(self) -> Operation:
        return operation_of(self.layer)

    @property
    def _by_row(self) -> bool:
        """Whether every row of the one input can be checked on its own."""
        return self._operation.rowwise and not self._operation.exact and len(self.inputs) == 1

    def windows(self, call: int | None) -> Iterator[list[Block]]:
        shape = self.output.shape
        if self._by_row:
            yield from ([block] for block in cut_in_blocks(shape, math.prod(shape[2:] or shape[1:]), call))
        elif self._operation.exact:
            yield [whole_block(shape, call)]
        else:
            samples = rows_of(max(x[0].size for x in (self.output, *self.inputs)))
            yield from ([block_of_samples(shape, start, samples, call)] for start in range(0, shape[0], samples))

    def check(self, block: Block, looks: Looks, memory: X | None) -> tuple[_Summaries, X | None]:
        actual = self.output[block.window]
        operands, expected = self._expect(block, looks.first if self._by_row else looks.careful)
        if not self._by_row:
            return {"output": Found(compare(actual, expected, block))}, memory
        return {"output": look_closer(actual, block, operands, expected, looks, self._evaluate, _as_it_is)}, memory

    def _expect(self, block: Block, look: Look) -> tuple[tuple[X, ...], X]:
        """Return the operands of a block, and what the equation gives for them."""
        precision = receiving(self.layer)
        if self._by_row:
            leading = block.window[: min(self.inputs[0].ndim, len(block.shape)) - 1]
            x = received(self.inputs[0][leading], precision)
            operands: tuple[X, ...] = (x.reshape(-1, x.shape[-1]),)
        else:
            inputs = self.inputs
            if not self._operation.exact:
                inputs = tuple(x[block.window[0]] if len(x) == len(self.output) else x for x in inputs)
            operands = tuple(received(x, precision) for x in inputs)
        return operands, self._evaluate(operands, look)

    @property
    def actual(self) -> Array:
        return self.output

    def settled(self, block: Block, look: Look, memory: X | None) -> tuple[Rounded, X | None]:
        _, expected = self._expect(block, look)
        if not isinstance(expected, Rounded):
            expected = Rounded(np.asarray(expected, np.float64), EXACT, EXACT, receiving(self.layer))
        return expected.reshape(block.shape), memory

    def _evaluate(self, operands: tuple[X, ...], look: Look) -> X:
        if self.layer.reads_its_inside and not self._operation.exact:
            operands = tuple(self._unrounded(x) for x in operands)
        return operate(self.layer, operands, look.analysis, look.weights)

    def _unrounded(self, x: Array) -> Rounded:
        """Return numbers that the implementation may never have rounded, since nothing but this layer reads them.

        Graph compilers turn (a + b) + (c + d) into one sum, whose terms may be larger than a + b: as large as the
        largest number of the row, as far as one can see.
        """
        precision = receiving(self.layer)
        size = np.broadcast_to(np.abs(x).max(axis=-1, keepdims=True), x.shape)
        return Rounded(x, 2.0 * precision.unit_variance * np.square(size), 2.0 * precision.unit * size, precision)


def _as_it_is(rows: Array | slice, expected: X) -> X:  # noqa: ARG001 - every row counts
    return expected


def _job(layer: Layer, call: Call) -> _Job | None:
    """Return how a layer is checked in a call; None where too little was observed."""
    if layer.kind in CELLS:
        steps = call.steps(layer)
        return None if steps is None else _RecurrentJob(layer, steps)
    inputs, output = [call.tensor(tensor) for tensor in layer.inputs], call.tensor(Tensor(layer.name))
    if output is None or any(x is None for x in inputs):
        return None
    return _LayerJob(layer, tuple(x for x in inputs if x is not None), output)
