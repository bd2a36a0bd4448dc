"""Causes in more than one layer, in what is done to outputs, and in what was recorded."""

from dataclasses import replace

import numpy as np
import pytest
from judgements import with_faults
from reference import make_bidirectional, make_dense, make_inputs, make_network, make_recurrent, replaced

import rnncheck
from rnncheck import InputSpec, Network, Tensor, Verdict
from rnncheck.checks.observed import observe
from rnncheck.checks.steps import differences
from rnncheck.checks.thresholds import AVERAGE_LIMIT, SCORE_LIMIT
from rnncheck.equations.changes import with_layer, with_weights
from rnncheck.faults.catalogue import FAULTS
from rnncheck.faults.catalogue.causes import ONE_CALL
from rnncheck.faults.catalogue.fault import injections
from rnncheck.faults.emulation import emulate
from rnncheck.faults.explain import FormatFound
from rnncheck.faults.symptoms import describe
from rnncheck.faults.trial import Front, blind_spots, failures, few_samples, glance_at_outputs, rows_against
from rnncheck.faults.wrong_weights import WrongWeight, wrong_weights
from rnncheck.network import Recording

N, T, D, M, K = 4, 12, 3, 8, 4


def a_stack(*kinds):
    rng = np.random.default_rng(0)
    layers, source, features = [], "x", D
    for number, kind in enumerate(kinds):
        options = {"return_sequences": number < len(kinds) - 1}
        layers.append(make_recurrent(f"rnn_{number}", rng, D=features, M=M, kind=kind, source=source, **options))
        source, features = f"rnn_{number}", M
    layers.append(make_dense("head", rng, D=M, K=K, source=source))
    return Network("stack", (InputSpec("x", (T, D), "float32"),), tuple(layers), (Tensor("head"),))


def run_with(network, *faults):
    """What an implementation with some faults records, each in the layer of a name."""
    (recording,) = emulate(with_faults(network, *faults), [make_inputs(network, N)])
    own = {layer.name for layer in network.layers}
    return recording.inputs, recording.outputs, {k: h for k, h in recording.states.items() if k in own}


def explanations(network, run, *, states):
    inputs, outputs, sequences = run
    report = rnncheck.compare(network, inputs, outputs, states=sequences if states else None)
    assert report.verdict is Verdict.MISMATCH
    return report, report.entries[0].diagnosis


with_states_and_without = pytest.mark.parametrize("states", [True, False], ids=["states", "outputs"])


