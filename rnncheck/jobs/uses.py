"""A model's exports: each is used in several ways, and held against the model's equations."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from rnncheck.equations.formats import in_format
from rnncheck.equations.quantised import with_quantised_factors, with_quantised_results
from rnncheck.equations.replay import replay
from rnncheck.equations.shapes import check_fit
from rnncheck.errors import InputError
from rnncheck.frameworks.apart import RuntimeFailure
from rnncheck.frameworks.arrivals import Arrival, arrivals, as_arrived
from rnncheck.frameworks.exports import (
    EXPORTERS,
    RESET,
    Contents,
    Export,
    Outcome,
    Slot,
    contents_of,
    exported,
    matched,
    run_export,
    written,
)
from rnncheck.frameworks.recorded import make_recording, output_specs
from rnncheck.frameworks.sources import Calls
from rnncheck.jobs.job import Job
from rnncheck.jobs.perform import Run
from rnncheck.network import Array, Network
from rnncheck.report.console import tell


class Use(NamedTuple):
    """A way to use an export: calls in a row, from its start on."""

    way: str  # empty for the plain one
    calls: Calls
    first: int = 0  # the call from which on what it computes is held against the equations
    resets: bool = False  # whether its states are set back between the calls


class Used(NamedTuple):
    """What became of a use of an export."""

    way: str
    run: Run
    notes: tuple[str, ...] = ()
    weights: tuple[Arrival, ...] = ()  # what became of the model's weights in it; at the plain use alone
    in_8_bits: bool = False  # whether all numbers have 8 bits, which are too few to tell faults apart
    # The ways that the runtime refused, with its reasons; at the plain use alone too.
    refused: Mapping[str, str] = MappingProxyType({})


# How many samples are tried, and how many steps more than the plain use has.
_SAMPLES, _MORE_STEPS = (1, 2, 5), 4


def uses_of(network: Network, calls: Calls, *, resets: bool = False) -> list[Use]:
    """Return the ways to use an export, the plain one first; the others find what one call cannot.

    The same again, and after a reset where its runtime `resets` states; other numbers of samples, one step, and more
    steps, as far as the model takes them, of the same numbers; of a stateful model the sequence in two parts.
    """
    if network.knows_samples:
        return [Use("", calls)]
    inputs, samples = calls[0], len(calls[0][0])
    steps = max((array.shape[1] for array in inputs if array.ndim > 1), default=1)
    open_steps = [spec.shape[:1] == (None,) for spec in network.inputs]
    after_a_reset = [Use("after a reset", (inputs, inputs), 1, resets=True)] if resets else []
    if network.stateful:
        half = steps // 2
        parts = tuple(tuple(array[:, part] for array in inputs) for part in (np.s_[:half], np.s_[half:]))
        in_parts = [Use("in two parts", parts)] if half and all(open_steps) else []
        return [Use("", calls), *after_a_reset, *in_parts]

    def of_size(n: int, t: int) -> tuple[Array, ...]:
        # As often as needed, from the first on; whole numbers of which each sample has one are lengths.
        some = [np.take(x, np.arange(n), axis=0, mode="wrap") for x in inputs]
        some = [np.minimum(x, t) if x.ndim == 1 and x.dtype.kind == "i" else x for x in some]
        return tuple(
            np.take(x, np.arange(t), axis=1, mode="wrap") if is_open else x
            for x, is_open in zip(some, open_steps, strict=True)
        )

    uses = [Use("", (inputs,)), Use("the same again", (inputs, inputs), 1), *after_a_reset]
    if all(spec.samples is None for spec in network.inputs):
        uses += [Use(f"{n} sample{'s' * (n > 1)}", (of_size(n, steps),)) for n in _SAMPLES if n != samples]
    for t in (1, steps + _MORE_STEPS):
        if t != steps and any(open_steps):
            with suppress(InputError):  # the model does not take so many steps either
                check_fit(network, found := of_size(samples, t))
                uses.append(Use(f"{t} step{'s' * (t > 1)}", (found,)))
    return uses


def use_export(export: Export, network: Network, calls: Calls) -> list[Used]:
    """Use an export in each way; the plain one comes first, and says which others its runtime refused.

    It is held against the equations with the weights that it has, where these have fewer digits than the model's.
    """
    tell(f"running {export.name} in {export.runtime.name}")
    slots = [Slot(spec.name, (spec.samples, *spec.shape)) for spec in network.inputs]
    try:
        names, notes = matched("input", slots, export.inputs)
    except InputError as error:
        return [Used("", Run("", network, error=str(error)))]
    try:
        contents = contents_of(export)
    except InputError as error:
        contents, notes = Contents([], Counter()), (*notes, f"what became of its weights is not known: {error}")
    weights = tuple(arrivals(network, contents.arrays)) if contents.arrays else ()
    notes = (*notes, *_told_of(weights))
    uses = uses_of(network, calls, resets=export.runtime.resets)
    by_name = {slot.name: slot for slot in export.inputs}
    fed = [by_name[names[spec.name]] for spec in network.inputs]
    plain, *others = _outcomes(export, [_fed(fed, use) for use in uses])
    if isinstance(plain, str):
        return [Used("", Run("", network, error=plain), notes, weights)]
    held = partial(_as_held, network, weights, contents)
    run, further = _recorded(held(calls), uses[0], plain)
    used, refused = [], {}
    for use, outcome in zip(uses[1:], others, strict=True):
        if isinstance(outcome, str):
            refused[use.way] = outcome
        else:
            of_use, _ = _recorded(held(use.calls), use, outcome)
            used.append(Used(use.way, of_use, in_8_bits=contents.in_8_bits))
    said = [f"it refuses {way}: {reason}" for way, reason in refused.items()]
    return [Used("", run, (*notes, *further, *said), weights, contents.in_8_bits, refused), *used]


def use_exports(job: Job) -> Iterator[tuple[str, list[Used]]]:
    """Yield the name of each export of a job and what became of its uses; Keras writes those that are asked of it."""
    if not (job.exports or job.to_export):
        return
    network = job.subject.equations
    for export in job.exports:
        yield export.name, use_export(export, network, job.calls)
    for form in job.to_export:
        with tempfile.TemporaryDirectory() as folder:
            tell(f"exporting the model to {form}")
            try:
                saved = job.subject.saved_in(Path(folder)).model
                export = exported(job.subject.name, saved, job.calls[0], form, Path(folder))
            except InputError as error:
                yield f"exported{EXPORTERS[form]}", [Used("", Run("", network, error=str(error)))]
            else:
                yield export.name, use_export(export, network, job.calls)


# What is expected of an export in some calls, given what it holds.
def _as_held(network: Network, weights: Sequence[Arrival], contents: Contents, calls: Calls) -> Network:
    arrived = as_arrived(network, weights)
    if contents.in_8_bits:
        return with_quantised_results(arrived, calls)
    if contents.precision:
        return in_format(arrived, contents.precision)
    return with_quantised_factors(arrived, calls, {each.layer for each in weights if each.in_integers})


def _told_of(weights: Sequence[Arrival]) -> Iterator[str]:
    counts = Counter(each.form for each in weights if each.form)
    if counts:
        told = ", ".join(f"{count} in {form}" for form, count in counts.items())
        more = "; what meets these is rounded to 8 bits, too" * any(each.in_integers for each in weights)
        of = f"{counts.total()} of the model's {len(weights)} weights"
        yield f"{of} are rounded there ({told}): the equations use these{more}"
    if missing := [f"{each.layer}/{each.weight}" for each in weights if not each.how]:
        yield f"these weights of the model were not found in it, in no layout that was tried: {', '.join(missing)}"


# The calls of a use by the export's names, in batches of the size that it fixes; a text where that does not fit.
def _fed(slots: Sequence[Slot], use: Use) -> list[dict[str, Array]] | str:
    samples = len(use.calls[0][0])
    size = next((slot.shape[0] for slot in slots if slot.shape[0]), samples)
    if samples % size:
        return f"its batch is fixed to {size}, and {samples} is no multiple of it"
    for slot, x in ((slot, x) for inputs in use.calls for slot, x in zip(slots, inputs, strict=True)):
        if any(size not in {None, length} for size, length in zip(slot.shape[1:], x.shape[1:], strict=True)):
            own, got = (written(each[1:]) for each in (slot.shape, x.shape))
            return f"its input {slot.name!r} is fixed to {own} for a sample, and got {got}; give inputs of that size"
        if np.dtype(slot.dtype).kind != "f" and not np.array_equal(x, x.astype(slot.dtype)):
            return f"its input {slot.name!r} takes {slot.dtype}; convert the model with inputs and outputs of float32"
    fed = [
        [
            {slot.name: x[start : start + size].astype(slot.dtype) for slot, x in zip(slots, inputs, strict=True)}
            for start in range(0, samples, size)
        ]
        for inputs in use.calls
    ]
    between = [RESET] if use.resets else []
    return [call for number, calls in enumerate(fed) for call in (*(between if number else ()), *calls)]


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
