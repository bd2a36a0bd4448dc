"""The catalogue: every fault changes what it says, is caught where it is made, and is named when it is looked for."""

from __future__ import annotations

import functools
import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

import rnncheck
from rnncheck.cases.case import NOTEBOOK, Case
from rnncheck.checks.verdicts import Verdict
from rnncheck.equations.changes import with_layer, with_weights
from rnncheck.equations.formats import in_format
from rnncheck.faults.catalogue import FAULTS
from rnncheck.faults.catalogue.causes import ONE_CALL
from rnncheck.faults.catalogue.fault import injections
from rnncheck.faults.diagnosis import _Search, diagnose
from rnncheck.faults.emulation import (
    Flushing,
    Summing,
    emulate,
    fused,
    in_pairs,
    last_to_first,
    one_after_the_other,
    with_sigmoid_by_tanh,
)
from rnncheck.faults.symptoms import describe
from rnncheck.faults.trial import (
    Front,
    blind_spots,
    failures,
    few_samples,
    glance_at_outputs,
    rows_against,
)
from rnncheck.frameworks.keras.build import build
from rnncheck.frameworks.keras.extract import extract
from rnncheck.jobs.self_test import networks_beyond_keras
from rnncheck.rounding.precision import PRECISIONS

NAMES = {fault.name: fault for fault in FAULTS}

# Cases in which every fault has a layer to be in; another seed than the grid's.
_SIZES = {"N": 4, "T": 6, "D": 5, "M": 7, "K": 3, "seed": 501}
CASES = {
    "simple_rnn": Case(**_SIZES, return_sequences=True, initial_state=True, mask="mixed"),
    "lstm": Case(
        **_SIZES, layer="lstm", initial_state=True, mask="holes", return_state=True, recurrent_activation="elu"
    ),
    "gru": Case(**_SIZES, layer="gru", go_backwards=True, return_sequences=True, flatten=True),
    "reset_before": Case(**_SIZES, layer="gru", reset_after=False, activation="softsign", dense_activation="gelu"),
    "bidirectional": Case(
        **_SIZES, layer="lstm", wrapper="bidirectional", return_sequences=True, return_state=True, initial_state=True
    ),
    "merged": Case(**_SIZES, layer="gru", wrapper="bidirectional", merge_mode="sum", mask="both"),
    "stateful": Case(**_SIZES, layer="lstm", stateful=True),
    **{
        front: Case(**{**_SIZES, "N": 3, "T": 3, "D": 2, "M": 2}, front=front)
        for front in ("conv1d", "separable_conv1d", "conv2d", "depthwise_conv2d")
    },
}  # fmt: skip


@functools.cache
def found(name):
    """The network of a case, and the inputs of two calls."""
    built = build(CASES[name])
    calls = tuple(
        tuple(np.asarray(x, np.float32) if x.dtype == np.float64 else x for x in call) for call in built.calls
    )
    return extract(built.model), calls if len(calls) == 2 else calls * 2


def made(fault, cases=tuple(CASES)):
    """Yield (network, calls, injection) wherever a fault can be."""
    for name in cases:
        network, calls = found(name)
        for injection in injections(network, [fault]):
            yield network, calls, injection
    for _, network, calls in networks_beyond_keras(0):  # what no model of Keras has
        for injection in injections(network, [fault] if fault.group == "exports" else []):
            yield network, calls, injection


def diagnosed(network, recordings, faults=FAULTS):
    return diagnose(network, recordings, rows_against(network, recordings), faults)


def test_catalogue_has_at_least_fifty_faults_of_ten_classes():
    assert len(NAMES) == len(FAULTS) >= 50
    assert len({fault.group for fault in FAULTS}) >= 10


def test_summaries_are_one_line_without_a_stop():
    for fault in FAULTS:
        assert 0 < len(fault.summary) < 100, fault.name
        assert not fault.summary.endswith("."), fault.name


