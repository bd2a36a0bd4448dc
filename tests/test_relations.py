"""Metamorphic relations: they hold in Keras, and each of them can fail."""

import json

import numpy as np
import pytest

import rnncheck
from rnncheck.cases.case import Case
from rnncheck.checks.relations import RELATIONS
from rnncheck.checks.verdicts import Verdict
from rnncheck.equations.replay import replay
from rnncheck.errors import InputError
from rnncheck.frameworks.keras import symbolic as rewrites
from rnncheck.frameworks.keras.build import build
from rnncheck.frameworks.keras.extract import extract
from rnncheck.frameworks.keras.run import KerasRunner

_SIZES = {"N": 3, "T": 6, "D": 2, "M": 4, "K": 1}

# With what holds of each: the relations that can be tried.
_OF_SAMPLES = {"same_call_twice", "batch_permuted", "one_by_one", "saved_and_loaded"}
_OF_MASKS = {"nan_under_mask", "huge_under_mask"}
CASES = [
    (Case(**_SIZES, layer="lstm", return_sequences=True, return_state=True, seed=41), {*_OF_SAMPLES, "sequence_cut"}),
    (Case(**_SIZES, layer="gru", go_backwards=True, return_sequences=True, seed=42), {*_OF_SAMPLES, "sequence_cut"}),
    (Case(**_SIZES, layer="stacked", initial_state=True, seed=43), {*_OF_SAMPLES, "sequence_cut"}),
    (Case(**_SIZES, layer="simple_rnn", stateful=True, seed=44), {*_OF_SAMPLES, "sequence_cut"} - {"one_by_one"}),
    (Case(**_SIZES, layer="conv_lstm_1d", return_state=True, seed=45), {*_OF_SAMPLES, "sequence_cut"}),
    (Case(**_SIZES, layer="gru", mask="holes", return_sequences=True, seed=46), _OF_SAMPLES | _OF_MASKS),
    (Case(**_SIZES, layer="lstm", mask="left", mask_from="masking", seed=47), _OF_SAMPLES | _OF_MASKS),
    (Case(**_SIZES, layer="lstm", mask="right", mask_from="embedding", seed=48), _OF_SAMPLES | _OF_MASKS),
    (Case(**_SIZES, layer="gru", wrapper="bidirectional", mask="both", seed=49), _OF_SAMPLES | _OF_MASKS),
    (Case(**_SIZES, layer="lstm", wrapper="time_distributed", mask="left", seed=50), _OF_SAMPLES | _OF_MASKS),
]


@pytest.mark.few(1)
@pytest.mark.parametrize(("case", "expected"), CASES, ids=lambda value: str(value) if isinstance(value, Case) else "")
def test_relations_hold_in_keras(case, expected):
    (entry,) = rnncheck.verify(case, metamorphic=True).entries

    tried = {row.check for row in entry.rows} - {"step", "end_to_end"}
    not_tried = {note.split("`")[1] for note in entry.notes if note.startswith("`")}
    assert tried == expected, entry.notes
    assert tried | not_tried == set(RELATIONS)
    assert entry.verdict is Verdict.MATCH, entry.rows


def test_every_output_has_a_row_for_every_relation():
    case = Case(**_SIZES, layer="lstm", return_state=True)

    (entry,) = rnncheck.verify(case, metamorphic=True).entries

    rows = [(row.layer, row.output) for row in entry.rows if row.check == "batch_permuted"]
    assert rows == [("dense", "output"), ("lstm", "state"), ("lstm", "c")]


def test_chaotic_model_that_repeats_itself_matches():
    case = Case(N=3, T=200, D=2, M=16, K=1, recurrent_scale=3.0)

    (entry,) = rnncheck.verify(case, metamorphic=True).entries

    verdicts = {row.check: str(row.verdict) for row in entry.rows}
    assert verdicts["end_to_end"] == "undecidable"
    assert verdicts["same_call_twice"] == "match"
    assert entry.verdict is Verdict.MATCH


def test_command_and_json_name_the_relation(rnncheck_command, tmp_path):
    path = tmp_path / "report.json"

    done = rnncheck_command("verify", "--layer", "gru", "-N", 3, "--metamorphic", "--json", path)

    assert done.code == 0
    checks = [row["check"] for row in json.loads(path.read_text())["cases"][0]["rows"]]
    assert checks[-5:] == ["same_call_twice", "batch_permuted", "one_by_one", "sequence_cut", "saved_and_loaded"]
    assert "batch_permuted" in done.out
    assert "`nan_under_mask` was not tried: no recurrent layer has a mask" in done.out


# --- each can fail ---


@pytest.fixture(scope="module")
def network():
    return extract(build(Case(**_SIZES, layer="lstm", seed=5)).model)


