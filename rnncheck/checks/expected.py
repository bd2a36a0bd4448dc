"""What the equations expect of a layer in one call, a block at a time, from what the implementation had before it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from rnncheck.checks.blocks import Block, axis_names, cut_in_blocks, rows_of, sample_parts, shares, whole_block
from rnncheck.checks.observed import Call, Samples, Steps
from rnncheck.checks.scores import Comparison, Summary, compare
from rnncheck.checks.thresholds import ALARMING
from rnncheck.equations.activations import ACROSS_UNITS
from rnncheck.equations.arithmetic import Analysis, received, receiving
from rnncheck.equations.cells import CELLS, Cell, Gates, cell_of, units
from rnncheck.equations.layers import Operation, operation_of
from rnncheck.equations.operands import Weights, X, choose, join
from rnncheck.equations.replay import expanded, operate, time_major
from rnncheck.network import Activation, Array, Layer, Resolution, Tensor
from rnncheck.rounding.precision import PRECISIONS, Precision
from rnncheck.rounding.recurrence import recurrence
from rnncheck.rounding.rounded import EXACT, Bounds, Rounded

# Where more rows of a block are alarming it is no accident of the order in which they were summed.
_ACCIDENTS = 64


@dataclass(frozen=True)
class Look:
    """An arithmetic, with a layer's weights prepared for it on first use."""

    analysis: Analysis
    layer: Layer

    @cached_property
    def weights(self) -> Weights:
        """The layer's weights."""
        return self.analysis.weights(self.layer)


@dataclass(frozen=True)
class Piece:
    """Some rows of a layer, R of them, and what is expected of them."""

    actual: Array  # what the layer put out, (R, ...)
    expected: X  # what the equation gives for the operands, (R, ...)
    operands: tuple[X, ...] = ()  # what the equation needs, each (R, ...)
    # (operands, look) -> what the equation gives; None where rows do not stand alone.
    evaluate: Callable[[tuple[X, ...], Look], X] | None = None
    stored: Resolution | None = None  # how finely what the layer put out is stored

    def comparison(self, rows: Array | None = None) -> Comparison:
        """Return what was put out beside what is expected; `rows` says which of the block's these are."""
        return Comparison(self.actual, as_stored(self.expected, self.actual, self.stored), rows)

    def only(self, rows: Array) -> Piece:
        """Return some of the rows."""
        operands = tuple(operand[rows] for operand in self.operands)
        return replace(self, actual=self.actual[rows], expected=self.expected[rows], operands=operands)

    def closely(self, block: Block, ordered: Look, rows: Array | None = None) -> Summary:
        """Compare the rows of a block, or some; those that are alarming once more, with sums in index order."""
        comparison = self.comparison(rows)
        alarming = comparison.rows_above(ALARMING)
        if self.evaluate is None or not 0 < alarming.size <= _ACCIDENTS:
            return comparison.summary(block)
        alarmed = self.only(alarming)
        again = replace(alarmed, expected=self.evaluate(alarmed.operands, ordered))
        in_order = again.comparison(alarming if rows is None else rows[alarming])
        return comparison.without(alarming).summary(block) + in_order.summary(block)