@pytest.mark.few(22)
@pytest.mark.parametrize(
    "arithmetic",
    [None, Summing(one_after_the_other), Summing(last_to_first), Summing(in_pairs), Summing(fused), Flushing()],
    ids=["once", "first_to_last", "last_to_first", "in_pairs", "fused", "flushing"],
)
@pytest.mark.parametrize("name", CASES)
def test_correct_implementations_match(name, arithmetic):
    network, calls = found(name)

    assert failures(rows_against(network, emulate(network, calls, arithmetic))) == []


@pytest.mark.parametrize("name", CASES)
def test_sigmoid_by_tanh_matches(name):
    network, calls = found(name)

    assert failures(rows_against(network, emulate(with_sigmoid_by_tanh(network), calls))) == []


@pytest.mark.parametrize("name", ["reset_before", "bidirectional", "stateful"])
def test_saturated_sigmoid_by_tanh_matches(name):
    """Where it is near zero, the difference of two numbers near one has the digits of those."""
    network, calls = found(name)
    saturated = [tuple(np.float32(30.0) * x for x in call) for call in calls]

    assert failures(rows_against(network, emulate(with_sigmoid_by_tanh(network), saturated))) == []


def singles(numbers):
    return [np.float32(number) for number in numbers]


def added_in_pairs(terms):
    while len(terms) > 1:
        terms = [*terms, np.float32(0.0)] if len(terms) % 2 else terms
        terms = [a + b for a, b in zip(terms[::2], terms[1::2], strict=True)]
    return terms[0]


def added_after_the_other(terms):
    return functools.reduce(lambda total, term: total + term, terms)


def added_unrounded(products):
    return functools.reduce(lambda total, product: np.float32(np.float64(total) + product), products, np.float32(0.0))


@pytest.mark.parametrize(
    ("product", "added"),
    [
        (one_after_the_other, lambda products: added_after_the_other(singles(products))),
        (last_to_first, lambda products: added_after_the_other(singles(products)[::-1])),
        (in_pairs, lambda products: added_in_pairs(singles(products))),
        (fused, added_unrounded),
    ],
    ids=lambda function: function.__name__,
)
@pytest.mark.parametrize("n", [1, 2, 7])
def test_implementations_in_float32_add_the_terms_of_a_product_each_in_its_way(rng, product, added, n):
    a, kernel = (rng.normal(size=shape).astype(np.float32).astype(np.float64) for shape in ((3, n), (n, 5)))

    sums = product(a, kernel)

    assert sums.dtype == np.float32
    np.testing.assert_array_equal(sums, [[added(row * column) for column in kernel.T] for row in a])


def test_flushing_takes_tiny_numbers_for_zero():
    tiny = np.array([1e-39, -1e-39, 1e-37, 0.5])

    np.testing.assert_array_equal(Flushing().store(tiny, PRECISIONS["float32"]), np.float32([0.0, 0.0, 1e-37, 0.5]))


@pytest.mark.parametrize("name", NAMES)
def test_run_with_a_fault_is_caught(name):
    """The fault is in the run; that it is caught in the network too is what `rnncheck faults` shows."""
    assert any(
        failures(rows_against(network, emulate(injection.network, calls)))
        for network, calls, injection in made(NAMES[name])
    )


@pytest.mark.parametrize("most", [1, pytest.param(None, id="all", marks=pytest.mark.long)])
@pytest.mark.parametrize("name", NAMES)
def test_fault_explains_its_own_run(name, most):
    for _, calls, injection in itertools.islice(made(NAMES[name]), most):
        assert failures(rows_against(injection.network, emulate(injection.network, calls))) == []


