"""Products with a weight matrix, by the rule for a @ W.

`x @ kernel` in an equation becomes a `Rounded` when the kernel is one of these.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from typing import Any, Self

import numpy as np

from rnncheck.network import Array
from rnncheck.rounding.precision import Precision
from rnncheck.rounding.rounded import (
    Bounds,
    Rounded,
    of_product,
    of_sum,
    plus,
    product_roundings,
    product_weights,
    squares,
    variance_type,
)

# OpenBLAS gives each of its threads at least 2^18 multiplications: up to here it takes one. Tiles of so many columns,
# and of a multiple of so many rows, lose little against the whole product.
_IN_ONE_THREAD = 2**19 - 1
_COLUMNS, _ROWS = 64, 8


def product(a: Array, b: Array) -> Array:
    """Return a @ b, (R, n) @ (n, M) -> (R, M), in tiles that are multiplied in the calling thread.

    Several of them can run side by side. A product's own threads and those of others wait for each other: with a pool
    beside them, a check of an LSTM took twice as long as without.
    """
    (count, n), m = a.shape, b.shape[1]
    if count * n * m <= _IN_ONE_THREAD or not isinstance(b, np.ndarray):  # but the weights of several networks
        whole: Array = a @ b
        return whole
    result = np.empty((count, m), np.result_type(a, b))
    most = max(1, _IN_ONE_THREAD // (_COLUMNS * n))
    for rows, height in _tiles(count, most // _ROWS * _ROWS or most):
        for columns, width in _tiles(m, _COLUMNS):
            left = a[rows].reshape(-1, 1, height, n)
            right = b[:, columns].reshape(n, -1, width).swapaxes(0, 1)
            into = result[rows, columns].reshape(len(left), height, -1, width).swapaxes(1, 2)
            np.matmul(left, right, out=into)
    return result


def _tiles(length: int, size: int) -> Iterator[tuple[slice, int]]:
    # As many whole tiles of that size as there are, then what is left.
    whole = length - length % size
    if whole:
        yield slice(whole), size
    if whole < length:
        yield slice(whole, length), length - whole


class Matrix:
    """An exact weight matrix W (n, M) that `a @ W` multiplies by the rule for dot products."""

    __array_ufunc__ = None

    def __init__(self, value: Array, precision: Precision, bounds: Bounds = Bounds.CARRIED) -> None:
        self.value = value
        self.precision = precision  # what the implementation multiplies in
        self.bounds = bounds  # whether products carry a bound
        self._type = variance_type(precision, bounds)
        self._scale = 1.0
        self._squared = np.square(value)
        if self._type is np.float32:  # where the largest square is about 1, it holds all that count beside it
            self._scale = 2.0 ** int(np.frexp(np.abs(value).max(initial=0.0))[1])
            self._squared = np.square(value / self._scale).astype(np.float32)
        self._absolute: Any = np.abs(self.value) if bounds is Bounds.CARRIED else None

    def __getitem__(self, columns: tuple[slice, slice]) -> Self:
        """Return some of the columns, as `matrix[:, start:stop]`."""
        part = copy(self)
        part.value, part._squared = self.value[columns], self._squared[columns]
        part._absolute = None if self._absolute is None else self._absolute[columns]
        return part

    def magnitude(self, a: Array) -> Array:
        """Return |a|·|W|, shape (R, M)."""
        return product(np.abs(a), self._absolute)

    def variance(self, of_factor: Array) -> Array:
        """Return qa²·W², what a product inherits, shape (R, M)."""
        return product(self._scale**2 * of_factor, self._squared)

    def __rmatmul__(self, a: Array) -> Rounded:
        n, w = self.value.shape[0], self.precision.unit_variance
        value = product(a, self.value)
        of_value, of_energy = product_weights(self.precision, n)
        variance = product(squares(a, w * of_energy * self._scale**2, self._type), self._squared)
        variance = plus(variance, squares(value, w * of_value, self._type))
        if self.bounds is not Bounds.CARRIED:
            variance = of_product(self.precision, n, variance)
            return Rounded(value, variance, None, self.precision, bounds=self.bounds)
        magnitude, roundings = self.magnitude(a), product_roundings(self.precision, n)
        variance = of_sum(self.precision, value, magnitude, variance)
        return Rounded(value, variance, n * self.precision.underflow, self.precision, magnitude, roundings)


class OrderedMatrix(Matrix):
    """A `Matrix` for few rows, whose noise is also that of adding up in the order of the indices, where larger.

    Most implementations add in that order. Over a random order the noise of a sum is right on average, but a single
    number's partial sums may by chance go far out before they come back.
    """

    most = 256  # on how many rows it spends that effort: one row of a layer has a row here for every pixel

    def __rmatmul__(self, a: Array) -> Rounded:
        product = super().__rmatmul__(a)
        if len(a) > self.most:
            return product
        n, units = self.value.shape
        at_once = max(1, _AT_ONCE // (n * units))
        for start in range(0, len(a), at_once):
            rows = slice(start, start + at_once)
            terms = a[rows, :, np.newaxis] * self.value
            energy = np.square(terms).sum(axis=1) + np.square(np.cumsum(terms, axis=1)[:, 1:]).sum(axis=1)
            np.maximum(product.variance[rows], self.precision.unit_variance * energy, out=product.variance[rows])
        return product


# How many terms of sums `OrderedMatrix` holds at once.
_AT_ONCE = 2**20