@dataclass(frozen=True)
class Recurrent:
    """Every step of a recurrent layer in one call, from the state that was observed before it.

    A state that no step shows (an LSTM's c) is the layer's memory. It is carried along by the equations, from block
    to block, while h is taken from the implementation. Rows are then those of all samples of a step, step after step.
    """

    layer: Layer
    steps: Steps
    call: int | None  # which of several in a row
    unit: int | None = None  # the only one that is looked at; None for all

    @property
    def by_unit(self) -> bool:
        """Whether every unit has a memory of its own."""
        activations = [each for each in self.layer.options.values() if isinstance(each, Activation)]
        mixes = any(each.function or each.name in ACROSS_UNITS for each in activations)
        return (
            self.remembers and self.layer.equations is None and not mixes and "projection" not in self.layer.weights
        )

    def only(self, unit: int) -> Recurrent:
        """Return the same for one unit, whose gates read all of h."""
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
        """The shape of each kind of number that is compared, by name; the first is that of `actual`."""
        finals = zip(self._cell.states[1:], self.steps.final_memory, strict=False)
        return {"h": self.steps.h.shape, **{name: final.shape for name, final in finals}}

    @property
    def actual(self) -> Array:
        """What the layer put out."""
        return self.steps.h

    @property
    def by_row(self) -> bool:
        """Whether every row can be checked on its own, given the memory before it."""
        return not self.steps.final_memory  # which is compared with its bound

    @property
    def remembers(self) -> bool:
        """Whether the layer has a memory that no step shows."""
        return self._cell.remembers

    def strands(self) -> Iterator[list[Block]]:
        """Yield blocks that are checked one after the other, such as those through which a memory runs.

        Those of other strands do not depend on them.
        """
        h = self.steps.h
        width = math.prod(h.shape[2:-1]) * self.layer.weights["recurrent_kernel"].shape[-1]
        if not self.remembers:
            yield from shares(cut_in_blocks(h.shape, width, self.call))
            return
        # A block can only be checked when the one before is: many samples at once are worth more than many steps.
        samples = max(part.stop - part.start for part in sample_parts(h.shape[0], width))
        samples = min(samples, rows_of(width))
        for first in range(0, h.shape[0], samples):
            yield list(cut_in_blocks(h.shape, width, self.call, slice(first, first + samples)))

    def piece(
        self, block: Block, look: Look, memory: X | None = None, picked: Array | None = None
    ) -> tuple[Piece, X | None]:
        """Return the rows of a block and the memory after it.

        Args:
            block: which part of what the layer put out.
            look: with which arithmetic.
            memory: what is remembered from the blocks before; None before the first.
            picked: which of the block's rows, or of its samples, with all their steps, where the cell remembers;
                None for all.
        """
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
        seen = (
            (self.steps.x[samples, steps], self.steps.stored_x),
            (self.steps.before(samples, steps), self.steps.stored_h),
        )
        bounds = look.analysis.bounds
        operands: tuple[X, ...] = tuple(seen_as(as_rows(array), precision, bounds, stored) for array, stored in seen)
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
        return Piece(actual, expected, operands, self._evaluate, self.steps.stored_h), memory

    def _remember(self, operands: tuple[X, ...], look: Look, memory: X, counted: Array | None) -> tuple[X, X]:
        # The h that the equations give, as rows, and the memory from before the first step on.
        x, h = operands
        projected = self._cell.project(x, look.weights, self.layer.options)
        gates = self._cell.gates(projected, h, look.weights, self.layer.options)
        by_step = tuple(gate.reshape((-1, *memory.shape)) for gate in gates)
        mask = None if counted is None else counted.swapaxes(0, 1)
        if self._cell.peek is None:
            memories = recurrence(by_step[0], by_step[1], memory, mask)
        else:
            by_step, memories = self._one_by_one(self._cell.peek, by_step, look, memory, mask)
        expected = self._cell.output(by_step, memories[1:], look.weights, self.layer.options)
        return expected.reshape((-1, *expected.shape[2:])), memories

    def _one_by_one(
        self, peek: Callable[..., Gates], gates: Gates, look: Look, memory: X, mask: Array | None
    ) -> tuple[Gates, X]:
        # The gates (T, N, M), which see the memory, and the memory from before the first step on.
        memories, seen = [memory], []
        for t in range(gates[0].shape[0]):
            of_step = tuple(gate[t] for gate in gates)
            seen.append(peek(of_step, memories[-1], look.weights, self.layer.options))
            decay, gain, *_ = (gate.reshape((1, *memory.shape)) for gate in seen[-1])
            memories.append(recurrence(decay, gain, memories[-1], None if mask is None else mask[t : t + 1])[1])
        return tuple(join(each, np.stack) for each in zip(*seen, strict=True)), join(memories, np.stack)

    def _evaluate(self, operands: tuple[X, ...], look: Look) -> X:
        # What is expected of some rows, from x, the states before, and under a mask what `_settled` takes.
        given = 1 + len(self._cell.states)
        x, *states = operands[:given]
        projected = self._cell.project(x, look.weights, self.layer.options)
        h = self._cell.step(projected, tuple(states), look.weights, self.layer.options)[0]
        return _settled(h, *operands[given:])

    def memory_summary(self, block: Block, memory: X) -> dict[str, Summary]:
        """Return what is seen of the memory after the last block, by name, where the implementation shows it."""
        is_last = block.start[1] + block.shape[1] == self.steps.h.shape[1]
        if not self.steps.final_memory or not is_last:
            return {}
        (final,) = self.steps.final_memory
        start, shape = (block.start[0], *block.start[2:]), (block.shape[0], *final.shape[1:])
        whole = Block(axis_names(len(shape)), start, shape, block.call)
        seen = final[block.window[0]]
        return {self._cell.states[1]: compare(seen, as_stored(memory, seen, self.steps.stored_memory), whole)}


