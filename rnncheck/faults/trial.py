"""One fault held against one run: does the run match the network with the fault in it?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rnncheck.checks.end_to_end import end_to_end_rows, output_name
from rnncheck.checks.observed import disagreements, largest_layer, observe
from rnncheck.checks.scores import alike
from rnncheck.checks.steps import all_steps_match, sees, step_rows, unseen
from rnncheck.checks.thresholds import AVERAGE_COUNT, AVERAGE_LIMIT, SCORE_LIMIT
from rnncheck.checks.verdicts import FAILED, Check, Row, Verdict, worst
from rnncheck.equations.cells import CELLS
from rnncheck.equations.replay import States, replay
from rnncheck.faults.catalogue.causes import SATURATED, UNDER_THE_NOISE
from rnncheck.faults.catalogue.fault import Fault, Injection, injections
from rnncheck.faults.emulation import emulate
from rnncheck.faults.variants import in_variants, rows_of_variants
from rnncheck.network import Array, Layer, Network, Recording, Tensor

# A run of one or more calls.
Recordings = Sequence[Recording]

# The classes of faults that mix samples: what they do to some of them is not what they do to all.
MIXING = ("layout", "batch", "masks", "recording")

# How many numbers of a layer are enough for a glance.
_FEW = 2**12
# A wrong network whose plain run has numbers so many times farther off than a score's limit needs no closer look: its
# own noise, or that of a whole run beside that of a step, would have to be as many times as large.
FAR = 100.0


def rows_against(network: Network, recordings: Recordings, suspected: Sequence[Layer] = ()) -> tuple[Row, ...]:
    """Hold a run against a network, right or wrong: every step, and the whole run where no step failed.

    The suspected layers are checked first; where their steps fail, the others are left out.
    """
    calls = observe(network, recordings)
    steps: list[Row] = []
    for layers in (suspected, [layer for layer in network.layers if layer not in suspected]):
        steps += step_rows(network, calls, layers)
        if failures(steps):
            return tuple(steps)
    vouched = all_steps_match(network, steps) and not disagreements(network, calls)
    # Where a sequence's steps start from states that nobody sees, only its whole can be compared.
    hidden = unseen(network, calls)
    return (*steps, *end_to_end_rows(network, recordings, steps_checked=vouched, sequences=hidden))


def shows(wrong: Network, right: Network, recordings: Recordings) -> bool:
    """Whether a run that matches the right network does not match a wrong one, which is the right one changed."""
    # A change shows in the layers that it changed, if anywhere: their steps are checked first.
    return worst(rows_against(wrong, recordings, _changed(wrong, right))) is not Verdict.MATCH


def _changed(wrong: Network, right: Network) -> list[Layer]:
    known = set(map(id, right.layers))
    return [layer for layer in wrong.layers if id(layer) not in known]


def noise_of_outputs(network: Network, rows: Sequence[Row]) -> dict[int | str, float]:
    """Return what rounding typically moves each output by, by its position, as far as rows of the whole run tell."""
    noise = {(row.layer, row.output): row.noise for row in rows if row.check is Check.END_TO_END}
    named = ((tensor.layer, output_name(tensor)) for tensor in network.outputs)
    return {position: noise[name] for position, name in enumerate(named) if name in noise}


@dataclass(frozen=True)
class Front:
    """What layers give that no stateful layer stands before: most wrong networks have the same in front."""

    network: Network
    tensors: Sequence[Mapping[Tensor, Array]]  # by call

    @staticmethod
    def of(network: Network, recordings: Recordings) -> Front:
        """Run the front of a network on the inputs of a run."""
        front = replace(network, layers=tuple(_front(network, network)), outputs=())
        return Front(network, [replay(front, recording.inputs).tensors for recording in recordings])

    def in_network(self, network: Network, call: int, *, every_step: bool) -> dict[Tensor, Array]:
        """Return what is the same in a network that was made of this one; no recurrent layer's if steps are kept."""
        same = {each.name for each in _front(network, self.network) if not (every_step and each.kind in CELLS)}
        return {tensor: x for tensor, x in self.tensors[call].items() if tensor.layer in same}


def _front(network: Network, right: Network) -> list[Layer]:
    known, same = {spec.name for spec in network.inputs}, set(map(id, right.layers))
    front = []
    for layer in network.layers:
        is_known = id(layer) in same and known.issuperset(tensor.layer for tensor in layer.reads)
        if is_known and not layer.options.get("stateful"):
            front.append(layer)
            known.add(layer.name)
    return front


def glance_at_outputs(
    network: Network, recordings: Recordings, noise: Mapping[int | str, float], front: Front
) -> float:
    """Return how far the outputs of a run lie from a plain run of a network, in units of the limit of a score.

    `noise` is that of the outputs by their position, and of recorded states by the layer's name; the others are left
    out.
    """
    states: States = {}
    largest = 0.0
    for call, recording in enumerate(recordings):
        every_step = any(name in noise for name in recording.states)
        known = front.in_network(network, call, every_step=every_step)
        run = replay(network, recording.inputs, states=states, every_step=every_step, known=known)
        states = run.states
        pairs: dict[int | str, tuple[Array, Array]] = dict(
            enumerate(zip(recording.outputs, run.outputs, strict=True))
        )
        pairs |= {name: (recording.states[name], h) for name, h in run.sequences.items() if name in recording.states}
        for key, (actual, expected) in pairs.items():
            if actual.shape != expected.shape:
                return math.inf
            if key not in noise:
                continue
            difference = float(np.max(np.where(alike(actual, expected), 0.0, np.abs(actual - expected))))
            if not math.isfinite(difference):
                return math.inf
            largest = max(largest, difference / max(SCORE_LIMIT * noise[key], np.finfo(float).tiny))
    return largest


