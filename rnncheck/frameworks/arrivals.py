"""The weights of a model in an export: as they are, in another layout, in fewer digits, or not at all.

They are looked for by their numbers, since exporters change names, layouts and orders: a whole weight first, then
each gate's block of it, as a part of any array that the export holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np

from rnncheck.equations.cells import CELLS, gate_names, weights_of_gates
from rnncheck.equations.changes import with_weights
from rnncheck.network import Array, Layer, Network
from rnncheck.rounding.precision import PRECISIONS

# So many numbers are compared first, since most arrays differ there; and where they leave several places to a block,
# at so many of them.
_PROBES, _MOST_PLACES = 16, 64

# A quantised number is within half a step of what it stands for, and a little, since steps are rounded too. A block
# whose numbers have fewer bits together, counted in steps, might be found by chance.
_HALF_STEP, _FEWEST_BITS = 0.501, 48


@dataclass(frozen=True)
class Held:
    """An array that an export holds."""

    name: str
    form: str  # its format, such as float32 or int8
    values: Array  # what its numbers stand for, float64
    step: Array | None = None  # of integers the distance of two levels, in the shape of `values`

    @staticmethod
    def of(name: str, array: Array, form: str, scale: Array, zero_point: Array, axis: int | None) -> Held:
        """Return an array with the scale and zero point of its integers; both are empty for floats."""
        if not scale.size:
            return Held(name, form, array.astype(np.float64))
        step, zero = (_along(axis, each, array) for each in (scale, zero_point))
        return Held(name, form, (array.astype(np.float64) - zero) * step, np.broadcast_to(step, array.shape))


# One number for all, or one for each index of an axis: the last of that length if none is named.
def _along(axis: int | None, numbers: Array, array: Array) -> Array:
    if numbers.size < 2:
        return np.array(numbers.sum(), np.float64)
    if axis is None:
        axis = max(each for each, length in enumerate(array.shape) if length == numbers.size)
    return numbers.astype(np.float64).reshape([-1 if each == axis else 1 for each in range(array.ndim)])


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
    gates = gate_names(layer) if layer.kind in CELLS and name in weights_of_gates(layer) else ("",)
    rows = np.atleast_2d(values)
    parts = {"": [rows]}
    if name == "bias" and len(rows) > 1:  # those of the input and of the state, which exporters part or add
        parts = {
            "": [rows[:1], rows[1:]],
            "its two rows added": [rows.astype(weight.dtype).sum(axis=0, keepdims=True)],
        }
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
        if each.values.size != values.size:
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
    return rounded, np.zeros(held.values.shape), "" if (rounded == values).all() else held.form


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


def _is_telling(block: Array, held: Held) -> bool:
    if held.step is None or not held.step.any():
        return held.step is None
    levels = np.abs(block).max(initial=0.0) / held.step.max()
    return bool(block.size * np.log2(max(levels, 1.0)) >= _FEWEST_BITS)


# Where a matrix has a block, by the first row and column.
def _places(block: Array, table: Array, reach: Array) -> Iterator[tuple[int, int]]:
    def near(numbers: Any, row: int, column: int, shape: tuple[int, ...]) -> Any:
        there = np.s_[row : row + shape[0], column : column + shape[1]]
        return np.abs(table[there] - numbers) <= reach[there]

    room = (len(table) - len(block) + 1, table.shape[1] - block.shape[1] + 1)
    if min(room) < 1 or not block.size:
        return
    possible = np.ones(room, bool)
    for flat in np.linspace(0, block.size - 1, _PROBES).astype(int):
        row, column = divmod(int(flat), block.shape[1])
        possible &= near(block[row, column], row, column, room)
    for row, column in np.argwhere(possible)[:_MOST_PLACES].tolist():
        if near(block, row, column, block.shape).all():
            yield row, column


# What is said of where the blocks of a weight are: one for each gate, once or, of a bias with two rows, twice.
def _layout(blocks: Sequence[_Block], gates: Sequence[str]) -> Iterator[str]:
    if all(block.turned for block in blocks) and len(blocks[0].values) > 1:
        yield "transposed"
    arrays = {block.name for block in blocks}
    order = sorted(range(len(gates)), key=lambda gate: blocks[gate].place)
    if len(arrays) > 1:
        yield f"split into {len(arrays)}"
    elif order != list(range(len(gates))):
        yield f"gates in the order {' '.join(gates[gate] for gate in order)}"
