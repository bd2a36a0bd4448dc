"""Products with a weight matrix, by the rule for a @ W.

`x @ kernel` in an equation becomes a `Rounded` when the kernel is one of these. The cheap estimate is in
`rnncheck.rounding.estimates`.
"""

from __future__ import annotations

from copy import copy
from typing import Self

import numpy as np

from rnncheck.network import Array
from rnncheck.rounding.precision import Precision
from rnncheck.rounding.rounded import Rounded, product_roundings, product_weights


class Matrix:
    """An exact weight matrix W (n, M) that `a @ W` multiplies by the rule for dot products."""

    __array_ufunc__ = None

    def __init__(self, value: Array, precision: Precision, *, bounded: bool) -> None:
        self.value = value
        self.precision = precision
        self.bounded = bounded
        self.squared = np.square(value)
        self.absolute = np.abs(value)

    def __getitem__(self, columns: tuple[slice, slice]) -> Self:
        """Return some of the columns, as `matrix[:, start:stop]`."""
        part = copy(self)
        part.value = self.value[columns]
        part.squared = self.squared[columns]
        part.absolute = self.absolute[columns]
        return part

    def magnitude(self, a: Array) -> Array:
        """Return |a|·|W|, shape (R, M)."""
        return np.abs(a) @ self.absolute

    def __rmatmul__(self, a: Array) -> Rounded:
        n = self.value.shape[0]
        w = self.precision.unit_variance
        value = a @ self.value
        energy = np.square(a) @ self.squared
        of_value, of_energy = product_weights(self.precision, n)
        variance = w * (of_value * np.square(value) + of_energy * energy)
        if not self.bounded:
            return Rounded(value, variance, None, self.precision)
        roundings = product_roundings(self.precision, n)
        return Rounded(value, variance, n * self.precision.underflow, self.precision, self.magnitude(a), roundings)


class OrderedMatrix(Matrix):
    """A `Matrix` for few rows, whose noise is also that of adding up in the order of the indices, where larger.

    Most implementations add in that order. Over a random order the noise of a sum is right on average, but a single
    number's partial sums may by chance go far out before they come back.
    """

    def __rmatmul__(self, a: Array) -> Rounded:
        product = super().__rmatmul__(a)
        n, units = self.value.shape
        at_once = max(1, _AT_ONCE // (n * units))
        for start in range(0, min(len(a), _FEW), at_once):
            rows = slice(start, min(start + at_once, _FEW))
            terms = a[rows, :, np.newaxis] * self.value
            energy = np.square(terms).sum(axis=1) + np.square(np.cumsum(terms, axis=1)[:, 1:]).sum(axis=1)
            np.maximum(product.variance[rows], self.precision.unit_variance * energy, out=product.variance[rows])
        return product


# How many terms of sums `OrderedMatrix` holds at once, and on how many rows it spends that effort: where more are
# suspicious it is no accident of some order.
_AT_ONCE = 2**20


_FEW = 64
