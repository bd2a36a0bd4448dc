"""The self-test: what it catches, what it must not flag, and what it says when it fails."""

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from rnncheck.checks.verdicts import Check, Verdict, failed_row
from rnncheck.errors import InputError
from rnncheck.faults.catalogue import FAULTS
from rnncheck.faults.catalogue.fault import Fault
from rnncheck.jobs.self_test import named_faults, self_test
from rnncheck.report.outcomes import Control, Outcome, SelfTest
from rnncheck.report.tables import print_self_test


@pytest.mark.long  # it runs Keras on two backends, for twenty seconds
def test_command_prints_a_line_for_each_fault_and_control(rnncheck_command, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "rnncheck.jobs.self_test.named_backends", lambda names: ("tensorflow", "torch")
    )  # README's run has all
    path = tmp_path / "faults.json"

    done = rnncheck_command("faults", "transposes", "tf32_products", "--json", path)

    assert done.code == 0, done.out
    assert done.out.splitlines()[-1] == "4 of 4 faults caught; 0 of 39 correct runs flagged"
    found = json.loads(path.read_text())
    assert [fault["fault"] for fault in found["faults"]] == [
        "recurrent_kernel_transposed",
        "kernel_reshaped",
        "recurrent_kernel_reshaped",
        "tf32_products",
    ]
    assert all(fault["caught"] and fault["margin"] > 1.0 for fault in found["faults"])
    assert {control["name"]: control["runs"] for control in found["controls"]} == {
        "Keras": 3, "first to last": 3, "last to first": 3, "in pairs": 3, "fused multiply-add": 3,
        "flush to zero": 3, "sigmoid by tanh": 3, "call": 3, "jit": 3, "unroll": 3,
        "all_true_mask": 3, "batch_of_one": 3, "torch": 3,
    }  # fmt: skip


def test_fault_that_changes_nothing_is_missed_and_another_is_caught(monkeypatch):
    monkeypatch.setattr("rnncheck.jobs.self_test.named_backends", lambda names: ("tensorflow",))
    nothing = Fault("nothing", "none", "it changes nothing", lambda network, layer: network)

    found = self_test((nothing, *named_faults(("bias_dropped",))), track=lambda cases: cases[:1])

    assert not found.passed
    assert [each.name for each in found.controls] == [
        "Keras", "first to last", "last to first", "in pairs", "fused multiply-add", "flush to zero",
        "sigmoid by tanh", "call", "jit", "unroll", "all_true_mask", "batch_of_one",
    ]  # fmt: skip
    missed, caught = found.outcomes
    assert missed.hidden == 2 + 7  # in the recurrent layer and in Dense, and in those that Keras does not have
    assert found.complaints == ["missed: nothing: no case shows it"]
    assert (caught.fault, caught.caught, caught.check) == ("bias_dropped", True, "step")
    assert caught.margin > 100.0
    assert caught.case


def test_no_names_are_the_whole_catalogue():
    assert named_faults(()) == FAULTS


def test_class_stands_for_its_faults():
    assert {fault.group for fault in named_faults(("masks",))} == {"masks"}


def test_unknown_name_is_refused_with_what_is_close_to_it():
    with pytest.raises(InputError) as caught:
        named_faults(("mask_ignred",))

    assert str(caught.value).startswith(
        "faults: got 'mask_ignred'; expected names of faults or classes. Close to it: mask_ignored"
    )


def test_unknown_name_ends_with_exit_code_2(rnncheck_command):
    done = rnncheck_command("faults", "nonsense")

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("rnncheck: faults: got 'nonsense'; expected names of faults or classes. Classes: ")


OUTCOMES = (
    Outcome("one", "masks", "it does one thing", True, "step", "lstm", 123.456, "lstm N=2", 3),
    Outcome("two", "weights", "it does another"),
)
CONTROLS = (Control("Keras", "Keras as it is", 2, ("lstm N=3",), 1.234), Control("call", "in a call", 3))


