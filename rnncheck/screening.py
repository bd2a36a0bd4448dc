"""The first look: arithmetic that is fast on whole blocks of numbers, and estimates where `Rounded` computes.

What looks suspicious by it is looked at again with `rnncheck.products.Matrix`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from rnncheck.network import Array
from rnncheck.precision import Precision
from rnncheck.products import Matrix
from rnncheck.rounding import SPREAD, Elementary, Operand, Rounded, is_nothing

# What variances are computed in. What it cannot hold becomes infinite, and is looked at again.
_Estimate = np.float32
# Raises the largest of numbers that were rounded to float32 to at least the largest of them as they were.
_RAISED = 1.0 + 2.0**-22


class Screened(Rounded):
    """`Rounded` with one bound for all of its numbers, and a variance in float32, by the same rules.

    Attributes:
        error: one number, at least what the bound of every number inherits.
        magnitude: one number, at least the sum of the absolute terms of every open sum; None when closed.
    """

    __slots__ = ("_limit", "_small")

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
        super().__init__(value, variance, error, precision, magnitude, roundings)
        self._limit = limit
        self._small: Array | None = None

    @property
    def limit(self) -> float:
        """One number, at least every |value|."""
        if self._limit is None:
            self._limit = _largest(self.value)
        return self._limit

    @property
    def small(self) -> Array:
        """The value in float32, as variances need it."""
        if self._small is None:
            self._small = self.value.astype(_Estimate)
        return self._small

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

    def __add__(self, operand: Operand) -> Screened:
        other = self.lift(operand)
        value = self.value + other.value
        variance = value.astype(_Estimate)
        np.multiply(variance, variance, out=variance)
        variance *= self.precision.unit_variance
        for part in (self.variance, other.variance):
            if not is_nothing(part):
                variance += part
        return Screened(
            value,
            variance,
            self.error + other.error,
            self.precision,
            self._terms() + other._terms(),
            self.roundings + other.roundings + 1,
            self.limit + other.limit,
        )

    def __neg__(self) -> Screened:
        return Screened(-self.value, self.variance, self.bound, self.precision, limit=self._limit)

    def __mul__(self, operand: Operand) -> Screened:
        """a * b, with q² = a²(w·b² + qb²) + qa²(b² + 18qb²)."""
        other = self.lift(operand)
        energy = np.square(other.small)
        variance = self.precision.unit_variance * energy
        if not is_nothing(other.variance):
            variance = variance + other.variance
        variance = np.square(self.small) * variance
        if not is_nothing(self.variance):
            if not is_nothing(other.variance):
                energy = energy + 2.0 * SPREAD**2 * other.variance
            variance = variance + self.variance * energy
        ea, eb = self.bound, other.bound
        limit = self.limit * other.limit
        error = self._rounded_off(limit, self.limit * eb + (other.limit + eb) * ea)
        return Screened(self.value * other.value, variance, error, self.precision, limit=limit)

    __radd__ = __add__
    __rmul__ = __mul__

    def apply(self, function: Elementary) -> Screened:
        """Return f(self) by the rule for f(a)."""
        c, k = function.accuracy[self.precision.name]
        unit, underflow = self.precision.unit, self.precision.underflow
        value = function.evaluate(self.value)
        small = value.astype(_Estimate)
        slope = function.slope(self.value, small)
        variance = np.square(slope, dtype=_Estimate, casting="same_kind")
        variance *= self.variance
        own = np.square(np.abs(small) + function.offset) if function.offset else np.square(small)
        own *= (k * unit) ** 2
        variance += own
        if floor := _Estimate(underflow**2):  # float32 cannot hold that of the wider formats
            variance += floor
        limit = _RAISED * _largest(small)
        steepest = float(np.max(function.steepest(self.value, _RAISED * slope.max(), self.bound)))
        error = (1.0 + c * unit) * steepest * self.bound + c * unit * (limit + function.offset) + underflow
        result = Screened(value, variance, error, self.precision, limit=limit)
        result._small = small
        return result

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
            self.norms = np.sqrt(self.squared.sum(axis=0)).astype(_Estimate)
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

    def __getattr__(self, name: str) -> Any:
        return getattr(self.closed, name)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the value."""
        first = self._products[0]
        return (len(first.factor.value), first.matrix.value.shape[1])

    def __add__(self, operand: Operand) -> Screened:
        if isinstance(operand, OpenSum) and len(self._products) == len(operand._products) == 1:
            return OpenSum((*self._products, *operand._products))
        if isinstance(operand, np.ndarray) and operand.shape == self.shape[1:] and len(self._products) == 1:
            (product,) = self._products
            if product.constant is None:
                return OpenSum((replace(product, constant=operand),))
        total: Screened = self.closed + operand
        return total

    __radd__ = __add__

    def __getitem__(self, key: Any) -> Screened:
        if len(self._products) == 1 and isinstance(key, tuple) and key[0] is Ellipsis and isinstance(key[1], slice):
            return OpenSum(tuple(product.columns(key[1]) for product in self._products))
        return self.closed.move(lambda array: array[key])


