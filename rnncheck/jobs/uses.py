"""A model's exports: each is used in several ways, and held against the model's equations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from rnncheck.cases.inputs import random_inputs
from rnncheck.equations.replay import replay
from rnncheck.errors import InputError
from rnncheck.frameworks.apart import RuntimeFailure
from rnncheck.frameworks.exports import Export, Outcome, Slot, matched, run_export
from rnncheck.frameworks.recorded import make_recording, output_specs
from rnncheck.frameworks.sources import Calls
from rnncheck.jobs.perform import Run
from rnncheck.network import Array, Network
from rnncheck.report.console import tell


class Use(NamedTuple):
    """A way to use an export: calls in a row, from its start on."""

    way: str  # empty for the plain one
    calls: Calls
    first: int = 0  # the call from which on what it computes is held against the equations


class Used(NamedTuple):
    """What became of a use of an export."""

    way: str
    run: Run
    notes: tuple[str, ...] = ()


# How many samples are tried, and how many steps more than the plain use has.
_SAMPLES, _MORE_STEPS = (1, 2, 5), 4


def uses_of(network: Network, calls: Calls, seed: int) -> list[Use]:
    """Return the ways to use an export, the plain one first; the others find what one call cannot.

    The same again, other numbers of samples, one step, and more steps, as far as the model takes them.
    """
    if network.stateful or network.knows_samples:
        return [Use("", calls)]
    inputs, samples = calls[0], len(calls[0][0])
    steps = max((array.shape[1] for array in inputs if array.ndim > 1), default=1)
    open_steps = any(None in spec.shape for spec in network.inputs)
    sizes = {
        **{f"{n} sample{'s' * (n > 1)}": (n, steps) for n in _SAMPLES if n != samples},
        **{f"{t} step{'s' * (t > 1)}": (samples, t) for t in (1, steps + _MORE_STEPS) if open_steps and t != steps},
    }
    uses = [Use("", (inputs,)), Use("the same again", (inputs, inputs), 1)]
    for way, (n, t) in sizes.items():
        try:
            uses.append(Use(way, (random_inputs(network, seed, n, t if open_steps else None),)))
        except InputError:  # the model does not take such sizes either
            continue
    return uses


def use_export(export: Export, network: Network, calls: Calls, seed: int) -> list[Used]:
    """Use an export in each way; the plain one comes first, and says which others its runtime refused."""
    tell(f"running {export.name} in {export.runtime.name}")
    slots = [Slot(spec.name, (spec.samples, *spec.shape)) for spec in network.inputs]
    try:
        names, notes = matched("input", slots, export.inputs)
    except InputError as error:
        return [Used("", Run("", network, error=str(error)))]
    uses = uses_of(network, calls, seed)
    by_name = {slot.name: slot for slot in export.inputs}
    fed = [by_name[names[spec.name]] for spec in network.inputs]
    plain, *others = _outcomes(export, [_fed(fed, use) for use in uses])
    if isinstance(plain, str):
        return [Used("", Run("", network, error=plain), notes)]
    run, further = _recorded(network, uses[0], plain)
    pairs = list(zip(uses[1:], others, strict=True))
    refused = [f"it refuses {use.way}: {outcome}" for use, outcome in pairs if isinstance(outcome, str)]
    used = [
        Used(use.way, _recorded(network, use, outcome)[0]) for use, outcome in pairs if not isinstance(outcome, str)
    ]
    return [Used("", run, (*notes, *further, *refused)), *used]


# The calls of a use by the export's names, in batches of the size that it fixes; a text where that does not fit.
def _fed(slots: Sequence[Slot], use: Use) -> list[dict[str, Array]] | str:
    samples = len(use.calls[0][0])
    size = next((slot.shape[0] for slot in slots if slot.shape[0]), samples)
    if samples % size:
        return f"its batch is fixed to {size}, and {samples} is no multiple of it"
    return [
        {slot.name: array[start : start + size].astype(slot.dtype) for slot, array in zip(slots, inputs, strict=True)}
        for inputs in use.calls
        for start in range(0, samples, size)
    ]


# What became of each use. Where the process dies, each gets one of its own, so that one does not take the others.
def _outcomes(export: Export, fed: Sequence[list[dict[str, Array]] | str]) -> list[Outcome]:
    runnable = [calls for calls in fed if not isinstance(calls, str)]
    try:
        outcomes = run_export(export, runnable)
    except RuntimeFailure as failure:
        if not failure.died:
            return [str(failure)] * len(fed)
        outcomes = [_alone(export, calls) for calls in runnable]
    found = iter(outcomes)
    return [calls if isinstance(calls, str) else next(found) for calls in fed]


def _alone(export: Export, calls: list[dict[str, Array]]) -> Outcome:
    try:
        (outcome,) = run_export(export, [calls])
    except RuntimeFailure as failure:
        return str(failure)
    return outcome


# What a use computed, and which of the export's outputs are which of the model's.
def _recorded(network: Network, use: Use, found: Sequence[Mapping[str, Array]]) -> tuple[Run, tuple[str, ...]]:
    batches = len(found) // len(use.calls)
    recordings = []
    notes: tuple[str, ...] = ()
    try:
        for number, inputs in enumerate(use.calls):
            parts = found[number * batches : (number + 1) * batches]
            outputs = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            wanted = [Slot(spec.name, (len(inputs[0]), *spec.shape)) for spec in output_specs(network, inputs)]
            there = [Slot(name, y.shape) for name, y in outputs.items()]
            names, notes = matched("output", wanted, there, _distance(network, inputs, wanted, outputs))
            given = [outputs[names[slot.name]] for slot in wanted]
            recordings.append(make_recording(network, inputs, given, {}))
    except (InputError, ValueError) as error:  # such as outputs of another shape
        return Run("", network, error=str(error)), ()
    return Run("", network, tuple(recordings[use.first :])), notes


# How far the numbers of an output of the model, by its equations, are from those of one of the export.
def _distance(
    network: Network, inputs: Sequence[Array], wanted: Sequence[Slot], outputs: Mapping[str, Array]
) -> Callable[[str, str], float]:
    @cache
    def expected() -> dict[str, Array]:
        return dict(zip((slot.name for slot in wanted), replay(network, inputs).outputs, strict=True))

    def distance(own: str, other: str) -> float:
        far = np.abs(expected()[own] - outputs[other])
        return float(np.nan_to_num(far, nan=np.inf, posinf=np.inf).sum())

    return distance
