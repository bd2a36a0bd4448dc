"""Lengths that are known as numbers, or only as multiples of what a model leaves open."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Size:
    """A length: a number times open lengths, which have names, such as 2·N."""

    number: int
    open: tuple[str, ...] = ()

    @staticmethod
    def of(value: Any) -> Size:
        """Return a whole number as a Size, or the Size that it is."""
        return value if isinstance(value, Size) else Size(int(value))

    @staticmethod
    def product(sizes: Iterable[Any]) -> Size:
        """Return the product of some lengths; 1 of none."""
        return math.prod(map(Size.of, sizes), start=Size(1))

    def __mul__(self, other: Any) -> Size:
        other = Size.of(other)
        return Size(self.number * other.number, tuple(sorted((*self.open, *other.open))))

    __rmul__ = __mul__

    def over(self, other: Size) -> Size | None:
        """Return how often another length goes into this one; None where nobody can say, or not evenly."""
        rest = Counter(self.open)
        rest.subtract(other.open)
        if other.number == 0 or self.number % other.number or min(rest.values(), default=0) < 0:
            return None
        return Size(self.number // other.number, tuple(sorted(rest.elements())))

    def at(self, lengths: dict[str, int]) -> int:
        """Return the length as a number, given the open ones."""
        return self.number * math.prod(lengths[name] for name in self.open)

    def __str__(self) -> str:
        factors = [str(self.number)] if self.number != 1 or not self.open else []
        return "·".join([*factors, *self.open])


def known(values: Iterable[Size]) -> Any:
    """Return an array of lengths: of whole numbers where all are known, else of Sizes."""
    found: list[Any] = [value if value.open else value.number for value in values]
    plain = all(isinstance(value, int) for value in found)
    return np.array(found, np.int64 if plain else object)
