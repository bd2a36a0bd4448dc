"""The self-test: what it catches, what it must not flag, and what it says when it fails."""

import json

import pytest

from rnncheck.errors import InputError
from rnncheck.faults.catalogue import FAULTS
from rnncheck.faults.catalogue.fault import Fault
from rnncheck.jobs.self_test import named_faults, self_test


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


def test_fault_that_changes_nothing_is_missed(monkeypatch):
    monkeypatch.setattr("rnncheck.jobs.self_test.named_backends", lambda names: ("tensorflow", "jax"))
    nothing = Fault("nothing", "none", "it changes nothing", lambda network, layer: network)

    found = self_test((nothing,), track=lambda cases: cases[:1])

    assert not found.passed
    assert found.outcomes[0].hidden == 2  # in the recurrent layer and in Dense
    assert found.complaints == ["missed: nothing: no case shows it"]
    assert {control.name: control.runs for control in found.controls}["jax"] == 1


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


def test_fault_that_is_caught_says_where_and_by_how_much(monkeypatch):
    monkeypatch.setattr("rnncheck.jobs.self_test.named_backends", lambda names: ("tensorflow",))

    found = self_test(named_faults(("bias_dropped", "recurrent_kernel_transposed")), track=lambda cases: cases[:2])

    assert found.passed
    assert [(each.fault, each.caught, each.check) for each in found.outcomes] == [
        ("recurrent_kernel_transposed", True, "step"),
        ("bias_dropped", True, "step"),
    ]
    assert all(each.margin > 100.0 and each.case for each in found.outcomes)
