"""From a case, a model or recorded arrays to a report: the flow, and the Python functions that people call."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rnncheck.arrays import read_arrays
from rnncheck.case import SIZES, Case
from rnncheck.comparator import Check, Row, Verdict, failed_row, worst
from rnncheck.end_to_end import Tolerance, end_to_end_rows
from rnncheck.equations import CELLS
from rnncheck.errors import InputError
from rnncheck.faults import FAULTS
from rnncheck.formats import in_format, own_format
from rnncheck.inputs import check_inputs
from rnncheck.insight import FormatQuestion, Insight
from rnncheck.layers import OutsideTableError
from rnncheck.network import Activation, Network
from rnncheck.observed import disagreements, observe
from rnncheck.parallel import threads
from rnncheck.recorded import make_recording, read_recording
from rnncheck.recording import Recording
from rnncheck.rehearsal import open_network, rehearse
from rnncheck.report import Entry, Report
from rnncheck.steps import all_steps_match, step_rows
from rnncheck.stimuli import random_inputs
from rnncheck.tasks import Answer, Calls, CaseTask, FileTask, LoadedTask, Task, answer


def verify(
    model: Any,
    inputs: Any = None,
    *,
    seed: int = 0,
    samples: int | None = None,
    steps: int | None = None,
    rtol: float | None = None,
    atol: float | None = None,
) -> Report:
    """Check whether a Keras model computes what its equations say.

    Args:
        model: a built Sequential or functional Keras model, or the path of a `.keras` or `.h5` file. A file is read
            without Keras; Keras loads it, in safe mode, to run it. A stateful model is called twice in a row.
        inputs: one array (N, T, D), several in the model's order, or a mapping by the names of the inputs; random
            ones when None.
        seed: of random inputs.
        samples: N of random inputs.
        steps: T of random inputs where the model leaves it open.
        rtol: relative tolerance of an extra check, together with atol.
        atol: absolute tolerance of an extra check, together with rtol.

    Returns:
        A report with one entry.

    Raises:
        InputError: the file cannot be read, or the inputs do not fit the model or are not finite.
        UnsupportedError: the model has something that rnncheck does not replay.
    """
    from rnncheck.environment import environment

    tolerance = make_tolerance(rtol, atol)
    source = _Source.of(model)
    entry = _work(source, inputs, seed, samples, steps, tolerance).verify()
    return Report(environment(), (entry,))


@dataclass(frozen=True)
class Work:
    """Something to verify: a run in Keras, here or in another process, and how to judge it.

    Attributes:
        task: what to run.
        judge: what became of it -> the entry of a report.
    """

    task: Task
    judge: Callable[[Answer], Entry]

    def verify(self) -> Entry:
        """Run it in this process, and judge it."""
        return self.judge(answer(self.task))


def read_verification(
    path: Path,
    inputs: Path | None,
    *,
    seed: int,
    samples: int | None = None,
    steps: int | None = None,
    tolerance: Tolerance | None = None,
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

    Raises:
        InputError: a file cannot be read, or the inputs do not fit the model.
        UnsupportedError: the model has something that rnncheck does not replay.
    """
    source = _Source.of(path)
    given = None if inputs is None else read_arrays(inputs, source.network.inputs)
    return _work(source, given, seed, samples, steps, tolerance)


def _work(
    source: _Source, inputs: Any, seed: int, samples: int | None, steps: int | None, tolerance: Tolerance | None
) -> Work:
    """Check the inputs that are given, or draw random ones; a stateful model is called twice in a row."""
    if inputs is not None:
        arrays, drawn_from = check_inputs(source.network, inputs), None
    else:
        arrays, drawn_from = random_inputs(source.network, seed, samples, steps), seed
    calls = (arrays, arrays) if source.network.stateful else (arrays,)
    assert source.task is not None
    return Work(source.task(calls), partial(_model_entry, source, tolerance, drawn_from))


@dataclass(frozen=True)
class _Source:
    """A model to verify: what it says of itself, and how to get it to run.

    Attributes:
        name: what to call it.
        network: its equations.
        task: the inputs of each call in a row -> what runs the model on them; None for equations alone.
        notes: what a reader of the report must know of it.
    """

    name: str
    network: Network
    task: Callable[[Calls], Task] | None = None
    notes: tuple[str, ...] = ()

    @staticmethod
    def of(model: Any) -> _Source:
        """Return a Keras model, or a file by its path, as a source."""
        if isinstance(model, str | os.PathLike):
            return _Source._of_file(Path(model))
        from rnncheck.extractor import extract

        network = rehearse(extract(model))
        return _Source(network.name, network, partial(LoadedTask, model, network))

    @staticmethod
    def _of_file(path: Path) -> _Source:
        file, network = open_network(path)
        return _Source(path.name, network, partial(FileTask, path), _notes_on(network, file.keras_version))


