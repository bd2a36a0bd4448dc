"""Expected against actual: differences become scores, scores become a verdict.

`compare` looks at one block of numbers and returns a `Summary`; summaries add up, so that a comparison of any
size needs the memory of one block. `judge` turns the sum into a row's verdict.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

import numpy as np

from rnncheck.checks.blocks import Block, Place, in_time
from rnncheck.checks.thresholds import SCORE_LIMIT, UNDECIDABLE_SHARE
from rnncheck.network import Array
from rnncheck.rounding.rounded import Rounded


@dataclass(frozen=True)
class Group:
    """Numbers of much the same noise, which are judged together."""

    count: int  # how many there are
    noise_energy: float  # the sum of noise²
    signal_energy: float  # the sum of expected²
    first: Place | None  # the earliest of a block in which the noise is too large for the signal; None in no block

    def __add__(self, other: Group) -> Group:
        return Group(
            self.count + other.count,
            self.noise_energy + other.noise_energy,
            self.signal_energy + other.signal_energy,
            _earliest(self.first, other.first),
        )

    @property
    def is_too_noisy(self) -> bool:
        """Whether the noise is so large a share of the signal that no score can tell right from wrong."""
        return not self.noise_energy <= UNDECIDABLE_SHARE**2 * self.signal_energy


def _earliest(*places: Place | None) -> Place | None:
    return min((place for place in places if place is not None), key=in_time, default=None)


@dataclass(frozen=True)
class Number:
    """One number of a comparison."""

    place: Place  # its index by name, such as {"n": 0, "t": 3, "unit": 2}
    expected: float  # what the equations give
    actual: float  # what the implementation produced
    allowed: float  # the largest difference that rounding explains; infinite where nobody knows what it does

    @property
    def difference(self) -> float:
        """|actual - expected|; 0 where both are the same infinity or NaN."""
        same = self.actual == self.expected or (math.isnan(self.actual) and math.isnan(self.expected))
        return 0.0 if same else abs(self.actual - self.expected)


@dataclass(frozen=True)
class Summary:
    """What a comparison saw, over one block or many."""

    count: int = 0  # how many numbers were compared
    max_abs_diff: float = 0.0  # the largest |actual - expected|
    noise_energy: float = 0.0  # the sum of noise²
    score_energy: float = 0.0  # the sum of score², score = |actual - expected|/noise
    score_max: float = 0.0  # the largest score
    bound_use: float | None = None  # the largest |actual - expected|/bound; None where no bound is carried
    worst: Number | None = None  # the one with the largest score
    first: Number | None = None  # the earliest that rounding does not explain; None when there is none
    unmatched: bool = False  # whether NaN or an infinity stands where a finite number is expected
    unexpected: bool = False  # whether something else stands where NaN or an infinity is expected
    # The numbers by noise: those of one group have noises within a factor of four, those of `UNKNOWN` may be
    # anything. The others are there if somebody asked for them.
    groups: Mapping[int, Group] = field(default_factory=dict)

    def __add__(self, other: Summary) -> Summary:
        # Of two equal scores the earlier stays.
        larger = self if other.worst is None or self.score_max >= other.score_max else other
        uses = [s.bound_use for s in (self, other) if s.bound_use is not None]
        groups = dict(self.groups)
        for size, group in other.groups.items():
            groups[size] = groups[size] + group if size in groups else group
        return Summary(
            count=self.count + other.count,
            max_abs_diff=max(self.max_abs_diff, other.max_abs_diff),
            noise_energy=self.noise_energy + other.noise_energy,
            score_energy=self.score_energy + other.score_energy,
            score_max=larger.score_max,
            bound_use=max(uses, default=None),
            worst=larger.worst if self.worst is not None else other.worst,
            first=min(filter(None, (self.first, other.first)), key=lambda each: in_time(each.place), default=None),
            unmatched=self.unmatched or other.unmatched,
            unexpected=self.unexpected or other.unexpected,
            groups=groups,
        )

    def unjudged(self, *, whole_run: bool) -> tuple[int, Place | None]:
        """Return how many numbers cannot be judged, and the first of them.

        Over a whole run errors may grow to the size of what they are errors of; those of a step do not.
        """
        found = [
            group for size, group in self.groups.items() if size == UNKNOWN or (whole_run and group.is_too_noisy)
        ]
        return sum(group.count for group in found), _earliest(*(group.first for group in found))

    @property
    def noise(self) -> float:
        """The root mean square of the noise."""
        return math.sqrt(self.noise_energy / self.count) if self.count else 0.0

    @property
    def score_rms(self) -> float:
        """The root mean square of the scores."""
        return math.sqrt(self.score_energy / self.count) if self.count else 0.0


def total(summaries: Iterable[Summary]) -> Summary:
    """Add up any number of summaries."""
    return reduce(Summary.__add__, summaries, Summary())


def compare(actual: Array, expected: Rounded | Array, block: Block, unsure: Array | None = None) -> Summary:
    """Compare the numbers of one block, and group them by their noise.

    Args:
        actual: what the implementation produced, in any shape with the block's number of elements.
        expected: the same from the equations; a plain array where nothing may differ.
        block: where the numbers come from.
        unsure: the samples whose noise is not to be relied on, (N,); None for no sample.
    """
    with np.errstate(all="ignore"):
        comparison = Comparison(actual, expected)
        if unsure is not None and unsure.any():
            comparison.set_aside(unsure)
        return comparison.summary(block, in_groups=True)


class Comparison:
    """The numbers of one block, or of some of its rows, beside what is expected of them.

    Call it under `np.errstate(all="ignore")`: numbers that are not finite are part of its work.
    """

    def __init__(self, actual: Array, expected: Rounded | Array, rows: Array | None = None) -> None:
        """Compute differences, scores and use of the bound; `rows` says which of the block's these are."""
        self._expected, self._rows = expected, rows
        if isinstance(expected, Rounded):
            value, bound = expected.value, expected.bound
            inherited = np.broadcast_to(expected.variance, expected.shape)
            variance = inherited + max(expected.precision.least_variance, float(np.finfo(inherited.dtype).tiny))
            zero = value == 0.0
            if zero.any():  # without noise it is exact: no term of it was rounded
                variance[zero & (inherited == 0.0)] = 0.0
        else:  # what is exact has neither noise nor bound
            value = np.asarray(expected, np.float64)
            variance = bound = np.zeros(value.shape)
        self._value, self._variance, self._bound = value, variance, bound
        self._actual = actual.reshape(value.shape)
        self._infinite: Any = np.False_  # where NaN or an infinity makes a number wrong
        self._unknown: Any = np.False_  # where nobody knows what rounding does
        difference = self._actual.astype(np.float64)
        difference -= value
        np.abs(difference, out=difference)
        self._max_abs_diff = float(difference.max(initial=0.0))
        if not (math.isfinite(self._max_abs_diff) and math.isfinite(variance.max(initial=0.0))):
            difference = self._judge_infinities(expected, difference)
        narrow = difference.astype(self._variance.dtype)
        self._use = None if bound is None else _ratio(difference, np.broadcast_to(self._bound, value.shape))
        # (difference/noise)² of each number; a small difference's own square would be 0 in single precision.
        self.squared_scores = _ratio(narrow, self._variance) * narrow

    def _judge_infinities(self, expected: Rounded | Array, difference: Array) -> Array:
        # Differences become 0 where both sides agree on NaN or an infinity, infinity where they do not. An expected
        # number too large for the implementation's format agrees with an infinity of its sign. Where something on the
        # way left the format's range, so that the noise is infinite, anything may be right.
        value, actual, variance = self._value, self._actual, self._variance
        rounded = expected.precision.round(value) if isinstance(expected, Rounded) else value
        agreed = ~np.isfinite(rounded) & alike(actual, rounded)
        difference = np.where(np.isfinite(difference) & ~agreed, difference, np.where(agreed, 0.0, np.inf))
        is_lost = np.isnan(variance) & (np.isfinite(value) | ~np.isfinite(actual))
        self._unknown = unknown = ~agreed & (np.isinf(variance) | is_lost)
        difference[np.isinf(difference) & unknown] = 0.0
        self._variance = np.where(agreed, 0.0, np.where(unknown, np.inf, variance)).astype(variance.dtype)
        if self._bound is not None:
            self._bound = np.where(unknown, np.inf, self._bound)
        self._max_abs_diff = float(difference.max())
        self._infinite = np.isinf(difference)
        return difference

    def set_aside(self, samples: Array) -> None:
        """Take the noise of some samples, (N,), for unknown; NaN or an infinity among them can still be wrong."""
        aside = np.zeros(self._value.shape, bool)
        aside[samples] = True
        self._unknown = self._unknown | aside
        self._infinite = self._infinite & ~(aside & ~np.isfinite(self._value))
        self.squared_scores[aside & ~self._infinite] = 0.0

    def __len__(self) -> int:
        return len(self._value)

    @property
    def worst(self) -> tuple[int, int]:
        """Which row of the block has the largest score, and at which of its numbers."""
        row, inside = divmod(int(self.squared_scores.argmax()), math.prod(self._value.shape[1:]))
        return row if self._rows is None else int(self._rows[row]), inside

    def without(self, rows: Array) -> Comparison:
        """Return the comparison of the other rows; `rows` counts those of this one."""
        others = np.delete(np.arange(len(self)), rows)
        places = others if self._rows is None else self._rows[others]
        return Comparison(self._actual[others], self._expected[others], places)

    def rows_above(self, score: float) -> Array:
        """Return the indices of the rows with a higher score, worst first."""
        largest = self.squared_scores.reshape(len(self), -1).max(axis=1)
        above = np.flatnonzero(largest > score**2)
        return above[np.argsort(-largest[above], kind="stable")]

    def suspicious_rows(self, score: float) -> Array:
        """Return the indices of the rows with a higher score, or with a noise that single precision may have lost."""
        variance, scores = self._variance, self.squared_scores
        if scores.max() <= score**2 and variance.min() >= _LEAST and math.isfinite(variance.max()):
            return np.array([], np.intp)
        lost = (variance < _LEAST) & ((self._value != 0.0) | (self._actual != 0.0))
        suspicious = ~(scores <= score**2) | ~np.isfinite(variance) | lost
        return np.flatnonzero(suspicious.reshape(len(self), -1).any(axis=1))

    def summary(self, block: Block, *, in_groups: bool = False) -> Summary:
        """Return what the comparison saw, with places in the whole array; all numbers in groups if asked for."""
        if not len(self):
            return Summary()
        worst = int(self.squared_scores.argmax())
        score_max = math.sqrt(self.squared_scores.flat[worst])
        bound_use = None if self._use is None else float(self._use.max())
        failed = score_max > SCORE_LIMIT or (bound_use or 0.0) > 1.0
        finite = np.isfinite(self._value) if self._infinite.any() else np.True_
        judged = self._variance != 0.0 if in_groups else self._unknown
        return Summary(
            count=self._value.size,
            max_abs_diff=self._max_abs_diff,
            noise_energy=float(self._variance.sum(dtype=np.float64)),
            score_energy=float(self.squared_scores.sum(dtype=np.float64)),
            score_max=score_max,
            bound_use=bound_use,
            worst=self._number(block, worst),
            first=self._number(block, self._first_failure(block)) if failed else None,
            unmatched=bool((self._infinite & finite).any()),
            unexpected=bool((self._infinite & ~finite).any()),
            groups=self._groups(block, judged) if judged.any() else {},
        )

    def _groups(self, block: Block, chosen: Array) -> dict[int, Group]:
        # Chosen numbers by the size of their noise.
        places = np.flatnonzero(chosen)
        variance, value = self._variance.flat[places], self._value.flat[places]
        sizes = np.frexp(variance)[1] >> 2  # 2^4 in the variance is a factor of four in the noise
        sizes[np.broadcast_to(self._unknown, chosen.shape).flat[places]] = UNKNOWN
        least = int(sizes.min())
        noise = np.bincount(sizes - least, variance)
        signal = np.bincount(sizes - least, np.square(value))
        found = {}
        for number, count in enumerate(np.bincount(sizes - least)):
            if count:
                group = Group(int(count), float(noise[number]), float(signal[number]), None)
                if group.is_too_noisy or number + least == UNKNOWN:
                    first = self._first(block, places[sizes == number + least])
                    group = replace(group, first=block.place(int(self._index(first))))
                found[number + least] = group
        return found

    def _index(self, index: Any) -> Any:
        # Which element of the block an element of the comparison is.
        width = self._value[0].size
        return index if self._rows is None else self._rows[index // width] * width + index % width

    def _number(self, block: Block, number: int) -> Number:
        allowed = SCORE_LIMIT * math.sqrt(self._variance.flat[number])
        if self._bound is not None:
            allowed = min(allowed, float(np.broadcast_to(self._bound, self._value.shape).flat[number]))
        expected, actual = float(self._value.flat[number]), float(self._actual.flat[number])
        return Number(block.place(int(self._index(number))), expected, actual, allowed)

    def _first_failure(self, block: Block) -> int:
        failed = self.squared_scores > SCORE_LIMIT**2
        if self._use is not None:
            failed |= self._use > 1.0
        return self._first(block, np.flatnonzero(failed))

    def _first(self, block: Block, numbers: Array) -> int:
        indices = self._index(numbers)
        # The earliest step, then the first sample, then the other axes in their order.
        coordinates = dict(zip(block.axes, np.unravel_index(indices, block.shape), strict=True))
        ordered = sorted(coordinates, key=lambda axis: (axis != "t", axis != "n"))
        return int(numbers[np.lexsort([coordinates[axis] for axis in reversed(ordered)])[0]])


# The group of the numbers whose noise nobody knows; those of others count powers of four.
UNKNOWN = 1000

# Variances in single precision that are smaller may have lost digits on the way.
_LEAST = 2.0**-100


def _ratio(difference: Array, limit: Array) -> Array:
    # No difference is 0 whatever the limit, and an unknown limit is infinite.
    ratio = difference / limit
    if math.isnan(ratio.max(initial=0.0)):
        ratio[np.isnan(ratio)] = 0.0
        ratio[np.isinf(difference)] = np.inf
    return ratio


def alike(a: Array, b: Array) -> Array:
    """Return where two arrays have the same number, or both have NaN."""
    same: Array = (a == b) | (np.isnan(a) & np.isnan(b))
    return same