class _Factor:
    """The rows a (R, n) that matrices are multiplied with, and what estimates need of their squares."""

    def __init__(self, value: Array) -> None:
        self.value = value

    @cached_property
    def _squared(self) -> Array:
        squared = self.value.astype(_Estimate)
        np.multiply(squared, squared, out=squared)
        return squared

    @cached_property
    def rows(self) -> Array:
        """‖a_r‖², (R,)."""
        return self._squared @ np.ones(self.value.shape[1], _Estimate)

    @cached_property
    def columns(self) -> Array:
        """Σ_r a_r², (n,)."""
        return np.ones(len(self.value), _Estimate) @ self._squared

    @cached_property
    def shares(self) -> Array:
        """What each row has of the sum of all squares, (R,)."""
        shares: Array = self.rows / max(self.rows.sum(), np.finfo(_Estimate).tiny)
        return shares


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
        return int(self.matrix.value.shape[0]) + (self.constant is not None)

    @property
    def magnitude(self) -> float:
        """One number, at least the sum of the absolute terms."""
        most = float(np.sqrt(self.factor.rows.max()) * self.matrix.norms.max())
        return most if self.constant is None else most + _largest(self.constant)

    def evaluate(self) -> tuple[Array, Array]:
        """Return a·W + b, and the part of its variance that depends on a·W: w·((n+1)/3·(a·W)² + (a·W + b)² - b²)."""
        n = self.matrix.value.shape[0]
        w = self.matrix.precision.unit_variance
        value = self.factor.value @ self.matrix.value
        small = value.astype(_Estimate)
        if self.constant is None:
            variance = small * _Estimate(w * (n + 1) / 3.0)
        else:
            variance = small * _Estimate(w * (n + 4) / 3.0)
            variance += (2.0 * w * self.constant).astype(_Estimate)
            value += self.constant
        variance *= small
        return value, variance

    def margins(self) -> list[tuple[Array, Array]]:
        """Return the rest of the variance as products of a number for each row and one for each column."""
        n = self.matrix.value.shape[0]
        w = self.matrix.precision.unit_variance
        energy = w * ((n + 1) / 6.0 - 1.0 / n + 1.0) * (self.factor.columns @ self.matrix.squared)
        shared = [(self.factor.shares, energy)]
        if self.constant is None:
            return shared
        return [*shared, (np.ones_like(self.factor.shares), (w * np.square(self.constant)).astype(_Estimate))]


def _total(products: tuple[_Product, ...]) -> Screened:
    """Add up products."""
    precision = products[0].matrix.precision
    (value, variance), *others = (product.evaluate() for product in products)
    for other, other_variance in others:
        value += other
        variance += other_variance
        small = value.astype(_Estimate)
        np.multiply(small, small, out=small)
        small *= precision.unit_variance
        variance += small
    rows, columns = zip(*(margin for product in products for margin in product.margins()), strict=True)
    variance += np.stack(rows, axis=1) @ np.stack(columns)
    np.maximum(variance, 0.0, out=variance)
    magnitude = sum(product.magnitude for product in products)
    terms = sum(product.matrix.value.shape[0] for product in products)
    roundings = sum(product.roundings for product in products) + len(products) - 1
    return Screened(value, variance, terms * precision.underflow, precision, magnitude, roundings, magnitude)


def _largest(array: Array) -> float:
    """Return the largest absolute value."""
    return float(max(array.max(), -array.min()))
