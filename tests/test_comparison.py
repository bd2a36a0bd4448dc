"""rnncheck and the rules people use on the same runs: it has no false alarm and no miss, and they have."""

import math

import pytest

from experiments import records
from experiments.comparison import (
    CONDITIONS,
    FAULTY,
    RNNCHECK,
    RULES,
    SETTINGS,
    SEVERITIES,
    Found,
    Run,
    Setting,
    make_network,
    moved,
    result_of,
    run_all,
    severity,
    summarize,
    table_of,
)
from experiments.power import VISIBLE
from rnncheck.faults.catalogue import FAULTS
from rnncheck.faults.catalogue.fault import injections
from rnncheck.faults.emulation import emulate

HONEST_FEW = (
    Setting("SimpleRNN", 64, scale=3.0),
    Setting("LSTM", 8),
    Setting("GRU", 8, dtype="bfloat16"),
    Setting("GRU", 8, dtype="float16", reset_after=False),
)
FAULTY_FEW = (
    Setting("SimpleRNN", 8),
    Setting("LSTM", 8, dtype="float16"),
    Setting("GRU", 8, reset_after=False, masked=True),
)
COMMITTED = records.read("comparison")


@pytest.fixture(scope="module")
def found() -> Found:
    return run_all(HONEST_FEW, FAULTY_FEW)


def injected(setting: Setting, name: str):
    network, inputs = make_network(setting)
    (injection,) = injections(network, [fault for fault in FAULTS if fault.name == name])
    return network, injection, emulate(injection.network, [inputs])


@pytest.mark.long
def test_rnncheck_has_no_false_alarm_and_no_miss(found):
    wrong = [run.name for run in found.runs if run.is_wrong(RNNCHECK)]

    assert wrong == []


def test_runs_are_of_every_class(found):
    summary = summarize(found, RNNCHECK)

    assert all(summary["honest_by_condition"][condition] for condition in CONDITIONS)
    assert all(summary["faulty"][severity] for severity in SEVERITIES)
    assert found.left_out > 0


@pytest.mark.parametrize("rule", RULES)
def test_every_usual_rule_is_wrong_about_some_run(found, rule):
    assert any(run.is_wrong(rule) for run in found.runs)


def test_every_small_fault_is_missed_by_some_usual_rule(found):
    misses = [summarize(found, rule)["misses"] for rule in RULES]

    small = [severity for severity in SEVERITIES if "off by" in severity]
    assert all(any(missed[severity] for missed in misses) for severity in small)


def test_table_has_a_line_for_every_rule_and_a_column_for_every_class(found):
    table = table_of(result_of(found))

    assert list(table.columns[0].cells) == [*RULES, RNNCHECK]
    assert [str(column.header).replace("\n", " ") for column in table.columns[3:]] == [
        "false alarms",
        *CONDITIONS,
        *SEVERITIES,
    ]


def test_alarm_on_an_honest_run_and_silence_on_a_faulty_one_are_counted_as_wrong():
    flagged = {RNNCHECK: True, "ONNX": False}
    runs = (
        Run("honest", honest=True, group="float32", flagged=flagged),
        Run("faulty", honest=False, group="semantic", flagged=flagged),
    )

    alarmed, silent = (summarize(Found(runs, left_out=0), rule) for rule in (RNNCHECK, "ONNX"))

    assert (alarmed["false_alarms"], alarmed["misses"]["semantic"]) == (1, 0)
    assert (silent["false_alarms"], silent["misses"]["semantic"]) == (0, 1)


def test_fault_that_nothing_can_show_moves_nothing():
    network, injection, recordings = injected(Setting("LSTM", 8), "state_kept_between_calls")

    assert moved(network, injection, recordings) == 0.0


def test_fault_that_overflows_moves_without_limit():
    network, injection, recordings = injected(Setting("SimpleRNN", 8, scale=3.0), "activation_missing")

    assert moved(network, injection, recordings) == math.inf


def test_fault_of_a_weight_moves_as_much_as_it_is_off_by():
    by_amount = [
        moved(*injected(Setting("SimpleRNN", 8), f"recurrent_kernel_off_by_{amount}"))
        for amount in ("1e-05", "0.0001", "0.001")
    ]

    assert by_amount[0] > VISIBLE
    assert by_amount[1] == pytest.approx(10 * by_amount[0], rel=0.05)
    assert by_amount[2] == pytest.approx(100 * by_amount[0], rel=0.05)


def test_every_fault_has_a_class():
    assert {severity(fault) for fault in FAULTS} == set(SEVERITIES)


@pytest.mark.parametrize("settings", [SETTINGS, FAULTY], ids=["honest", "faulty"])
def test_settings_have_every_kind_format_size_and_condition(settings):
    assert {(each.kind, each.reset_after) for each in settings} == {
        ("SimpleRNN", True),
        ("LSTM", True),
        ("GRU", True),
        ("GRU", False),
    }
    assert {each.dtype for each in settings} == {"float32", "float16", "bfloat16"}
    assert {each.units for each in settings} == {8, 64}
    assert {each.condition for each in settings} == set(CONDITIONS)


def test_committed_result_has_every_rule_and_class():
    assert list(COMMITTED["rules"]) == [*RULES, RNNCHECK]
    for found in COMMITTED["rules"].values():
        assert found["honest"] == sum(found["honest_by_condition"].values()) >= 200
        assert list(found["misses"]) == list(found["faulty"]) == list(SEVERITIES)
        assert all(found["faulty"].values())


def test_committed_result_has_no_false_alarm_and_no_miss_of_rnncheck():
    found = COMMITTED["rules"][RNNCHECK]

    assert found["false_alarms"] == 0
    assert set(found["misses"].values()) == {0}


def test_committed_result_has_false_alarms_or_misses_of_every_usual_rule():
    wrong = {rule: COMMITTED["rules"][rule] for rule in RULES}

    assert all(found["false_alarms"] + sum(found["misses"].values()) > 0 for found in wrong.values())
