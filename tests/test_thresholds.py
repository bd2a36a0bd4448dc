"""The constants of a verdict are where the recorded experiments put them."""

import json
import math

import pytest
from reference import make_inputs, make_network

import rnncheck
from experiments import records
from experiments.calibrate import random_case, run, summarise
from experiments.power import VISIBLE
from experiments.random_case import verify_case
from rnncheck.checks.thresholds import (
    ALARMING,
    AVERAGE_COUNT,
    AVERAGE_LIMIT,
    SCORE_LIMIT,
    SUSPICIOUS,
    UNDECIDABLE_SHARE,
)
from rnncheck.checks.verdicts import Verdict
from rnncheck.equations.arithmetic import FREE_RUNNING
from rnncheck.equations.replay import replay
from rnncheck.faults.emulation import emulate

CALIBRATION = records.read("calibration")
POWER = records.read("power")


def test_calibration_is_large_enough_and_explains_every_row():
    assert CALIBRATION["cases"] >= 1000
    assert CALIBRATION["numbers"] >= 10**8
    assert CALIBRATION["wrong"] == 0


def test_score_limit_stands_between_correct_code_and_what_must_be_seen():
    largest_of_correct_code = CALIBRATION["groups"]["step all"]["score_max"]

    assert largest_of_correct_code < SCORE_LIMIT < VISIBLE


def test_average_limit_stands_a_little_above_correct_code():
    largest_of_correct_code = CALIBRATION["groups"]["step all"][f"largest_row_rms_of_{AVERAGE_COUNT}"]

    assert largest_of_correct_code < AVERAGE_LIMIT < 1.25 * largest_of_correct_code


def test_what_passes_beside_the_largest_noise_is_sixteen_per_cent():
    assert math.isclose(SCORE_LIMIT * UNDECIDABLE_SHARE, 0.16)


def test_samples_whose_errors_were_amplified_a_thousand_times_are_not_judged():
    network = make_network(T=24, D=2, M=8, K=None, recurrent_scale=3.0)
    inputs = make_inputs(network, 40)
    growths = replay(network, inputs, arithmetic=FREE_RUNNING).growths
    assert ((growths > 500.0) & (growths <= 1000.0)).any()
    assert ((growths > 1000.0) & (growths <= 2000.0)).any()

    (row,) = rnncheck.compare(network, inputs, emulate(network, [inputs])[0].outputs).rows

    assert row.unjudged == 8 * (growths > 1000.0).sum()


def test_rows_are_looked_at_again_before_they_fail():
    assert SUSPICIOUS < ALARMING < SCORE_LIMIT


def test_suspicion_begins_at_half_of_what_must_be_seen():
    assert 2 * SUSPICIOUS <= VISIBLE


def test_bounds_hold_for_all_correct_code_of_the_calibration():
    assert CALIBRATION["groups"]["step all"]["bound_use"] <= 1.0


def test_every_visible_fault_of_the_power_run_was_caught():
    missed = [r for r in POWER if r["moved"] > VISIBLE and r["verdict"] != "mismatch"]

    assert missed == []


@pytest.mark.long
def test_kept_calibration_is_of_this_code(capsys):
    run(range(100), numbers=20_000)
    groups = summarise([json.loads(line) for line in capsys.readouterr().out.splitlines()])

    for group in ("step float32", "step float64", "step float16", "step bfloat16", "end_to_end all"):
        assert groups[group]["score_rms"] == pytest.approx(CALIBRATION["groups"][group]["score_rms"], rel=0.3), group
        assert groups[group]["score_max"] <= CALIBRATION["groups"][group]["score_max"], group


@pytest.mark.long
@pytest.mark.parametrize("seed", range(90_000, 90_030))
def test_random_correct_code_matches(seed):
    case = random_case(seed, numbers=20_000)

    entry = verify_case(case)

    undecidable = {Verdict.MATCH, Verdict.UNDECIDABLE}
    assert {row.verdict for row in entry.rows} <= undecidable, entry.reproduce
    assert all(row.verdict is Verdict.MATCH for row in entry.rows if row.check == "step"), entry.reproduce