@pytest.mark.few(1)
@with_states_and_without
@pytest.mark.parametrize(
    ("kinds", "fault"),
    [
        (("LSTM", "LSTM"), "gate_order_iofc"),
        (("GRU", "GRU"), "gate_order_rzh"),
        (("GRU", "GRU"), "reset_after_flipped"),
        (("LSTM", "LSTM", "LSTM"), "bias_dropped"),
        (("SimpleRNN", "SimpleRNN"), "recurrent_kernel_transposed"),
        (("LSTM", "GRU"), "hard_sigmoid_of_keras2"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_fault_that_is_in_every_layer_is_found(kinds, fault, states):
    network = a_stack(*kinds)
    layers = tuple(f"rnn_{number}" for number in range(len(kinds)))

    report, diagnosis = explanations(network, run_with(network, *((fault, each) for each in layers)), states=states)

    first = diagnosis.explanations[0]
    assert (first.faults, first.layers) == ((fault,) * len(layers), layers)
    text = " ".join(str(report).split())
    assert text.startswith(f"MISMATCH {report.entries[0].name}: in layers {' and '.join(map(repr, layers))}, ")
    assert f"numbers agree to rounding (`{fault}`)" in text


def test_fault_that_is_in_three_layers_is_found_by_outputs_alone():
    network = a_stack("SimpleRNN", "SimpleRNN", "SimpleRNN")
    faults = [("recurrent_kernel_transposed", f"rnn_{number}") for number in range(3)]

    _, diagnosis = explanations(network, run_with(network, *faults), states=False)

    first = diagnosis.explanations[0]
    assert list(zip(first.faults, first.layers, strict=True)) == faults


def test_each_layer_has_a_fault_of_its_own():
    network = a_stack("LSTM", "GRU", "LSTM")
    faults = (("gate_order_iofc", "rnn_0"), ("gate_order_rzh", "rnn_1"), ("recurrent_kernel_transposed", "rnn_2"))

    _, diagnosis = explanations(network, run_with(network, *faults), states=True)

    first = diagnosis.explanations[0]
    assert tuple(zip(first.faults, first.layers, strict=True)) == faults


def test_layer_is_diagnosed_alone_where_another_is_wrong_in_a_way_that_nobody_knows():
    network = a_stack("LSTM", "LSTM")
    inputs, outputs, states = run_with(network, ("gate_order_iofc", "rnn_0"))
    states["rnn_1"] = states["rnn_1"] * np.float32(1.01) ** np.arange(T, dtype=np.float32)[:, np.newaxis]

    report, diagnosis = explanations(network, (inputs, outputs, states), states=True)

    assert diagnosis.explanations == ()
    assert [(each.faults, each.layers) for each in diagnosis.by_layer] == [(("gate_order_iofc",), ("rnn_0",))]
    text = " ".join(str(report).split())
    assert (
        "in layer 'rnn_0', the gates are read in the order i, o, f, c: ONNX's" in text.partition(" first wrong ")[0]
    )
    assert "that does not explain the whole run: layer 'rnn_0': " in text


@pytest.mark.few(4)
@with_states_and_without
@pytest.mark.parametrize(
    ("fault", "layer", "said"),
    [
        ("outputs_scaled", "head", "by 0.5"),
        ("outputs_shifted", "head", "+1"),
        ("outputs_negated", "head", ""),
        ("output_columns_in_other_order", "head", "[3, 2, 1, 0]"),
        ("outputs_of_other_samples", "head", "[3, 2, 1, 0]"),
        ("softmax_applied", "head", ""),
        ("largest_output_alone", "head", ""),
        ("only_first_steps", "rnn_0", "the first of 12"),
        ("state_left_by_earlier_run", "rnn_0", ""),
        ("state_kept_between_samples", "rnn_0", ""),
        ("weights_of_3_decimals", "rnn_0", ""),
    ],
)
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_fault_of_outputs_or_states_is_found(kind, fault, layer, said, states):
    network = a_stack(kind)

    _, diagnosis = explanations(network, run_with(network, (fault, layer)), states=states)

    # The same numbers have two causes where the samples' order is turned round.
    found = {each.faults[0]: each for each in diagnosis.explanations}
    assert found[fault].layers == (layer,)
    assert said in found[fault].summary
    assert next(iter(found)) in {fault, "reversed_along_batch"}


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("LSTM", "state_recorded_before_step"),
        ("GRU", "state_recorded_before_step"),
        ("LSTM", "memory_recorded_as_state"),
        ("GRU", "states_recorded_time_first"),
    ],
)
def test_what_was_recorded_for_the_states_is_told(kind, fault):
    network = a_stack(kind)

    _, diagnosis = explanations(network, run_with(network, (fault, "rnn_0")), states=True)

    assert diagnosis.explanations[0].faults == (fault,)


@pytest.mark.parametrize("count", [1, 5, 11])
def test_number_of_steps_is_found(count):
    network = a_stack("GRU")
    inputs, _, states = run_with(network)
    h = states["rnn_0"][:, count - 1]
    head = network.layer("head").weights
    outputs = h @ head["kernel"].astype(np.float32) + head["bias"].astype(np.float32)

    report = rnncheck.compare(network, inputs, outputs)

    found = {each.faults for each in report.entries[0].diagnosis.explanations}
    assert found == {("only_first_steps",)} | ({("off_by_one_state",)} if count == T - 1 else set())


def test_weight_that_differs_by_much_is_solved_for():
    network = a_stack("SimpleRNN")
    inputs, *_ = run_with(network)
    wrong = {name: weight.copy() for name, weight in network.layer("rnn_0").weights.items()}
    wrong["recurrent_kernel"][2, 5] += np.float32(0.3)
    changed = with_layer(network, with_weights(network.layer("rnn_0"), **wrong))
    (recording,) = emulate(changed, [inputs])

    report = rnncheck.compare(network, inputs, recording.outputs, states=recording.states)

    (found,) = report.entries[0].diagnosis.weights
    assert (found.weight, found.index) == ("recurrent_kernel", (2, 5))
    assert found.difference == pytest.approx(0.3, rel=1e-5)
    assert report.entries[0].precision.consistent_with is None


def test_small_fault_is_not_taken_for_a_coarse_format():
    """bfloat16's noise would cover it; but then all numbers would be noisy, and not those of one unit."""
    network = a_stack("LSTM")
    inputs, outputs, states = run_with(network)
    states["rnn_0"][..., 3] *= np.float32(1.0005)

    report = rnncheck.compare(network, inputs, outputs, states=states)

    assert report.entries[0].precision.consistent_with is None


@pytest.mark.long
def test_more_units_than_a_slip_of_the_pen_changes_are_not_solved_for():
    inputs, *_ = run_with(a_stack("SimpleRNN"))
    wide = make_recurrent("rnn_0", np.random.default_rng(1), D=D, M=12, kind="SimpleRNN", source="x")
    head = make_dense("head", np.random.default_rng(2), D=12, K=K, source="rnn_0")
    network = Network("wide", (InputSpec("x", (T, D), "float32"),), (wide, head), (Tensor("head"),))

    def weights_found(units):
        bias = wide.weights["bias"].copy()
        bias[:units] += np.linspace(0.01, 0.02, units, dtype=np.float32)
        (recording,) = emulate(with_layer(network, with_weights(wide, bias=bias)), [inputs])
        report = rnncheck.compare(network, inputs, recording.outputs, states=recording.states)
        return len(report.entries[0].diagnosis.weights)

    assert weights_found(8) == 8
    assert weights_found(9) == 0


@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU"])
@pytest.mark.parametrize(("factor", "saturated"), [(1.0, False), (1e3, True)])
def test_larger_inputs_are_no_advice_where_gates_are_saturated(kind, factor, saturated):
    network = a_stack(kind)
    kernel = factor * network.layers[0].weights["kernel"]
    network = with_layer(network, with_weights(network.layers[0], kernel=kernel))
    inputs, outputs, _ = run_with(network)

    (entry,) = rnncheck.compare(network, inputs, outputs, blind_spots=True).entries

    remedies = {spot.remedy for spot in entry.blind_spots if spot.layer == "rnn_0" and spot.reason != ONE_CALL.reason}
    assert ("Use smaller weights or inputs." in remedies) == saturated
    assert any("larger weights or inputs" in remedy for remedy in remedies) == (not saturated)


def without_recurrence(N=4, T=12):
    """A run of a layer in which no step depends on the one before it, so that a wrong number stands alone."""
    network = make_network(T=T, D=D, M=M, K=None, return_sequences=True)
    network = replaced(network, "rnn", recurrent_kernel=np.zeros((M, M), np.float32))
    (recording,) = emulate(network, [make_inputs(network, N)])
    return network, recording


def described(network, recording):
    return describe(network, [recording], failures(rows_against(network, [recording])))


def add(*place, amount=1e-3):
    def change(h):
        h[place] += np.float32(amount)

    return change


def grown_by(factor, *, start=4):
    def change(h):
        sizes = np.where(np.arange(T) < (start + T) // 2, 1e-3, factor * 1e-3) * (np.arange(T) >= start)
        h += sizes.astype(np.float32)[:, np.newaxis]

    return change


FIRST = "wrong from the first step on: look at what is done with the inputs"
SECOND = "right at the first step, wrong from the second on: look at what is done with the states"
ALL = slice(None)


@pytest.mark.parametrize(
    ("change", "shape"),
    [
        (add(0, 3, 2), "wrong at step t=3 alone; only sample 0 of 4; only unit 2 of 8"),
        (add(ALL, 0), "wrong at step t=0 alone"),
        (add(ALL, 11), "wrong at step t=11 alone"),
        (add([0, 2], slice(5, None), slice(7)), (
            "wrong from step t=5 on; only samples 0, 2 of 4; only units 0, 1, 2, 3, 4, 5, ... of 8"
        )),
        (add(ALL, ALL, slice(6)), f"{FIRST}; only units 0, 1, 2, 3, 4, 5 of 8"),
        (add(ALL, slice(1, None)), SECOND),
        # What is no number makes no numbers.
        (add(1, 4, 0, amount=np.nan), "NaN or infinity on one side only; wrong from step t=4 on; only sample 1 of 4"),
        (add(1, ALL, 0, amount=np.inf), f"NaN or infinity on one side only; {FIRST}; only sample 1 of 4"),
        (grown_by(3.0), "wrong from step t=4 on"),
        (grown_by(6.0), "wrong from step t=4 on; it grows with time"),
        (grown_by(6.0, start=9), "wrong from step t=9 on"),
        (grown_by(6.0, start=8), "wrong from step t=8 on; it grows with time"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_error_is_described_by_when_it_starts_and_whom_it_concerns(change, shape):
    network, recording = without_recurrence()
    h = np.array(recording.states["rnn"])
    change(h)

    assert described(network, replace(recording, states={"rnn": h})) == f"layer 'rnn': {shape}"


def test_error_of_all_numbers_together_is_described():
    network, recording = without_recurrence(N=12)
    (seen,) = differences(network.layers[0], observe(network, [recording]))
    h = recording.states["rnn"] + 3.0 * seen.noise

    assert described(network, replace(recording, states={"rnn": h})) == (
        "layer 'rnn': no single number is far off, but all together are"
    )


def test_error_of_a_layer_without_steps_is_described():
    network = a_stack("LSTM")
    inputs, (y,), states = run_with(network)
    tensors = {Tensor("rnn_0"): states["rnn_0"][:, -1]}

    def said(outputs):
        return described(network, Recording(inputs, (outputs,), states, tensors))

    wrong = y.copy()
    wrong[1] += 1.0
    assert said(y + np.float32(1.0)) == "layer 'head': every number is far off"
    assert said(wrong) == "layer 'head': only sample 1 of 4"


def test_error_where_nobody_saw_a_step_is_described():
    network = a_stack("LSTM")
    inputs, (y,), _ = run_with(network)

    assert described(network, Recording(inputs, (y + np.float32(1.0),))) == (
        "no step was observed; record the states of every step to see where it goes wrong"
    )


def test_error_of_one_direction_names_both():
    network = make_bidirectional(T=T, D=D, M=M, merge_mode="concat")
    (recording,) = emulate(network, [make_inputs(network, N)])
    both = ("both/forward", "both/backward")

    def said(*wrong):
        states = {name: h + 0.5 * (name in wrong) for name, h in recording.states.items()}
        return described(network, replace(recording, states=states))

    assert said(both[0]).endswith("; only 'both/forward' of 'both/forward' and 'both/backward'")
    assert said(both[1]).endswith("; only 'both/backward' of 'both/forward' and 'both/backward'")
    assert "of 'both/forward' and" not in said(*both)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (FormatFound("float32", None), "consistent with no known one"),
        (FormatFound("float32", "float32"), "consistent with float32"),
        (FormatFound("float32", "float16"), "consistent with float16; float32 was expected"),
    ],
    ids=["none", "stated", "another"],
)
def test_format_is_said_in_words(found, said):
    assert str(found) == said


def test_wrong_weight_is_said_in_words():
    wrong = WrongWeight("lstm", "recurrent_kernel", (17, 200), 1.23456e-4)

    assert str(wrong) == "lstm: recurrent_kernel[17, 200] differs by +0.000123"
    assert str(replace(wrong, weight="bias", index=(3,), difference=-0.5)) == "lstm: bias[3] differs by -0.5"


def test_units_as_noisy_as_rounding_are_not_solved_for():
    """One entry of a weight is wrong, and all other units have scores of about one."""
    network, recording = without_recurrence()
    kernel = network.layer("rnn").weights["kernel"].copy()
    kernel[1, 3] += np.float32(0.01)
    (wrong,) = emulate(replaced(network, "rnn", kernel=kernel), [recording.inputs])
    (seen,) = differences(network.layers[0], observe(network, [recording]))
    signs = np.random.default_rng(0).choice([-1.0, 1.0], seen.noise.shape)
    h = wrong.states["rnn"] + signs * seen.noise

    report = rnncheck.compare(network, recording.inputs, h.astype(np.float32), states={"rnn": h.astype(np.float32)})

    assert [(each.weight, each.index) for each in report.entries[0].diagnosis.weights] == [("kernel", (1, 3))]


def test_weight_of_an_input_that_is_hardly_ever_there_is_solved_for():
    """Eight numbers of the unit are far off, and all together are not."""
    network, _ = without_recurrence(N=40)
    (x,) = make_inputs(network, 40)
    x[:, :, 1] = 0.0
    x[:8, 5, 1] = 1.0
    kernel = network.layer("rnn").weights["kernel"].copy()
    kernel[1, 3] += np.float32(1e-6)
    (wrong,) = emulate(replaced(network, "rnn", kernel=kernel), [(x,)])

    report = rnncheck.compare(network, x, wrong.outputs, states=wrong.states)

    assert report.rows[0].score_rms < AVERAGE_LIMIT
    assert report.rows[0].score_max > SCORE_LIMIT
    assert [(each.weight, each.index) for each in report.entries[0].diagnosis.weights] == [("kernel", (1, 3))]


@pytest.mark.parametrize(("samples", "named"), [(2, False), (12, True)])
def test_weights_are_not_solved_for_where_any_would_fit(samples, named):
    """Two errors can make any two numbers fit."""
    network = make_network(T=1, D=4, M=3, K=None, return_sequences=True)
    inputs = make_inputs(network, samples)
    bias, kernel = (network.layer("rnn").weights[name].copy() for name in ("bias", "kernel"))
    bias[1] += np.float32(0.01)
    kernel[2, 1] += np.float32(0.01)
    (wrong,) = emulate(replaced(network, "rnn", bias=bias, kernel=kernel), [inputs])

    found = wrong_weights(network.layers[0], observe(network, [wrong])[0])

    expected = [("bias", (1,)), ("kernel", (2, 1))] if named else []
    assert sorted((each.weight, each.index) for each in found) == expected


def test_weight_that_moves_every_number_a_little_is_solved_for():
    """No number of the unit is far off, and all together are."""
    network = make_network(T=40, D=2, M=2, K=None, return_sequences=True)
    network = replaced(network, "rnn", recurrent_kernel=np.zeros((2, 2), np.float32))
    inputs = make_inputs(network, 20)
    bias = network.layer("rnn").weights["bias"].copy()
    bias[1] += np.float32(1e-7)
    (wrong,) = emulate(replaced(network, "rnn", bias=bias), [inputs])

    report = rnncheck.compare(network, inputs, wrong.outputs, states=wrong.states)

    assert report.rows[0].score_rms > AVERAGE_LIMIT
    assert report.rows[0].score_max < SCORE_LIMIT
    found = wrong_weights(network.layers[0], observe(network, [wrong])[0])
    assert [(each.weight, each.index) for each in found] == [("bias", (1,))]


def test_weights_are_not_solved_for_where_a_number_is_not_finite():
    network = a_stack("SimpleRNN")
    inputs, *_ = run_with(network)
    bias = network.layer("rnn_0").weights["bias"].copy()
    bias[2] += np.float32(0.01)
    (recording,) = emulate(replaced(network, "rnn_0", bias=bias), [inputs])
    states = np.array(recording.states["rnn_0"])
    states[1, -1, 2] = np.nan

    report = rnncheck.compare(network, inputs, recording.outputs, states={"rnn_0": states})

    assert report.verdict is Verdict.MISMATCH
    assert report.entries[0].diagnosis.weights == ()


def test_glance_at_outputs_of_another_shape_is_hopeless():
    network = a_stack("SimpleRNN")
    inputs, (y,), _ = run_with(network)
    recordings = [Recording(inputs, (y,))]

    assert glance_at_outputs(network, recordings, {0: 1e-7}, Front.of(network, recordings)) < 1.0
    other = [Recording(inputs, (y[:, :-1],))]
    assert glance_at_outputs(network, other, {0: 1e-7}, Front.of(network, recordings)) == np.inf


def test_weights_of_a_convolution_are_not_solved_for():
    network = make_network(T=T, D=2, M=3, K=None, kind="ConvLSTM1D", return_sequences=True)
    kernel = network.layer("rnn").weights["kernel"].copy()
    kernel[0, 1, 2] += np.float32(0.01)
    inputs = make_inputs(network, N)
    (recording,) = emulate(replaced(network, "rnn", kernel=kernel), [inputs])

    report = rnncheck.compare(network, inputs, recording.outputs, states=recording.states)

    assert report.verdict is Verdict.MISMATCH
    assert report.entries[0].diagnosis.weights == ()


@pytest.mark.parametrize("padded", [True, False], ids=["padded", "whole"])
def test_blind_spots_of_many_samples_are_those_of_all_of_them(padded):
    network = make_network(T=4, D=2, M=2, K=2, mask=True)
    inputs = make_inputs(network, 600)
    inputs[1][: 513 if padded else None] = True  # no padding in the first samples, which are looked at first
    recordings = emulate(network, [inputs])
    assert few_samples(network, recordings) is not recordings

    hidden = {(spot.fault, spot.layer) for spot in blind_spots(network, recordings, FAULTS)}

    assert (("mask_ignored", "rnn") in hidden) == (not padded)
    for each in injections(network, FAULTS):
        shown = bool(failures(rows_against(each.network, recordings)))
        assert shown != ((each.fault.name, each.layer) in hidden), str(each)


@pytest.mark.parametrize(("samples", "named"), [(7, False), (8, True)])
def test_a_factor_is_named_where_enough_numbers_have_it(samples, named):
    network = make_network(T=T, D=D, M=M, K=1)
    (recording,) = emulate(network, [make_inputs(network, samples)])
    (y,) = recording.outputs

    (entry,) = rnncheck.compare(network, recording.inputs, y * np.float32(0.5)).entries

    names = [name for each in entry.diagnosis.explanations for name in each.faults]
    assert ("outputs_scaled" in names) == named


def test_negated_outputs_are_not_scaled_besides():
    network = make_network(T=T, D=D, M=M, K=2)
    (recording,) = emulate(network, [make_inputs(network, 8)])

    (entry,) = rnncheck.compare(network, recording.inputs, -recording.outputs[0]).entries

    assert [each.faults for each in entry.diagnosis.explanations] == [("outputs_negated",)]
