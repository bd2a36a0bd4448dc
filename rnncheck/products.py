"""Products with a weight matrix, by the rule for a @ W: exactly, by a cheap estimate, or most carefully.

`x @ kernel` in an equation becomes a `Rounded` when the kernel is one of these.
"""

from __future__ import annotations

from copy import copy
from typing import Self

import numpy as np

from rnncheck.network import Array
from rnncheck.precision import Precision
from rnncheck.rounding import Rounded


class Matrix:
    """An exact weight matrix W (n, M) that `a @ W` multiplies by the rule for dot products."""

    __array_ufunc__ = None
    estimate: type = np.float64

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

    def limits(self, a: Array) -> tuple[Array, Array | None]:
        """Return Q = a²·W² and |a|·|W| (None where no bound is carried), both of shape (R, M)."""
        return np.square(a) @ self.squared, self.magnitude(a) if self.bounded else None

    def magnitude(self, a: Array) -> Array:
        """Return |a|·|W|, shape (R, M)."""
        return np.abs(a) @ self.absolute

    def __rmatmul__(self, a: Array) -> Rounded:
        n = self.value.shape[0]
        w = self.precision.unit_variance
        value = a @ self.value
        energy, magnitude = self.limits(a)
        variance: Array = value.astype(self.estimate)
        np.multiply(variance, variance, out=variance)
        variance *= w * (n + 1) / 3.0
        energy *= w * ((n + 1) / 6.0 - 1.0 / n + 1.0)
        variance += energy
        if magnitude is None:
            return Rounded(value, variance, None, self.precision)
        underflow = n * self.precision.underflow
        return Rounded(value, variance, underflow, self.precision, magnitude, n, self.estimate)


class ScreeningMatrix(Matrix):
    """A `Matrix` that is fast and estimates; what looks suspicious with it is looked at again with `Matrix`.

    |a|·|W| is at most max‖a_r‖·max‖W_j‖ (Cauchy-Schwarz), still a bound, one for all. Q is estimated from its
    margins: row r gets its share ‖a_r‖² of what the whole block of rows has in unit j, so that the mean over the rows
    is exact for every unit. Both are computed in float32.
    """

    estimate = np.float32

    def __init__(self, value: Array, precision: Precision, *, bounded: bool) -> None:
        super().__init__(value, precision, bounded=bounded)
        with np.errstate(over="ignore"):  # an infinite estimate is looked at again with `Matrix`
            self.norms = np.sqrt(self.squared.sum(axis=0)).astype(self.estimate)
            self.squared = self.squared.astype(self.estimate)

    def __getitem__(self, columns: tuple[slice, slice]) -> Self:
        """Return some of the columns, as `matrix[:, start:stop]`."""
        part = super().__getitem__(columns)
        part.norms = self.norms[columns[1]]
        return part

    def limits(self, a: Array) -> tuple[Array, Array | None]:
        """Return about a²·W², exact in the mean over the rows, and max‖a_r‖·max‖W_j‖ ≥ |a|·|W|."""
        squared = a.astype(self.estimate)
        np.multiply(squared, squared, out=squared)
        rows = squared @ np.ones(squared.shape[1], self.estimate)
        columns = (np.ones(squared.shape[0], self.estimate) @ squared) @ self.squared
        energy = _outer(rows, columns / max(rows.sum(), np.finfo(rows.dtype).tiny))
        return energy, np.sqrt(rows.max()) * self.norms.max() if self.bounded else None

    def magnitude(self, a: Array) -> Array:
        """Return max‖a_r‖·max‖W_j‖, one number, which is at least |a|·|W|."""
        largest: Array = np.sqrt(np.square(a).sum(axis=-1).max()) * self.norms.max()
        return largest


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


def _outer(rows: Array, columns: Array) -> Array:
    """Return rows_r·columns_j as a matrix; as a product of matrices it takes half the time of np.outer."""
    product: Array = np.dot(rows[:, np.newaxis], columns[np.newaxis])
    return product
