"""Expected against actual: differences become scores, scores become a verdict.

`compare` looks at one block of numbers and returns a `Summary`; summaries add up, so that a comparison of any
size needs the memory of one block. `judge` turns the sum into a row's verdict.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import numpy as np

from rnncheck.checks.blocks import Block, Place, in_time
from rnncheck.checks.thresholds import SCORE_LIMIT
from rnncheck.network import Array
from rnncheck.rounding import loops as kernels
from rnncheck.rounding.rounded import Rounded


@dataclass(frozen=True)
class Summary:
    """What a comparison saw, over one block or many.

    Attributes:
        count: how many numbers were compared.
        max_abs_diff: the largest |actual - expected|.
        noise_energy: the sum of noise².
        signal_energy: the sum of expected².
        score_energy: the sum of score², score = |actual - expected| / noise.
        score_max: the largest score.
        bound_use: the largest |actual - expected| / bound; None where no bound is carried.
        worst: where the largest score is.
        first: the earliest place that rounding does not explain; None when there is none.
        unmatched: whether NaN or an infinity stands where a finite number is expected.
        unexpected: whether something else stands where NaN or an infinity is expected.
    """

    count: int = 0
    max_abs_diff: float = 0.0
    noise_energy: float = 0.0
    signal_energy: float = 0.0
    score_energy: float = 0.0
    score_max: float = 0.0
    bound_use: float | None = None
    worst: Place | None = None
    first: Place | None = None
    unmatched: bool = False
    unexpected: bool = False

    def __add__(self, other: Summary) -> Summary:
        larger = self if other.worst is None or self.score_max >= other.score_max else other
        uses = [s.bound_use for s in (self, other) if s.bound_use is not None]
        firsts = [s.first for s in (self, other) if s.first is not None]
        return Summary(
            count=self.count + other.count,
            max_abs_diff=max(self.max_abs_diff, other.max_abs_diff),
            noise_energy=self.noise_energy + other.noise_energy,
            signal_energy=self.signal_energy + other.signal_energy,
            score_energy=self.score_energy + other.score_energy,
            score_max=larger.score_max,
            bound_use=max(uses, default=None),
            worst=larger.worst if self.worst is not None else other.worst,
            first=min(firsts, key=in_time, default=None),
            unmatched=self.unmatched or other.unmatched,
            unexpected=self.unexpected or other.unexpected,
        )

    @property
    def noise(self) -> float:
        """The root mean square of the noise."""
        return math.sqrt(self.noise_energy / self.count) if self.count else 0.0

    @property
    def score_rms(self) -> float:
        """The root mean square of the scores."""
        return math.sqrt(self.score_energy / self.count) if self.count else 0.0

    @property
    def noise_share(self) -> float:
        """The noise as a share of the expected signal; 0 when there is no noise."""
        if self.noise_energy == 0.0:
            return 0.0
        if not math.isfinite(self.noise_energy):
            return math.inf
        return math.sqrt(self.noise_energy / self.signal_energy) if self.signal_energy else math.inf


def total(summaries: Iterable[Summary]) -> Summary:
    """Add up any number of summaries."""
    return reduce(Summary.__add__, summaries, Summary())


def compare(actual: Array, expected: Rounded | Array, block: Block) -> Summary:
    """Compare the numbers of one block.

    Args:
        actual: what the implementation produced, in any shape with the block's number of elements.
        expected: the same from the equations; a plain array where nothing may differ.
        block: where the numbers come from.
    """
    with np.errstate(all="ignore"):
        return Comparison(actual, expected).summary(block)


class Comparison:
    """The numbers of one block beside what is expected of them; some rows can be looked at again.

    Call it under `np.errstate(all="ignore")`: numbers that are not finite are part of its work.
    """

    def __init__(self, actual: Array, expected: Rounded | Array) -> None:
        """Compute differences, scores and use of the bound; the arguments are those of `compare`."""
        self._value, self._variance, self._floor, bound = _parts(expected)
        self._actual = actual.reshape(self._value.shape)
        self._unmatched: Array = np.zeros(len(self._value), bool)  # by row
        self._unexpected: Array = np.zeros(len(self._value), bool)
        self._use: Array | None = None
        self._rough_use: float | None = None
        self._sums: tuple[float, float] | None = None
        if not self._compared_at_once(bound):
            self._compare(expected, bound)

    def _compared_at_once(self, bound: Array | float | None) -> bool:
        """Compare in one pass what the first look gave; whether nothing was found that needs more care."""
        if not (isinstance(bound, float) and self._variance.dtype == np.float32 and self._value.ndim == 2):
            return False
        value, variance = np.ascontiguousarray(self._value), np.ascontiguousarray(self._variance)
        squared_scores = np.empty_like(variance)
        actual = np.ascontiguousarray(self._actual, np.float32 if self._actual.dtype == np.float32 else np.float64)
        noise, score, difference, largest = kernels.compare(actual, value, variance, squared_scores)
        rough_use = float(_ratio(np.array([largest]), np.array([bound]))[0])
        if not math.isfinite(difference) or math.isnan(score) or not rough_use <= 1.0:
            return False
        self._squared_scores, self._max_abs_diff = squared_scores, largest
        self._sums, self._rough_use = (noise, score), rough_use
        return True

    def _compare(self, expected: Rounded | Array, bound: Array | float | None) -> None:
        self._variance = _unknown_as_infinite(self._variance, self._value)
        value, variance = self._value, self._variance
        difference = self._actual.astype(np.float64)
        difference -= value
        np.abs(difference, out=difference)
        self._max_abs_diff = float(difference.max())
        if not math.isfinite(self._max_abs_diff):
            difference = _difference_of_infinities(self._actual, expected, difference)
            agreed = (difference == 0.0) & ~np.isfinite(value)
            variance = np.where(agreed, self._floor, variance).astype(variance.dtype)
            if variance.dtype == np.float64:  # something on the way left the format's range: anything may be right
                unknown = np.isinf(variance) | (np.isnan(variance) & ~np.isfinite(self._actual))
                variance = np.where(unknown, np.inf, variance)
                difference[np.isinf(difference) & unknown] = 0.0
            self._variance = variance
            self._max_abs_diff = float(difference.max())
            infinite = np.isinf(difference).reshape(len(value), -1)
            finite = np.isfinite(value).reshape(len(value), -1)
            self._unmatched = np.any(infinite & finite, axis=1)
            self._unexpected = np.any(infinite & ~finite, axis=1)
        difference = difference.astype(variance.dtype)
        if bound is not None:
            self._use = _ratio(difference, np.broadcast_to(bound, value.shape))
        self._squared_scores = np.square(_ratio(difference, np.sqrt(variance)))

    @property
    def _energies(self) -> tuple[float, float]:
        """The sums of noise², without the floor that keeps it from zero, and of score²."""
        if self._sums is None:
            noise = max(_sum(self._variance) - self._floor * self._variance.size, 0.0)
            self._sums = noise, _sum(self._squared_scores)
        return self._sums

    @property
    def _signal_energy(self) -> float:
        """The sum of expected², of the numbers that are finite."""
        energy = float(np.vdot(self._value, self._value))
        if math.isfinite(energy):
            return energy
        finite = self._value[np.isfinite(self._value)]
        return float(np.vdot(finite, finite))

    @property
    def width(self) -> int:
        """How many numbers a row has."""
        return int(self._squared_scores.shape[-1])

    @property
    def worst_row(self) -> int:
        """The index of the row with the largest score."""
        return int(self._squared_scores.argmax()) // self.width

    def actual(self, rows: Array) -> Array:
        """Return what the implementation produced in some rows."""
        return self._actual[rows]

    def rows_above(self, score: float) -> Array:
        """Return the indices of the rows (R, M) with a higher or an unknown score, worst first."""
        unknown = not math.isfinite(self._energies[0])
        if not unknown and self._squared_scores.max() <= score**2:
            return np.array([], np.intp)
        largest = self._squared_scores.max(axis=-1)
        if unknown:
            largest[~np.isfinite(self._variance).all(axis=-1)] = np.inf
        above = np.flatnonzero(largest > score**2)
        return above[np.argsort(-largest[above], kind="stable")]

    def look_again(self, rows: Array, expected: Rounded) -> None:
        """Replace what is known of some rows by what a more careful arithmetic expects of them."""
        again = Comparison(self._actual[rows], expected)
        too_large = again._variance.max() > np.finfo(np.float32).max
        self._variance = self._variance.astype(np.float64 if too_large else self._variance.dtype)  # a copy of its own
        self._variance[rows] = again._variance
        self._squared_scores[rows] = again._squared_scores
        self._sums = None
        if not math.isfinite(self._max_abs_diff):
            self._unmatched[rows], self._unexpected[rows] = again._unmatched, again._unexpected
        if again._use is not None:
            if self._use is None:
                self._use = np.zeros(self._value.shape, np.float32)
            self._use[rows] = again._use

    def summary(self, block: Block) -> Summary:
        """Return what the comparison saw, with the places of the block."""
        worst = int(self._squared_scores.argmax())
        score_max = math.sqrt(self._squared_scores.flat[worst])
        noise_energy, score_energy = self._energies
        uses = [self._rough_use, None if self._use is None else float(self._use.max())]
        bound_use = max((use for use in uses if use is not None), default=None)
        failed = score_max > SCORE_LIMIT or (bound_use or 0.0) > 1.0
        return Summary(
            count=self._value.size,
            max_abs_diff=self._max_abs_diff,
            noise_energy=noise_energy,
            signal_energy=self._signal_energy,
            score_energy=score_energy,
            score_max=score_max,
            bound_use=bound_use,
            worst=block.place(worst),
            first=_first_failure(self._squared_scores, self._use, block) if failed else None,
            unmatched=bool(self._unmatched.any()),
            unexpected=bool(self._unexpected.any()),
        )


def _unknown_as_infinite(variance: Array, value: Array) -> Array:
    """Return variances with infinity for NaN beside a finite number: it comes from an infinite one on the way."""
    if not math.isnan(_sum(variance)):
        return variance
    return np.where(np.isnan(variance) & np.isfinite(value), variance.dtype.type(np.inf), variance)


def _sum(array: Array) -> float:
    """Return the sum of all elements; as a product with ones it takes a third of the time of `sum`."""
    return float(
        np.ones(len(array), array.dtype) @ array.reshape(len(array), -1) @ np.ones(array[0].size, array.dtype)
    )


def _parts(expected: Rounded | Array) -> tuple[Array, Array, float, Array | float | None]:
    """Return value, noise² with its floor, the floor, and the bound, which may be one for all.

    What is exact has neither noise nor bound.
    """
    if not isinstance(expected, Rounded):
        zeros = np.zeros(expected.shape)
        return np.asarray(expected, np.float64), zeros, 0.0, zeros
    variance = np.broadcast_to(expected.variance, expected.shape)
    floor = float(variance.dtype.type(expected.precision.least_variance))  # zero where float32 cannot hold it
    return expected.value, variance + floor if floor else variance, floor, expected.bound


def _ratio(difference: Array, limit: Array) -> Array:
    """difference/limit, where no difference is 0 whatever the limit, and an unknown limit is infinite."""
    ratio = difference / limit
    if math.isnan(ratio.max()):
        ratio[np.isnan(ratio)] = 0.0
        ratio[np.isinf(difference)] = np.inf
    return ratio


def _difference_of_infinities(actual: Array, expected: Rounded | Array, difference: Array) -> Array:
    """Replace differences with NaN or infinities: 0 where both sides agree, infinity where they do not.

    An expected number too large for the implementation's format agrees with an infinity of its sign.
    """
    value = np.asarray(expected.value if isinstance(expected, Rounded) else expected)
    rounded = expected.precision.round(value) if isinstance(expected, Rounded) else value
    return np.where(np.isfinite(difference), difference, np.where(alike(actual, rounded), 0.0, np.inf))


def alike(a: Array, b: Array) -> Array:
    """Return where two arrays have the same number, or both have NaN."""
    same: Array = (a == b) | (np.isnan(a) & np.isnan(b))
    return same


def _first_failure(squared_scores: Array, use: Array | None, block: Block) -> Place:
    failed = squared_scores > SCORE_LIMIT**2
    if use is not None:
        failed |= use > 1.0
    coordinates = dict(zip(block.axes, np.nonzero(failed.reshape(block.shape)), strict=True))
    ordered = sorted(coordinates, key=lambda axis: (axis != "t", axis != "n"))
    earliest = np.lexsort([coordinates[axis] for axis in reversed(ordered)])[0]
    inside = tuple(coordinates[axis][earliest] for axis in block.axes)
    return block.place(int(np.ravel_multi_index(inside, block.shape)))
