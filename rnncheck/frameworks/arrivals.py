"""The weights of a model in an export: as they are, in another layout, in fewer digits, or not at all.

They are looked for by their numbers, since exporters change names, layouts and orders: a whole weight first, then
each gate's block of it, as a part of any array that the export holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import NamedTuple

import numpy as np

from rnncheck.equations.cells import CELLS, PEEPHOLES, gate_names, weights_of_gates
from rnncheck.equations.changes import with_weights
from rnncheck.network import Array, Layer, Network
from rnncheck.rounding.precision import PRECISIONS

# So many numbers of a block, the largest, are looked for before it is compared in full.
_PROBES = 16

# A quantised number is within half a step of what it stands for, and a little, since steps are rounded too. Numbers
# of fewer levels say nothing, and a block whose numbers have fewer bits together might be found by chance.
_HALF_STEP, _FEWEST_LEVELS, _FEWEST_BITS = 0.501, 4.0, 48.0


@dataclass(frozen=True)
class Held:
    """An array that an export holds."""

    name: str
    form: str  # its format, such as float32 or int8
    values: Array  # what its numbers stand for, float64
    step: Array | None = None  # of integers the distance of two levels, in the shape of `values`

    @staticmethod
    def of(name: str, array: Array, form: str, scale: Array, zero_point: Array, axis: int | None) -> Held:
        """Return an array with the scale and zero point of its integers; both are empty for floats.

        Raises:
            ValueError: the scales belong to no axis of the array, as those of blocks.
        """
        if not scale.size or array.dtype.kind == "f":
            return Held(name, form, array.astype(np.float64))
        step, zero = (_along(axis, each, array.shape) for each in (scale, zero_point))
        with np.errstate(all="ignore"):  # a damaged file may have any scale
            values = (array.astype(np.float64) - zero) * step
        return Held(name, form, values, np.broadcast_to(np.abs(step), array.shape))


# One number for all, one for each index of an axis, or one for each of the first and the last axis. Where no axis is
# named, it is the last, and of the weights of several directions the first.
def _along(axis: int | None, numbers: Array, shape: tuple[int, ...]) -> Array:
    numbers = numbers.astype(np.float64)
    if numbers.size < 2:
        return np.array(numbers.sum())
    if numbers.ndim == 2 and len(shape) == 3 and numbers.shape == (shape[0], shape[-1]):
        return numbers[:, np.newaxis]
    axes = [each for each, length in enumerate(shape) if length == numbers.size]
    if axis is None and axes:
        axis = axes[0] if len(shape) == 3 else axes[-1]
    if axis is None or not -len(shape) <= axis < len(shape) or numbers.size != shape[axis]:
        raise ValueError(f"{numbers.shape} scales of an array {shape}")
    return numbers.reshape([-1 if each == axis % len(shape) else 1 for each in range(len(shape))])


@dataclass(frozen=True)
class Arrival:
    """What became of a weight of a model in an export.

    Attributes:
        layer: the layer of the weight.
        weight: its name.
        shape: its shape in the model.
        how: its layout in the export, such as `transposed, gates in the order i o f c`; empty where it is not there.
        form: the format in which the export has it, where that has fewer digits than the model's; else empty.
        held_in: the names of the arrays that have it.
        values: its numbers there, in the layout of the model; None where it is not there.
    """

    layer: str
    weight: str
    shape: tuple[int, ...]
    how: str = ""
    form: str = ""
    held_in: tuple[str, ...] = ()
    values: Array | None = None

    @property
    def in_integers(self) -> bool:
        """Whether integers stand for its numbers."""
        return self.form not in {"", *PRECISIONS}


def arrivals(network: Network, held: Sequence[Held]) -> list[Arrival]:
    """Return what became of each weight of a network, given the arrays of an export."""
    # Of several that have a weight, the one with the most digits.
    held = sorted(held, key=lambda each: 0.0 if each.step is None else 1.0 + each.step.max(initial=0.0))
    return [
        _arrival(layer, name, weight, held)
        for layer in network.layers
        if layer.kind != "Constant"
        for name, weight in layer.weights.items()
    ]


def as_arrived(network: Network, found: Sequence[Arrival]) -> Network:
    """Return a network with the numbers of an export for the weights that it has in fewer digits."""

    def arrived(layer: Layer) -> Layer:
        own = {e.weight: e.values for e in found if e.layer == layer.name and e.form and e.values is not None}
        return with_weights(layer, **{name: w.astype(layer.weights[name].dtype) for name, w in own.items()})

    return replace(network, layers=tuple(map(arrived, network.layers)))


class _Block(NamedTuple):
    name: str  # of the array that has it
    form: str  # the format, where that has fewer digits than the model's
    values: Array
    turned: bool  # whether it is transposed there
    place: tuple[int, int, int]  # which matrix of the array, and its first row and column there


def _arrival(layer: Layer, name: str, weight: Array, held: Sequence[Held]) -> Arrival:
    arrival = Arrival(layer.name, name, weight.shape)
    values = weight.astype(np.float64)
    if whole := _as_a_whole(values, held):
        array, form, order = whole
        there = array.values.reshape([values.shape[axis] for axis in order]).transpose(np.argsort(order))
        return replace(arrival, how=_turning(order), form=form, held_in=(array.name,), values=there)
    if weight.ndim > 2:
        return arrival
    gates: tuple[str, ...] = ("",)
    if layer.kind in CELLS:
        of_gates = dict.fromkeys(weights_of_gates(layer), gate_names(layer))
        gates = {**of_gates, "peephole": PEEPHOLES}.get(name, gates)
    rows = np.atleast_2d(values)
    parts = {"": [rows]}
    if name == "bias" and len(rows) > 1:  # those of the input and of the state, which exporters part or add
        parts = {"": [rows[:1], rows[1:]]}
        if not layer.options.get("reset_after"):  # which makes the two of one gate different things
            parts["its two rows added"] = [rows.astype(weight.dtype).sum(axis=0, keepdims=True)]
    for said, several in parts.items():
        found = [[_find(block, held) for block in np.split(part, len(gates), axis=1)] for part in several]
        blocks = [block for part in found for block in part if block]
        if len(blocks) < len(several) * len(gates):
            continue
        there = np.block([[block.values for block in part if block] for part in found])
        return replace(
            arrival,
            how=", ".join(filter(None, [said, *_layout(blocks, gates)])) or "a part of it",
            form=next((block.form for block in blocks if block.form), ""),
            held_in=tuple(dict.fromkeys(block.name for block in blocks)),
            values=np.pad(there, [(0, len(rows) - len(there)), (0, 0)]).reshape(weight.shape),
        )
    return arrival


# An array with all numbers of a weight alone, the format where that has fewer digits, and the order of the axes.
def _as_a_whole(values: Array, held: Sequence[Held]) -> tuple[Held, str, tuple[int, ...]] | None:
    for each in held:
        if each.values.size != values.size or _levels(values, each) < _FEWEST_LEVELS:
            continue
        wanted, reach, form = _wanted(values, each)
        there, reach = each.values.ravel(), reach.ravel()
        for order in permutations(range(values.ndim)):
            own = wanted.transpose(order).ravel()
            if all((np.abs(own[part] - there[part]) <= reach[part]).all() for part in (np.s_[:_PROBES], np.s_[:])):
                return each, form, order
    return None


# What numbers an array must have for a weight or a block, how near, and its format where that has fewer digits.
def _wanted(values: Array, held: Held) -> tuple[Array, Array, str]:
    if held.step is not None:
        return values, _HALF_STEP * held.step, held.form
    rounded = PRECISIONS[held.form].round(values)
    return rounded, np.broadcast_to(0.0, held.values.shape), "" if (rounded == values).all() else held.form


def _turning(order: tuple[int, ...]) -> str:
    if order == tuple(range(len(order))):
        return "as it is"
    return "transposed" if len(order) == 2 else f"axes in the order {' '.join(map(str, order))}"


# A block, as a part of any matrix that an export holds: of arrays with three axes, of each along the first.
def _find(block: Array, held: Sequence[Held]) -> _Block | None:
    for each in held:
        if each.values.ndim > 3 or not _is_telling(block, each):
            continue
        wanted, reach, form = _wanted(block, each)
        shape = (1, 1, 1, *each.values.shape)[-3:]
        for number, (table, near) in enumerate(zip(each.values.reshape(shape), reach.reshape(shape), strict=True)):
            for turned in (False, True):
                where = (table.T, near.T) if turned else (table, near)
                if at := next(_places(wanted, *where), None):
                    values = where[0][at[0] : at[0] + len(block), at[1] : at[1] + block.shape[1]]
                    return _Block(each.name, form, values, turned, (number, *at))
    return None


# How many levels the largest of some numbers has in an array; floats have any number.
def _levels(values: Array, held: Held) -> float:
    if held.step is None:
        return np.inf
    step = held.step.max(initial=0.0)
    return float(np.abs(values).max(initial=0.0) / step) if 0.0 < step < np.inf else 0.0


def _is_telling(block: Array, held: Held) -> bool:
    levels = _levels(block, held)
    return levels >= _FEWEST_LEVELS and block.size * np.log2(levels) >= _FEWEST_BITS


# Where a matrix has a block, by the first row and column.
def _places(block: Array, table: Array, reach: Array) -> Iterator[tuple[int, int]]:
    room = np.subtract(table.shape, block.shape) + 1
    if room.min() < 1 or not block.size:
        return
    largest = np.argsort(-np.abs(block), axis=None, kind="stable")[:_PROBES]
    (row, column), *others = (divmod(int(flat), block.shape[1]) for flat in largest)
    there = np.s_[row : row + room[0], column : column + room[1]]
    rows, columns = np.nonzero(np.abs(table[there] - block[row, column]) <= reach[there])
    for i, j in others:
        near = np.abs(table[rows + i, columns + j] - block[i, j]) <= reach[rows + i, columns + j]
        rows, columns = rows[near], columns[near]
    for first, start in zip(rows.tolist(), columns.tolist(), strict=True):
        there = np.s_[first : first + len(block), start : start + block.shape[1]]
        if (np.abs(table[there] - block) <= reach[there]).all():
            yield first, start


# What is said of where the blocks of a weight are: one block for each gate; a bias with two rows has two such sets.
def _layout(blocks: Sequence[_Block], gates: Sequence[str]) -> Iterator[str]:
    if all(block.turned for block in blocks) and len(blocks[0].values) > 1:
        yield "transposed"
    arrays = {block.name for block in blocks}
    own = blocks[: len(gates)]
    order = sorted(range(len(gates)), key=lambda gate: own[gate].place)
    # Gates with the same numbers, such as zeros, are all found at the first of these.
    several = len({block.place for block in own}) == len(own)
    if len(arrays) > 1:
        yield f"split into {len(arrays)}"
    elif several and order != list(range(len(gates))):
        yield f"gates in the order {' '.join(gates[gate] for gate in order)}"
