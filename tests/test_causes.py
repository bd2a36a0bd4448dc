"""Causes in more than one layer, in what is done to outputs, and in what was recorded."""

import numpy as np
import pytest
from reference import make_dense, make_inputs, make_recurrent

import rnncheck
from rnncheck import InputSpec, Network, Tensor, Verdict
from rnncheck.equations.changes import with_layer, with_weights
from rnncheck.faults.catalogue import FAULTS
from rnncheck.faults.catalogue.causes import ONE_CALL
from rnncheck.faults.catalogue.fault import chained
from rnncheck.faults.emulation import emulate

NAMES = {fault.name: fault for fault in FAULTS}
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
    chain = chained(network, [(NAMES[fault], layer) for fault, layer in faults])
    assert len(chain) == len(faults)
    (recording,) = emulate(chain[-1].network if chain else network, [make_inputs(network, N)])
    own = {layer.name for layer in network.layers}
    return recording.inputs, recording.outputs, {k: h for k, h in recording.states.items() if k in own}


def explanations(network, run, *, states):
    inputs, outputs, sequences = run
    report = rnncheck.compare(network, inputs, outputs, states=sequences if states else None)
    assert report.verdict is Verdict.MISMATCH
    return report, report.entries[0].diagnosis


with_states_and_without = pytest.mark.parametrize("states", [True, False], ids=["states", "outputs"])


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
