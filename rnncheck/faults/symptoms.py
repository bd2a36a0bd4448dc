"""How the error of a run looks where nothing explains it: when it starts, whom it concerns, how it grows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rnncheck.checks.observed import observe
from rnncheck.checks.steps import differences
from rnncheck.checks.thresholds import SCORE_LIMIT
from rnncheck.checks.verdicts import Check, Row, Verdict
from rnncheck.faults.catalogue.fault import halves
from rnncheck.network import Array, Network, Recording

# The first step that is wrong -> what that hints at.
_STARTS = {
    0: "wrong from the first step on: look at what is done with the inputs",
    1: "right at the first step, wrong from the second on: look at what is done with the states",
}
# From how much larger scores at the end than at the start are said to grow.
_GROWS = 4.0


def describe(network: Network, recordings: Sequence[Recording], rows: Sequence[Row]) -> str:
    """Return how the error looks in the first layer that fails, in words; what to record where no step was seen."""
    failed = [row for row in rows if row.verdict is Verdict.MISMATCH]
    names = [row.layer for row in failed if row.check is Check.STEP]
    if not names:
        if _is_baked(network, recordings):
            return (
                "every call gives the same numbers, and they are not those from zero states: the export has a state "
                "written into it, the one that the model had at that moment"
            )
        states = next((row for row in failed if row.output == "h"), None)
        if states is None:
            return "no step was observed; record the states of every step to see where it goes wrong"
        place = " ".join(f"{axis}={index}" for axis, index in (states.first or {}).items())
        what = f"its states differ from {place} on; what its steps start from was not recorded"
        return f"layer {states.layer!r}: {what}, so an earlier layer may be to blame"
    layer = next(layer for layer in network.layers if layer.name in names)
    seen = next(iter(differences(layer, observe(network, recordings)[:1])), None)
    if seen is None or seen.value.ndim < 2:
        return ""
    said = [] if np.isfinite(seen.value).all() else ["NaN or infinity on one side only"]
    said += [*_when(seen.scores), *_whom(seen.scores)]
    both = [each.name for each in halves(network, layer)]
    if 0 < len({*both} & {*names}) < len(both):
        said.append(f"only {layer.name!r} of {' and '.join(map(repr, both))}")
    ends = [row for row in rows if row.check is Check.END_TO_END and row.output != "h"]
    if ends and all(row.verdict is Verdict.MATCH for row in ends) and np.median(seen.scores) > SCORE_LIMIT:
        said.append(f"but the outputs are right: what was recorded as the states of {layer.name!r} is probably not h")
    return f"layer {layer.name!r}: {'; '.join(said) or 'every number is far off'}"


# Whether calls on equal inputs give the same numbers, where a state should have changed in between.
def _is_baked(network: Network, recordings: Sequence[Recording]) -> bool:
    first, *others = recordings
    return (
        network.stateful
        and bool(others)
        and all(_equal(first.inputs, each.inputs) and _equal(first.outputs, each.outputs) for each in others)
    )


def _equal(some: Sequence[Array], others: Sequence[Array]) -> bool:
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(some, others, strict=True))


def _when(scores: Array) -> list[str]:
    # (N, T, ...): at which step the error starts, and whether it grows. A layer without steps has fewer axes.
    if scores.ndim < 3:
        return []
    by_step = np.nanmax(np.where(np.isfinite(scores), scores, np.inf), axis=(0, *range(2, scores.ndim)))
    (wrong,) = np.nonzero(by_step > SCORE_LIMIT)
    if not wrong.size:
        return ["no single number is far off, but all together are"]
    if len(wrong) == 1:
        return [f"wrong at step t={wrong[0]} alone"]
    early, late = np.array_split(by_step[wrong], 2)
    grows = len(wrong) > 3 and np.median(late) > _GROWS * np.median(early)
    return [
        _STARTS.get(int(wrong[0]), f"wrong from step t={wrong[0]} on"),
        *(["it grows with time"] if grows else []),
    ]


def _whom(scores: Array) -> list[str]:
    # Which samples and units are concerned, where not all are.
    said = []
    for axis, name in ((0, "sample"), (scores.ndim - 1, "unit")):
        others = tuple(k for k in range(scores.ndim) if k != axis)
        concerned = np.flatnonzero(~(scores <= SCORE_LIMIT).all(axis=others))  # an unknown score is none that fits
        if 0 < len(concerned) < scores.shape[axis]:
            few = ", ".join(map(str, concerned[:6])) + (", ..." if len(concerned) > 6 else "")
            said.append(f"only {name}{'s' if len(concerned) > 1 else ''} {few} of {scores.shape[axis]}")
    return said
