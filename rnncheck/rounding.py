"""Arithmetic that knows how far rounding can carry a result.

`Rounded` runs through the same equations as a plain float64 array and carries three numbers for each of its
elements:

- `value`: the float64 result v;
- `bound` e: no evaluation in the implementation's precision, in any summation order, with or without fused
  multiply-add, differs from v by more. Worst case, and a proof;
- `noise` q: one standard deviation of the difference that rounding typically makes.

With u the unit roundoff, w = u²/3 the variance of one relative rounding error, γ_k = k·u/(1 - k·u), and n terms
in a sum or a dot product:

    a + b    e = ea + eb + u(|v| + ea + eb)                 q² = qa² + qb² + w·v²
    sums     e = Σea + γ_k·Σ(|a| + ea), any order           (k roundings at most on the way of a term)
    a * b    e = |a|eb + |b|ea + ea·eb + u(...) + tiny      q² = ((|a| + 3qa)qb)² + ((|b| + 3qb)qa)² + w·v²
    a @ W    e = ea|W| + γ_n(|a| + ea)|W| + n·tiny          q² = qa²·W² + w·((n+1)/6·Q - Q/n + (n+1)/3·v² + Q)
    f(a)     e = L·ea + c·u(|f| + L·ea) + tiny              q² = (f'(v)·qa)² + (k·u·f)² + tiny²

where Q = a²·W², L is the largest |f'| on [v - ea, v + ea] (and takes the place of f' where errors run freely, on
[v - 3qa, v + 3qa], because a chaotic run outgrows any one slope), and c and k are how accurate implementations of f
were seen to be (`rnncheck.accuracy`). The variance of a sum is that of the rounding accumulated over a random
order of summation: a partial sum of k of the n terms, drawn at random, has the mean square
k(n-k)/(n(n-1))·Q + k(k-1)/(n(n-1))·v², and the terms above are its sum over k = 2 ... n.

tiny is `Precision.underflow`: products, functions and casts may flush to zero. Sums do not have it, since in gradual
underflow they are exact where it would count.

A sum stays open until something else than + is done to it, because an implementation may take the terms
of x·W + h·U + b in any order, across the two products: its bound is γ_k of all their magnitudes together.

Source: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., lemma 3.1, sections 3.1, 3.3 and 4.2;
Higham and Mary, A new approach to probabilistic rounding error analysis, SIAM J. Sci. Comput. 41 (2019).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncheck.network import Array
from rnncheck.precision import Precision

# An argument counts as near a jump or bend when its bound reaches it. Where no bound is carried, this many
# standard deviations stand for the bound; it is the score at which a single number counts as wrong.
REACH = 8.0

# Products, and f(a) where errors run freely, take the largest slope within so many standard deviations of a.
_SPREAD = 3.0

Operand = Any  # a Rounded, an exact array, or a Python number

# The error and the variance of a number that has none.
EXACT = 0.0


@dataclass(frozen=True)
class Elementary:
    """A smooth function of one variable, as the rule for f(a) needs it.

    Attributes:
        name: the key of its constants in `rnncheck.accuracy`.
        evaluate: v -> f(v) in float64.
        slope: (v, f) -> f'(v).
        steepest: (v, |f'(v)|, e) -> an upper limit of |f'| on [v - e, v + e].
        accuracy: precision name -> (c, k), worst and typical error of implementations, in units of u·|f|.
        offset: what is added to |f| in that unit, for a function that implementations may compute as a
            difference.
    """

    name: str
    evaluate: Callable[[Array], Array]
    slope: Callable[[Array, Array], Array]
    steepest: Callable[[Array, Array, Array], Array]
    accuracy: Mapping[str, tuple[float, float]]
    offset: float = 0.0

    def __call__(self, x: Operand) -> Any:
        """Apply the function to a plain array or to a `Rounded`."""
        return x.apply(self) if isinstance(x, Rounded) else self.evaluate(np.asarray(x, np.float64))


class Rounded:
    """Values with a worst-case bound and a typical size of their rounding error.

    Attributes:
        value: float64 array.
        variance: noise², same shape.
        error: what the bound inherits: the bound itself once the sum is closed. None where no bound is carried.
        magnitude: sum of the absolute terms of an open sum; None when closed.
        roundings: how many roundings a term of the open sum meets at most; 0 when closed.
        precision: the implementation's number format.
        estimate: the dtype that variance, error and magnitude are computed in; float64, or float32 where
            speed matters more than their last digits (see `ScreeningMatrix`).
    """

    __slots__ = ("error", "estimate", "magnitude", "precision", "roundings", "value", "variance")
    # NumPy hands `array + rounded` to `Rounded.__radd__` instead of looping over the elements.
    __array_ufunc__ = None

    def __init__(
        self,
        value: Array,
        variance: Any,
        error: Any,
        precision: Precision,
        magnitude: Any = None,
        roundings: int = 0,
        estimate: type = np.float64,
    ) -> None:
        self.estimate = estimate
        self.value = value
        self.variance = variance
        self.error = error
        self.precision = precision
        self.magnitude = magnitude
        self.roundings = roundings

    @property
    def noise(self) -> Array:
        """One standard deviation of the rounding error, same shape as `value`."""
        noise: Array = np.sqrt(np.broadcast_to(self.variance, self.shape)) + self.precision.underflow
        return noise

    @property
    def bound(self) -> Any:
        """The worst-case rounding error, same shape as `value`; None where it is not carried."""
        if self.error is None or self.roundings == 0:
            return self.error
        if self.roundings == 1:
            return self._round_off(self.value, self.error) - self.precision.underflow
        gamma = self.precision.gamma(self.roundings)
        return gamma * self.magnitude + (1.0 + gamma) * self.error

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the value."""
        return self.value.shape

    @property
    def _reach(self) -> Array:
        """How far from `value` the implementation's number may lie."""
        bound = self.bound
        return REACH * self.noise if bound is None else bound

    def _like(self, value: Array, variance: Any, error: Any) -> Rounded:
        bounded = self.error is not None
        return Rounded(value, variance, error if bounded else None, self.precision, estimate=self.estimate)

    def _small(self, array: Array) -> Array:
        """Return a copy in the dtype of the estimates."""
        return array.astype(self.estimate)

    def _fresh_variance(self, value: Array, *inherited: Any) -> Array:
        """Return w·v², the variance of one rounding, plus what is inherited."""
        variance = self._small(value)
        np.multiply(variance, variance, out=variance)
        variance *= self.precision.unit_variance
        for part in inherited:
            if part is not EXACT:
                variance += part
        return variance

    def _lift(self, operand: Operand) -> Rounded:
        """Return an operand as Rounded; a Python number may be inexact in the implementation's format."""
        if isinstance(operand, Rounded):
            return operand
        if isinstance(operand, int | float):
            return self._constant(float(operand), roundings=self._is_inexact(float(operand)))
        return self._like(np.asarray(operand, np.float64), EXACT, EXACT)

    def _constant(self, number: float, roundings: int) -> Rounded:
        """Return a constant that the implementation holds after so many roundings."""
        if not roundings:
            return self._like(np.asarray(number), EXACT, EXACT)
        variance = roundings * self.precision.unit_variance * number**2
        return self._like(np.asarray(number), variance, self.precision.gamma(roundings) * abs(number))

    def _is_inexact(self, number: float) -> bool:
        """Whether the implementation's format rounds this number."""
        return float(self.precision.round(np.asarray(number))) != number

    def __add__(self, operand: Operand) -> Rounded:
        other = self._lift(operand)
        value = self.value + other.value
        variance = self._fresh_variance(value, self.variance, other.variance)
        if self.error is None:
            return self._like(value, variance, None)
        return Rounded(
            value,
            variance,
            self.error + other.error,
            self.precision,
            self._terms() + other._terms(),
            self.roundings + other.roundings + 1,
            self.estimate,
        )

    def _terms(self) -> Any:
        return np.abs(self._small(self.value)) if self.magnitude is None else self.magnitude

    def __neg__(self) -> Rounded:
        return self._like(-self.value, self.variance, self.bound)

    def __sub__(self, operand: Operand) -> Rounded:
        return self + -self._lift(operand)

    def __rsub__(self, operand: Operand) -> Rounded:
        return (-self).__add__(operand)

    def __mul__(self, operand: Operand) -> Rounded:
        other = self._lift(operand)
        a, b = self.value, other.value
        value = a * b
        # Where a factor is close to zero, what the other's error does is as large as the factor's own.
        reach_a = np.abs(a) + _SPREAD * np.sqrt(self.variance)
        reach_b = np.abs(b) + _SPREAD * np.sqrt(other.variance)
        inherited = np.square(reach_a) * other.variance + np.square(reach_b) * self.variance
        variance = self._fresh_variance(value, inherited)
        if self.error is None:
            return self._like(value, variance, None)
        ea, eb = self.bound, other.bound
        error = np.abs(a) * eb + np.abs(b) * ea + ea * eb
        return self._like(value, variance, self._round_off(value, error))

    def __truediv__(self, operand: Operand) -> Rounded:
        if isinstance(operand, int | float):  # an implementation may multiply by the rounded reciprocal
            power_of_two = abs(math.frexp(operand)[0]) == 0.5
            quotient = self * self._constant(1.0 / operand, self._is_inexact(operand) + (not power_of_two))
            quotient.value = self.value / operand
            return quotient
        other = self._lift(operand)
        value = self.value / other.value
        inherited = (self.variance + np.square(value) * other.variance) / np.square(other.value)
        variance = self._fresh_variance(value, inherited)
        if self.error is None:
            return self._like(value, variance, None)
        clearance = np.maximum(np.abs(other.value) - other.bound, 0.0)
        error = (self.bound + np.abs(value) * other.bound) / clearance
        return self._like(value, variance, self._round_off(value, error))

    def __rtruediv__(self, operand: Operand) -> Rounded:
        return self._lift(operand) / self

    __radd__ = __add__
    __rmul__ = __mul__

    def __matmul__(self, matrix: Any) -> Rounded:
        product: Rounded = self.value @ matrix
        product.variance = product.variance + np.broadcast_to(self.variance, self.shape) @ matrix.squared
        if self.error is None:
            return self._like(product.value, product.variance, None)
        inherited = matrix.magnitude(np.broadcast_to(self.bound, self.shape))
        product.error = product.error + inherited
        return product

    def _round_off(self, value: Array, error: Any) -> Any:
        """Add the rounding of one operation to the error that it inherits: e + u(|v| + e) + tiny."""
        unit = self.precision.unit
        result = np.abs(self._small(value))
        result *= unit
        result += (1.0 + unit) * error
        result += self.precision.underflow
        return result

    def apply(self, function: Elementary) -> Rounded:
        """Return f(self) by the rule for f(a)."""
        c, k = function.accuracy[self.precision.name]
        unit = self.precision.unit
        value = function.evaluate(self.value)
        small = self._small(value)
        slope = function.slope(self.value, small)
        size = np.abs(small)
        if function.offset:
            size += function.offset
        if self.error is None:  # over many steps the noise may outgrow what one slope describes
            slope = function.steepest(self.value, slope, _SPREAD * np.sqrt(self.variance))
        variance = np.square(slope)
        variance *= self.variance
        own = k * unit * size
        np.multiply(own, own, out=own)
        variance += own
        if floor := self.estimate(self.precision.underflow**2):  # float32 cannot hold it
            variance += floor
        bound = self.bound
        if bound is None:
            return self._like(value, variance, None)
        error = function.steepest(self.value, slope, bound)
        error *= bound
        error *= 1.0 + c * unit
        size *= c * unit
        size += self.precision.underflow
        error += size
        return self._like(value, variance, error)

    def branch(self, at: float, below: Operand, above: Operand, *, jumps: bool = False) -> Rounded:
        """Return `above` where self > at, else `below`.

        Where the implementation's number may lie on the other side, both branches are right. Across a bend the
        steeper branch limits the difference. Across a jump it may be the whole gap, and bound and noise reach over
        it.
        """
        low, high = self._lift(below), self._lift(above)
        is_above = self.value > at
        reach = self._reach + self.precision.unit * abs(at) * self._is_inexact(at)
        near = np.abs(self.value - at) <= reach
        gap = np.where(near, np.abs(high.value - low.value), 0.0) if jumps else EXACT

        def widened(of_low: Any, of_high: Any, gap: Any) -> Array:
            own, other = np.where(is_above, of_high, of_low), np.where(is_above, of_low, of_high)
            wider: Array = np.where(near, np.maximum(own, other + gap), own)
            return wider

        value = np.where(is_above, high.value, low.value)
        variance = widened(low.variance, high.variance, np.square(gap))
        error = None if self.error is None else widened(low.bound, high.bound, gap)
        return self._like(value, variance, error)

    def sum(self) -> Rounded:
        """Return the sum over the last axis, in any order; the axis stays, with length 1."""
        n = self.shape[-1]
        value = self.value.sum(axis=-1, keepdims=True)
        energy = np.square(self.value).sum(axis=-1, keepdims=True)
        variance = np.broadcast_to(self.variance, self.shape).sum(axis=-1, keepdims=True)
        variance = variance + _summation_variance(self.precision, n, energy, value)
        if self.error is None:
            return self._like(value, variance, None)
        bound = np.broadcast_to(self.bound, self.shape)
        error = bound.sum(axis=-1, keepdims=True)
        reach = np.abs(self.value).sum(axis=-1, keepdims=True) + error
        return self._like(value, variance, error + self.precision.gamma(n - 1) * reach)

    def max(self) -> Rounded:
        """Return the largest element over the last axis; the axis stays, with length 1."""
        place = self.value.argmax(axis=-1)[..., np.newaxis]
        value = np.take_along_axis(self.value, place, axis=-1)
        variance = np.take_along_axis(np.broadcast_to(self.variance, self.shape), place, axis=-1)
        if self.error is None:
            return self._like(value, variance, None)
        bound = np.broadcast_to(self.bound, self.shape)
        return self._like(value, variance, bound.max(axis=-1, keepdims=True))

    def sorted_prefix_sums(self) -> Rounded:
        """Return the sums of the 1, 2, ..., n largest elements over the last axis.

        Sorting moves no element by more than the largest error among them.
        """
        ordered = -np.sort(-self.value, axis=-1)
        counts = np.arange(1, self.shape[-1] + 1)
        value = np.cumsum(ordered, axis=-1)
        variance = np.broadcast_to(self.variance, self.shape).max(axis=-1, keepdims=True) * counts
        energy = np.cumsum(np.square(ordered), axis=-1)
        variance = variance + _summation_variance(self.precision, counts, energy, value)
        if self.error is None:
            return self._like(value, variance, None)
        error = np.broadcast_to(self.bound, self.shape).max(axis=-1, keepdims=True) * counts
        gamma = self.precision.gamma(self.shape[-1] - 1)
        reach = np.cumsum(np.abs(ordered), axis=-1) + error
        return self._like(value, variance, error + gamma * reach)

    def __getitem__(self, key: Any) -> Rounded:
        bound = self.bound
        if bound is not None:
            bound = np.broadcast_to(bound, self.shape)[key]
        variance = np.broadcast_to(self.variance, self.shape)[key]
        return self._like(self.value[key], variance, bound)

    @staticmethod
    def where(condition: Array, a: Operand, b: Operand) -> Rounded:
        """Return `a` where the condition holds, else `b`; one of them is a `Rounded`, the other may be exact."""
        rounded = a if isinstance(a, Rounded) else b
        a, b = rounded._lift(a), rounded._lift(b)
        return rounded._like(
            np.where(condition, a.value, b.value),
            np.where(condition, a.variance, b.variance),
            None if rounded.error is None else np.where(condition, a.bound, b.bound),
        )

    @staticmethod
    def stack(steps: list[Operand]) -> Rounded:
        """Return T results (N, M), some of which may be exact, as one (N, T, M)."""
        rounded = next(step for step in steps if isinstance(step, Rounded))
        lifted = [rounded._lift(step) for step in steps]
        shape = rounded.shape

        def together(arrays: list[Any]) -> Array:
            return np.stack([np.broadcast_to(array, shape) for array in arrays], axis=1)

        error = None if rounded.error is None else together([step.bound for step in lifted])
        return rounded._like(together([s.value for s in lifted]), together([s.variance for s in lifted]), error)

    def swapaxes(self, first: int, second: int) -> Rounded:
        """Return the same numbers with two axes exchanged."""
        return self._map(lambda array: array.swapaxes(first, second))

    def reshape(self, shape: tuple[int, ...]) -> Rounded:
        """Return the same numbers in another shape."""
        return self._map(lambda array: array.reshape(shape))

    def to(self, precision: Precision) -> Rounded:
        """Return the same numbers as an operation in another precision receives them.

        Casting to a coarser format, or one of smaller range, rounds once more.
        """
        rounded = Rounded(self.value, self.variance, self.bound, precision)
        if precision.digits >= self.precision.digits and precision.underflow <= self.precision.underflow:
            return rounded
        rounded.variance = self.variance + precision.unit_variance * np.square(self.value)
        if self.error is not None:
            rounded.error = rounded._round_off(self.value, rounded.error)
        return rounded

    def _map(self, change: Callable[[Array], Array]) -> Rounded:
        bound = self.bound
        if bound is not None:
            bound = change(np.broadcast_to(bound, self.shape))
        variance = change(np.broadcast_to(self.variance, self.shape))
        return self._like(change(self.value), variance, bound)


def _summation_variance(precision: Precision, n: Any, energy: Array, value: Array) -> Array:
    """The variance of summing n terms in a random order; `energy` is the sum of their squares."""
    squares = ((n + 1) / 6.0 - 1.0 / n) * energy + (n + 1) / 3.0 * np.square(value)
    variance: Array = precision.unit_variance * np.maximum(squares, 0.0)  # not below zero by a last digit
    return variance
