"""A job: what to run, on which inputs, and how."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnncheck.cases.array_files import read_arrays, taken_for_granted, told_of
from rnncheck.cases.case import Case
from rnncheck.cases.inputs import check_inputs, no_inputs_given, random_inputs
from rnncheck.checks.end_to_end import Tolerance
from rnncheck.checks.relations import RELATIONS
from rnncheck.errors import InputError
from rnncheck.frameworks.exports import EXPORTERS, Export, open_export
from rnncheck.frameworks.keras.paths import named_paths
from rnncheck.frameworks.sources import Calls, Subject

DEFAULT_PATHS = ("predict",)


@dataclass(frozen=True, eq=False)
class Job:
    """Something to check, and how. It can be pickled unless its subject is a model in this process."""

    subject: Subject
    calls: Calls = ()  # the inputs of each call in a row; empty for a case, which makes its own
    seed: int | None = None  # what weights or inputs were drawn with; None if they were given
    paths: tuple[str, ...] = DEFAULT_PATHS  # of rnncheck.frameworks.keras.paths.PATHS
    relations: tuple[str, ...] = ()  # of rnncheck.checks.relations.RELATIONS, to try on each path
    tolerance: Tolerance | None = None  # an extra limit to check
    precision: str | None = None  # the format that recorded arrays were computed in; None for that of the model
    exports: tuple[Export, ...] = ()  # files that another runtime runs, to hold against the model's equations
    to_export: tuple[str, ...] = ()  # of rnncheck.frameworks.exports.EXPORTERS: what Keras is to write, for the same
    blind_spots: bool = False  # whether to look for the faults that a run which matches could not have shown


def how_to_run(
    paths: Sequence[str],
    *,
    metamorphic: bool,
    tolerance: Tolerance | None,
    blind_spots: bool,
    against: Sequence[str | os.PathLike[str]] = (),
    export: Sequence[str] = (),
) -> dict[str, Any]:
    """Return those fields of a Job that say how to run it, from options of `rnncheck.verify`."""
    relations = tuple(RELATIONS) if metamorphic else ()
    against = [against] if isinstance(against, str | os.PathLike) else against  # a single one is one, too
    export = [export] if isinstance(export, str) else export
    exports = tuple(open_export(Path(each)) for each in against)
    if len({each.name for each in exports}) < len(exports):
        raise InputError(f"against: got two files of the name {exports[0].name}; expected other names. Rename one.")
    for form in export:
        if form not in EXPORTERS:
            raise InputError(f"export: got {form!r}; expected {' or '.join(EXPORTERS)}.")
    return {
        "paths": named_paths(paths),
        "relations": relations,
        "tolerance": tolerance,
        "blind_spots": blind_spots,
        "exports": exports,
        "to_export": tuple(dict.fromkeys(export)),
    }


def case_job(case: Case, **how: Any) -> Job:
    """Return the job of building a case and running it."""
    return Job(Subject.of(case), seed=case.seed, **how)


def model_job(
    subject: Subject, inputs: Any, *, seed: int, samples: int | None = None, steps: int | None = None, **how: Any
) -> Job:
    """Return the job of running a model or a file; the inputs and their options are those of `rnncheck.verify`."""
    network = subject.equations
    compared = [name for name, field in (("against", "exports"), ("export", "to_export")) if how.get(field)]
    if network.unchecked and compared:
        raise InputError(
            f"{compared[0]}: got it with layer {next(iter(network.unchecked))!r}, which is not checked; expected "
            "none, since an export does not show what such a layer puts out."
        )
    if network.unchecked and how.get("relations"):
        raise InputError(
            f"metamorphic: got it with layer {next(iter(network.unchecked))!r}, which is not checked; expected none, "
            "since nobody knows how far rounding carries what such a layer puts out."
        )
    if subject.runner is not None and how.get("to_export"):
        raise InputError(f"export: got it with {subject.runner.what}; expected a model of Keras, which exports it.")
    if subject.runner is not None and how.get("exports") and not subject.runner.samples_first:
        raise InputError(
            f"against: got it with {subject.runner.what} of which an input or an output has the steps first, "
            "or axes of its own; expected the samples first and no axes besides. Transpose or squeeze in the model."
        )
    if subject.runner is not None and how.get("paths", DEFAULT_PATHS) != DEFAULT_PATHS:
        paths = ", ".join(how["paths"])
        raise InputError(
            f"paths: got {paths} with {subject.runner.what}; expected none: these are Keras' ways to compute."
        )
    if subject.model is None:
        raise InputError(
            f"{subject.name}: got a Network; expected a model of Keras or PyTorch, a file or a Case, which run."
        )
    if inputs is None:
        arrays = random_inputs(network, seed, samples, steps)
        subject = subject.noting(no_inputs_given(arrays, seed))
    elif samples is not None or steps is not None:
        given = "samples" if samples is not None else "steps"
        raise InputError(f"{given}: got both {given} and inputs; expected one or the other.")
    else:
        arrays = check_inputs(network, inputs)
    # The second call shows whether states last from one call to the next.
    calls = (arrays, arrays) if network.stateful else (arrays,)
    return Job(subject, calls, seed if inputs is None else None, **how)


def file_job(
    path: Path, inputs: Path | None, architecture: Path | None = None, unchecked: str = "refuse", **options: Any
) -> Job:
    """Read a model file and a file of inputs, or draw random ones; return the job of running the model.

    Nothing here needs Keras, so that a mistake in a file is told before it starts.
    """
    subject = Subject.of(path, architecture, unchecked=unchecked)
    if inputs is None:
        return model_job(subject, None, **options)
    arrays = read_arrays(inputs, subject.equations.inputs)
    subject = subject.noting(taken_for_granted(inputs, subject.equations.inputs))
    with told_of(inputs):
        return model_job(subject, arrays, **options)