def _settled(h: X, counted: Array | None = None, repeated: Array | None = None) -> X:
    # What rows put out, (R, ...), where a step that does not count repeats what was put out before.
    if counted is not None:
        h = choose(expanded(counted, h), h, repeated)
    return h.reshape((h.shape[0], -1))


@dataclass(frozen=True)
class Stateless:
    """A layer without states in one call, from the inputs that were observed."""

    layer: Layer
    inputs: tuple[Array, ...]
    actual: Array
    call: int | None
    stored_inputs: tuple[Resolution | None, ...] = ()  # how finely each is stored; empty where none is coarse
    stored: Resolution | None = None  # the same of `actual`

    remembers = False

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of what is compared."""
        return {"output": self.actual.shape}

    @property
    def _operation(self) -> Operation:
        return operation_of(self.layer)

    @property
    def by_row(self) -> bool:
        """Whether every row can be checked on its own."""
        one_input_of_rows = len(self.inputs) == 1 and self.actual.ndim > 1  # not one number of each sample
        return self._operation.rowwise and not self._operation.exact and one_input_of_rows

    def strands(self) -> Iterator[list[Block]]:
        """Yield blocks that are checked one after the other."""
        shape = self.actual.shape
        if self.by_row:
            yield from shares(cut_in_blocks(shape, math.prod(shape[2:] or shape[1:]), self.call))
        elif self._operation.exact:
            yield [whole_block(shape, self.call)]
        else:
            samples = rows_of(max(x[0].size for x in (self.actual, *self.inputs)))
            starts = range(0, shape[0], samples)
            yield from shares(
                whole_block((min(samples, shape[0] - first), *shape[1:]), self.call, first) for first in starts
            )

    def piece(
        self, block: Block, look: Look, memory: X | None = None, picked: Array | None = None
    ) -> tuple[Piece, X | None]:
        """Return the rows of a block, or some of them, as `Recurrent.piece` does."""
        actual, inputs = self.actual[block.window], self.inputs
        if self.by_row:
            rows = slice(None) if picked is None else picked
            leading = block.window[: min(inputs[0].ndim, len(block.shape)) - 1]
            x = inputs[0][leading]
            operands: tuple[X, ...] = (self._received(0, x.reshape(-1, x.shape[-1])[rows], look),)
            expected = self._evaluate(operands, look)
            actual = actual.reshape(-1, *expected.shape[1:])[rows]
            return Piece(actual, expected, operands, self._evaluate, self.stored), memory
        if not self._operation.exact:  # a constant has one sample for all of the block's
            inputs = tuple(x[block.window[0]] if len(x) == len(self.actual) else x for x in inputs)
        operands = tuple(self._received(number, x, look) for number, x in enumerate(inputs))
        return Piece(actual, self._evaluate(operands, look), stored=self.stored), memory

    def _received(self, number: int, x: Array, look: Look) -> X:
        stored = self.stored_inputs[number] if self.stored_inputs else None
        return seen_as(x, receiving(self.layer), look.analysis.bounds, stored)

    def _evaluate(self, operands: tuple[X, ...], look: Look) -> X:
        if self.layer.reads_its_inside and not self._operation.exact:
            operands = tuple(x if isinstance(x, Rounded) else self._unseen(x) for x in operands)
        return operate(self.layer, operands, look.analysis, look.weights)

    def _unseen(self, x: Array) -> Rounded:
        # Numbers inside the layer, as another computation of them showed them. Each of the two errs by about u, and
        # no bound holds for both. Graph compilers also turn (a + b) + (c + d) into one sum, whose terms may be as
        # large as the largest number of the row, as far as one can see.
        precision = receiving(self.layer)
        size = np.broadcast_to(np.abs(x).max(axis=-1, keepdims=True), x.shape)
        variance = 8.0 * precision.unit_variance * np.square(size)
        return Rounded(x, variance, None, precision, bounds=Bounds.LEFT_OUT)


def seen_as(array: Array, precision: Precision, bounds: Bounds, stored: Resolution | None) -> X:
    """Return observed numbers as a layer receives them, with the error of how they are stored if that is coarse."""
    numbers = received(array, precision)
    if stored is None or numbers.dtype.kind != "f":
        return numbers
    exact = Rounded(numbers, EXACT, EXACT, precision, bounds=bounds)
    return as_stored(exact, numbers, stored)


def as_stored(expected: X, actual: Array, stored: Resolution | None) -> X:
    """Return what is expected of stored numbers: half a unit of their last digit is part of bound and noise."""
    if stored is None:
        return expected
    if not isinstance(expected, Rounded):  # what was copied
        expected = Rounded(expected, EXACT, EXACT, PRECISIONS["float64"])
    if not stored.is_coarser_than(expected.precision.digits):
        return expected
    half = stored.half_unit(actual).reshape(expected.shape)
    is_exactly_zero = (expected.value == 0.0) & (expected.variance == 0.0)
    half = np.where(is_exactly_zero, 0.0, half)  # which is stored as it is
    error = expected.bound + half if expected.bounded else None
    return expected.like(expected.value, expected.variance + np.square(half) / 3.0, error)


Checked = Recurrent | Stateless


def checked_in(layer: Layer, calls: Sequence[Call]) -> list[Checked]:
    """Return a layer as it is checked in each call; nothing where too little was seen in one of them."""
    by_call = [checked for call in calls if (checked := _checked_in(layer, call)) is not None]
    return by_call if len(by_call) == len(calls) else []


def _checked_in(layer: Layer, call: Call) -> Checked | None:
    if layer.kind in CELLS:
        steps = call.steps(layer)
        return None if steps is None else Recurrent(layer, steps, call.index)
    inputs, output = [call.tensor(tensor) for tensor in layer.inputs], call.tensor(Tensor(layer.name))
    if Tensor(layer.name) not in call.recorded or output is None or any(x is None for x in inputs):
        return None  # what follows from other numbers says nothing of its own
    stored = tuple(map(call.resolution, layer.inputs))
    own = call.resolution(Tensor(layer.name))
    known = tuple(x for x in inputs if x is not None)
    return Stateless(layer, known, output, call.index, stored if any(stored) else (), own)


# Blocks in the order in which they are checked, from call to call; strands can be checked side by side.
Strand = list[tuple[Checked, Block]]


def strands_of(by_call: Sequence[Checked]) -> list[Strand]:
    """Return the strands of a layer through all calls."""
    strands_by_call = [
        [[(checked, block) for block in blocks] for blocks in checked.strands()] for checked in by_call
    ]
    if any(len(strands) != len(strands_by_call[0]) for strands in strands_by_call):  # calls of different lengths
        return [[pair for strands in strands_by_call for strand in strands for pair in strand]]
    return [[pair for strand in strands for pair in strand] for strands in zip(*strands_by_call, strict=True)]