@np.errstate(all="ignore")  # a wrong network may have any numbers
def which_show(wrongs: Sequence[Network], right: Network, recordings: Recordings) -> list[bool]:
    """Whether a run `shows` that it is not of a wrong network, for many of them."""
    calls = observe(right, recordings)
    seen = {layer.name for layer in right.layers if sees(layer, calls)}
    found: dict[int, bool] = {}
    # Where outputs alone show them, those that differ in the weights of a layer are run at once.
    alike = [] if unseen(right, calls) else in_variants(right, wrongs, len(recordings[0].inputs[0]))
    for places, variants in alike:
        if variants.layer.name not in seen:
            rows = rows_of_variants(right, recordings, variants)
            found |= {place: worst(each) is not Verdict.MATCH for place, each in zip(places, rows, strict=True)}
    noise: dict[int | str, float] = {}
    front = Front.of(right, recordings)
    if len(seen) < len(right.layers):
        ends = end_to_end_rows(right, recordings, steps_checked=False)
        noise = noise_of_outputs(right, [row for row in ends if row.verdict is Verdict.MATCH])
    for place, wrong in enumerate(wrongs):
        if place not in found:
            # Of the others, a plain run tells first whether they are far off.
            hidden = any(layer.name not in seen for layer in _changed(wrong, right))
            far = hidden and glance_at_outputs(wrong, recordings, noise, front) > FAR
            found[place] = far or shows(wrong, right, recordings)
    return [found[place] for place in range(len(wrongs))]


def failures(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that failed."""
    return [row for row in rows if row.verdict in FAILED]


def explains(rows: Sequence[Row]) -> bool:
    """Whether a network brings everything in a run to rounding level, given the rows of the run against it."""
    verdicts = {row.verdict for row in rows if row.decides}
    return verdicts == {Verdict.MATCH} and all(map(_is_small, rows))


def _is_small(row: Row) -> bool:
    # Whether the scores of a step are as small on average as those of correct code; those of few numbers spread more.
    numbers = math.prod(row.shape)
    spread = 0.0 if numbers >= AVERAGE_COUNT else 3.0 * math.sqrt(2.0 / max(1, numbers))
    return row.check is not Check.STEP or row.score_rms <= AVERAGE_LIMIT * math.sqrt(1.0 + spread)


def few_samples(network: Network, recordings: Recordings, failed: Sequence[Row] = ()) -> Recordings:
    """Return the first samples of a run, enough for a glance, and those in which rows failed first and worst.

    It is the run itself where that is short or cannot be cut.
    """
    samples = len(recordings[0].inputs[0])
    of_a_sample = largest_layer(network, recordings) // (len(recordings) * samples)
    enough = max(3, _FEW // max(of_a_sample, 1))
    if enough >= samples or not network.parts_by_sample:
        return recordings
    wrong = {place["n"] for row in failed for place in (row.first, row.worst) if place}
    picked = np.array(sorted({*range(enough), *wrong}))
    return [recording.of_samples(picked) for recording in recordings]


@dataclass(frozen=True)
class BlindSpot:
    """A fault that a run would not show, by its name."""

    fault: str
    layer: str  # where it would be
    reason: str  # why it would not show
    remedy: str  # what to do so that it would


def blind_spots(network: Network, recordings: Recordings, faults: Sequence[Fault]) -> tuple[BlindSpot, ...]:
    """Return the faults that a run which matches the network would also match with."""

    def hidden(candidates: list[Injection], run: Recordings) -> list[Injection]:
        shown = which_show([each.network for each in candidates], network, run)
        return [each for each, is_shown in zip(candidates, shown, strict=True) if not is_shown]

    # Where no states were recorded, nothing can be wrong with them.
    recorded = any(recording.states for recording in recordings)
    candidates = list(injections(network, [each for each in faults if recorded or each.group != "recording"]))
    few = few_samples(network, recordings)
    if few is not recordings:  # most faults show in a few samples already
        glanced = hidden([each for each in candidates if each.fault.group not in MIXING], few)
        candidates = [each for each in candidates if each in glanced or each.fault.group in MIXING]
    # As the run matches, what nobody recorded is what the equations give.
    call = observe(network, emulate(network, [recording.inputs for recording in recordings]))[0]
    spots = []
    for each in hidden(candidates, recordings):
        layer = network.layer(each.layer)
        causes = (*each.fault.hidden_by, SATURATED, UNDER_THE_NOISE)
        cause = next(cause for cause in causes if cause.holds(layer, call))
        spots.append(BlindSpot(each.fault.name, each.layer, cause.reason, cause.remedy))
    return tuple(spots)
