"""From a case, a model or recorded arrays to a report: the flow, and the Python functions that people call."""

from __future__ import annotations

import contextlib
import math
import os
import shlex
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from numbers import Real
from pathlib import Path
from typing import Any

from rnncheck.arrays import read_arrays, taken_for_granted, told_of
from rnncheck.backends import named_backends
from rnncheck.case import SIZES, Case
from rnncheck.comparator import Row, Verdict, worst
from rnncheck.crosscheck import CrossCheck
from rnncheck.end_to_end import Tolerance
from rnncheck.errors import InputError
from rnncheck.faults import FAULTS
from rnncheck.formats import in_format, own_format
from rnncheck.inputs import check_inputs, check_range
from rnncheck.insight import FormatQuestion, Insight
from rnncheck.judging import check, judged, of_the_equations
from rnncheck.network import Activation, Network
from rnncheck.paths import named_paths
from rnncheck.recorded import FunctionRunner, make_recording, read_recording, worth_recording
from rnncheck.recording import Recording
from rnncheck.rehearsal import open_network, rehearse
from rnncheck.relations import RELATIONS, Related
from rnncheck.replay import Replayed
from rnncheck.replay import replay as run_equations
from rnncheck.report import Entry, Report
from rnncheck.stimuli import random_inputs
from rnncheck.tasks import (
    ONCE,
    Answer,
    Calls,
    CaseTask,
    FileTask,
    How,
    LoadedTask,
    Opened,
    Task,
    Work,
    described,
    related_runs,
)


def verify(
    model: Any,
    inputs: Any = None,
    *,
    seed: int = 0,
    samples: int | None = None,
    steps: int | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    paths: Sequence[str] = ("predict",),
    metamorphic: bool = False,
    backends: Sequence[str] = (),
) -> Report:
    """Check whether a Keras model computes what its equations say.

    Args:
        model: a built Sequential or functional Keras model, the path of a `.keras` or `.h5` file, or a `Case` to
            build. A file is read without Keras; Keras loads it, in safe mode, to run it. A stateful model is called
            twice in a row.
        inputs: one array (N, T, D), several in the model's order, or a mapping by the names of the inputs; random
            ones when None. A case makes its own.
        seed: of random inputs.
        samples: N of random inputs.
        steps: T of random inputs where the model leaves it open.
        rtol: relative tolerance of an extra check, together with atol.
        atol: absolute tolerance of an extra check, together with rtol.
        paths: the ways of Keras to compute it, by the names of `rnncheck.paths.PATHS`, or `["all"]`.
        metamorphic: whether to make runs besides that must give the same numbers; see `rnncheck.relations`.
        backends: Keras' backends to run on, each in a process of its own: names, or `["all"]` for those that are
            installed. None for this process alone.

    Returns:
        A report with an entry for each backend and path.

    Raises:
        InputError: the file cannot be read, the inputs do not fit the model or are not finite, or a path or a
            backend is unknown.
        UnsupportedError: the model has something that rnncheck does not replay.
    """
    from rnncheck.environment import environment

    tolerance = make_tolerance(rtol, atol)
    how = how_to_run(paths, metamorphic=metamorphic)
    named = named_backends(backends or ())
    with contextlib.ExitStack() as stack:
        if isinstance(model, Case):
            given = {"inputs": inputs is not None, "seed": seed != 0, "samples": samples, "steps": steps}
            if any(given.values()):
                said = ", ".join(name for name, value in given.items() if value)
                raise InputError(f"{said}: it came with the case {model}; expected none, for a case says its own.")
            work = case_work(model, tolerance, how)
        else:
            source = _Source.of(model)
            if named and source.loaded is not None:
                source = _saved(source, Path(stack.enter_context(tempfile.TemporaryDirectory())))
            work = _work(source, inputs, seed, samples, steps, tolerance, how)
        if not named:
            return Report(environment(), work.verify())
        cross_check = CrossCheck(named)
        for _ in cross_check.run([work]):
            pass
        return cross_check.report()