def _notes_on(network: Network, keras_version: str) -> tuple[str, ...]:
    """Say where the Keras that wrote a file computed something else than today's."""
    activations = {
        value.name for layer in network.layers for value in layer.options.values() if isinstance(value, Activation)
    }
    if "hard_sigmoid_keras2" not in activations:
        return ()
    note = (
        f"the file was written by Keras {keras_version}, whose hard_sigmoid is 0.2x + 0.5; that is what is expected. "
        "Keras 3 computes x/6 + 0.5 when it loads the file: a mismatch here says that the model changed."
    )
    return (note,)


def _model_entry(source: _Source, tolerance: Tolerance | None, seed: int | None, given: Answer) -> Entry:
    rows, notes, insight = _judged(given, source.name, tolerance)
    return Entry(source.name, rows, seed=seed, model=source.name, notes=(*source.notes, *notes), insight=insight)


def _judged(
    given: Answer, name: str, tolerance: Tolerance | None
) -> tuple[tuple[Row, ...], tuple[str, ...], Insight | None]:
    """Return the rows of a run, what must be known of it besides, and what lies behind; one row where it failed."""
    if given.network is None:
        failed = failed_row(layer=name, output="all", check=Check.END_TO_END, shape=(), detail=given.error)
        return (failed,), (), None
    rows, notes = check(given.network, given.recordings, tolerance)
    return rows, notes, _insight(given.network, given.recordings, rows)


def _insight(network: Network, recordings: Sequence[Recording], rows: Sequence[Row]) -> Insight:
    """Return what lies behind the rows of a run in Keras; what it computed in is asked where it does not match."""
    asked = FormatQuestion(network, own_format(network)) if worst(rows) is Verdict.MISMATCH else None
    return Insight(network, recordings, rows, FAULTS, asked)


def compare(
    network: Any,
    inputs: Any,
    outputs: Any,
    *,
    states: Mapping[str, Any] | None = None,
    precision: str | None = None,
    rtol: float | None = None,
    atol: float | None = None,
) -> Report:
    """Check what any program computed against the equations of a network.

    A stateful network is taken to start from zero states.

    Args:
        network: a `Network`, a Keras model to extract one from, or the path of a `.keras` or `.h5` file.
        inputs: what the program was given: one array (N, T, D), several, or a mapping by name.
        outputs: what it produced: one array, one for each output of the network, or a mapping by name.
        states: layer name -> the state h after every step, (N, T, M), in the order in which the layer takes the
            steps. With them every step is checked on its own; without, the end-to-end check decides.
        precision: what the program computes in, one of `rnncheck.formats.FORMATS`; what the network says when None.
        rtol: relative tolerance of an extra check, together with atol.
        atol: absolute tolerance of an extra check, together with rtol.

    Raises:
        InputError: an array does not fit the network, or the precision is unknown.
        UnsupportedError: the model has something that rnncheck does not replay.
    """
    from rnncheck.environment import environment

    tolerance = make_tolerance(rtol, atol)
    source = _Source(network.name, network) if isinstance(network, Network) else _Source.of(network)
    recording = make_recording(source.network, inputs, outputs, states or {})
    return Report(environment(), (_compared(source, recording, precision, tolerance),))


def read_comparison(
    path: Path,
    inputs: Path,
    outputs: Path,
    states: Path | None = None,
    *,
    precision: str | None = None,
    tolerance: Tolerance | None = None,
) -> Callable[[], Entry]:
    """Read a model file and what a program was given and computed; return what checks it.

    Args:
        path: a `.keras` or `.h5` file.
        inputs: `.npy`, `.npz`, `.csv` or `.json`.
        outputs: likewise.
        states: likewise, the state h after every step of some or all recurrent layers.
        precision: what the program computes in; what the file says when None.
        tolerance: a limit to check besides.

    Raises:
        InputError: a file cannot be read, or an array does not fit the model.
        UnsupportedError: the model has something that rnncheck does not replay.
    """
    source = _Source.of(path)
    recording = read_recording(source.network, inputs, outputs, states)
    return partial(_compared, source, recording, precision, tolerance)