@pytest.mark.parametrize("decimals", [2, 3, 4, 5, 6])
def test_weights_of_few_decimals_are_finite_in_every_precision(decimals):
    network, _ = found("lstm")
    for dtype, error in (("float16", 2e-3), ("float32", 0.0), ("float64", 0.0)):
        weights = {name: np.pi * w.astype(dtype) for name, w in network.layers[-1].weights.items()}
        changed = with_layer(network, replace(network.layers[-1], dtype=dtype, weights=weights))
        for injection in injections(changed, [NAMES[f"weights_of_{decimals}_decimals"]], {network.layers[-1].name}):
            for name, weight in injection.network.layers[-1].weights.items():
                np.testing.assert_allclose(weight, weights[name], atol=0.6 * 10.0**-decimals + error)


def test_states_inside_time_distributed_are_compared_over_the_whole_run():
    """They have a row for each outer step of a sample."""
    built = build(Case(**_SIZES, layer="lstm", wrapper="time_distributed", dense_activation="linear"))
    network = extract(built.model)
    (injection,) = injections(network, [NAMES["state_left_by_earlier_run"]])
    (recording,) = emulate(injection.network, built.calls)
    states = recording.states[injection.layer]
    assert len(states) > _SIZES["N"]

    def row_of_states():
        alone = replace(recording, states={injection.layer: states}, tensors={})
        return next(row for row in rows_against(injection.network, [alone]) if row.output == "h")

    right = row_of_states()
    states[-1, -1, -1] += 0.5
    wrong = row_of_states()

    assert (right.check, right.verdict) == ("end_to_end", Verdict.MATCH)
    assert (wrong.verdict, wrong.first["n"]) == (Verdict.MISMATCH, len(states) - 1)


def test_fault_leaves_the_network_as_it_was():
    network, _ = found("bidirectional")
    weights = {(layer.name, name): np.array(w) for layer in network.layers for name, w in layer.weights.items()}

    assert len(list(injections(network, FAULTS))) > 100

    for (layer, name), weight in weights.items():
        np.testing.assert_array_equal(network.layer(layer).weights[name], weight)


def same_numbers(first, second, calls):
    """Whether two networks say the same."""
    runs = [emulate(network, calls)[-1] for network in (first, second)]
    return all(
        np.array_equal(runs[0].states[name], runs[1].states[name], equal_nan=True) for name in runs[0].states
    ) and all(np.array_equal(a, b, equal_nan=True) for a, b in zip(runs[0].outputs, runs[1].outputs, strict=True))


@pytest.mark.few(20)
@pytest.mark.parametrize("name", NAMES)
def test_diagnosis_names_the_fault_and_its_layer(name):
    """First, or after faults that make the same numbers."""
    network, calls, injection = next(
        each for each in made(NAMES[name]) if failures(rows_against(each[0], emulate(each[2].network, each[1])))
    )

    diagnosis = diagnosed(network, emulate(injection.network, calls))

    assert diagnosis is not None
    named = list(
        zip((e.faults for e in diagnosis.explanations), (e.layers for e in diagnosis.explanations), strict=True)
    )
    place = named.index(((name,), (injection.layer,)))
    for (fault,), (layer,) in named[:place]:
        (other,) = injections(network, [NAMES[fault]], [layer])
        assert same_numbers(other.network, injection.network, calls), f"{fault} comes before {name}"


@pytest.mark.parametrize("name", CASES)
def test_correct_run_has_no_diagnosis(name):
    network, calls = found(name)

    assert diagnosed(network, emulate(network, calls)) is None


def test_diagnosis_says_how_far_the_fault_explains_the_scores():
    network, calls = found("lstm")
    (injection,) = injections(network, [NAMES["bias_doubled"]], ["lstm"])

    (explanation,) = diagnosed(network, emulate(injection.network, calls)).explanations

    recordings = emulate(injection.network, calls)
    before, after = (rows_against(each, recordings) for each in (network, injection.network))
    assert explanation.before == max(row.score_max for row in failures(before)) > 1e4
    assert explanation.after == max(row.score_max for row in after) < 8.0
    assert min(row.score_max for row in after) < explanation.after
    assert explanation.summary == NAMES["bias_doubled"].summary


