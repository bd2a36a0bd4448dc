"""The random search: cases over everything match, and what would not shrinks to what matters and can be run again."""

from dataclasses import fields, replace

import pytest
from hypothesis import find, settings

from experiments.random_case import random_case, verify_case
from experiments.search import CHOICES, DEFAULTS, SETTINGS, cases, describe, nearest_case, search
from rnncheck.cases.case import Case, reproduce_command
from rnncheck.cases.deviations import deviates
from rnncheck.checks.verdicts import Verdict, failed_row
from rnncheck.report.entry import Entry

FIRST, COUNT, BLOCK = 100_000, 150, 10


@pytest.mark.long
@pytest.mark.parametrize("first", range(FIRST, FIRST + COUNT, BLOCK))
def test_random_cases_match(first):
    entries = [verify_case(random_case(seed, numbers=5_000)) for seed in range(first, first + BLOCK)]

    failed = [describe(entry) for entry in entries if entry.verdict is not Verdict.MATCH]
    assert not failed, "\n\n".join(failed)


@pytest.mark.long
def test_searched_cases_match():
    search(examples=25)


def test_search_draws_every_field_of_a_case_and_its_default():
    assert set(CHOICES) | {"seed"} == {field.name for field in fields(Case)}


@pytest.mark.long
@pytest.mark.parametrize(
    ("property_", "expected", "command"),
    [
        pytest.param(
            lambda case: case.layer == "lstm" and case.go_backwards and case.mask != "none",
            Case(layer="lstm", go_backwards=True, mask="all"),
            "rnncheck verify --layer lstm -N 4 -T 10 -D 3 -M 5 -K 2 --seed 0 --go-backwards --mask all",
            id="lstm go_backwards mask",
        ),
        pytest.param(
            lambda case: "gru" in case.cell_kinds and not case.reset_after and case.go_backwards,
            Case(layer="gru", reset_after=False, go_backwards=True),
            "rnncheck verify --layer gru -N 4 -T 10 -D 3 -M 5 -K 2 --seed 0 --no-reset-after --go-backwards",
            id="gru no reset_after go_backwards",
            marks=pytest.mark.long,
        ),
    ],
)
def test_what_is_found_shrinks_to_the_options_that_matter(property_, expected, command):
    minimal = find(cases(), property_, settings=settings(SETTINGS, max_examples=1000))

    assert minimal == expected
    assert reproduce_command(minimal) == command


def fails_for_several_units_under_a_mask(case: Case) -> Entry:
    """A check of its own, without Keras, for which correct code fails where several units meet a mask."""
    detail = "several units under a mask" if case.mask != "none" and case.M > 2 else ""
    row = failed_row("rnn", detail)
    verdict = Verdict.ERROR if detail else Verdict.MATCH
    return Entry(str(case), (replace(row, verdict=verdict),), seed=case.seed, reproduce=reproduce_command(case))


@pytest.mark.long
def test_search_fails_with_the_smallest_case_its_command_and_its_table():
    with pytest.raises(AssertionError) as raised:
        search(examples=200, verify=fails_for_several_units_under_a_mask)

    command, *table = str(raised.value).splitlines()
    assert command == "rnncheck verify --layer simple_rnn -N 4 -T 10 -D 3 -M 5 -K 2 --seed 0 --mask all"
    assert any("several units under a mask" in line for line in table)
    assert any("mask='all'" in note for note in raised.value.__notes__)


def test_search_passes_when_no_case_fails():
    seen = []

    search(examples=50, verify=lambda case: seen.append(case) or fails_for_several_units_under_a_mask(Case()))

    assert len(seen) > 30


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({}, Case(), id="default"),
        pytest.param({"merge_mode": "sum"}, Case(), id="without what has it"),
        pytest.param(
            {"wrapper": "bidirectional", "go_backwards": True}, Case(wrapper="bidirectional"), id="excluded"
        ),
        pytest.param(
            {"layer": "conv_lstm_1d", "layers": 3, "kernel_size": 3, "padding": "same"},
            Case(layer="conv_lstm_1d", layers=3, kernel_size=3, padding="same"),
            id="allowed by a later option",
        ),
        pytest.param({"dense_activation": "sparsemax", "K": 4}, Case(K=4), id="known to deviate"),
    ],
)
def test_nearest_case_keeps_the_options_that_go_together(options, expected):
    assert nearest_case({**DEFAULTS, **options}) == expected


@pytest.mark.parametrize("seed", range(0, 1000, 100))
def test_nearest_case_keeps_a_valid_case_as_it_is(seed):
    case = random_case(seed)

    assert not deviates(case)
    assert nearest_case(case.to_dict()) == case
