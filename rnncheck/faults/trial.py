"""One fault held against one run: does the run match the network with the fault in it?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from rnncheck.checks.end_to_end import end_to_end_rows
from rnncheck.checks.observed import disagreements, largest_layer, observe
from rnncheck.checks.steps import all_steps_match, sees, step_rows, unseen
from rnncheck.checks.threads import Mapper
from rnncheck.checks.thresholds import AVERAGE_LIMIT, SCORE_LIMIT
from rnncheck.checks.verdicts import FAILED, Check, Row, Verdict
from rnncheck.equations.replay import States, replay
from rnncheck.faults.variants import in_variants, rows_of_variants
from rnncheck.network import Layer, Network, Recording

# The classes of faults that mix samples: what they do to some of them is not what they do to all.
MIXING = ("layout", "batch", "masks")

# How many numbers of a layer are enough for a glance.
_FEW = 2**12

# A wrong network whose plain run has outputs so many times farther off than a score's limit needs no closer look: its
# own noise would have to be as many times that of the right one.
_FAR = 100.0


def rows_against(
    network: Network, recordings: Sequence[Recording], mapper: Mapper = map, suspected: Sequence[Layer] = ()
) -> tuple[Row, ...]:
    """Hold a run against a network: every step, and the whole run where no step failed.

    Args:
        network: the equations, right or wrong.
        recordings: the run, one recording for each call.
        mapper: `map`, or a function like it that uses several threads.
        suspected: layers to check first; where their steps fail, the others are left out.

    Returns:
        The rows of the steps; where none of them failed, those of the outputs besides, and of every sequence whose
        steps start from states that nobody sees.
    """
    calls = observe(network, recordings)
    steps: list[Row] = []
    for layers in (suspected, [layer for layer in network.layers if layer not in suspected]):
        steps += step_rows(network, calls, mapper, layers)
        if failures(steps):
            return tuple(steps)
    vouched = all_steps_match(network, steps) and not disagreements(network, calls)
    hidden = unseen(network, calls)
    return (*steps, *end_to_end_rows(network, recordings, mapper, steps_checked=vouched, sequences=hidden))


def shows(wrong: Network, right: Network, recordings: Sequence[Recording], mapper: Mapper = map) -> bool:
    """Whether a run shows that it is not of a wrong network, by the steps of those layers that differ or else at all.

    Args:
        wrong: the right network with something changed.
        right: the network that the run matches.
        recordings: the run, one recording for each call.
        mapper: `map`, or a function like it that uses several threads.
    """
    return bool(failures(rows_against(wrong, recordings, mapper, _changed(wrong, right))))


def glance_at_outputs(network: Network, recordings: Sequence[Recording], noise: Mapping[str, float]) -> float:
    """Return how far the outputs of a run lie from a plain run of a network, in units of the limit of a score.

    Args:
        network: the equations, right or wrong.
        recordings: the run, one recording for each call.
        noise: what rounding typically moves the outputs of a layer by; a layer without it is left out.
    """
    states: States = {}
    largest = 0.0
    for recording in recordings:
        run = replay(network, recording.inputs, states=states)
        states = run.states
        for tensor, actual, expected in zip(network.outputs, recording.outputs, run.outputs, strict=True):
            if actual.shape != expected.shape:
                return math.inf
            allowed = max(SCORE_LIMIT * noise.get(tensor.layer, math.inf), np.finfo(float).tiny)
            largest = max(largest, float(np.max(np.abs(actual - expected))) / allowed)
    return largest if math.isfinite(largest) else math.inf


@np.errstate(all="ignore")  # a wrong network may have any numbers
def which_show(
    wrongs: Sequence[Network], right: Network, recordings: Sequence[Recording], mapper: Mapper = map
) -> list[bool]:
    """Whether a run `shows` that it is not of a wrong network, for many of them.

    Where outputs alone show them, those that differ in the weights of a layer are run at once, and of the others a
    plain run tells first whether they are far off.
    """
    calls = observe(right, recordings)
    seen = {layer.name for layer in right.layers if sees(layer, calls)}
    found: dict[int, bool] = {}
    alike = [] if unseen(right, calls) else in_variants(right, wrongs, len(recordings[0].inputs[0]))
    for places, variants in alike:
        if variants.layer.name not in seen:
            rows = rows_of_variants(right, recordings, variants)
            found |= {place: bool(failures(each)) for place, each in zip(places, rows, strict=True)}
    noise: dict[str, float] = {}
    if len(seen) < len(right.layers):
        ends = end_to_end_rows(right, recordings, mapper, steps_checked=False)
        noise = {row.layer: row.noise for row in ends if row.verdict is Verdict.MATCH}

    def far_off(wrong: Network) -> bool:
        unseen_steps = any(layer.name not in seen for layer in _changed(wrong, right))
        return unseen_steps and glance_at_outputs(wrong, recordings, noise) > _FAR

    return [
        found[place] if place in found else far_off(wrong) or shows(wrong, right, recordings, mapper)
        for place, wrong in enumerate(wrongs)
    ]


def _changed(wrong: Network, right: Network) -> list[Layer]:
    """Return the layers of a wrong network that differ."""
    known = set(map(id, right.layers))
    return [layer for layer in wrong.layers if id(layer) not in known]


def failures(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that failed."""
    return [row for row in rows if row.verdict in FAILED]


def explains(rows: Sequence[Row]) -> bool:
    """Whether a network brings everything in a run to rounding level, given the rows of the run against it."""
    judged = [row for row in rows if row.decides]
    return (
        bool(judged)
        and all(row.verdict is Verdict.MATCH for row in judged)
        and all(row.score_rms <= AVERAGE_LIMIT for row in rows if row.check is Check.STEP)
    )


def few_samples(network: Network, recordings: Sequence[Recording]) -> Sequence[Recording]:
    """Return the first samples of a run, enough for a glance; the run itself where it is short or cannot be cut."""
    samples = len(recordings[0].inputs[0])
    of_a_sample = largest_layer(network, recordings) // (len(recordings) * samples)
    enough = max(3, _FEW // max(of_a_sample, 1))
    if enough >= samples or not network.parts_by_sample:
        return recordings
    return [recording.first_samples(enough) for recording in recordings]
