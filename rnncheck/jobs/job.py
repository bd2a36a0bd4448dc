"""Something to run in Keras, and what became of it: in this process or in another one.

Tasks and answers can be pickled, so that `rnncheck.jobs.processes` can send them to a process with another backend.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rnncheck.cases.array_files import read_arrays, taken_for_granted, told_of
from rnncheck.cases.case import Case, reproduce_command
from rnncheck.cases.inputs import check_inputs, check_range, random_inputs
from rnncheck.checks.check import check, failed_whole, of_the_equations
from rnncheck.checks.end_to_end import Tolerance
from rnncheck.checks.observed import observe
from rnncheck.checks.relations import RELATIONS, Related, related_runs
from rnncheck.checks.steps import sees
from rnncheck.checks.verdicts import Row, Verdict, worst
from rnncheck.equations.formats import in_format, own_format
from rnncheck.errors import InputError, NotApplicableError, RnncheckError, described
from rnncheck.faults.explain import Reasons, explain
from rnncheck.frameworks.keras.paths import PATHS, named_paths
from rnncheck.frameworks.keras.session import quiet_framework
from rnncheck.frameworks.recorded import lengths_of, read_recording, state_specs
from rnncheck.frameworks.sources import ONCE, CaseTask, FileTask, How, Opened, Source, Task
from rnncheck.network import Network, Recording
from rnncheck.report.report import Entry


@dataclass(frozen=True)
class Run:
    """What became of a model on one path.

    Attributes:
        path: the name of the path.
        recordings: what was produced, one recording for each call; empty where it failed or was not run.
        related: what became of the metamorphic relations.
        error: why it failed; empty where it did not.
        not_applicable: why there was nothing to run; empty where there was.
    """

    path: str = "predict"
    recordings: tuple[Recording, ...] = ()
    related: tuple[Related, ...] = ()
    error: str = ""
    not_applicable: str = ""


@dataclass(frozen=True)
class Answer:
    """What became of a task.

    Attributes:
        network: the equations; None where there was no model to run.
        runs: one for each path.
        error: why there was no model to run; empty where there was.
        environment: versions, backend, device, where it ran in another process.
    """

    network: Network | None = None
    runs: tuple[Run, ...] = ()
    error: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def recordings(self) -> tuple[Recording, ...]:
        """What was produced on the first path."""
        return self.runs[0].recordings if self.runs else ()


def answer(task: Task) -> Answer:
    """Run a task; whatever the framework raises is an answer too.

    Raises:
        RnncheckError: the model has something that rnncheck does not replay, or the inputs do not fit it.
    """
    try:
        with quiet_framework(), task.open() as opened:
            return Answer(opened.network, tuple(_run(opened, path, task.how.relations) for path in task.how.paths))
    except RnncheckError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever the framework raises is a finding
        return Answer(error=described(error))


@dataclass(frozen=True)
class Work:
    """Something to verify: a run in Keras, here or in another process, and how to judge it.

    Attributes:
        task: what to run.
        judge: what became of it -> the entries of a report, one for each path.
    """

    task: Task
    judge: Callable[[Answer], tuple[Entry, ...]]

    def verify(self) -> tuple[Entry, ...]:
        """Run it in this process, and judge it."""
        return self.judge(answer(self.task))


def _run(opened: Opened, path: str, relations: Sequence[str]) -> Run:
    from rnncheck.frameworks.keras.paths import PATHS
    from rnncheck.frameworks.keras.run import running

    try:
        with running(opened.model, opened.network, opened.calls, PATHS[path]) as runner:
            recordings = runner.record(opened.calls)
            return Run(path, recordings, related_runs(runner, opened.network, opened.calls, relations))
    except NotApplicableError as reason:
        return Run(path, not_applicable=str(reason))
    except RnncheckError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever the framework raises is a finding
        refusal = PATHS[path].refusal
        if refusal and refusal in str(error):
            return Run(path, not_applicable=f"Keras says that {refusal} for one of the layers")
        return Run(path, error=described(error))


@dataclass(frozen=True)
class Judged:
    """What came of one path: the rows of a report's entry, and what must be known besides.

    Attributes:
        rows: the comparisons.
        notes: what they rest on, and what was not run.
        path: the name of the path; empty where nobody asked for paths.
        reasons: what lies behind the rows.
    """

    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    path: str = ""
    reasons: Reasons = field(default_factory=Reasons)


def judged(
    given: Answer, name: str, tolerance: Tolerance | None, how: How, *, with_blind_spots: bool
) -> Iterator[Judged]:
    """Yield what came of each path that was run; one row that says why where nothing was."""
    missing = [f"path `{run.path}` was not run: {run.not_applicable}" for run in given.runs if run.not_applicable]
    runs = [run for run in given.runs if not run.not_applicable]
    if given.network is None or not runs:
        yield Judged((failed_whole(name, given.error or "; ".join(missing)),))
        return
    for run in runs:
        network = _on_path(given.network, run.path)
        path = run.path if how.paths != ONCE.paths else ""
        notes = tuple(missing)
        if run.error:
            yield Judged((failed_whole(name, run.error),), notes, path)
            continue
        rows, said = check(network, run.recordings, tolerance, run.related)
        known = of_the_equations(rows)
        stated = own_format(network) if worst(known) is Verdict.MISMATCH else ""
        reasons = explain(network, run.recordings, known, stated=stated, with_blind_spots=with_blind_spots)
        yield Judged(rows, (*notes, *said), path, reasons)


def _on_path(network: Network, path: str) -> Network:
    """Return what is expected on a path: its products may have another format than the model says."""
    name = PATHS[path].format
    return in_format(network, name) if name else network


def worth_recording(network: Network, recording: Recording) -> list[str]:
    """Return the recurrent layers whose states would make more steps be checked, if they were recorded too."""
    samples = len(recording.inputs[0])
    known = {spec.name: np.zeros((samples, *lengths_of(spec))) for spec in state_specs(network, recording.inputs)}
    now, then = (observe(network, [replace(recording, states=states)]) for states in (recording.states, known))
    helped = [each for each in network.layers if each.name in known and sees(each, then) and not sees(each, now)]
    return [layer.name for layer in helped if layer.name not in recording.states]


def saved(source: Source, folder: Path) -> Source:
    """Return a model in this process as one in a file, which other processes can load."""
    path = folder / "model.keras"
    try:
        source.loaded.save(path)
    except Exception as error:
        raise InputError(
            f"{source.name}: Keras cannot save it ({described(error)}); expected one that can be saved, for other "
            "backends load it in processes of their own."
        ) from error
    return replace(source, task=partial(FileTask, path), loaded=None)


def how_to_run(paths: Sequence[str] = ("predict",), *, metamorphic: bool = False) -> How:
    """Return how models are to be run.

    Args:
        paths: names of `rnncheck.frameworks.keras.paths.PATHS`, or `all` among them.
        metamorphic: whether every relation of `rnncheck.checks.relations.RELATIONS` is tried.

    Raises:
        InputError: there is no such path.
    """
    return How(named_paths(paths), tuple(RELATIONS) if metamorphic else ())


def read_verification(
    path: Path,
    inputs: Path | None,
    *,
    seed: int,
    samples: int | None = None,
    steps: int | None = None,
    tolerance: Tolerance | None = None,
    how: How = ONCE,
    with_blind_spots: bool = True,
) -> Work:
    """Read a model file and the inputs of another file, or draw random ones; return what there is to verify.

    Whatever is wrong with the files is found before Keras is needed.

    Args:
        path: a `.keras` or `.h5` file.
        inputs: `.npy`, `.npz` or `.csv`; None for random inputs.
        seed: of random inputs.
        samples: N of random inputs.
        steps: T of random inputs where the model leaves it open.
        tolerance: a limit to check besides.
        how: how to run it.
        with_blind_spots: whether to look for the faults that the run could not have shown.

    Raises:
        InputError: a file cannot be read, or the inputs do not fit the model.
        UnsupportedError: the model has something that rnncheck does not replay.
    """
    source = Source.of(path)
    if inputs is None:
        return work_on(source, None, seed, samples, steps, tolerance, how, with_blind_spots=with_blind_spots)
    source = source.noting(taken_for_granted(inputs, source.network.inputs))
    given = read_arrays(inputs, source.network.inputs)
    with told_of(inputs):
        return work_on(source, given, seed, samples, steps, tolerance, how, with_blind_spots=with_blind_spots)


def work_on(
    source: Source,
    inputs: Any,
    seed: int,
    samples: int | None,
    steps: int | None,
    tolerance: Tolerance | None,
    how: How,
    *,
    with_blind_spots: bool = True,
) -> Work:
    """Check the inputs that are given, or draw random ones; a stateful model is called twice in a row."""
    if source.task is None:
        raise InputError(f"{source.name}: a Network came; expected a Keras model, a file or a Case, which run.")
    if inputs is not None and (samples is not None or steps is not None):
        said = "samples" if samples is not None else "steps"
        raise InputError(f"{said}: it came with inputs; expected it for random inputs alone.")
    if inputs is not None:
        arrays, drawn_from = check_inputs(source.network, inputs), None
    else:
        arrays, drawn_from = random_inputs(source.network, seed, samples, steps), seed
    calls = (arrays, arrays) if source.network.stateful else (arrays,)
    judge = partial(_model_entries, source, tolerance, drawn_from, how, with_blind_spots)
    return Work(source.task(calls, how), judge)


def _model_entries(
    source: Source, tolerance: Tolerance | None, seed: int | None, how: How, with_blind_spots: bool, given: Answer
) -> tuple[Entry, ...]:
    return tuple(
        Entry(
            source.name,
            found.rows,
            seed=seed,
            model=source.name,
            notes=(*source.notes, *found.notes),
            path=found.path,
            **found.reasons._asdict(),
        )
        for found in judged(given, source.name, tolerance, how, with_blind_spots=with_blind_spots)
    )


def read_comparison(
    path: Path,
    inputs: Path,
    outputs: Path,
    states: Path | None = None,
    *,
    precision: str | None = None,
    tolerance: Tolerance | None = None,
    with_blind_spots: bool = True,
) -> Callable[[], Entry]:
    """Read a model file and what a program was given and computed; return what checks it.

    Args:
        path: a `.keras` or `.h5` file.
        inputs: `.npy`, `.npz`, `.csv` or `.json`.
        outputs: likewise.
        states: likewise, the state h after every step of some or all recurrent layers.
        precision: what the program computes in; what the file says when None.
        tolerance: a limit to check besides.
        with_blind_spots: whether to look for the faults that the arrays could not have shown.

    Raises:
        InputError: a file cannot be read, or an array does not fit the model.
        UnsupportedError: the model has something that rnncheck does not replay.
    """
    source = Source.of(path)
    recording = read_recording(source.network, inputs, outputs, states)
    source = source.noting(taken_for_granted(inputs, source.network.inputs))
    return partial(compared, source, recording, precision, tolerance, with_blind_spots=with_blind_spots)


def compared(
    source: Source,
    recording: Recording,
    precision: str | None,
    tolerance: Tolerance | None,
    related: Sequence[Related] = (),
    *,
    with_blind_spots: bool = True,
) -> Entry:
    """Check what a program recorded."""
    network = source.network
    if precision is not None:
        network = in_format(network, precision)
        check_range(network, recording.inputs)
    rows, notes = check(network, (recording,), tolerance, related)
    known = of_the_equations(rows)
    notes = (*source.notes, *notes, *_advice(network, recording, known))
    stated = precision or own_format(source.network)
    reasons = explain(
        network,
        (recording,),
        known,
        stated=stated,
        unchanged=source.network,
        with_blind_spots=with_blind_spots,
    )
    return Entry(source.name, rows, model=source.name, notes=notes, **reasons._asdict())


def _advice(network: Network, recording: Recording, rows: Sequence[Row]) -> Iterator[str]:
    """Say what a verdict takes for granted, and what would make one possible."""
    if network.stateful:
        yield "the model is stateful: what was recorded is taken for a first call, which starts from zero states."
    if worst(rows) is Verdict.UNDECIDABLE and (helpful := worth_recording(network, recording)):
        yield (
            f"record the state h of {', '.join(map(repr, helpful))} after every step, (N, T, M), and give it as "
            "states: then every step is checked on its own, and the verdict does not depend on how errors grow."
        )


def case_work(case: Case, tolerance: Tolerance | None = None, how: How = ONCE) -> Work:
    """Return a case as something to verify."""
    return Work(CaseTask(case, how), partial(_case_entries, case, tolerance, how))


def _case_entries(case: Case, tolerance: Tolerance | None, how: How, given: Answer) -> tuple[Entry, ...]:
    return tuple(
        Entry(
            str(case),
            found.rows,
            seed=case.seed,
            case=case.to_dict(),
            reproduce=reproduce_command(case) + _how_words(found.path, how),
            notes=found.notes,
            path=found.path,
            **found.reasons._asdict(),
        )
        for found in judged(given, case.layer, tolerance, how, with_blind_spots=False)
    )


def _how_words(path: str, how: How) -> str:
    """Return what a command needs besides to run on a path again."""
    return (f" --paths {path}" if path else "") + (" --metamorphic" if how.relations else "")
