"""Why a run does not match: the faults that explain its numbers down to rounding, or the weights that differ.

Every fault that the failing layers can have is put on the expected side, alone and then in pairs. Only what brings
every score to rounding level is named. Where nothing does, the entries of the weights that would are solved for, and
where there are none, the shape of the error is described.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rnncheck.checks.blocks import LARGEST
from rnncheck.checks.observed import observe
from rnncheck.checks.steps import Differences, differences, step_rows
from rnncheck.checks.thresholds import AVERAGE_LIMIT, SCORE_LIMIT
from rnncheck.checks.verdicts import Check, Row, Verdict, worst
from rnncheck.equations.changes import with_layer
from rnncheck.equations.formats import FORMATS
from rnncheck.equations.moves import OutsideTableError
from rnncheck.faults.catalogue.fault import Fault, Injection, chained, injections
from rnncheck.faults.symptoms import describe
from rnncheck.faults.trial import (
    FAR,
    MIXING,
    Front,
    Recordings,
    explains,
    failures,
    few_samples,
    glance_at_outputs,
    noise_of_outputs,
    rows_against,
)
from rnncheck.faults.wrong_weights import WrongWeight, wrong_weights
from rnncheck.network import Array, Network
from rnncheck.rounding.precision import PRECISIONS, Precision

# Pairs are tried with so many of the faults that explain most on their own as the first of the two.
_FIRST_OF_PAIRS = 6
# A glance tells that a fault explains nothing where scores stay this many times above their limits: the noise of a
# glance is rough.
_HOPELESS = 3.0
# So few wrong weights are named before pairs of faults are tried.
_SLIPS = 2


@dataclass(frozen=True)
class Explanation:
    """Faults that, put on the expected side, bring every score to rounding level."""

    faults: tuple[str, ...]  # the names of one or more
    layers: tuple[str, ...]  # the layer that each is in
    summary: str  # what they do, in words
    before: float  # the largest score without them
    after: float  # the largest score with them


@dataclass(frozen=True)
class Diagnosis:
    """Why a run does not match."""

    # What explains it down to rounding, best first; those with the same `after` explain it equally.
    explanations: tuple[Explanation, ...] = ()
    weights: tuple[WrongWeight, ...] = ()  # the entries of weights that explain it, where no fault does
    # What explains the steps of one layer alone, where nothing explains the whole run.
    by_layer: tuple[Explanation, ...] = ()
    shape: str = ""  # how the error looks, in words, where nothing explains it


@np.errstate(all="ignore")  # a run may have any numbers
def diagnose(
    network: Network, recordings: Recordings, rows: Sequence[Row], faults: Sequence[Fault]
) -> Diagnosis | None:
    """Say why a run does not match the network, given its rows; None where it does, or where nothing was compared."""
    # A tolerance that somebody set may fail numbers which rounding explains.
    failed = [row for row in rows if row.verdict is Verdict.MISMATCH and row.check is not Check.TOLERANCE]
    if not failed:
        return None
    search = _Search(network, recordings, rows, failed, faults)
    if found := search.alone() or search.everywhere() or search.layer_by_layer():
        return Diagnosis(explanations=found)
    weights = _solved(network, recordings, failed)
    if not 0 < len(weights) <= _SLIPS and (found := search.in_pairs()):
        return Diagnosis(explanations=found)
    if weights:
        return Diagnosis(weights=weights)
    return Diagnosis(by_layer=search.by_layer, shape=describe(network, recordings, rows))


@dataclass
class _Search:
    network: Network
    recordings: Recordings
    rows: Sequence[Row]
    failed: Sequence[Row]
    faults: Sequence[Fault]

    def __post_init__(self) -> None:
        self._few = few_samples(self.network, self.recordings, self.failed)
        self.failing = {row.layer for row in self.failed if row.check is Check.STEP}
        self._noise = noise_of_outputs(self.network, self.rows)
        self._noise |= {
            row.layer: FAR * row.noise for row in self.failed if row.check is Check.STEP and row.output == "h"
        }
        glances = ((self._glance(each), each) for each in self._injections(self.network))
        self._promising = sorted(glances, key=lambda pair: pair[0])

    @cached_property
    def _front(self) -> Front:
        return Front.of(self.network, self.recordings)

    @cached_property
    def _front_of_few(self) -> Front:
        return Front.of(self.network, self._few)

    def alone(self) -> tuple[Explanation, ...]:
        return self._explaining((each,) for glance, each in self._promising if glance < _HOPELESS)

    def everywhere(self) -> tuple[Explanation, ...]:
        # The same fault in all layers that can have it, in all of a kind, or in both directions of a wrapper.
        layers = self.network.layers
        keys = (lambda _: "", lambda layer: layer.kind, lambda layer: layer.name.rpartition("/")[0])
        groups = {
            tuple(each.name for each in layers if key(each) == key(one)): None for key in keys for one in layers
        }
        chains: dict[tuple[str, tuple[str, ...]], tuple[Injection, ...]] = {}
        for fault in self.faults:
            for names in groups:
                chain = chained(self.network, [(fault, name) for name in names])
                if len(chain) > 1:
                    chains.setdefault((fault.name, tuple(each.layer for each in chain)), chain)
        return self._explaining(chain for chain in chains.values() if self._glance(chain[-1]) < _HOPELESS)

    def layer_by_layer(self) -> tuple[Explanation, ...]:
        # A fault of its own in each layer whose steps fail.
        if len(self.failing) < 2 or self._own.keys() != self.failing:
            return ()
        chain = chained(self.network, [(each.fault, each.layer) for each, _ in self._own.values()])
        return self._explaining([chain]) if len(chain) == len(self._own) else ()

    @property
    def by_layer(self) -> tuple[Explanation, ...]:
        if len(self.failing) < 2:
            return ()
        before = {row.layer: row.score_max for row in self.failed if row.check is Check.STEP}
        return tuple(
            Explanation((each.fault.name,), (name,), each.summary, before[name], after)
            for name, (each, after) in self._own.items()
        )

    @cached_property
    def _own(self) -> dict[str, tuple[Injection, float]]:
        # By layer whose steps fail: the fault that explains these alone best, with the largest score that it leaves.
        own: dict[str, tuple[Injection, float]] = {}
        for layer in self.network.layers:
            if layer.name in self.failing:
                found = []
                for each in injections(self.network, self.faults, {layer.name}):
                    if self._glance(each, {layer.name}) < _HOPELESS:
                        changed = each.network.layer(layer.name)
                        rows = step_rows(each.network, observe(each.network, self.recordings), [changed])
                        if explains(rows):
                            found.append((each, max(row.score_max for row in rows)))
                if found:
                    own[layer.name] = min(found, key=lambda pair: pair[1])
        return own

    def in_pairs(self) -> tuple[Explanation, ...]:
        if len(self.failing) > 1:
            return ()  # each failing layer has been looked at alone
        # Best first, and each once: the second fault may be found with the first, too.
        found = self._explaining(
            (first, second)
            for _, first in self._promising[:_FIRST_OF_PAIRS]
            for second in self._injections(first.network)
            if second.fault.name != first.fault.name and self._glance(second) < _HOPELESS
        )
        return tuple({frozenset(zip(pair.faults, pair.layers, strict=True)): pair for pair in found}.values())

    def _explaining(self, candidates: Iterable[tuple[Injection, ...]]) -> tuple[Explanation, ...]:
        before = max(row.score_max for row in self.failed)
        found = []
        for candidate in candidates:
            # The second of a pair was made in the network of the first, so that its network has both.
            rows = rows_against(candidate[-1].network, self.recordings)
            if explains(rows):
                names, layers = tuple(each.fault.name for each in candidate), tuple(each.layer for each in candidate)
                summary = "; ".join(dict.fromkeys(each.summary for each in candidate))
                found.append(Explanation(names, layers, summary, before, max(row.score_max for row in rows)))
        return tuple(sorted(found, key=lambda explanation: explanation.after))

    def _injections(self, network: Network) -> Iterator[Injection]:
        # A step may fail for what the layer read. Where no step was seen, any layer may be to blame.
        if not self.failing:
            return injections(network, self.faults, run=self.recordings)
        names = {row.layer for row in self.failed}
        read = {tensor.layer for layer in self.network.layers if layer.name in names for tensor in layer.reads}
        return injections(network, self.faults, names | read, self.recordings)

    def _glance(self, injection: Injection, names: Collection[str] = ()) -> float:
        # How far scores stay above their limits with the fault on the expected side, at a few numbers of some layers,
        # or of all whose steps fail.
        recordings = self.recordings if injection.fault.group in MIXING else self._few
        layers = [layer for layer in injection.network.layers if layer.name in (names or self.failing)]
        try:
            calls = observe(injection.network, recordings) if layers else []
            seen = [differences(layer, calls) for layer in layers]
            if seen and all(seen):
                return max(map(_excess, seen))
            # No step failed, or with the fault nobody sees what steps start from.
            glance = self._glance_at_outputs(injection.network, recordings)
        except OutsideTableError:  # ids that the fault made of something else
            return math.inf
        # What hides the steps that fail must at least bring the numbers nearer.
        return math.inf if layers and glance >= self._unchanged else glance

    def _glance_at_outputs(self, network: Network, recordings: Recordings) -> float:
        front = self._front_of_few if recordings is self._few else self._front
        return glance_at_outputs(network, recordings, self._noise, front)

    @cached_property
    def _unchanged(self) -> float:
        return self._glance_at_outputs(self.network, self.recordings)


def _excess(seen: Sequence[Differences]) -> float:
    scores = np.concatenate([each.scores.reshape(-1) for each in seen])
    if not np.isfinite(scores).all():
        return math.inf
    return max(math.sqrt(np.mean(np.square(scores))) / AVERAGE_LIMIT, float(scores.max()) / SCORE_LIMIT)


def _solved(network: Network, recordings: Recordings, failed: Sequence[Row]) -> tuple[WrongWeight, ...]:
    # The wrong entries of the weights of all layers that fail, if they explain everything.
    call = observe(network, recordings)[0]
    steps = {row.layer for row in failed if row.check is Check.STEP}
    found: list[WrongWeight] = []
    corrected = network
    for layer in network.layers:
        if layer.name in steps:
            wrong = wrong_weights(layer, call)
            if not wrong:
                return ()
            found += wrong
            corrected = with_layer(corrected, WrongWeight.put_in(layer, wrong))
    return tuple(found) if found and explains(rows_against(corrected, recordings)) else ()


# The root mean square of scores in the format that a run was computed in: somewhere at least the one, nowhere less
# than the other. A coarser format's noise would cover any small fault.
_TYPICAL, _LEAST_TYPICAL = 0.1, 0.05
# Of n normal numbers the largest is about sqrt(2·log(n)) times their root mean square, and hardly by so much more.
_SPREAD = 2.0
# So much less noise must a way of rounding leave of what any way might make.
_NARROW = 0.25


def _are_typical(rows: Sequence[Row]) -> bool:
    # Whether scores look like rounding: all of much the same size. Numbers that are only moved have none.
    scored = [row for row in rows if row.score_rms != 0.0]
    if not scored or max(row.score_rms for row in scored) < _TYPICAL:
        return False
    return all(
        row.score_rms >= _LEAST_TYPICAL
        and row.score_max <= (math.sqrt(2.0 * math.log(max(2, math.prod(row.shape)))) + _SPREAD) * row.score_rms
        for row in scored
    )


def _is_usual(network: Network, recordings: Recordings, rows: Sequence[Row]) -> bool:
    # Whether a run is that of a network which rounds as most programs do; `rows` allow for any way of rounding. Near
    # ties it may round either way: where that makes all numbers as noisy, nothing can be told.
    usual = rows_against(network, recordings)
    noise = {(row.layer, row.output, row.check): row.noise for row in rows}
    narrow = [row.noise <= _NARROW * noise[row.layer, row.output, row.check] for row in usual]
    return explains(usual) and any(narrow)


def likely_format(
    network: Network, recordings: Recordings, stated: str, known: Mapping[str, Sequence[Row]]
) -> str | None:
    """Return the format that a run looks like down to rounding; None where there is none, or where none can be told.

    It is the one that is stated, if that explains the run and the run's numbers are not stored in a finer one; else
    the finest that does. `known` has the rows of the run in some of the formats, by name.
    """
    rounded = any(each.resolutions for each in recordings)
    if rounded and stated in known and worst(known[stated]) is Verdict.MATCH:
        return stated  # coarse numbers tell of no finer format
    # Formats whose results would be stored as this run's are come first: numbers that all have 11 digits are float16,
    # though a coarser noise than float16's might explain them too.
    arrays = [array for each in recordings for array in (*each.outputs, *each.states.values())]
    *coarse, finest = ("bfloat16", "float16", "float32") if rounded else ("bfloat16", "float16", "float32", "float64")
    stored = next((name for name in coarse if all(_holds(PRECISIONS[name], x) for x in arrays)), finest)
    finer = list(FORMATS)[: list(FORMATS).index(stated)] if stated in FORMATS else []
    few = few_samples(network, recordings)
    digits = {(seen.base, seen.digits) for one in recordings for seen in one.resolutions.values()}
    for name, each in sorted(FORMATS.items(), key=lambda pair: (pair[1].stored != stored, pair[0] != stated)):
        if each.stored in {"float16", "bfloat16"} and each.stored != stored and name != stated:
            continue  # its results would have fewer digits
        rows = known.get(name)
        if rows is None:
            changed = each.change(network)
            if few is not recordings and failures(rows_against(changed, few)):
                continue  # a format that fails in few samples fails in all
            rows = rows_against(changed, recordings)
        is_own = name == stated and worst(rows) is Verdict.MATCH
        # Numbers that all have the digits of a half format are its own, whatever the size of their noise.
        is_stored = digits == {(2, PRECISIONS[each.stored].digits)}
        is_likely = explains(rows) and (name in finer or is_stored or _are_typical(rows))
        # Noise of that size has many causes: the run must be what most programs compute in the format.
        if is_own or (is_likely and (each.usual is None or _is_usual(each.usual(network), recordings, rows))):
            return name
        if worst(rows) is Verdict.UNDECIDABLE:
            return None
    return None


def _holds(precision: Precision, array: Array) -> bool:
    # A part at a time: states may fill the memory, and most formats fail at once.
    flat = array.reshape(-1)
    parts = (flat[start : start + LARGEST] for start in range(0, flat.size, LARGEST))
    return all(np.array_equal(precision.round(part), part, equal_nan=True) for part in parts)
