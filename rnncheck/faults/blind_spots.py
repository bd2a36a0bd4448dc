"""Which faults a run could never have shown: those that change nothing there, or stay under the noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rnncheck.checks.observed import Call, observe
from rnncheck.checks.threads import Mapper
from rnncheck.faults.catalogue.fault import Fault, Injection, injections
from rnncheck.faults.trial import MIXING, few_samples, which_show
from rnncheck.network import Network, Recording


@dataclass(frozen=True)
class BlindSpot:
    """A fault that a run would not show.

    Attributes:
        fault: its name.
        layer: where it would be.
        reason: why it would not show.
        remedy: what to do so that it would.
    """

    fault: str
    layer: str
    reason: str
    remedy: str


# What to say of a fault whose causes all fail to apply.
_UNDER_THE_NOISE = (
    "it moves no number here by more than rounding does",
    "Use larger weights or inputs, and more samples and steps.",
)


def blind_spots(
    network: Network, recordings: Sequence[Recording], faults: Sequence[Fault], mapper: Mapper = map
) -> tuple[BlindSpot, ...]:
    """Return the faults that a run which matches would also match with.

    Args:
        network: the equations, which the run matches.
        recordings: the run, one recording for each call.
        faults: which to try.
        mapper: `map`, or a function like it that uses several threads.
    """
    candidates = list(injections(network, faults))
    few = few_samples(network, recordings)
    if few is not recordings:  # most faults show in a few samples already
        glanced = [each for each in candidates if each.fault.group not in MIXING]
        hidden = _hidden(glanced, network, few, mapper)
        candidates = [each for each in candidates if each in hidden or each.fault.group in MIXING]
    call = observe(network, recordings)[0]
    return tuple(_blind_spot(each, network, call) for each in _hidden(candidates, network, recordings, mapper))


def _hidden(
    candidates: Sequence[Injection], network: Network, recordings: Sequence[Recording], mapper: Mapper
) -> list[Injection]:
    """Return those that a run does not show."""
    shown = which_show([each.network for each in candidates], network, recordings, mapper)
    return [each for each, is_shown in zip(candidates, shown, strict=True) if not is_shown]


def _blind_spot(injection: Injection, network: Network, call: Call) -> BlindSpot:
    layer = network.layer(injection.layer)
    for cause in injection.fault.hidden_by:
        if cause.holds(layer, call):
            return BlindSpot(injection.fault.name, injection.layer, cause.reason, cause.remedy)
    return BlindSpot(injection.fault.name, injection.layer, *_UNDER_THE_NOISE)