def _saved(source: _Source, folder: Path) -> _Source:
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
        paths: names of `rnncheck.paths.PATHS`, or `all` among them.
        metamorphic: whether every relation of `rnncheck.relations.RELATIONS` is tried.

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

    Raises:
        InputError: a file cannot be read, or the inputs do not fit the model.
        UnsupportedError: the model has something that rnncheck does not replay.
    """
    source = _Source.of(path)
    if inputs is None:
        return _work(source, None, seed, samples, steps, tolerance, how)
    source = source.noting(taken_for_granted(inputs, source.network.inputs))
    given = read_arrays(inputs, source.network.inputs)
    with told_of(inputs):
        return _work(source, given, seed, samples, steps, tolerance, how)


def _work(
    source: _Source,
    inputs: Any,
    seed: int,
    samples: int | None,
    steps: int | None,
    tolerance: Tolerance | None,
    how: How,
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
    return Work(source.task(calls, how), partial(_model_entries, source, tolerance, drawn_from, how))


@dataclass(frozen=True)
class _Source:
    """A model to verify: what it says of itself, and how to get it to run.

    Attributes:
        name: what to call it.
        network: its equations.
        task: (the inputs of each call in a row, how to run it) -> what runs the model; None for equations alone.
        notes: what a reader of the report must know of it.
        loaded: the Keras model, where it is in this process.
    """

    name: str
    network: Network
    task: Callable[[Calls, How], Task] | None = None
    notes: tuple[str, ...] = ()
    loaded: Any = None

    @staticmethod
    def of(model: Any) -> _Source:
        """Return a Network, a Keras model, or a file by its path, as a source."""
        if isinstance(model, Network):
            return _Source(model.name, model)
        if isinstance(model, str | os.PathLike):
            return _Source._of_file(Path(model))
        from rnncheck.extractor import extract

        network = rehearse(extract(model))

        def task(calls: Calls, how: How) -> Task:
            return LoadedTask(Opened(model, network, calls), how)

        return _Source(network.name, network, task, loaded=model)

    def noting(self, note: str) -> _Source:
        """Return the same with one more note, where there is one."""
        return replace(self, notes=(*self.notes, note)) if note else self

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


def _model_entries(
    source: _Source, tolerance: Tolerance | None, seed: int | None, how: How, given: Answer
) -> tuple[Entry, ...]:
    return tuple(
        Entry(
            source.name,
            found.rows,
            seed=seed,
            model=source.name,
            notes=(*source.notes, *found.notes),
            path=found.path,
            insight=found.insight,
        )
        for found in judged(given, source.name, tolerance, how)
    )


def compare(
    network: Any,
    inputs: Any,
    outputs: Any,
    *,
    states: Any = None,
    precision: str | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    seed: int = 0,
    metamorphic: bool = False,
) -> Report:
    """Check what any program computed against the equations of a network.

    A stateful network is taken to start from zero states.

    Args:
        network: a `Network`, a Keras model to extract one from, or the path of a `.keras` or `.h5` file.
        inputs: what the program was given: one array (N, T, D), several, or a mapping by name. Where a function
            computes the outputs, None for random ones.
        outputs: what it produced: one array, one for each output of the network, or a mapping by name; or a function
            that takes an array for each input and returns that.
        states: layer name -> the state h after every step, (N, T, M), in the order in which the layer takes the
            steps; without names one array for each recurrent layer. With them every step is checked on its own;
            without, the end-to-end check decides.
        precision: what the program computes in, one of `rnncheck.formats.FORMATS`; what the network says when None.
        rtol: relative tolerance of an extra check, together with atol.
        atol: absolute tolerance of an extra check, together with rtol.
        seed: of random inputs.
        metamorphic: whether a function is called again where it must give the same; see `rnncheck.relations`.

    Raises:
        InputError: an array does not fit the network, the precision is unknown, or there are arrays only where a
            function is needed.
        UnsupportedError: the model has something that rnncheck does not replay.
    """
    from rnncheck.environment import environment

    tolerance = make_tolerance(rtol, atol)
    source = _Source.of(network)
    related: tuple[Related, ...] = ()
    if callable(outputs):
        arrays = random_inputs(source.network, seed) if inputs is None else check_inputs(source.network, inputs)
        runner = FunctionRunner(source.network, outputs)
        inputs, (outputs,) = arrays, runner.outputs([arrays])
        related = related_runs(runner, source.network, (arrays,), tuple(RELATIONS) if metamorphic else ())
    elif metamorphic or inputs is None:
        raise InputError(
            f"{'metamorphic' if metamorphic else 'inputs=None'}: it came with recorded arrays; expected a function "
            "in the place of outputs, which can be called."
        )
    recording = make_recording(source.network, inputs, outputs, {} if states is None else states)
    return Report(environment(), (_compared(source, recording, precision, tolerance, related),))


def replay(network: Any, inputs: Any, *, every_step: bool = False) -> Replayed:
    """Run the equations of a network on inputs, in float64.

    Args:
        network: a `Network`, a Keras model to extract one from, or the path of a `.keras` or `.h5` file.
        inputs: one array (N, T, D), several in the network's order, or a mapping by name.
        every_step: whether to keep the state h of every recurrent layer after every step, (N, T, M).

    Returns:
        What they give: `outputs`, one array for each, and `sequences` by layer, where asked for. A stateful network
        starts from zero states.

    Raises:
        InputError: an array does not fit the network.
        UnsupportedError: the model has something that rnncheck does not replay.
    """
    of = _Source.of(network).network
    return run_equations(of, check_inputs(of, inputs), every_step=every_step)


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
    source = source.noting(taken_for_granted(inputs, source.network.inputs))
    return partial(_compared, source, recording, precision, tolerance)


def _compared(
    source: _Source,
    recording: Recording,
    precision: str | None,
    tolerance: Tolerance | None,
    related: Sequence[Related] = (),
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
    insight = Insight(network, (recording,), known, FAULTS, FormatQuestion(source.network, stated))
    return Entry(source.name, rows, model=source.name, notes=notes, insight=insight)


def _advice(network: Network, recording: Recording, rows: Sequence[Row]) -> Iterator[str]:
    """Say what a verdict takes for granted, and what would make one possible."""
    if network.stateful:
        yield "the model is stateful: what was recorded is taken for a first call, which starts from zero states."
    if worst(rows) is Verdict.UNDECIDABLE and (helpful := worth_recording(network, recording)):
        yield (
            f"record the state h of {', '.join(map(repr, helpful))} after every step, (N, T, M), and give it as "
            "states: then every step is checked on its own, and the verdict does not depend on how errors grow."
        )


def verify_case(case: Case, tolerance: Tolerance | None = None) -> Entry:
    """Build a case, run it in Keras and check it; a crash of the framework is an `error` row.

    Args:
        case: what to build.
        tolerance: a limit to check besides.
    """
    (entry,) = case_work(case, tolerance).verify()
    return entry


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
            insight=found.insight if worst(found.rows) is Verdict.MISMATCH else None,
        )
        for found in judged(given, case.layer, tolerance, how)
    )


def _how_words(path: str, how: How) -> str:
    """Return what a command needs besides to run on a path again."""
    return (f" --paths {path}" if path else "") + (" --metamorphic" if how.relations else "")


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
        if not (isinstance(value, Real) and math.isfinite(value) and value >= 0.0):
            raise InputError(f"{name}={value!r} came; expected a finite number from 0 up.")
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
