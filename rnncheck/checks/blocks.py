"""Parts of arrays: how much is looked at at once, where each number of it lies, and in which thread."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

# How many numbers of a layer are checked at once: enough for an efficient product, few enough for a core's own cache.
LARGEST = 2**18

# How many numbers of state each of two threads must have at a step for splitting the samples to pay.
_WORTH_A_THREAD = 2**13

Part = TypeVar("Part")
Result = TypeVar("Result")
Place = Mapping[str, int]  # an index by name, such as {"n": 0, "t": 3, "unit": 2}


@dataclass(frozen=True)
class Block:
    """A rectangular part of an array: which axes, where it starts, how far it goes."""

    axes: tuple[str, ...]  # the names of the array's axes, such as ("n", "t", "unit")
    start: tuple[int, ...]  # the first index on every axis
    shape: tuple[int, ...]  # the length on every axis
    call: int | None = None  # which of several calls in a row the array belongs to; None when there is one

    @property
    def window(self) -> tuple[slice, ...]:
        """The block as an index into the array."""
        return tuple(slice(a, a + n) for a, n in zip(self.start, self.shape, strict=True))

    @property
    def time_major(self) -> Block:
        """The same with the first two axes exchanged: (t, n, ...) for (n, t, ...)."""
        parts: tuple[Any, ...] = (self.axes, self.start, self.shape)
        axes, start, shape = ((second, first, *rest) for first, second, *rest in parts)
        return Block(axes, start, shape, self.call)

    def place(self, flat_index: int) -> Place:
        """Return where the block's element of that number lies in the whole array."""
        inside = np.unravel_index(flat_index, self.shape)
        along = {axis: int(a + i) for axis, a, i in zip(self.axes, self.start, inside, strict=True)}
        place = {axis: along[axis] for axis in sorted(along, key=lambda axis: axis != "n")}
        return place if self.call is None else {"call": self.call, **place}


def in_time(place: Place) -> tuple[int, ...]:
    """Return a key that sorts places by call, then step, then sample, then the rest."""
    first = ("call", "t", "n")
    rest = (index for axis, index in place.items() if axis not in first)
    return (*(place.get(axis, 0) for axis in first), *rest)


def place_text(place: Place | None) -> str:
    """Return a place as people read it: `n=0 t=3 unit=2`; empty for none."""
    return " ".join(f"{axis}={index}" for axis, index in (place or {}).items())


def rows_of(width: int) -> int:
    """Return how many rows a block takes for which so many numbers each are computed."""
    return max(1, LARGEST // width)


def cut_in_blocks(
    shape: tuple[int, ...], width: int, call: int | None, samples: slice | None = None
) -> Iterator[Block]:
    """Cut an array along n, and along t where it has steps: few samples with all steps, or all samples with few.

    Args:
        shape: of the array.
        width: how many numbers are computed for each (n, t).
        call: as in `Block`.
        samples: the samples to stay together, with as many steps as fit; None to cut both ways.
    """
    leading = shape[: min(2, len(shape) - 1)]  # N, or N and T; the rest is never cut
    rest = shape[len(leading) :]
    rows = rows_of(width)
    if samples is not None:
        n = min(samples.stop, shape[0]) - samples.start
        sizes: tuple[int, ...] = (n, max(1, rows // n))
        leading, offset = (n, shape[1]), samples.start
    else:
        sizes = (rows,) if len(leading) == 1 else (max(1, rows // leading[1]), min(rows, leading[1]))
        offset = 0
    axes = axis_names(len(shape))
    # Rounded up: the last block of an axis may be shorter.
    starts = np.ndindex(*(-(-length // size) for length, size in zip(leading, sizes, strict=True)))
    for index in starts:
        start = tuple(i * size for i, size in zip(index, sizes, strict=True))
        lengths = tuple(min(size, length - first) for size, length, first in zip(sizes, leading, start, strict=True))
        yield Block(axes, (start[0] + offset, *start[1:], *(0 for _ in rest)), (*lengths, *rest), call)


def whole_block(shape: tuple[int, ...], call: int | None, first_sample: int = 0) -> Block:
    """Return all of an array as a block, whose first sample has that number."""
    return Block(axis_names(len(shape)), (first_sample, *(0 for _ in shape[1:])), shape, call)


def axis_names(rank: int) -> tuple[str, ...]:
    """Return the names of the axes of an array of that rank: n, t, axis_2, axis_3, ..., unit."""
    leading = ["n", "t", *(f"axis_{k}" for k in range(2, rank))]
    return (*leading[: rank - 1], "unit")


def sample_parts(samples: int, units: int) -> list[slice]:
    """Cut the samples in two for two threads, or leave them whole where that would not pay."""
    middle = samples // 2
    if middle * units < _WORTH_A_THREAD:
        return [slice(0, samples)]
    return [slice(0, middle), slice(middle, samples)]


def shares(parts: Iterable[Part]) -> list[list[Part]]:
    """Share parts out to the cores.

    A thread that goes through its share keeps the arrays of a part until it has those of the next, so that their
    memory is used again. Given back after each part, it would have to be fetched anew: a quarter of a check's time.
    """
    given, cores = list(parts), os.cpu_count() or 1
    return [given[first::cores] for first in range(min(cores, len(given)))]


def in_threads(function: Callable[[Part], Result], parts: Iterable[Part]) -> list[Result]:
    """Return what a function gives for each part, in their order, on every core."""
    given = list(parts)
    if len(given) < 2:
        return list(map(function, given))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(function, given))


def with_calls(shape: tuple[int, ...], calls: int) -> tuple[int, ...]:
    """Return a shape with the number of calls in front, where there are several."""
    return shape if calls == 1 else (calls, *shape)