def test_two_faults_at_once_are_named_as_a_pair():
    network, calls = found("gru")
    (first,) = injections(network, [NAMES["gate_order_rzh"]])
    (both,) = injections(first.network, [NAMES["recurrent_bias_dropped"]])

    diagnosis = diagnosed(network, emulate(both.network, calls))

    assert {frozenset(each.faults) for each in diagnosis.explanations} == {
        frozenset({"gate_order_rzh", "recurrent_bias_dropped"})
    }


def test_diagnosis_from_the_outputs_alone():
    network, calls = found("gru")
    (injection,) = injections(network, [NAMES["gate_order_rzh"]])
    recordings = [replace(each, states={}, tensors={}) for each in emulate(injection.network, calls)]

    diagnosis = diagnosed(network, recordings)

    assert diagnosis.explanations[0].faults == ("gate_order_rzh",)


def off_by(network, name, weight, index, amount):
    layer = network.layer(name)
    changed = np.array(layer.weights[weight], np.float64)
    changed[index] += amount
    return with_layer(network, with_weights(layer, **{weight: changed}))


@pytest.fixture(scope="module")
def wide_lstm():
    built = build(Case(layer="lstm", N=8, T=100, D=16, M=64, K=3, seed=77))
    return extract(built.model), built.calls


@pytest.mark.parametrize(
    ("weight", "index", "amount"),
    [
        pytest.param("recurrent_kernel", (17, 200), 1e-4, id="recurrent", marks=pytest.mark.long),
        pytest.param("kernel", (5, 70), -1e-4, id="kernel"),
        pytest.param("recurrent_kernel", (40, 130), 1e-5, id="small", marks=pytest.mark.long),
    ],
)
def test_wrong_weight_of_an_lstm_is_named_with_its_size(wide_lstm, weight, index, amount):
    network, calls = wide_lstm

    diagnosis = diagnosed(network, emulate(off_by(network, "lstm", weight, index, amount), calls))

    (wrong,) = diagnosis.weights
    assert (wrong.layer, wrong.weight, wrong.index) == ("lstm", weight, index)
    assert wrong.difference == pytest.approx(amount, rel=0.1)


@pytest.mark.few(2)
@pytest.mark.parametrize("name", ["simple_rnn", "gru", "reset_before", "bidirectional"])
def test_two_wrong_weights_of_one_unit_are_named(name):
    network, calls = found(name)
    layer = next(each for each in network.layers if "recurrent_kernel" in each.weights)
    wrong = off_by(network, layer.name, "kernel", (1, 2), 3e-4)
    wrong = off_by(wrong, layer.name, "recurrent_kernel", (4, 2), -2e-4)

    diagnosis = diagnosed(network, emulate(wrong, calls))

    assert {(each.weight, each.index) for each in diagnosis.weights} == {
        ("kernel", (1, 2)),
        ("recurrent_kernel", (4, 2)),
    }


def test_wrong_weight_of_dense_is_named():
    network, calls = found("reset_before")

    diagnosis = diagnosed(network, emulate(off_by(network, "dense", "kernel", (2, 1), 1e-4), calls))

    (wrong,) = diagnosis.weights
    assert (wrong.layer, wrong.weight, wrong.index) == ("dense", "kernel", (2, 1))


@pytest.mark.few(1)
@pytest.mark.parametrize("cell", range(3))
def test_diagnosis_finds_the_layer_of_a_stack(cell):
    built = build(Case(layer="stacked", cell="gru", cells=3, N=4, T=6, D=5, M=7, K=2, seed=9))
    network = extract(built.model)
    where = network.layers[cell].name
    (injection,) = injections(network, [NAMES["bias_dropped"]], [where])

    diagnosis = diagnosed(network, emulate(injection.network, built.calls))

    assert [(each.faults, each.layers) for each in diagnosis.explanations] == [(("bias_dropped",), (where,))]


