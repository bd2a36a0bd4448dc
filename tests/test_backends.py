"""Every backend of Keras in a process of its own: all match, and a crash is an error row, not the end."""

import json
import os
import pickle
import signal
from dataclasses import replace

import numpy as np
import pytest

import rnncheck
from rnncheck.cases.case import LAYERS, Case
from rnncheck.cases.deviations import BACKENDS, KNOWN_DEVIATIONS, deviates
from rnncheck.cases.grid import default_grid
from rnncheck.checks.verdicts import Verdict
from rnncheck.errors import InputError
from rnncheck.frameworks.keras import session
from rnncheck.frameworks.keras.build import build
from rnncheck.frameworks.sources import Subject
from rnncheck.jobs.backends import differences, have_the_same_weights, named_backends
from rnncheck.jobs.job import Job, case_job
from rnncheck.jobs.judge import judge, run_and_judge
from rnncheck.jobs.perform import Run
from rnncheck.jobs.processes import run_in_processes
from rnncheck.network import Activation, Layer, Network, Recording, Tensor
from rnncheck.report.entry import Difference

_SIZES = {"N": 3, "T": 5, "D": 2, "M": 4, "K": 1}

# What backends do in ways of their own: masks, states, weights.
CASES = [
    Case(**_SIZES, layer="lstm", seed=1),
    Case(**_SIZES, layer="stacked", cell="gru", mask="holes", zero_output_for_mask=True, return_state=True, seed=25),
    Case(**_SIZES, weights="keras", seed=28),
]
# Every other layer, wrapper, direction and format.
OTHERS = [
    *(Case(**_SIZES, layer=layer, seed=number) for number, layer in enumerate(LAYERS) if layer != "lstm"),
    Case(**_SIZES, layer="lstm", wrapper="bidirectional", return_sequences=True, mask="mixed", seed=21),
    Case(**_SIZES, layer="gru", wrapper="time_distributed", seed=22),
    Case(**_SIZES, layer="gru", reset_after=False, go_backwards=True, mask="left", return_sequences=True, seed=23),
    Case(**_SIZES, layer="simple_rnn", initial_state=True, dtype="float16", seed=26),
    Case(**_SIZES, layer="lstm", dtype="mixed_bfloat16", unroll=True, seed=27),
]
# Whose weights are the same on all backends.
SAME_WEIGHTS = [case for case in CASES if case.weights != "keras"]


@pytest.fixture(scope="module")
def found():
    """The report on the cases, on all backends."""
    assert named_backends(["all"]) == BACKENDS, "the tests need all backends; run make install"
    return run_and_judge([case_job(case) for case in CASES], BACKENDS)


def verdict_of(case, answer):
    runs, _ = answer
    (entry,) = judge(case_job(case), runs)
    return entry.verdict


@pytest.mark.long
def test_every_layer_and_wrapper_matches_on_every_backend():
    report = run_and_judge([case_job(case) for case in OTHERS], BACKENDS)

    assert len(report.entries) == len(OTHERS) * len(BACKENDS)
    assert {entry.verdict for entry in report.entries} == {Verdict.MATCH}, report


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_case_matches_on_every_backend(found, backend):
    entries = [entry for entry in found.entries if entry.backend == backend]

    assert [entry.name for entry in entries] == [str(case) for case in CASES]
    assert {entry.verdict for entry in entries} == {Verdict.MATCH}, found


def test_backends_differ_by_rounding_and_not_by_nothing(found):
    assert [each.case for each in found.differences] == [str(case) for case in SAME_WEIGHTS for _ in range(3)]
    float32 = {str(case) for case in CASES if case.dtype == "float32"}
    largest = max(each.max_abs_diff for each in found.differences if each.case in float32)
    assert 0.0 < largest < 1e-5


def test_nothing_is_said_of_a_difference_between_weights(found):
    own = [entry for entry in found.entries if "weights=keras" in entry.name]

    assert len(own) == 3
    assert all("draw other weights on each backend" in note for entry in own for note in entry.notes)
    assert not any("draw other" in note for entry in found.entries if entry not in own for note in entry.notes)


def test_environment_names_all_backends(found):
    assert found.environment["backend"] == "tensorflow, jax, torch"
    assert {"jax", "torch", "tensorflow"} <= set(found.environment)


def test_report_says_which_backend_an_entry_is_from(found):
    said = found.to_dict()

    assert [case["backend"] for case in said["cases"][:3]] == list(BACKENDS)
    assert len(said["backend_differences"]) == len(found.differences)
    assert set(said["backend_differences"][0]) == {"case", "backends", "max_abs_diff"}
    assert set(found.to_frame()["backend"]) == set(BACKENDS)
    lines = str(found).splitlines()
    assert lines[0].startswith(f"MATCH  {3 * len(CASES)} cases: all ")
    assert lines[2].split() == ["case", "tensorflow", "jax", "torch", "differ", "by"]
    assert lines[-1].startswith(f"{3 * len(CASES)} cases, ")


