"""The first look: arithmetic that is fast on whole blocks of numbers, and estimates where `Rounded` computes.

What looks suspicious by it is looked at again with `rounding.products.Matrix`. The loops are in `loops`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from rnncheck.network import Array
from rnncheck.rounding import loops as kernels
from rnncheck.rounding.precision import Precision
from rnncheck.rounding.products import Matrix
from rnncheck.rounding.rounded import (
    CROSS,
    Elementary,
    Operand,
    Rounded,
    is_nothing,
    product_roundings,
    product_weights,
)

# What variances are computed in. What it cannot hold becomes infinite, and is looked at again.
_Estimate = np.float32


# Variances below this lose digits in float32.
_LEAST = 2.0**-120


class Screened(Rounded):
    """`Rounded` with one bound for all of its numbers, and a variance in float32, by the same rules.

    Attributes:
        error: one number, at least what the bound of every number inherits.
        magnitude: one number, at least the sum of the absolute terms of every open sum; None when closed.
    """

    __slots__ = ("_limit",)

    def __init__(
        self,
        value: Array,
        variance: Any,
        error: float,
        precision: Precision,
        magnitude: float | None = None,
        roundings: int = 0,
        limit: float | None = None,
    ) -> None:
        super().__init__(value, variance, _known(error), precision, _known(magnitude), roundings)
        self._limit = _known(limit)

    @property
    def limit(self) -> float:
        """One number, at least every |value|."""
        if self._limit is None:
            self._limit = _known(_largest(self.value))
        return float(self._limit)

    @property
    def bound(self) -> float:
        """The worst-case rounding error, one number for all."""
        if self.roundings == 0:
            return float(self.error)
        if self.roundings == 1:
            return self._rounded_off(self.limit, self.error) - self.precision.underflow
        gamma = self.precision.gamma(self.roundings)
        return float(gamma * self.magnitude + (1.0 + gamma) * self.error)

    def _rounded_off(self, limit: float, error: float) -> float:
        """Add the rounding of one operation to the error that it inherits: e + u(|v| + e) + tiny."""
        unit = self.precision.unit
        return unit * limit + (1.0 + unit) * error + self.precision.underflow

    def _like(self, value: Array, variance: Any, error: Any) -> Screened:
        """Return what a rule of `Rounded` gave, with the largest bound for all."""
        if not is_nothing(variance):
            variance = np.asarray(variance, _Estimate)
        return Screened(value, variance, float(np.max(error)), self.precision)

    def lift(self, operand: Operand) -> Screened:
        """Return an operand as Screened: an array as exact, a Python number as the format holds it."""
        if isinstance(operand, Screened):
            return operand
        lifted = super().lift(operand)
        return lifted if isinstance(lifted, Screened) else self._like(lifted.value, lifted.variance, lifted.bound)

    def _terms(self) -> float:
        return self.limit if self.magnitude is None else float(self.magnitude)

    def _elementwise(self, kernel: Callable[..., None], *operands: Any) -> tuple[Array, Array]:
        """Return the value and variance that a kernel makes of these numbers and further operands, arrays or not."""
        shape = np.broadcast_shapes(self.shape, *(operand.shape for operand in operands if np.ndim(operand)))
        value, variance = np.empty(shape), np.empty(shape, _Estimate)

        def flat(part: Any) -> Any:
            return np.ascontiguousarray(np.broadcast_to(part, shape)).reshape(-1)

        further = (flat(operand) if np.ndim(operand) else operand for operand in operands)
        own = (flat(self.value), flat(np.asarray(self.variance, _Estimate)))
        kernel(*own, *further, value.reshape(-1), variance.reshape(-1))
        return value, variance

    def __add__(self, operand: Operand) -> Screened:
        return self._plus(self.lift(operand))

    def __rsub__(self, operand: Operand) -> Screened:
        other = self.lift(operand)
        if np.ndim(other.value) or not np.ndim(self.variance):
            return (-self).__add__(other)
        return self._closed_like(self.value)._plus(other, sign=-1.0)

    def _plus(self, other: Screened, sign: float = 1.0) -> Screened:
        """Return sign·self + other; the sign is 1 where other is no number."""
        w = self.precision.unit_variance
        if np.ndim(other.value) or not np.ndim(self.variance):
            added = self._elementwise(kernels.add, *other._arrays, w)
        else:
            added = self._elementwise(kernels.shift, sign, float(other.value), w, float(other.variance))
        return Screened(
            *added,
            self.error + other.error,
            self.precision,
            self._terms() + other._terms(),
            self.roundings + other.roundings + 1,
            self.limit + other.limit,
        )

    @property
    def _arrays(self) -> tuple[Array, Array]:
        return np.atleast_1d(self.value), np.atleast_1d(np.asarray(self.variance, _Estimate))

    def _closed_like(self, value: Array) -> Screened:
        """Return numbers of the same size and error, of a sum that is complete."""
        return Screened(value, self.variance, self.bound, self.precision, limit=self._limit)

    def __neg__(self) -> Screened:
        return self._closed_like(-self.value)

    def __mul__(self, operand: Operand) -> Screened:
        """a * b, with q² = a²(w·b² + qb²) + qa²(b² + 18qb²)."""
        other = self.lift(operand)
        w = self.precision.unit_variance
        if is_nothing(other.variance):
            product = self._elementwise(kernels.multiply_exact, np.atleast_1d(other.value), w)
        else:
            product = self._elementwise(kernels.multiply, *other._arrays, w, CROSS)
        ea, eb = self.bound, other.bound
        limit = self.limit * other.limit
        error = self._rounded_off(limit, self.limit * eb + (other.limit + eb) * ea)
        if not 2.0 * limit <= self.precision.largest:
            value, variance = product
            product = value, self._in_range(value, variance).astype(_Estimate)
        return Screened(*product, error, self.precision, limit=limit)

    __radd__ = __add__
    __rmul__ = __mul__

    def apply(self, function: Elementary) -> Screened:
        """Return f(self) by the rule for f(a)."""
        c, k = function.accuracy[self.precision.name]
        unit, underflow = self.precision.unit, self.precision.underflow
        value = function.evaluate(self.value)
        variance = self._applied(function, value, (k * unit) ** 2)
        limit = function.largest if math.isfinite(function.largest) else _largest(value)
        steepest = float(np.max(function.steepest(self.value, np.inf, self.bound)))
        own = c * unit * max(limit + function.offset, function.least)
        error = (1.0 + c * unit) * steepest * self.bound + own + underflow
        if not 2.0 * limit <= self.precision.largest:
            variance = self._in_range(value, variance).astype(_Estimate)
        return Screened(value, variance, error, self.precision, limit=limit)

    def _applied(self, function: Elementary, value: Array, own: float) -> Array:
        """Return the variance of f(self)."""
        inherited = np.ascontiguousarray(np.broadcast_to(np.asarray(self.variance, _Estimate), value.shape))
        floor = self.precision.least_variance
        if function.slope_by_value is None:
            slope = function.slope(self.value, value)
            return (np.square(slope) * inherited + own * np.square(function.size(value)) + floor).astype(_Estimate)
        variance = np.empty_like(inherited)
        flat_value, flat_inherited, flat_variance = (x.reshape(-1) for x in (value, inherited, variance))
        kernels.apply(flat_value, flat_inherited, function.slope_by_value, own, function.least, floor, flat_variance)
        return variance

    def inheriting(self, variance: Any, error: Any) -> Screened:
        """Return the same numbers with more variance and error that they inherit; an open sum stays open."""
        magnitude, roundings, limit = self.magnitude, self.roundings, self._limit
        more = np.asarray(self.variance + variance, _Estimate)
        return Screened(self.value, more, self.error + error, self.precision, magnitude, roundings, limit)

    def replaced(self, rows: Array, other: Rounded) -> Screened:
        """Return the same numbers with those of some rows replaced, in double precision, and a bound for them too."""
        value, variance = self.value.copy(), self._full(self.variance).astype(np.float64)
        value[rows], variance[rows] = other.value, other.variance
        return Screened(value, variance, max(self.bound, float(np.max(other.bound))), self.precision)

    def move(self, change: Callable[[Array], Array]) -> Screened:
        """Return what `change` makes of the array, and of the noise with it; one bound for all stays one."""
        variance = self.variance if is_nothing(self.variance) else change(self._full(self.variance))
        limit, magnitude, roundings = self._limit, self.magnitude, self.roundings
        return Screened(change(self.value), variance, self.error, self.precision, magnitude, roundings, limit)


class ScreeningMatrix(Matrix):
    """A `Matrix` that is fast and estimates.

    |a|·|W| is at most max‖a_r‖·max‖W_j‖ (Cauchy-Schwarz), still a bound, one for all. Q is estimated from its
    margins: row r gets its share ‖a_r‖² of what the whole block of rows has in unit j, so that the mean over the rows
    is exact for every unit. Both are computed in float32.
    """

    def __init__(self, value: Array, precision: Precision, *, bounded: bool) -> None:
        super().__init__(value, precision, bounded=bounded)
        with np.errstate(over="ignore"):
            self.norms = np.sqrt(self.squared.sum(axis=0))
            self.squared = self.squared.astype(_Estimate)

    def __getitem__(self, columns: tuple[Any, slice]) -> Self:
        """Return some of the columns, as `matrix[:, start:stop]`."""
        part = super().__getitem__(columns)
        part.norms = self.norms[columns[1]]
        return part

    def __rmatmul__(self, a: Array) -> OpenSum:
        return OpenSum((_Product(_Factor(a), self),))

    def magnitude(self, a: Array) -> float:  # type: ignore[override]
        """Return max‖a_r‖·max‖W_j‖, one number, which is at least |a|·|W|."""
        return float(np.sqrt(np.square(a).sum(axis=-1).max()) * self.norms.max())


class OpenSum(Screened):
    """x·W + b, or two of these added up, not computed until something else than adding or taking columns is done.

    Then its parts are added in place, and what a part is alone is never kept.
    """

    __slots__ = ("_closed", "_products")

    def __init__(self, products: tuple[_Product, ...]) -> None:
        self._products = products
        self._closed: Screened | None = None

    @property
    def closed(self) -> Screened:
        """The sum, computed."""
        if self._closed is None:
            self._closed = _total(self._products)
        return self._closed

    value = property(lambda self: self.closed.value)
    variance = property(lambda self: self.closed.variance)
    error = property(lambda self: self.closed.error)
    magnitude = property(lambda self: self.closed.magnitude)
    roundings = property(lambda self: self.closed.roundings)
    limit = property(lambda self: self.closed.limit)
    _limit = property(lambda self: self.closed.limit)

    @property
    def precision(self) -> Precision:  # type: ignore[override]
        """The implementation's number format."""
        return self._products[0].matrix.precision

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the value."""
        first = self._products[0]
        return (len(first.factor.value), first.matrix.value.shape[1])

    def __add__(self, operand: Operand) -> Screened:
        alone = len(self._products) == 1
        if alone and isinstance(operand, OpenSum) and operand.shape == self.shape and len(operand._products) == 1:
            return OpenSum((*self._products, *operand._products))
        if alone and isinstance(operand, np.ndarray) and operand.shape == self.shape[1:]:
            (product,) = self._products
            if product.constant is None:
                return OpenSum((replace(product, constant=operand),))
        total: Screened = self.closed + operand
        return total

    __radd__ = __add__

    def __getitem__(self, key: Any) -> Screened:
        if isinstance(key, tuple) and len(key) == 2 and key[0] is Ellipsis and isinstance(key[1], slice):
            return OpenSum(tuple(product.columns(key[1]) for product in self._products))
        return self.closed.move(lambda array: array[key])


class _Factor:
    """The rows a (R, n) that matrices are multiplied with, and what estimates need of their squares."""

    def __init__(self, value: Array) -> None:
        self.value = value

    @cached_property
    def _sums(self) -> tuple[Array, Array, Array]:
        """‖a_r‖² (R,), of which rows they are finite (R,), and Σ_r a_r² of those (n,)."""
        squared = self.value.astype(_Estimate)
        np.multiply(squared, squared, out=squared)
        rows = squared @ np.ones(squared.shape[1], _Estimate)
        known = np.isfinite(rows)
        if not known.all():
            squared = np.where(known[:, np.newaxis], squared, _Estimate(0.0))
        return rows, known, np.ones(len(squared), _Estimate) @ squared

    @property
    def columns(self) -> Array:
        """Σ_r a_r² over the rows of which the squares are known, (n,)."""
        return self._sums[2]

    @property
    def largest(self) -> float:
        """At least the largest ‖a_r‖ of such rows; what float32 may have lost is added."""
        rows, known, columns = self._sums
        lost = len(columns) * float(np.finfo(_Estimate).tiny) if self.value.any() else 0.0
        most = float(rows.max(where=known, initial=0.0)) * (1.0 + 2.0**-23 * len(columns)) + lost
        return math.sqrt(most)

    @cached_property
    def shares(self) -> Array:
        """What each row has of the sum of all squares, (R,); NaN for those that must be looked at again."""
        rows, known, _ = self._sums
        everything = max(float(rows.sum(where=known)), float(np.finfo(_Estimate).tiny))
        return np.where(known, rows.astype(np.float64) / everything, np.nan)


@dataclass(frozen=True)
class _Product:
    """a·W + b, (R, n)·(n, M) + (M,)."""

    factor: _Factor
    matrix: ScreeningMatrix
    constant: Array | None = None

    def columns(self, columns: slice) -> _Product:
        """Return some of the columns."""
        constant = None if self.constant is None else self.constant[columns]
        return _Product(self.factor, self.matrix[:, columns], constant)

    @property
    def roundings(self) -> int:
        """How many roundings a term meets at most."""
        terms = int(self.matrix.value.shape[0])
        return product_roundings(self.matrix.precision, terms) + (self.constant is not None)

    @property
    def magnitude(self) -> float:
        """One number, at least the sum of the absolute terms."""
        most = self.factor.largest * float(self.matrix.norms.max())
        return most if self.constant is None else most + _largest(self.constant)

    @property
    def weights(self) -> tuple[Array, float, float, Array, Array]:
        """What its variance is made of, as kernels take it.

        b, or zeros; w where b is added; what (a·W)² weighs; and the part of Q as a product of a number for each row
        and one for each column.
        """
        n = self.matrix.value.shape[0]
        w = self.matrix.precision.unit_variance
        of_value, of_energy = product_weights(self.matrix.precision, n)
        energy = w * of_energy * (self.factor.columns @ self.matrix.squared)
        margins = (self.factor.shares, energy.astype(np.float64))
        if self.constant is None:
            return np.zeros(len(energy)), 0.0, w * of_value, *margins
        return np.ascontiguousarray(self.constant), w, w * of_value, *margins

    def evaluate(self) -> Array:
        """Return a·W, (R, M)."""
        product: Array = self.factor.value @ self.matrix.value
        return np.ascontiguousarray(product)


def _total(products: tuple[_Product, ...]) -> Screened:
    """Add up one product or two."""
    precision = products[0].matrix.precision
    value, *others = (product.evaluate() for product in products)
    variance = np.empty(value.shape, _Estimate)
    if others:
        weights = (*products[0].weights, others[0], *products[1].weights)
        kernels.close_two_products(*weights, precision.unit_variance, value, variance)
    else:
        kernels.close_product(*products[0].weights, value, variance)
    magnitude = sum(product.magnitude for product in products)
    terms = sum(product.matrix.value.shape[0] for product in products)
    roundings = sum(product.roundings for product in products) + len(products) - 1
    return Screened(value, variance, terms * precision.underflow, precision, magnitude, roundings, magnitude)


def has_lost_noise(x: Screened) -> Array:
    """Return for which rows (R,) the variance is not known, or has fallen below what float32 holds."""
    variance = x._full(x.variance)
    if variance.min() > _LEAST and np.isfinite(variance.max()):
        return np.zeros(len(variance), bool)
    held = np.isfinite(variance) & ((variance > _LEAST) | (x.value == 0.0))
    lost: Array = ~held.reshape(len(variance), -1).all(axis=1)
    return lost


def _known(limit: Any) -> Any:
    """Return an upper limit; infinity where it is NaN, as from infinity times zero."""
    return math.inf if limit is not None and math.isnan(limit) else limit


def _largest(array: Array) -> float:
    """Return the largest absolute value."""
    return float(max(array.max(), -array.min()))
