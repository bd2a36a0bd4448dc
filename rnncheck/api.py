"""The Python functions: verify, compare, extract, replay, walk."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rnncheck.cases.case import Case
from rnncheck.cases.grid import default_grid
from rnncheck.cases.inputs import check_inputs, no_inputs_given, random_inputs
from rnncheck.checks.end_to_end import make_tolerance
from rnncheck.checks.relations import RELATIONS, Related, related_runs
from rnncheck.equations.replay import Replayed
from rnncheck.equations.replay import replay as run_equations
from rnncheck.errors import InputError
from rnncheck.frameworks.keras.session import configured_backend
from rnncheck.frameworks.recorded import FunctionRunner, make_recording
from rnncheck.frameworks.sources import Subject
from rnncheck.jobs.backends import named_backends
from rnncheck.jobs.job import Job, case_job, how_to_run, model_job
from rnncheck.jobs.judge import judge_recording, run_and_judge
from rnncheck.network import Array, Network
from rnncheck.report import notebook  # noqa: F401 - shows a Network and a Replayed
from rnncheck.report.entry import MOST_DIAGNOSED
from rnncheck.report.report import Report
from rnncheck.report.walk_table import Walk


def verify(
    model: Any = ...,
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
    blind_spots: bool = False,
    architecture: str | os.PathLike[str] | None = None,
    unchecked: str = "refuse",
    against: Sequence[str | os.PathLike[str]] = (),
    export: Sequence[str] = (),
) -> Report:
    """Check whether a model computes what its equations say; without a model, the built-in grid of cases.

    Args:
        model: a built Sequential or functional Keras model, a PyTorch module, the path of a `.keras`, `.h5` or
            `.onnx` file, or a `Case` to build. A file is read without Keras; Keras loads its own, in safe mode, to
            run it, and ONNX Runtime runs the others. A stateful model is called twice in a row. Left out: the cases
            that the command runs without arguments.
        inputs: one array (N, T, D), several in the model's order, or a mapping by the names of the inputs; random
            ones when None. A case makes its own.
        seed: for random inputs, and for the weights of the grid.
        samples: N of random inputs.
        steps: T of random inputs if the model leaves it open.
        rtol: relative tolerance of an extra check, together with atol.
        atol: absolute tolerance of an extra check, together with rtol.
        paths: compute paths of Keras, by the names of `rnncheck.frameworks.keras.paths.PATHS`, or `["all"]`.
        metamorphic: whether to run variants that must give the same numbers; see `rnncheck.checks.relations`.
        backends: Keras' backends to run on, each in a process of its own: names, or `["all"]` for those that are
            installed. None to run in this process.
        blind_spots: whether to look for the faults that a run which matches could not have shown, which takes a
            comparison for each.
        architecture: where the model is the path of a file with weights alone: the path of a `.keras`, `.h5` or
            JSON file that describes the model.
        unchecked: what becomes of a layer that rnncheck does not replay, such as one of your own: "refuse" it, or
            "allow" it. Then what it puts out is taken as given, every other layer is checked from what it was given,
            and the verdict is `undecidable` at best.
        against: files that the model was exported to, `.onnx`, `.tflite` or, of OpenVINO, `.xml`. Each is run in a
            process of its own, in several ways, and held against the equations of the model.
        export: what Keras is to export the model to, "onnx" or "litert", to be held against it in the same way.

    Returns:
        A report with an entry for each backend and path, and for each way in which each export was used.

    Raises:
        InputError: the file cannot be read, the inputs do not fit the model or are not finite, or a path or a
            backend is unknown.
        UnsupportedError: the model has something that rnncheck does not replay.
    """
    tolerance = make_tolerance(rtol, atol)
    how = how_to_run(
        paths, metamorphic=metamorphic, tolerance=tolerance, blind_spots=blind_spots, against=against, export=export
    )
    named = named_backends(backends or ())
    with contextlib.ExitStack() as stack:
        if isinstance(model, Case) or model is ...:
            given = {
                "inputs": inputs is not None,
                "seed": seed != 0 and model is not ...,
                "samples": samples,
                "steps": steps,
                "architecture": architecture is not None,
                "unchecked": unchecked != "refuse",
                "against": bool(against),
                "export": bool(export),
            }
            if names := ", ".join(name for name, value in given.items() if value):
                got = "without a model" if model is ... else f"with the case {model}"
                raise InputError(f"{names}: got it {got}; expected none, since a case has its own.")
            cases = default_grid(seed, named or (configured_backend(),)) if model is ... else [model]
            jobs = [case_job(case, **how) for case in cases]
        else:
            subject = Subject.of(model, architecture, unchecked=unchecked)
            # Other processes cannot have a model of this one: they load a file.
            if named:
                subject = subject.saved_in(Path(stack.enter_context(tempfile.TemporaryDirectory())))
            jobs = [model_job(subject, inputs, seed=seed, samples=samples, steps=steps, **how)]
        report = run_and_judge(jobs, named, MOST_DIAGNOSED if model is ... else None)
    # A script wants the interrupt itself, the command line what was found before it.
    if report.interrupted:
        raise KeyboardInterrupt
    return report


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
    blind_spots: bool = False,
    further: Sequence[Sequence[Any]] = (),
    architecture: str | os.PathLike[str] | None = None,
    unchecked: str = "refuse",
) -> Report:
    """Check what any program computed against the equations of a network.

    A stateful network is taken to start from zero states.

    Args:
        network: a `Network`, a Keras model or PyTorch module to extract one from, or the path of a `.keras`,
            `.h5` or `.onnx` file.
        inputs: what the program was given: one array (N, T, D), several, or a mapping by name. Where a function
            computes the outputs, None for random ones.
        outputs: what it produced: one array, one for each output of the network, or a mapping by name; or a function
            that takes an array for each input and returns that.
        states: layer name -> the state h after every step, (N, T, M), in the order in which the layer takes the
            steps; without names one array for each recurrent layer. With them every step is checked on its own;
            without, the end-to-end check decides.
        precision: the format that the program computes in, one of `equations.formats.FORMATS`; that of the network
            if None.
        rtol: relative tolerance of an extra check, together with atol.
        atol: absolute tolerance of an extra check, together with rtol.
        seed: for random inputs.
        metamorphic: whether to call a function again in ways that must give the same numbers; see
            `rnncheck.checks.relations`.
        blind_spots: whether to look for the faults that arrays which match could not have shown; see `verify`.
        further: what was recorded in further calls in a row, each (inputs, outputs) or (inputs, outputs, states).
        architecture: where the network is the path of a file with weights alone: the path of a `.keras`, `.h5` or
            JSON file that describes the model.
        unchecked: what becomes of a layer that rnncheck does not replay; see `verify`. What it put out has to stand
            among the states, by its name.

    Raises:
        InputError: an array does not fit the network, the precision is unknown, or there are arrays only where a
            function is needed.
        UnsupportedError: the model has something that rnncheck does not replay.
    """
    tolerance = make_tolerance(rtol, atol)
    subject = Subject.of(network, architecture, unchecked=unchecked)
    of = subject.equations
    related: tuple[Related, ...] = ()
    if callable(outputs):
        # The function runs first; from here on its outputs are a recording like any other.
        subject, arrays = _drawn(subject, seed) if inputs is None else (subject, check_inputs(of, inputs))
        runner = FunctionRunner(of, outputs)
        inputs, (outputs,) = arrays, runner.outputs([arrays])
        related = related_runs(runner, of, (arrays,), tuple(RELATIONS) if metamorphic else ())
    elif metamorphic or inputs is None:
        raise InputError(
            f"{'metamorphic' if metamorphic else 'inputs=None'}: got it with recorded arrays; expected a function in "
            "the place of outputs, which can be called."
        )
    for call in further:
        if not isinstance(call, tuple | list) or len(call) not in {2, 3}:
            raise InputError("further: got something else; expected (inputs, outputs) or (inputs, outputs, states).")
    recordings = [
        make_recording(of, given, computed, {} if recorded is None else recorded)
        for given, computed, recorded in ((inputs, outputs, states), *((*call, None)[:3] for call in further))
    ]
    return judge_recording(
        subject, recordings, related, precision=precision, tolerance=tolerance, blind_spots=blind_spots
    )


def _drawn(subject: Subject, seed: int) -> tuple[Subject, tuple[Array, ...]]:
    """Draw random inputs; return the subject with a note that says so, and them."""
    arrays = random_inputs(subject.equations, seed)
    return subject.noting(no_inputs_given(arrays, seed)), arrays


def extract(model: Any, *, architecture: str | os.PathLike[str] | None = None) -> Network:
    """Return the equations and the weights of a model as plain data.

    Args:
        model: a `Network`, a built Sequential or functional Keras model, a PyTorch module, or the path of a `.keras`,
            `.h5` or `.onnx` file, which is read without Keras.
        architecture: where the model is the path of a file with weights alone: the path of a `.keras`, `.h5` or
            JSON file that describes the model.

    Raises:
        InputError: the file cannot be read, or a weight is NaN or infinite.
        UnsupportedError: the model is not built, or has a layer, an option or a structure that rnncheck does not
            replay.
    """
    return Subject.of(model, architecture).equations


def replay(
    network: Any,
    inputs: Any,
    *,
    every_step: bool = False,
    architecture: str | os.PathLike[str] | None = None,
) -> Replayed:
    """Run the equations of a network on inputs, in float64.

    Args:
        network: a `Network`, a Keras model or PyTorch module to extract one from, or the path of a `.keras`,
            `.h5` or `.onnx` file.
        inputs: one array (N, T, D), several in the network's order, or a mapping by name.
        every_step: whether to keep the state h of every recurrent layer after every step, (N, T, M).
        architecture: where the network is the path of a file with weights alone: the path of a `.keras`, `.h5` or
            JSON file that describes the model.

    Returns:
        The results: `outputs`, one array for each, and `sequences` by layer, if asked for. A stateful network
        starts from zero states.

    Raises:
        InputError: an array does not fit the network.
        UnsupportedError: the model has something that rnncheck does not replay.
    """
    of = extract(network, architecture=architecture)
    return run_equations(of, check_inputs(of, inputs), every_step=every_step)


def walk(
    model: Any,
    inputs: Any = None,
    *,
    sample: int = 0,
    steps: tuple[int | None, int | None] | None = None,
    gates: bool = False,
    seed: int = 0,
    architecture: str | os.PathLike[str] | None = None,
) -> Walk:
    """Walk through a model step by step for one sample: by the equations, and in its framework where it can be run.

    Args:
        model: a Keras model, a PyTorch module, the path of a `.keras`, `.h5` or `.onnx` file, or a `Network`, which
            does not run.
        inputs: one array (N, T, D), several in the model's order, or a mapping by name; random ones when None.
        sample: which of the N samples.
        steps: which steps are shown, from the first up to, without it, the second; None for all, or of many the first
            and the last.
        gates: whether to keep what each activation gave at every step.
        seed: for random inputs.
        architecture: where the model is the path of a file with weights alone: the path of a `.keras`, `.h5` or
            JSON file that describes the model.

    Returns:
        The walk, which `print` and a notebook show.

    Raises:
        InputError: the inputs do not fit the model, or have no such sample or steps.
        UnsupportedError: the model has something that rnncheck does not replay.
    """
    from rnncheck.jobs.walking import walk_through

    subject = Subject.of(model, architecture)
    if subject.model is None:  # a Network
        subject, arrays = (
            _drawn(subject, seed) if inputs is None else (subject, check_inputs(subject.equations, inputs))
        )
        job = Job(subject, (arrays,))
    else:
        job = model_job(subject, inputs, seed=seed)
    return walk_through(job, sample=sample, steps=steps, gates=gates)
