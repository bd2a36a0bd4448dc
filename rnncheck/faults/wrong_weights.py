"""Which entries of a layer's weights differ, and by how much, solved for from the differences of the step check.

Near the right weights a layer's numbers are linear in the weights' errors: difference = Σ_k J_k·δ_k, where J_k is how
the layer's numbers move with entry k. Each step is computed from the implementation's own previous state, so that an
error in a column of the weights shows in the unit of that column alone. For each unit that fails, the entries that
explain most are taken, then those that explain most of the rest, until only rounding is left. As many errors as there
are numbers fit anything: the numbers that are left over must be more than would fit by chance.

Source: Pati, Rezaiifar and Krishnaprasad, Orthogonal matching pursuit, Asilomar Conference 1993.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rnncheck.checks.observed import Call
from rnncheck.checks.steps import Differences, differences
from rnncheck.checks.thresholds import AVERAGE_LIMIT, SCORE_LIMIT
from rnncheck.equations.cells import CELLS, units
from rnncheck.network import Array, Layer

# The name of a weight, and where in it.
Entry = tuple[str, tuple[int, ...]]

# By how much an entry is moved to see how the layer's numbers move with it.
_NUDGE = 2.0**-16
# More entries of one unit's weights, or more units, than these are no slip of the pen.
_MOST_ENTRIES, _MOST_UNITS = 4, 8
# How often the errors of some entries are refined: numbers move with them in a line only near the right weights.
_REFINED = 4
# How many sets of entries are carried on.
_BRANCHES = 12
# How likely it may be that some errors fit by chance.
_BY_CHANCE = 1e-3
# So many numbers of a layer are enough to solve for weights.
_ENOUGH = 2**14
# The most pairs of an entry and a number that are computed: some seconds.
_MOST_WORK = 2**27


@dataclass(frozen=True)
class WrongWeight:
    """One entry of a weight that differs."""

    layer: str
    weight: str  # the weight's name, such as `recurrent_kernel`
    index: tuple[int, ...]  # where in it, from the first axis to the last
    difference: float  # the implementation's entry minus that of the network

    def __str__(self) -> str:
        where = ", ".join(map(str, self.index))
        return f"{self.layer}: {self.weight}[{where}] differs by {self.difference:+.3g}"

    @staticmethod
    def put_in(layer: Layer, wrong: Sequence[WrongWeight]) -> Layer:
        """Return the layer with the weights that the implementation has."""
        weights = {name: np.array(weight, np.float64) for name, weight in layer.weights.items()}
        for entry in wrong:
            weights[entry.weight][entry.index] += entry.difference
        return replace(layer, weights=weights)


def wrong_weights(layer: Layer, call: Call) -> list[WrongWeight]:
    """Return the entries of a layer's weights whose errors explain its differences; none where none do."""
    # An entry of a convolution moves the numbers of many places, so that nothing is solved for.
    if layer.kind not in {*CELLS, "Dense"} or layer.kind.startswith("Conv"):
        return []
    h = call.recording.states.get(layer.name)
    numbers = 1 if h is None else h[0].size
    call = call.first_samples(max(2, _ENOUGH // max(1, numbers)))
    if not (observed := differences(layer, [call])):
        return []
    (seen,) = observed
    scores = seen.scores.reshape(-1, seen.value.shape[-1])
    with np.errstate(all="ignore"):
        failing = (scores.max(axis=0) > SCORE_LIMIT) | (np.sqrt(np.mean(scores**2, axis=0)) > AVERAGE_LIMIT)
    failing_units = [int(unit) for unit in np.flatnonzero(failing)]
    entries = {unit: list(_entries(layer, unit)) for unit in failing_units}
    work = sum(map(len, entries.values())) * seen.value.size
    if not 0 < len(failing_units) <= _MOST_UNITS or work > _MOST_WORK:
        return []
    found: list[WrongWeight] = []
    for unit in failing_units:
        wrong = _pursued(layer, call, seen, unit, entries[unit])
        if not wrong:  # the others are not worth the time
            return []
        found += wrong
    return found


def _entries(layer: Layer, unit: int) -> Iterator[Entry]:
    # The columns that make one unit: one in each gate's block of M.
    m = units(layer) if layer.kind in CELLS else layer.weights["kernel"].shape[-1]
    # Those of gates that are projected make all units.
    own = {name: layer.weights[name] for name in layer.weights if name == "projection"} or layer.weights
    for name, weight in own.items():
        for row in np.ndindex(weight.shape[:-1]):
            for column in range(unit, weight.shape[-1], m):
                yield name, (*row, column)


def _pursued(layer: Layer, call: Call, seen: Differences, unit: int, entries: Sequence[Entry]) -> list[WrongWeight]:
    # The fewest entries that explain one unit's differences down to rounding; none if it takes too many.
    noise = seen.noise[..., unit].reshape(-1)

    def target(wrong: Sequence[WrongWeight]) -> Array:
        # How far a unit's R numbers are off with some errors of weights, in units of their noise, (R,).
        (found,) = differences(WrongWeight.put_in(layer, wrong), [call])
        return found.value[..., unit].reshape(-1) / noise

    def moves(wrong: Sequence[WrongWeight], target_there: Array, tried: Sequence[Entry]) -> Array:
        # How they move with each of E entries, (R, E).
        nudged = ([*wrong, WrongWeight(layer.name, *entry, _NUDGE)] for entry in tried)
        return np.stack([(target_there - target(each)) / _NUDGE for each in nudged], axis=1)

    first = seen.value[..., unit].reshape(-1) / noise
    matrix = moves((), first, entries)
    if not (np.isfinite(first).all() and np.isfinite(matrix).all()):
        return []
    for chosen in _fewest(matrix, first):
        tried = [entries[k] for k in chosen]
        errors, left, slopes = np.zeros(len(tried)), first, matrix[:, list(chosen)]
        wrong: list[WrongWeight] = []
        for refined in range(_REFINED):
            slopes = moves(wrong, left, tried) if refined else slopes
            errors += np.linalg.lstsq(slopes, left, rcond=None)[0]
            wrong = [WrongWeight(layer.name, *e, float(error)) for e, error in zip(tried, errors, strict=True)]
            left = target(wrong)
            if not np.isfinite(left).all():
                break
            if np.abs(left).max() < SCORE_LIMIT and np.sqrt(np.mean(left**2)) < AVERAGE_LIMIT:
                moved = np.abs(slopes) @ np.abs(errors)
                return wrong if _chance(moved, len(tried), len(entries)) < _BY_CHANCE else []
    return []


def _chance(moved: Array, taken: int, entries: int) -> float:
    # How likely it is that errors of some of the entries leave rounding alone of numbers that they move so far, in
    # units of noise, (R,): each can make one number fit, the others do by chance, and there are many to choose from.
    fits = np.sort(AVERAGE_LIMIT / np.maximum(moved, AVERAGE_LIMIT))
    return math.comb(entries, taken) * float(np.prod(fits[taken:]))


def _fewest(moves: Array, target: Array) -> Iterator[tuple[int, ...]]:
    # Yields columns of `moves` (R, E) that explain most of the target (R,): the best one, the best two, and so on.
    # The sets of columns that leave least are carried on, each with the columns that explain most of what it leaves.
    lengths = np.linalg.norm(moves, axis=0)
    sets: list[tuple[int, ...]] = [()]
    for _ in range(_MOST_ENTRIES):
        longer = set()
        for chosen in sets:
            explained = np.abs(_left(moves, target, chosen) @ moves) / np.where(lengths, lengths, np.inf)
            best = [int(k) for k in np.argsort(-explained)[:_BRANCHES]]
            longer |= {tuple(sorted((*chosen, k))) for k in best if k not in chosen}
        if not longer:  # all columns are in every set
            return
        sets = sorted(longer, key=lambda chosen: float(np.linalg.norm(_left(moves, target, chosen))))[:_BRANCHES]
        yield sets[0]


def _left(moves: Array, target: Array, chosen: tuple[int, ...]) -> Array:
    # What the best errors of some columns leave of the target.
    part = moves[:, list(chosen)]
    return np.subtract(target, part @ np.linalg.lstsq(part, target, rcond=None)[0])