class Wrong:
    """A function that computes a network, but for what `spoil` does to the result of a call."""

    def __init__(self, network, spoil=lambda y, x, call: y):
        self.calls = 0
        self._network = network
        self._spoil = spoil

    def __call__(self, x):
        (y,) = replay(self._network, [x]).outputs
        self.calls += 1
        return self._spoil(y.astype(np.float32), x, self.calls)


def checks_that_fail(network, function):
    report = rnncheck.compare(network, None, function, metamorphic=True)
    return {row.check for row in report.rows if row.verdict is Verdict.MISMATCH}


def test_right_function_fails_nothing(network):
    assert checks_that_fail(network, Wrong(network)) == set()


def test_function_that_remembers_its_last_call_fails(network):
    later = Wrong(network, lambda y, x, call: y + (1e-3 if call > 1 else 0.0))

    assert "same_call_twice" in checks_that_fail(network, later)


def test_function_whose_result_depends_on_the_place_in_the_batch_fails(network):
    placed = Wrong(network, lambda y, x, call: y + 1e-3 * np.arange(len(y))[:, np.newaxis].astype(np.float32))

    assert {"batch_permuted", "one_by_one"} <= checks_that_fail(network, placed)


def test_function_that_treats_a_batch_of_one_otherwise_fails(network):
    alone = Wrong(network, lambda y, x, call: y + (1e-3 if len(y) == 1 else 0.0))

    assert checks_that_fail(network, alone) == {"one_by_one"}


def test_states_that_are_not_handed_over_fail(monkeypatch):
    twin = rewrites.twin

    def forgetful(layer, name, **changed):
        same = twin(layer, name, **changed)

        def call(*args, **kwargs):
            output, *states = same(*args, **kwargs)
            return (output, *(0.0 * state for state in states))

        return call

    monkeypatch.setattr(rewrites, "twin", forgetful)
    (entry,) = rnncheck.verify(Case(**_SIZES, layer="lstm"), metamorphic=True).entries

    assert {row.check for row in entry.rows if row.verdict is Verdict.MISMATCH} == {"sequence_cut"}
    assert entry.diagnosis is None


def test_value_that_leaks_from_under_a_mask_fails(monkeypatch):
    outputs = KerasRunner.with_masked
    monkeypatch.setattr(
        KerasRunner,
        "with_masked",
        lambda self, calls, value: [
            [y + (np.nan if np.isnan(value) else 1.0) for y in each] for each in outputs(self, calls, value)
        ],
    )

    (entry,) = rnncheck.verify(Case(**_SIZES, layer="gru", mask="holes"), metamorphic=True).entries

    failed = [row for row in entry.rows if row.verdict is Verdict.MISMATCH]
    assert {row.check for row in failed} == {"nan_under_mask", "huge_under_mask"}
    assert next(row for row in failed if row.check == "nan_under_mask").proven


def test_model_that_cannot_be_saved_is_an_error_row(monkeypatch):
    def fails(self, calls):
        raise ValueError("no space\nleft")

    monkeypatch.setattr(KerasRunner, "reloaded", fails)

    (entry,) = rnncheck.verify(Case(**_SIZES), metamorphic=True).entries

    (row,) = (row for row in entry.rows if row.check == "saved_and_loaded")
    assert (row.verdict, row.detail) == (Verdict.ERROR, "ValueError: no space")
    assert entry.verdict is Verdict.ERROR


# --- functions ---


def test_function_shows_no_model_to_change(network):
    report = rnncheck.compare(network, None, Wrong(network), metamorphic=True)

    assert {row.check for row in report.rows} == {"end_to_end", "same_call_twice", "batch_permuted", "one_by_one"}
    assert "`sequence_cut` was not tried: a function shows no model to change" in report.entries[0].notes


def test_function_of_given_inputs(network, rng):
    x = rng.standard_normal((4, 6, 2)).astype(np.float32)

    report = rnncheck.compare(network, x, Wrong(network))

    assert [row.shape for row in report.rows] == [(4, 1)]
    assert report.verdict is Verdict.MATCH


def test_function_that_returns_another_shape_is_refused(network):
    with pytest.raises(InputError, match=r"output 'dense': got shape \(3, 2\); expected \(3, 1\)."):
        rnncheck.compare(network, np.zeros((3, 6, 2)), lambda x: np.zeros((3, 2)))


@pytest.mark.parametrize("options", [{"metamorphic": True}, {"inputs": None}])
def test_arrays_cannot_be_called_again(network, options):
    given = {"inputs": np.zeros((3, 6, 2)), **options}

    with pytest.raises(InputError, match="got it with recorded arrays; expected a function"):
        rnncheck.compare(network, given.pop("inputs"), np.zeros((3, 1)), **given)