def test_what_nothing_explains_is_described():
    network, calls = found("gru")
    recordings = emulate(network, calls)
    h = np.array(recordings[0].states["gru"])
    h[2, 3:] += np.linspace(0.001, 0.1, h[2, 3:].size).reshape(h[2, 3:].shape).astype(h.dtype)
    recordings = [replace(recordings[0], states={"gru": h}), *recordings[1:]]

    diagnosis = diagnosed(network, recordings)

    assert (diagnosis.explanations, diagnosis.weights) == ((), ())
    assert diagnosis.shape == "layer 'gru': wrong from step t=3 on; only sample 2 of 4"


@pytest.mark.parametrize(
    ("first", "growth", "shape"),
    [
        (0, 8.0, "wrong from the first step on: look at what is done with the inputs; it grows with time"),
        (1, 1.0, "right at the first step, wrong from the second on: look at what is done with the states"),
        (2, 1.0, "wrong from step t=2 on"),
        (5, 1.0, "wrong at step t=5 alone"),
    ],
    ids=["first", "second", "later", "last"],
)
def test_shape_of_an_error_says_when_it_starts(first, growth, shape):
    network, calls = found("gru")
    (recording, *_) = emulate(network, calls[:1])
    h = np.array(recording.states["gru"])
    for t in range(first, 6):
        h[:, t] += np.float32(1e-3 * growth**t)
    wrong = [replace(recording, states={"gru": h})]

    assert describe(network, wrong, failures(rows_against(network, wrong))) == f"layer 'gru': {shape}"


def spots_of(network, calls):
    recordings = emulate(network, calls)
    return recordings, {(spot.fault, spot.layer): spot for spot in blind_spots(network, recordings, FAULTS)}


def test_blind_spots_of_the_notebook_are_its_zero_biases_and_its_one_sample():
    built = build(NOTEBOOK)

    _, spots = spots_of(extract(built.model), built.calls)

    reasons = {fault: spot.reason for (fault, layer), spot in spots.items() if layer == "simple_rnn"}
    assert reasons["bias_dropped"] == reasons["bias_doubled"] == "the bias is zero"
    assert reasons["sample_0_repeated"] == reasons["reversed_along_batch"] == "there is one sample only"
    assert reasons["state_kept_between_calls"] == "there is one call only"
    assert spots["bias_dropped", "simple_rnn"].remedy == "Use random biases."
    assert "recurrent_kernel_transposed" not in reasons


@pytest.mark.few(2)
@pytest.mark.parametrize("name", ["simple_rnn", "gru", "reset_before", "notebook"])
def test_blind_spots_are_what_no_verdict_shows_and_nothing_else(name):
    if name == "notebook":
        built = build(NOTEBOOK)
        network, calls = extract(built.model), built.calls
    else:
        network, calls = found(name)

    _, spots = spots_of(network, calls)

    for injection in injections(network, FAULTS):
        shown = bool(failures(rows_against(network, emulate(injection.network, calls))))
        assert shown != ((injection.fault.name, injection.layer) in spots), str(injection)


def lstm_report(**changes):
    network, calls = found("reset_before")
    (injection,) = injections(network, [NAMES["update_gate_inverted"]])
    (recording,) = emulate(injection.network if changes.get("wrong") else network, calls[:1])
    arrays = recording.inputs[0], list(recording.outputs)
    return rnncheck.compare(network, *arrays, states=recording.states, blind_spots=True)


def test_report_of_a_mismatch_says_why():
    report = lstm_report(wrong=True)

    assert report.verdict is Verdict.MISMATCH
    (entry,) = report.to_dict()["cases"]
    assert entry["diagnosis"]["explanations"][0]["faults"] == ["update_gate_inverted"]
    assert entry["blind_spots"] == []
    first = str(report).splitlines()[0]
    assert first.endswith(f": in layer 'gru', {NAMES['update_gate_inverted'].summary}")