@pytest.mark.long
def test_command_runs_a_file_on_another_backend(tmp_path, rnncheck_command):
    path = tmp_path / "report.json"

    done = rnncheck_command("verify", "rnncheck/demo/sine.keras", "--backend", "jax", "--json", path)

    assert done.code == 0, done.out
    cases = json.loads(path.read_text())["cases"]
    assert [(case["model"], case["backend"], case["verdict"]) for case in cases] == [
        ("sine.keras", "jax", "match"),
    ]


@pytest.mark.long
def test_model_in_this_process_runs_on_other_backends():
    built = build(CASES[0])

    report = rnncheck.verify(built.model, built.calls[0], backends=["jax", "torch"], paths=["no_use_cudnn"])

    assert report.environment["backend"] == "jax, torch"
    assert [(entry.backend, entry.path, entry.verdict) for entry in report.entries] == [
        ("jax", "no_use_cudnn", Verdict.MATCH),
        ("torch", "no_use_cudnn", Verdict.MATCH),
    ]
    assert [each.path for each in report.differences] == ["no_use_cudnn"]
    assert str(report).splitlines()[2].split()[-1] != "-"  # how far they differ


def test_model_in_this_process_runs_on_another_backend():
    built = build(CASES[0])

    report = rnncheck.verify(built.model, built.calls[0], backends=["jax"], paths=["no_use_cudnn"])

    (entry,) = report.entries
    assert (entry.backend, entry.path, entry.verdict) == ("jax", "no_use_cudnn", Verdict.MATCH)
    assert report.environment["backend"] == "jax"


def test_model_that_cannot_be_saved_is_refused(monkeypatch):
    built = build(CASES[0])

    def fails(path):
        raise ValueError("no name")

    monkeypatch.setattr(built.model, "save", fails)
    with pytest.raises(InputError, match=r"got a model that Keras cannot save \(ValueError: no name\)"):
        rnncheck.verify(built.model, built.calls[0], backends=["torch"])


DEVIATIONS = [deviation for deviation in KNOWN_DEVIATIONS if deviation.backends != BACKENDS]


@pytest.fixture(scope="module")
def deviating():
    """What became of the example of every deviation, on all backends."""
    answers = run_in_processes([case_job(deviation.example) for deviation in DEVIATIONS], BACKENDS)
    return dict(zip([deviation.reason for deviation in DEVIATIONS], answers, strict=True))


@pytest.mark.long
@pytest.mark.parametrize("deviation", DEVIATIONS, ids=lambda deviation: deviation.reason)
def test_known_deviation_of_a_backend_is_still_there(deviating, deviation):
    assert deviation.applies(deviation.example)

    answers = deviating[deviation.reason]

    verdicts = {backend: verdict_of(deviation.example, answer) for backend, answer in answers.items()}
    there = {verdicts.pop(backend) for backend in deviation.backends}
    mended = f"this Keras has mended it: {deviation.reason}; take it out of KNOWN_DEVIATIONS"
    assert there <= {Verdict.MISMATCH, Verdict.ERROR}, mended
    assert set(verdicts.values()) == {Verdict.MATCH}


def test_grid_for_a_backend_leaves_out_what_deviates_there():
    assert set(default_grid(backends=["jax"])) < set(default_grid())
    assert not any(deviates(case, ["jax"]) for case in default_grid(backends=BACKENDS))


# --- what goes wrong ---


class Deadly(Subject):
    """What ends the process that opens it."""

    def in_keras(self, calls):
        del calls
        os.kill(os.getpid(), signal.SIGKILL)


class Loud(Subject):
    """What prints, and fails."""

    def in_keras(self, calls):
        del calls
        os.write(1, b"to stdout")
        os.write(2, b"to stderr")
        raise ValueError("loud")


def answers_of(*jobs, backend, **options):
    """Run jobs on one backend; return what became of each."""
    return [answer[backend] for answer in run_in_processes(jobs, [backend], **options)]


def test_backends_come_in_the_order_of_the_list():
    assert named_backends(["torch", "jax"]) == ("jax", "torch")


def test_unknown_backend_is_refused(rnncheck_command):
    done = rnncheck_command("verify", "--backend", "theano")

    assert done == (2, "", "rnncheck: backend: got 'theano'; expected tensorflow, jax, torch or all.\n")


def test_backend_that_is_not_installed_is_refused_with_the_command(monkeypatch):
    monkeypatch.setattr(session, "find_spec", lambda name: None if name == "jax" else name)

    with pytest.raises(InputError) as caught:
        named_backends(["jax"])

    assert str(caught.value) == (
        "backend: got 'jax', which is not installed; expected one that is. Run: pip install \"rnncheck[jax]\""
    )
    assert named_backends(["all"]) == ("tensorflow", "torch")