def _compared(source: _Source, recording: Recording, precision: str | None, tolerance: Tolerance | None) -> Entry:
    """Check what a program recorded."""
    network = source.network if precision is None else in_format(source.network, precision)
    rows, notes = check(network, (recording,), tolerance)
    notes = (*source.notes, *notes, *_advice(network, recording, rows))
    stated = precision or own_format(source.network)
    insight = Insight(network, (recording,), rows, FAULTS, FormatQuestion(source.network, stated))
    return Entry(source.name, rows, model=source.name, notes=notes, insight=insight)


def _advice(network: Network, recording: Recording, rows: Sequence[Row]) -> Iterator[str]:
    """Say what a verdict takes for granted, and what would make one possible."""
    if network.stateful:
        yield "the model is stateful: what was recorded is taken for a first call, which starts from zero states."
    hidden = [layer.name for layer in network.layers if layer.kind in CELLS and layer.name not in recording.states]
    if hidden and worst(rows) is Verdict.UNDECIDABLE:
        yield (
            f"record the state h of {', '.join(map(repr, hidden))} after every step, (N, T, M), and give it as "
            "states: then every step is checked on its own, and the verdict does not depend on how errors grow."
        )


def verify_case(case: Case, tolerance: Tolerance | None = None) -> Entry:
    """Build a case, run it in Keras and check it; a crash of the framework is an `error` row.

    Args:
        case: what to build.
        tolerance: a limit to check besides.
    """
    return case_work(case, tolerance).verify()


def case_work(case: Case, tolerance: Tolerance | None = None) -> Work:
    """Return a case as something to verify."""
    return Work(CaseTask(case), partial(_case_entry, case, tolerance))


def _case_entry(case: Case, tolerance: Tolerance | None, given: Answer) -> Entry:
    rows, notes, insight = _judged(given, case.layer, tolerance)
    return Entry(
        str(case),
        rows,
        seed=case.seed,
        case=case.to_dict(),
        reproduce=reproduce_command(case),
        notes=notes,
        insight=insight if worst(rows) is Verdict.MISMATCH else None,
    )


def check(
    network: Network, recordings: Sequence[Recording], tolerance: Tolerance | None = None
) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """Run all checks on what was recorded.

    Args:
        network: the equations.
        recordings: what the implementation produced, one for each call in a row.
        tolerance: a limit to check besides.

    Returns:
        The rows, and notes on what they rest on.

    Raises:
        InputError: an Embedding inside the model was given an id that it does not have.
    """
    try:
        return _check(network, recordings, tolerance)
    except OutsideTableError as error:
        raise InputError(str(error)) from error


def _check(
    network: Network, recordings: Sequence[Recording], tolerance: Tolerance | None
) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    with threads() as mapper:
        calls = observe(network, recordings)
        steps = step_rows(network, calls, mapper)
        notes = disagreements(network, calls)
        vouched = all_steps_match(network, steps) and not notes
        ends = end_to_end_rows(network, recordings, mapper, steps_checked=vouched, tolerance=tolerance)
    return (*steps, *ends), notes


def make_tolerance(rtol: float | None, atol: float | None) -> Tolerance | None:
    """Return the extra limit that somebody asked for, or None.

    Raises:
        InputError: only one of the two is given, or one is negative or not finite.
    """
    if rtol is None and atol is None:
        return None
    if rtol is None or atol is None:
        given, missing = ("rtol", "atol") if atol is None else ("atol", "rtol")
        raise InputError(
            f"{given}: it came without {missing}; expected both or neither. Add {missing}, 0 if need be."
        )
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not (math.isfinite(value) and value >= 0.0):
            raise InputError(f"{name}={value} came; expected a finite number from 0 up.")
    return Tolerance(rtol, atol)


def reproduce_command(case: Case) -> str:
    """Return the command line that runs a case again."""
    words = ["rnncheck", "verify", "--layer", case.layer]
    for size in SIZES:
        words += [f"-{size}", str(getattr(case, size))]
    words += ["--seed", str(case.seed)]
    for name, value in case.changed_options().items():
        flag = "--" + name.replace("_", "-")
        words += (
            [f"--no-{name.replace('_', '-')}"] if value is False else [flag] if value is True else [flag, str(value)]
        )
    return shlex.join(words)
