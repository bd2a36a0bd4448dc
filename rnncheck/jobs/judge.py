"""Run jobs, in this process or in others, and judge what became of them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from rnncheck.cases.array_files import is_raw, taken_for_granted
from rnncheck.cases.case import Case, reproduce_command
from rnncheck.cases.deviations import deviations_of
from rnncheck.cases.inputs import check_range
from rnncheck.checks.check import check
from rnncheck.checks.one_step import OneStep, first_wrong_step
from rnncheck.checks.relations import Related
from rnncheck.checks.unchecked import take_as_given
from rnncheck.checks.verdicts import FAILED, Check, Row, Verdict, failed_row, worst
from rnncheck.equations.formats import in_format, own_format
from rnncheck.errors import InputError, escaped
from rnncheck.faults.explain import Reasons, explain
from rnncheck.frameworks.keras.environment import environment
from rnncheck.frameworks.keras.paths import PATHS
from rnncheck.frameworks.keras.session import configured_backend, load_keras, require_keras
from rnncheck.frameworks.recorded import read_recording, told_digits, worth_recording
from rnncheck.frameworks.sources import Subject
from rnncheck.jobs.backends import OTHER_WEIGHTS, differences, have_the_same_weights
from rnncheck.jobs.job import DEFAULT_PATHS, Job
from rnncheck.jobs.perform import Run, perform
from rnncheck.jobs.processes import Answer, run_in_processes
from rnncheck.jobs.uses import use_exports
from rnncheck.network import Network, Recording
from rnncheck.report.console import tell, with_progress
from rnncheck.report.entry import DEVIATES, MOST_PICTURED, Difference, Entry
from rnncheck.report.report import Report

# More jobs than this are worth the start of further processes, which share the cores with each other.
_FEW = 12
_MOST_PROCESSES = 4


def run_and_judge(jobs: Sequence[Job], backends: Sequence[str] = (), most_diagnosed: int | None = None) -> Report:
    """Run jobs on each backend, or on the one that Keras has here; an interrupt ends this and keeps what was found.

    After `most_diagnosed` mismatches no reason is searched for any more; None to diagnose all.
    """
    entries: list[Entry] = []
    found: list[Difference] = []
    settings: dict[str, dict[str, None]] = {}  # name -> its values, in the order in which backends have them
    interrupted = False
    try:
        # Closing ends the processes at once, also after an interrupt.
        with contextlib.closing(_runs(jobs, backends)) as answers:
            for job, answer in zip(jobs, with_progress(jobs, answers), strict=True):
                runs = {_where(job, backend): each for backend, (each, _) in answer.items()}
                for _, environment_there in answer.values():
                    for name, value in environment_there.items():
                        settings.setdefault(name, {})[value] = None
                alike = have_the_same_weights(runs.values())
                for backend, each in runs.items():
                    notes = () if alike else (OTHER_WEIGHTS,)
                    judged = judge(job, each, backend, notes, diagnosed=_may_diagnose(entries, most_diagnosed))
                    entries += judged if len(jobs) <= MOST_PICTURED else map(_without_pictures, judged)
                for name, used in use_exports(job):
                    ways = next(iter(runs.values()))  # the first backend's paths, to stand beside
                    runs[name] = tuple(replace(used[0].run, path=each.path) for each in ways)
                    for use in used:
                        as_used = replace(job, subject=job.subject.used_as(use.way)) if use.way else job
                        diagnosed = _may_diagnose(entries, most_diagnosed) and not use.in_8_bits
                        own = {"way": use.way, "weights": use.weights, "refused": dict(use.refused)}
                        entries += judge(as_used, [use.run], name, use.notes, diagnosed=diagnosed, **own)
                if alike:
                    found += differences(job.subject.name, runs, by_path=job.paths != DEFAULT_PATHS)
    except KeyboardInterrupt:
        interrupted = True
    where = {name: ", ".join(values) for name, values in settings.items()} or environment()
    return Report(where, tuple(entries), interrupted, tuple(found))


def _may_diagnose(entries: Sequence[Entry], most: int | None) -> bool:
    """Whether a further mismatch gets a reason, after those there are."""
    return most is None or sum(entry.verdict is Verdict.MISMATCH for entry in entries) < most


def _where(job: Job, backend: str) -> str:
    """Return where a job ran, by name where exports stand beside it."""
    if backend or not (job.exports or job.to_export):
        return backend
    return job.subject.runner.framework if job.subject.runner else configured_backend()


def _without_pictures(entry: Entry) -> Entry:
    """Forget what the pictures of a match need: many runs take much memory."""
    return replace(entry, network=None, recordings=()) if entry.verdict is Verdict.MATCH else entry


def _runs(jobs: Sequence[Job], backends: Sequence[str]) -> Generator[dict[str, Answer]]:
    """Yield what became of each job on each backend: few jobs run in this process, many in several."""
    processes = min(_MOST_PROCESSES, os.cpu_count() or 1) if len(jobs) > _FEW else 1
    if runner := next((job.subject.runner for job in jobs), None):
        if backends:
            raise InputError(f"backends: got them with {runner.what}; expected none: these are Keras' backends.")
        for job in jobs:
            yield {"": (perform(job), environment())}
        return
    require_keras(backends)
    tell("loading Keras")
    if backends or processes > 1:
        # Each backend has one process: the backends already run side by side.
        yield from run_in_processes(jobs, backends or ("",), 1 if backends else processes)
        return
    load_keras()
    for job in jobs:
        yield {"": (perform(job), environment())}


def judge_recording(
    subject: Subject,
    recordings: Sequence[Recording],
    related: tuple[Related, ...] = (),
    *,
    precision: str | None = None,
    diagnosed: bool = True,
    places: Sequence[tuple[str, str]] = (),
    **how: Any,
) -> Report:
    """Check what another program recorded in one call or several in a row.

    `places` are where outputs and states of each call are from, "outputs" and "states" if none are given; `how` are
    other fields of the job.

    Raises:
        InputError: there is no such precision, or the inputs lie outside its range.
    """
    for recording, place in zip(recordings, places or [("outputs", "states")] * len(recordings), strict=True):
        if precision is not None:
            check_range(in_format(subject.equations, precision), recording.inputs)
        for note in told_digits(subject.equations, recording, *place):
            subject = subject.noting(note)
    # Nothing is run, so that there is no path.
    job = Job(subject, tuple(each.inputs for each in recordings), paths=(), precision=precision, **how)
    run = Run(network=subject.equations, recordings=tuple(recordings), related=related)
    return Report(environment(), judge(job, [run], diagnosed=diagnosed))


def judge_files(
    model: Path,
    inputs: Sequence[Path],
    outputs: Sequence[Path],
    states: Sequence[Path] = (),
    architecture: Path | None = None,
    unchecked: str = "refuse",
    dtype: str | None = None,
    **options: Any,
) -> Report:
    """Check what another program recorded in files, one of each for a call; states are those after every step.

    `dtype` is that of raw binary files.

    Raises:
        InputError: there is not one file of each kind for every call, or a file does not fit the model.
    """
    for name, paths in (("outputs", outputs), ("states", states or inputs)):
        if len(paths) != len(inputs):
            raise InputError(
                f"--{name}: got {len(paths)} of them with {len(inputs)} of --inputs; expected one for each call."
            )
    if dtype is not None and not any(map(is_raw, (*inputs, *outputs, *states))):
        raise InputError(
            "--dtype: got it with files that say what they hold; expected raw binary among them. Leave it out."
        )
    subject = Subject.of(model, architecture, unchecked=unchecked)
    calls = list(zip_longest(inputs, outputs, states))
    recordings = [read_recording(subject.equations, *call, dtype) for call in calls]
    for path in inputs:
        subject = subject.noting(taken_for_granted(path, subject.equations.inputs))
    places = [
        (escaped(of_outputs.name), escaped(of_states.name) if of_states else "") for _, of_outputs, of_states in calls
    ]
    return judge_recording(subject, recordings, places=places, **options)


def judge(
    job: Job,
    runs: Sequence[Run],
    backend: str = "",
    notes: Sequence[str] = (),
    *,
    diagnosed: bool = True,
    **own: Any,
) -> tuple[Entry, ...]:
    """Check what became of a job; return an entry of a report for each path that was run.

    `backend` is where it ran, if there are several, and `own` further fields of the entries. Unless `diagnosed`, a
    mismatch is given no reason.
    """
    missing = [f"path `{each.path}` was not run: {each.not_applicable}" for each in runs if each.not_applicable]
    done = [each for each in runs if not each.not_applicable]
    if not done:  # nothing ran, which is the result
        done, missing = [Run(error="; ".join(missing))], []
    case = job.subject.model if isinstance(job.subject.model, Case) else None
    entries = []
    for run in done:
        rows, said, reasons, step, network, recordings = _checked(
            job, run, job.subject.name if case is None else case.layer, diagnosed
        )
        if run.path and run.network and worst(rows) in FAILED:
            known = deviations_of(case or run.network, backend or environment()["backend"])
            said = (*said, *(f"{DEVIATES}{reason}" for reason in known))
        # The usual path goes without saying, unless it was one of several.
        path = run.path if job.paths != DEFAULT_PATHS else ""
        words = (f" --paths {path}" if path else "") + (" --metamorphic" if job.relations else "")
        entry = Entry(
            job.subject.name,
            rows,
            seed=job.seed,
            case=None if case is None else case.to_dict(),
            model=job.subject.name if case is None else None,
            reproduce="" if case is None else reproduce_command(case) + words,
            notes=(*job.subject.notes, *missing, *said, *notes),
            backend=backend,
            path=path,
            unchecked=tuple(run.network.unchecked) if run.network else (),
            step=step,
            network=network,
            recordings=recordings,
            **reasons._asdict(),
            **own,
        )
        entries.append(entry)
    return tuple(entries)


class _Checked(NamedTuple):
    rows: tuple[Row, ...]
    notes: Sequence[str] = ()
    reasons: Reasons = Reasons()
    step: OneStep | None = None
    network: Network | None = None
    recordings: tuple[Recording, ...] = ()


def _checked(job: Job, run: Run, name: str, diagnosed: bool) -> _Checked:
    """Hold a run against the equations."""
    if run.network is None or run.error:
        return _Checked((failed_row(name, run.error),))
    network, recordings, said = take_as_given(run.network, run.recordings)
    recorded = not run.path  # by another program
    # A path may multiply in another format than the layers name, such as TF32 on a GPU.
    precision = job.precision or ("" if recorded else PATHS[run.path].format)
    unchanged, network = network, in_format(network, precision) if precision else network
    tell("checking every number")
    rows, notes = check(network, recordings, job.tolerance, run.related)
    notes = (*said, *notes)
    if not rows:
        return _Checked((failed_row(name, "no layer is left to check"),), notes)
    # The rows of relations hold one run against another: no fault of the equations explains them.
    known = tuple(row for row in rows if row.check in set(Check))
    verdict = worst(known)
    if verdict is Verdict.MISMATCH and not diagnosed:
        return _Checked(rows, notes, Reasons(), None, network, recordings)
    asked = recorded or verdict is Verdict.MISMATCH
    tell("looking for reasons")
    reasons = explain(
        network,
        recordings,
        known,
        stated=(precision or own_format(network)) if asked else "",
        unchanged=unchanged,
        with_blind_spots=job.blind_spots,
    )
    advice = () if job.paths else _advice(network, recordings[0], verdict)
    step = first_wrong_step(network, recordings, known)
    return _Checked(rows, (*notes, *advice), reasons, step, network, recordings)


def _advice(network: Network, recording: Recording, verdict: Verdict) -> Iterator[str]:
    """Say what a verdict on recorded arrays assumes, and what would make one possible."""
    if network.stateful:
        yield "the model is stateful: the first call that was recorded is taken to start from zero states."
    if verdict is Verdict.UNDECIDABLE and (helpful := worth_recording(network, recording)):
        yield (
            f"record the state h of {', '.join(map(repr, helpful))} after every step, (N, T, M), and give it as "
            "states: then every step is checked on its own, and the verdict does not depend on how errors grow."
        )