def test_report_of_a_diagnosis_with_infinite_scores_is_json():
    """Where the expected number is exactly zero, nothing else is explained by rounding."""
    (entry,) = lstm_report(wrong=True).entries
    (explanation, *_) = entry.diagnosis.explanations
    diagnosis = replace(entry.diagnosis, explanations=(replace(explanation, before=np.inf),))

    written = json.dumps(replace(entry, diagnosis=diagnosis).to_dict(), allow_nan=False)

    assert '"before": "Infinity"' in written


def test_report_of_a_match_says_what_would_not_show():
    report = lstm_report()

    assert report.verdict is Verdict.MATCH
    (entry,) = report.to_dict()["cases"]
    assert entry["diagnosis"] is None
    assert {"fault": "state_kept_between_calls", "layer": "gru", "reason": "there is one call only",
            "remedy": ONE_CALL.remedy} in entry["blind_spots"]  # fmt: skip
    (line,) = [
        line for line in " ".join(str(report).split("\n")).split("blind spots in ")[1:] if line.startswith("'gru'")
    ]
    assert "`state_kept_between_calls`: there is one call only. Give the arrays of a second call" in line


def test_glance_has_the_samples_that_failed():
    network, _ = found("lstm")
    inputs = tuple(np.zeros((5000, *spec.shape), np.float32) for spec in network.inputs)
    (right,) = emulate(network, [inputs])
    wrong = replace(right, states={name: np.array(h) for name, h in right.states.items()})
    wrong.states[network.layers[-2].name][4321, 3, 2] += 0.5

    rows = rows_against(network, [wrong])
    (few,) = few_samples(network, [wrong], failures(rows))

    assert len(few.inputs[0]) < 1000
    assert few.states[network.layers[-2].name][-1, 3, 2] == wrong.states[network.layers[-2].name][4321, 3, 2]


def test_states_with_one_wrong_number_are_not_taken_for_something_else():
    network, calls = found("gru")
    (right,) = emulate(network, calls[:1])
    (name,) = right.states
    states = np.array(right.states[name])
    states[1, -1, 2] += 1e-3

    report = rnncheck.compare(network, calls[0], list(right.outputs), states={name: states})

    assert report.verdict is Verdict.MISMATCH
    assert "probably not h" not in str(report)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_glance_at_a_number_that_only_one_side_has_is_hopeless(wrong):
    network, calls = found("gru")
    (recording, *_) = emulate(network, calls[:1])
    output = recording.outputs[0].copy()
    output[1] = wrong
    wrong = replace(recording, outputs=(output,))

    def glance(noise):
        return glance_at_outputs(network, [wrong], noise, Front(network, [{}]))

    assert glance({0: 1e-7}) == np.inf
    assert glance({}) == 0.0  # nobody knows what rounding does there


@pytest.mark.parametrize("fault", ["state_kept_between_samples", "state_left_by_earlier_run"])
def test_fault_that_hides_the_steps_which_fail_must_bring_the_numbers_nearer(fault):
    """Without steps only the whole run is left, whose errors may be many times as large."""
    network, calls = found("gru")
    (injection,) = injections(network, [NAMES[fault]], ["gru"])

    def glance(run):
        recordings = emulate(run, calls[:1])
        rows = rows_against(network, recordings)
        return _Search(network, recordings, rows, failures(rows), FAULTS)._glance(injection)

    assert glance(injection.network) < 1.0
    assert glance(in_format(network, "bfloat16")) == np.inf


@pytest.mark.few(6)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("states", [True, False], ids=["states", "outputs"])
def test_glance_is_the_same_with_what_is_known_of_the_front(name, states):
    network, calls = found(name)
    recordings = emulate(network, calls)
    noise = dict.fromkeys(range(len(network.outputs)), 1e-7)
    noise |= dict.fromkeys(recordings[0].states, 1e-7) if states else {}
    front, nothing = Front.of(network, recordings), Front(network, [{}, {}])

    for injection in list(injections(network, FAULTS))[::3]:
        known = glance_at_outputs(injection.network, recordings, noise, front)
        assert known == glance_at_outputs(injection.network, recordings, noise, nothing), str(injection)