def test_crash_is_an_answer_and_the_next_task_runs():
    jobs = [Job(Loud("loud", None)), Job(Deadly("deadly", None)), Job(Loud("loud", None))]

    before, crashed, after = answers_of(*jobs, backend="torch")

    assert before[0][0].error == after[0][0].error == "ValueError: loud"
    assert crashed[0][0].error == "torch: its process died with exit code SIGKILL(-9)"
    assert verdict_of(CASES[0], crashed) is Verdict.ERROR


@pytest.mark.long
def test_cases_around_a_crash_match():
    jobs = [case_job(CASES[0]), Job(Deadly("deadly", None)), case_job(CASES[0])]

    before, _, after = answers_of(*jobs, backend="torch")

    assert verdict_of(CASES[0], before) is Verdict.MATCH
    assert verdict_of(CASES[0], after) is Verdict.MATCH


def test_what_a_process_prints_reaches_nobody(capfd):
    (((run,), _),) = answers_of(Job(Loud("loud", None)), backend="torch")

    assert run.error == "ValueError: loud"
    assert capfd.readouterr() == ("", "")


def test_processes_without_loky_are_refused_with_the_command(rnncheck_command, monkeypatch):
    monkeypatch.setattr(session, "find_spec", lambda name: None if name == "loky" else name)

    done = rnncheck_command("verify", "-N", "2", "--backend", "torch")

    assert (done.code, done.out) == (2, "")
    assert done.err == (
        'rnncheck: loky: got no such package; expected it, to run models. Run: pip install "rnncheck[torch]"\n'
    )


def test_backend_that_takes_too_long_is_stopped():
    (((run,), _),) = answers_of(case_job(CASES[0]), backend="torch", time_limit=0.01)

    assert run.error == "torch took longer than 0.01 s and was stopped"


@pytest.mark.long
def test_exception_of_a_backend_is_an_answer():
    (((run,), _),) = answers_of(case_job(replace(CASES[0], layer="conv_lstm_1d", mask="left")), backend="jax")

    assert run.recordings == ()
    assert run.error.startswith(
        "ValueError: Exception encountered when calling ConvLSTM1D.call(). Incompatible shapes"
    )


def test_layers_travel_between_processes():
    layer = Layer(
        "rnn", "SimpleRNN", (Tensor("x"),), {"activation": Activation("leaky_relu", {"negative_slope": 0.1})},
        {"kernel": np.ones((2, 3))},
    )  # fmt: skip

    copy = pickle.loads(pickle.dumps(layer))  # noqa: S301

    assert (copy.name, copy.options, copy.inputs) == (layer.name, layer.options, layer.inputs)
    np.testing.assert_array_equal(copy.weights["kernel"], layer.weights["kernel"])


# --- from runs made by hand ---


def a_run(path, *outputs, calls=1):
    recording = Recording((), tuple(np.array(each) for each in outputs))
    return Run(path, recordings=(recording,) * calls)


def test_largest_difference_of_each_two_backends_on_each_path_that_both_ran():
    runs = {
        "tensorflow": [a_run("", [1.0, 2.0], [3.0]), a_run("jit", [1.0])],
        "jax": [a_run("", [1.5, 2.0], [3.0]), a_run("jit", [1.0])],
        "torch": [a_run("", [1.0, 2.0], [5.0]), Run("jit", not_applicable="no")],
    }

    assert list(differences("m", runs, by_path=True)) == [
        Difference("m", ("tensorflow", "jax"), 0.5, ""),
        Difference("m", ("tensorflow", "torch"), 2.0, ""),
        Difference("m", ("jax", "torch"), 2.0, ""),
        Difference("m", ("tensorflow", "jax"), 0.0, "jit"),
    ]
    assert [each.path for each in differences("m", runs, by_path=False)] == [""] * 4


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([1.0, np.nan], [1.0, np.nan], 0.0),
        ([1.0, np.inf], [1.25, np.inf], 0.25),
        ([1.0, np.inf], [1.0, -np.inf], np.inf),
        ([1.0, np.nan], [1.0, 1.0], np.inf),
        ([1.0], [-1.0], 2.0),
        ([np.float16(2.0)], [np.float16(2.0)], 0.0),
    ],
    ids=str,
)
def test_difference_of_numbers_that_are_not_finite(one, other, expected):
    (found,) = differences("m", {"jax": [a_run("", one)], "torch": [a_run("", other)]}, by_path=True)

    assert found.max_abs_diff == expected


def test_backends_have_the_same_weights_if_every_weight_is_equal():
    def runs(*weights):
        layers = (Layer("a", "Flatten"), Layer("b", "Constant", weights={"value": np.array(weights, np.float32)}))
        return [Run(network=Network("m", (), layers, ()))]

    assert have_the_same_weights([runs(1.0, np.nan), [Run(error="broken")], runs(1.0, np.nan)])
    assert not have_the_same_weights([runs(1.0, 2.0), runs(1.0, 2.0), runs(1.0, 3.0)])
    assert have_the_same_weights([[Run(error="broken")]])
