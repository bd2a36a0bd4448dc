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
    a * b    e = |a|eb + |b|ea + ea·eb + u(...) + tiny      q² = (a² + 9qa²)qb² + (b² + 9qb²)qa² + w·v²
    a * a    e as for a * b                                 q² = 2·(2a² + 18qa²)qa² + w·v²
    a @ W    e = ea|W| + γ_n(|a| + ea)|W| + n·tiny          q² = qa²·W² + w·((n+1)/6·Q - Q/n + (n+1)/3·v² + Q)
             with γ_{n+1} and 3w·v² more where products may be truncated: an error up to 2u, of variance (2u)²/3
    a @ b    e, q² as for a @ W, with what both factors inherit as for a * b
    max      e = the largest ea of those that may be it     q² = qa² of the largest
    f(a)     e = L·ea + c·u(|f| + L·ea) + tiny              q² = (f'(v)·qa)² + (k·u·f)² + tiny²

where Q = a²·W², L is the largest |f'| on [v - ea, v + ea], and c and k are how accurate implementations of f were
seen to be (`rounding.accuracy`). The variance of a sum is that of the rounding accumulated over a random order of
summation: a partial sum of k of the n terms, drawn at random, has the mean square
k(n-k)/(n(n-1))·Q + k(k-1)/(n(n-1))·v², and the terms above are its sum over k = 2 ... n.

`Bounds` says whether bounds are carried. No q² depends on a bound, so that numbers have the same noise either way.

tiny is `Precision.underflow`: products, functions and casts may flush to zero. Sums do not have it, since in gradual
underflow they are exact where it would count.

Where a result, a term, or a partial sum in some order may exceed the largest number of the format, the variance is
infinite: the implementation may hold an infinity or NaN there, and whatever follows from that may be right. Partial
sums are within Σ|a||W| where bounds are carried, else within sqrt(n·Q), by Cauchy and Schwarz.

What only moves numbers (`Rounded.move`) moves e and q² with them; zeros that it adds are exact.

A sum stays open until something else than + and moving is done to it, because an implementation may take the terms
of x·W + h·U + b in any order, across the two products: its bound is γ_k of all their magnitudes together.

Source: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., lemma 3.1, sections 3.1, 3.3 and 4.2;
Higham and Mary, A new approach to probabilistic rounding error analysis, SIAM J. Sci. Comput. 41 (2019).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from rnncheck.network import Array
from rnncheck.rounding.precision import Precision

# An argument counts as near a jump or bend, as far as noise goes, within this many standard deviations: the score at
# which a single number counts as wrong.
REACH = 8.0

# Products, and f(a) where errors run freely, take the largest slope within so many standard deviations of a.
SPREAD = 3.0

# What a product takes of its factors' variances together: both factors' three deviations, (3q)² each.
CROSS = 2.0 * SPREAD**2

# The error and the variance of a number that has none.
EXACT = 0.0

Operand = Any  # a Rounded, an exact array, or a Python number


class Bounds(Enum):
    """Whether numbers carry a bound."""

    CARRIED = "carried"
    # They do not, since few of them need it. Variances are float32 where that is precise enough.
    LEFT_OUT = "left out"
    # They do not, since errors run freely over many steps and bounds grow without use. Noise may outgrow what one
    # slope describes, so that f(a) takes the largest within three standard deviations.
    FREE = "free"


@dataclass(frozen=True)
class Elementary:
    """A smooth function of one variable, as the rule for f(a) needs it."""

    name: str  # the key of its constants in `rnncheck.rounding.accuracy`
    evaluate: Callable[[Array], Array]  # v -> f(v) in float64
    slope: Callable[[Array, Array], Array]  # (v, f) -> f'(v)
    # (v, |f'(v)|, e) -> an upper limit of |f'| on [v - e, v + e]; |f'(v)| and e may stand for all v.
    steepest: Callable[[Array, Any, Any], Any]
    # Precision name -> (c, k), worst and typical error of implementations, in units of u·|f|.
    accuracy: Mapping[str, tuple[float, float]]
    # What is added to |f| in that unit, for a function that implementations may compute as a difference.
    offset: float = 0.0
    # The |f| below which errors need not fall with it, for such a function in part of its range.
    least: float = 0.0
    largest: float = math.inf  # at least every |f|

    def __call__(self, x: Operand) -> Any:
        """Apply the function to a plain array or to a `Rounded`."""
        return x.apply(self) if isinstance(x, Rounded) else self.evaluate(np.asarray(x, np.float64))

    def size(self, value: Array) -> Array:
        """Return what errors are in proportion to, in place of the function's value."""
        np.abs(value, out=value)
        if self.offset:
            value += self.offset
        return np.maximum(value, self.least, out=value) if self.least else value


class Rounded:
    """Values with a worst-case bound and a typical size of their rounding error."""

    __slots__ = ("bounds", "error", "magnitude", "precision", "roundings", "value", "variance")
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
        *,
        bounds: Bounds = Bounds.CARRIED,
    ) -> None:
        self.value = value  # float64
        self.variance = variance  # noise², same shape
        # What the bound inherits: the bound itself once the sum is closed. None where no bound is carried.
        self.error: Any = error if bounds is Bounds.CARRIED else None
        self.precision = precision  # the implementation's number format
        self.magnitude = magnitude  # sum of the absolute terms of an open sum; None when closed
        self.roundings = roundings  # how many roundings a term of the open sum meets at most; 0 when closed
        self.bounds = bounds

    @property
    def noise(self) -> Array:
        """One standard deviation of the rounding error, same shape as `value`."""
        noise: Array = np.sqrt(self._full(self.variance)) + self.precision.underflow
        return noise

    @property
    def bounded(self) -> bool:
        """Whether a bound is carried."""
        return self.bounds is Bounds.CARRIED

    @property
    def bound(self) -> Any:
        """The worst-case rounding error, same shape as `value`; None where it is not carried."""
        if not self.bounded or self.roundings == 0:
            return self.error
        if self.roundings == 1:
            return self._round_off(self.value, self.error) - self.precision.underflow
        gamma = self.precision.gamma(self.roundings)
        return gamma * self.magnitude + (1.0 + gamma) * self.error

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the value."""
        return self.value.shape

    def like(self, value: Array, variance: Any, error: Any) -> Rounded:
        """Return numbers of the same precision that carry a bound where these do."""
        return Rounded(value, variance, error, self.precision, bounds=self.bounds)

    def _full(self, part: Any) -> Array:
        # Error or variance with one number for each element.
        is_full = isinstance(part, np.ndarray) and part.shape == self.value.shape
        return part if is_full else np.broadcast_to(part, self.value.shape)

    def _fresh_variance(self, value: Array, *inherited: Any) -> Array:
        # w·v², the variance of one rounding, plus what is inherited.
        variance: Array = squares(value, self.precision.unit_variance, variance_type(self.precision, self.bounds))
        for part in inherited:
            if not is_nothing(part):
                variance = plus(variance, part)
        return variance

    def lift(self, operand: Operand) -> Rounded:
        """Return an operand as Rounded: arrays as exact, a Python number as the format holds it."""
        if isinstance(operand, Rounded):
            return operand
        if isinstance(operand, int | float):
            return self._constant(np.float64(operand), self._is_inexact(operand))
        if hasattr(operand, "for_rows"):  # weights of several networks, each for rows of its own
            operand = operand.for_rows(len(self.value))
        return self.like(np.asarray(operand, np.float64), EXACT, EXACT)

    def _constant(self, numbers: Any, roundings: Any) -> Rounded:
        # Constants that the implementation holds after so many roundings, at most 2.
        if not (roundings if isinstance(roundings, int) else roundings.any()):
            return self.like(np.asarray(numbers), EXACT, EXACT)
        variance = roundings * self.precision.unit_variance * np.square(numbers)
        if isinstance(variance, float):  # a Python number leaves float32 as it is
            variance = float(variance)
        gammas = [self.precision.gamma(count) for count in range(3)]
        gamma = gammas[roundings] if isinstance(roundings, int) else np.choose(roundings, gammas)
        return self.like(np.asarray(numbers), variance, gamma * np.abs(numbers))

    def _is_inexact(self, numbers: Any) -> Any:
        # Whether the implementation's format rounds these numbers, as 0 or 1.
        if isinstance(numbers, int | float):
            return int(self.precision.rounds(float(numbers)))
        return (self.precision.round(numbers) != numbers).astype(int)

    def __add__(self, operand: Operand) -> Rounded:
        other = self.lift(operand)
        value = self.value + other.value
        variance = self._fresh_variance(value, self.variance, other.variance)
        if not self.bounded:
            return self.like(value, in_range(self.precision, value, variance), None)
        terms = self._terms() + other._terms()
        return Rounded(
            value,
            of_sum(self.precision, value, terms, variance),
            self.error + other.error,
            self.precision,
            terms,
            self.roundings + other.roundings + 1,
        )

    def summed_onto(self, start: Operand, terms: int) -> Rounded:
        """Return the same sums, where so many terms were added one by one to `start`, which was there first.

        Each of these roundings is then about as large as one of `start`, however small the terms are. The bound holds
        in any order already.
        """
        of_type = variance_type(self.precision, self.bounds)
        of_start = squares(self.lift(start).value, terms * self.precision.unit_variance, of_type)
        variance = self.variance + of_start
        return Rounded(
            self.value, variance, self.error, self.precision, self.magnitude, self.roundings, bounds=self.bounds
        )

    def _terms(self) -> Any:
        return np.abs(self.value) if self.magnitude is None else self.magnitude

    def __neg__(self) -> Rounded:
        return self.like(-self.value, self.variance, self.bound)

    def __sub__(self, operand: Operand) -> Rounded:
        return self + -self.lift(operand)

    def __rsub__(self, operand: Operand) -> Rounded:
        return (-self).__add__(operand)

    def __mul__(self, operand: Operand) -> Rounded:
        other = self.lift(operand)
        value = self.value * other.value
        inherited = _product_variance(self, other, np.multiply)
        if other is self and not is_nothing(inherited):
            inherited = 2.0 * inherited  # the factors err together
        variance = in_range(self.precision, value, self._fresh_variance(value, inherited))
        if not self.bounded:
            return self.like(value, variance, None)
        for factor in (self, other):  # which an implementation may hold as an infinity
            variance = within(self.precision.largest, np.abs(factor.value), variance)
        ea, eb = self.bound, other.bound
        error = EXACT if is_nothing(eb) else np.abs(self.value) * eb
        if not is_nothing(ea):
            error = error + (np.abs(other.value) + eb) * ea
        return self.like(value, variance, self._round_off(value, error))

    def __truediv__(self, operand: Operand) -> Rounded:
        if isinstance(operand, int | float | np.ndarray):  # it may multiply by the rounded reciprocal
            numbers = np.asarray(operand, np.float64)
            is_power_of_two = np.abs(np.frexp(numbers)[0]) == 0.5
            quotient = self * self._constant(1.0 / numbers, self._is_inexact(numbers) + ~is_power_of_two)
            quotient.value = self.value / numbers
            return quotient
        other = self.lift(operand)
        value = self.value / other.value
        inherited = (self.variance + np.square(value) * other.variance) / np.square(other.value)
        variance = in_range(self.precision, value, self._fresh_variance(value, inherited))
        if not self.bounded:
            return self.like(value, variance, None)
        clearance = np.maximum(np.abs(other.value) - other.bound, 0.0)
        error = (self.bound + np.abs(value) * other.bound) / clearance
        return self.like(value, variance, self._round_off(value, error))

    def __rtruediv__(self, operand: Operand) -> Rounded:
        return self.lift(operand) / self

    __radd__ = __add__
    __rmul__ = __mul__

    def __matmul__(self, matrix: Any) -> Rounded:
        if isinstance(matrix, Rounded | np.ndarray):
            return self._times(self.lift(matrix))
        bound = self.bound
        product: Rounded = self.value @ matrix
        if not is_nothing(self.variance):
            product.variance = product.variance + matrix.variance(self._full(self.variance))
        if self.bounded and not is_nothing(bound):
            product.error = product.error + matrix.magnitude(self._full(bound))
        return product

    def __rmatmul__(self, operand: Operand) -> Rounded:
        return self.lift(operand) @ self

    def _times(self, other: Rounded) -> Rounded:
        # The product of two stacks of matrices, (..., R, n) and (..., n, M) -> (..., R, M).
        a, b, n = self.value, other.value, self.shape[-1]
        value = a @ b
        of_value, of_energy = product_weights(self.precision, n)
        energy = np.square(a) @ np.square(b)
        variance = self.precision.unit_variance * (of_value * np.square(value) + of_energy * energy)
        variance = variance + _product_variance(self, other, np.matmul)
        if not self.bounded:
            return self.like(value, of_product(self.precision, n, variance), None)
        ea, eb = self._full(self.bound), other._full(other.bound)
        error = np.abs(a) @ eb + ea @ (np.abs(b) + eb) + n * self.precision.underflow
        magnitude, roundings = np.abs(a) @ np.abs(b), product_roundings(self.precision, n)
        variance = of_sum(self.precision, value, magnitude, variance)
        return Rounded(value, variance, error, self.precision, magnitude, roundings)

    def _round_off(self, value: Array, error: Any) -> Any:
        # Add the rounding of one operation to the error that it inherits: e + u(|v| + e) + tiny.
        unit = self.precision.unit
        return unit * np.abs(value) + ((1.0 + unit) * error + self.precision.underflow)

    def apply(self, function: Elementary) -> Rounded:
        """Return f(self) by the rule for f(a)."""
        c, k = function.accuracy[self.precision.name]
        unit, of_variance = self.precision.unit, variance_type(self.precision, self.bounds)
        value = function.evaluate(self.value)
        size = function.size(value.astype(of_variance))
        slope = function.slope(self.value, value)  # in float64: 1 - f² loses its digits where f is near 1
        if self.bounds is Bounds.FREE:
            slope = function.steepest(self.value, slope, SPREAD * np.sqrt(self.variance))
        variance = squares(size, (k * unit) ** 2, of_variance)
        if not is_nothing(self.variance):
            inherited = squares(slope, 1.0, of_variance)
            inherited *= self.variance
            variance = plus(variance, inherited)
        if floor := float(of_variance(self.precision.least_variance)):  # 0 where float32 does not hold it
            np.add(variance, floor, out=variance, where=value != 0.0)  # f(0) = 0 is exact
        if function.largest >= self.precision.largest:
            variance = in_range(self.precision, value, variance)
        if not self.bounded:
            return self.like(value, variance, None)
        bound = self.bound
        steepest = function.steepest(self.value, slope, bound)
        error = (1.0 + c * unit) * steepest * bound + c * unit * size + self.precision.underflow
        return self.like(value, variance, error)

    def branch(self, at: float, below: Operand, above: Operand, *, jumps: bool = False) -> Rounded:
        """Return `above` where self > at, else `below`.

        Where the implementation's number may lie on the other side, both branches are right. Across a bend the
        steeper branch limits the difference. Across a jump it may be the whole gap, and bound and noise reach over
        it. For the bound, the number may lie as far away as its own bound says, for the noise `REACH` deviations.
        """
        low, high = self.lift(below), self.lift(above)
        is_above = self.value > at
        distance = np.abs(self.value - at) - self.precision.unit * abs(at) * self._is_inexact(at)
        difference = np.abs(high.value - low.value) if jumps else EXACT

        def widened(reach: Any, of_low: Any, of_high: Any, gap: Any) -> Array:
            own, other = np.where(is_above, of_high, of_low), np.where(is_above, of_low, of_high)
            # NaN is on either side: implementations differ in what max(NaN, 0) is.
            wider: Array = np.where(distance > reach, own, np.maximum(own, other + gap))
            return wider

        reach = EXACT if is_nothing(self.variance) else REACH * self.noise
        variance = widened(reach, low.variance, high.variance, difference * difference)
        error = widened(self.bound, low.bound, high.bound, difference) if self.bounded else None
        return self.like(np.where(is_above, high.value, low.value), variance, error)

    def sum(self, axis: int | tuple[int, ...] = -1) -> Rounded:
        """Return the sum over some axes, in any order; the axes stay, with length 1."""
        value = self.value.sum(axis, keepdims=True)
        n = self.value.size // max(value.size, 1)
        energy = np.square(self.value).sum(axis, keepdims=True)
        variance = self._full(self.variance).sum(axis, keepdims=True)
        variance = variance + _summation_variance(self.precision, n, energy, value)
        if not self.bounded:
            return self.like(value, in_range(self.precision, np.sqrt(n * energy), variance), None)
        error = self._full(self.bound).sum(axis, keepdims=True)
        magnitude = np.abs(self.value).sum(axis, keepdims=True)
        variance = of_sum(self.precision, value, magnitude, variance)
        return self.like(value, variance, error + self.precision.gamma(n - 1) * (magnitude + error))

    def max(self, axis: int = -1) -> Rounded:
        """Return the largest element over an axis; the axis stays, with length 1."""
        place = np.expand_dims(self.value.argmax(axis), axis)
        value = np.take_along_axis(self.value, place, axis)
        variance = np.take_along_axis(self._full(self.variance), place, axis)
        if not self.bounded:
            return self.like(value, variance, None)
        bound = self._full(self.bound)
        least = (self.value - bound).max(axis, keepdims=True)
        candidates = np.where(self.value + bound >= least, bound, EXACT)  # those that may be the largest
        return self.like(value, variance, candidates.max(axis, keepdims=True))

    def sorted_prefix_sums(self) -> Rounded:
        """Return the sums of the 1, 2, ..., n largest elements over the last axis.

        Sorting moves no element by more than the largest error among them.
        """
        ordered = -np.sort(-self.value, axis=-1)
        counts = np.arange(1, self.shape[-1] + 1)
        value = np.cumsum(ordered, axis=-1)
        variance = self._full(self.variance).max(axis=-1, keepdims=True) * counts
        energy = np.cumsum(np.square(ordered), axis=-1)
        variance = variance + _summation_variance(self.precision, counts, energy, value)
        if not self.bounded:
            return self.like(value, variance, None)
        error = self._full(self.bound).max(axis=-1, keepdims=True) * counts
        gamma = self.precision.gamma(self.shape[-1] - 1)
        reach = np.cumsum(np.abs(ordered), axis=-1) + error
        return self.like(value, variance, error + gamma * reach)

    def __getitem__(self, key: Any) -> Rounded:
        return self.move(lambda array: array[key])

    @staticmethod
    def where(condition: Array, a: Operand, b: Operand) -> Rounded:
        """Return `a` where the condition holds, else `b`; one of them is a `Rounded`, the other may be exact."""
        rounded = a if isinstance(a, Rounded) else b
        a, b = rounded.lift(a), rounded.lift(b)
        return rounded.like(
            np.where(condition, a.value, b.value),
            np.where(condition, a.variance, b.variance),
            np.where(condition, a.bound, b.bound) if rounded.bounded else None,
        )

    @staticmethod
    def join(parts: Sequence[Operand], together: Callable[[list[Array]], Array]) -> Rounded:
        """Return several results, some of which may be exact, as one: what `together` makes of a list of arrays.

        Sums that are open stay open where as many roundings are in each.
        """
        rounded = next(part for part in parts if isinstance(part, Rounded))
        lifted = [rounded.lift(part) for part in parts]
        roundings = lifted[0].roundings if len({part.roundings for part in lifted}) == 1 else 0
        variance = together([part._full(part.variance) for part in lifted])
        joined = rounded.like(together([part.value for part in lifted]), variance, None)
        if rounded.bounded:
            joined.error = together([part._full(part.error if roundings else part.bound) for part in lifted])
        if roundings:
            joined.magnitude, joined.roundings = together([part._full(part._terms()) for part in lifted]), roundings
        return joined

    def swapaxes(self, first: int, second: int) -> Rounded:
        """Return the same numbers with two axes exchanged."""
        return self.move(lambda array: array.swapaxes(first, second))

    def reshape(self, shape: tuple[int, ...]) -> Rounded:
        """Return the same numbers in another shape."""
        return self.move(lambda array: array.reshape(shape))

    def covering(self, other: Rounded) -> Rounded:
        """Return the same numbers with a bound that also holds where they are computed in the way of `other`."""
        if not self.bounded:
            return self
        error = np.maximum(self.bound, other.bound + np.abs(other.value - self.value))
        return self.like(self.value, self.variance, error)

    def to(self, precision: Precision) -> Rounded:
        """Return the same numbers as an operation in another precision receives them.

        Casting to a coarser format, or one of smaller range, rounds once more.
        """
        rounded = Rounded(self.value, self.variance, self.bound, precision, bounds=self.bounds)
        if precision.digits >= self.precision.digits and precision.underflow <= self.precision.underflow:
            return rounded
        rounded.variance = rounded._fresh_variance(self.value, self.variance)
        if self.bounded:
            rounded.error = rounded._round_off(self.value, rounded.error)
        return rounded

    def move(self, change: Callable[[Array], Array]) -> Rounded:
        """Return what `change` makes of the array, and of bound and noise with it.

        It may place the numbers anew, leave some out, repeat some and put zeros between them, but not compute. An
        open sum stays open, and one bound for all stays one.
        """

        def moved(part: Any) -> Any:
            return part if part is None or is_nothing(part) else change(self._full(part))

        def bounding(part: Any) -> Any:
            return change(self._full(part)) if getattr(part, "ndim", 0) else part

        return Rounded(
            change(self.value),
            moved(self.variance),
            bounding(self.error),
            self.precision,
            bounding(self.magnitude),
            self.roundings,
            bounds=self.bounds,
        )


def is_nothing(part: Any) -> bool:
    """Whether an error or a variance is that of exact numbers."""
    return isinstance(part, float) and part == EXACT


def variance_type(precision: Precision, bounds: Bounds) -> type[Any]:
    """Return what variances are computed in: float32, whose seven digits are plenty, where bounds are left out.

    What it cannot hold becomes infinite or falls below `Precision.least_variance`, and must be computed anew.
    """
    return np.float32 if bounds is Bounds.LEFT_OUT and precision.digits <= 24 else np.float64


def squares(array: Any, factor: float, of_type: type[Any]) -> Any:
    """Return factor·array², scaled before it is squared so that it stays in the range of the type."""
    result = np.array(array, of_type)  # in place from here on: each new large array costs more than its sums
    if factor != 1.0:
        result *= math.sqrt(factor)
    result *= result
    return result


def plus(variance: Any, more: Any) -> Any:
    """Return variance + more, in place of the variance where its type holds both."""
    if isinstance(more, float) or more.dtype == variance.dtype:
        variance += more
        return variance
    return variance + more


def within(limit: float, reach: Array, variance: Any) -> Any:
    """Return a variance, infinite where the reach of a number is not below a limit."""
    if _all_below(limit, reach):
        return variance
    return np.where(reach < limit, variance, np.inf).astype(np.result_type(variance))


def _all_below(limit: float, numbers: Array) -> bool:
    return limit > float(np.finfo(numbers.dtype).max) or bool(numbers.max(initial=0.0) < limit)


def in_range(precision: Precision, value: Array, variance: Any) -> Any:
    """Return the variance of a rounded result, infinite where the implementation may hold an infinity."""
    if _all_below(precision.safe_variance, variance):
        return variance
    return within(precision.largest, np.abs(value) + REACH * np.sqrt(variance), variance)


def of_product(precision: Precision, n: int, variance: Any) -> Any:
    """Return the variance of a sum of n products, infinite where a partial sum may reach a quarter of the range.

    Its own variance tells: none is larger than sqrt(n·Q), and w·Q is part of it.
    """
    _, of_energy = product_weights(precision, n)
    return within(4.0 * precision.safe_variance * of_energy / n, variance, variance)


def of_sum(precision: Precision, value: Array, magnitude: Array, variance: Any) -> Any:
    """Return the variance of a sum, infinite where a partial sum may exceed the range and the whole need not.

    Args:
        precision: of the implementation.
        value: v.
        magnitude: the sum of the absolute terms.
        variance: q².
    """
    if np.max(magnitude, initial=0.0) < precision.largest:
        return variance
    size = np.abs(value)
    is_sure = (size - REACH * np.sqrt(variance) >= precision.largest) & (magnitude - size < precision.largest)
    return np.where((magnitude < precision.largest) | is_sure | ~np.isfinite(value), variance, np.inf)


def _product_variance(a: Rounded, b: Rounded, times: Callable[[Any, Any], Any]) -> Any:
    # The variance that a product inherits from its factors. Where a factor is close to zero, what the other's error
    # does is as large as the factor's own.
    of_type = variance_type(a.precision, a.bounds)
    of_a, of_b = a.variance, b.variance
    if times is np.matmul:
        of_a, of_b = (part if is_nothing(part) else each._full(part) for each, part in ((a, of_a), (b, of_b)))
    inherited = EXACT
    if not is_nothing(of_b):
        inherited = times(squares(a.value, 1.0, of_type), of_b)
    if not is_nothing(of_a):
        inherited = times(of_a, plus(squares(b.value, 1.0, of_type), CROSS * of_b)) + inherited
    return inherited


def summation_weights(n: Any) -> tuple[Any, Any]:
    """Return what v² and Q weigh, in units of w, in the variance of summing n terms in a random order."""
    return (n + 1) / 3.0, (n + 1) / 6.0 - 1.0 / n


def product_weights(precision: Precision, n: int) -> tuple[float, float]:
    """Return what v² and Q weigh, in units of w, in the variance of a sum of n products, each rounded too."""
    of_value, of_energy = summation_weights(n)
    return of_value + 3.0 * precision.truncates_products, of_energy + 1.0


def product_roundings(precision: Precision, n: int) -> int:
    """Return how many roundings a term of a sum of n products meets at most."""
    return n + precision.truncates_products


def _summation_variance(precision: Precision, n: Any, energy: Array, value: Array) -> Array:
    # The variance of summing n terms in a random order; `energy` is the sum of their squares.
    of_value, of_energy = summation_weights(n)
    squares = of_energy * energy + of_value * np.square(value)
    variance: Array = precision.unit_variance * np.maximum(squares, 0.0)  # not below zero by a last digit
    return variance