def test_result_is_printed_with_what_went_wrong():
    printed = io.StringIO()

    print_self_test(SelfTest(OUTCOMES, CONTROLS), Console(file=printed, width=118))

    assert [line.rstrip() for line in printed.getvalue().splitlines()] == [
        "Faults",
        "fault  class    caught by  margin  hidden  smallest case that shows it",
        "one    masks    step       123.46       3  lstm N=2",
        "two    weights  missed          -       -",
        "Correct runs",
        "control  runs  alarms  score max  what it is",
        "Keras       2       1       1.23  Keras as it is",
        "call        3       0          0  in a call",
        "missed: two: no case shows it",
        "false alarm: Keras: lstm N=3",
        "1 of 2 faults caught; 1 of 5 correct runs flagged",
    ]


@pytest.mark.parametrize(
    ("outcomes", "controls", "code", "last"),
    [
        (OUTCOMES[:1], CONTROLS[1:], 0, "1 of 1 faults caught; 0 of 3 correct runs flagged"),
        (OUTCOMES, CONTROLS[1:], 1, "1 of 2 faults caught; 0 of 3 correct runs flagged"),
        (OUTCOMES[:1], CONTROLS, 1, "1 of 1 faults caught; 1 of 5 correct runs flagged"),
    ],
    ids=["passed", "missed", "alarm"],
)
def test_exit_code_says_whether_all_was_caught_and_nothing_flagged(
    rnncheck_command, monkeypatch, tmp_path, outcomes, controls, code, last
):
    asked = []

    def found(faults, seed, track):
        asked.append((faults, seed))
        return SelfTest(outcomes, controls)

    monkeypatch.setattr("rnncheck.jobs.self_test.self_test", found)
    path = tmp_path / "faults.json"

    done = rnncheck_command("faults", "bias_dropped", "--seed", "7", "--json", path)
    quiet = rnncheck_command("faults", "bias_dropped", "--quiet")

    assert (done.code, done.out.splitlines()[-1], done.err) == (code, last, "")
    assert quiet == (code, "", "")
    assert asked == [(named_faults(("bias_dropped",)), 7), (named_faults(("bias_dropped",)), 0)]
    written = json.loads(path.read_text())
    assert written["passed"] is (code == 0)
    assert written["environment"]["backend"] == "tensorflow"
    assert written["faults"][0] == {
        "fault": "one", "group": "masks", "summary": "it does one thing", "caught": True, "check": "step",
        "layer": "lstm", "margin": 123.456, "case": "lstm N=2", "hidden": 3,
    }  # fmt: skip
    assert written["controls"][-1] == {
        "name": "call", "summary": "in a call", "runs": 3, "alarms": [], "score_max": 0.0
    }  # fmt: skip


def test_report_that_cannot_be_written_is_refused_before_anything_runs(rnncheck_command, tmp_path, monkeypatch):
    monkeypatch.setattr("rnncheck.jobs.self_test.self_test", lambda *_: pytest.fail("it ran"))

    done = rnncheck_command("faults", "--json", tmp_path)

    assert (done.code, done.out) == (2, "")
    assert str(tmp_path) in done.err


def test_control_counts_runs_alarms_and_the_largest_score_of_a_step():
    def row(check, verdict, score):
        return replace(failed_row("lstm", ""), check=check, verdict=verdict, score_max=score)

    control = Control("Keras", "as it is")
    control = control.after("a", [row(Check.STEP, Verdict.MATCH, 2.0), row(Check.END_TO_END, Verdict.MATCH, 9.0)])
    control = control.after("b", [row(Check.STEP, Verdict.MATCH, 1.0), row(Check.STEP, Verdict.MISMATCH, 1.5)])
    control = control.after("c", [failed_row("lstm", "no")])

    assert control == Control("Keras", "as it is", 3, ("b", "c"), 2.0)
