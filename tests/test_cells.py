"""Every recurrent layer and wrapper: the replay against the scalar reference."""

from itertools import product

import numpy as np
import pytest
import reference
from reference import (
    CELLS,
    DOUBLE,
    IMAGE_SIZES,
    make_bidirectional,
    make_dense,
    make_inputs,
    make_network,
    make_recurrent,
)

from rnncheck import InputSpec, Network, Tensor
from rnncheck.equations.arithmetic import FREE_RUNNING
from rnncheck.equations.replay import replay
from rnncheck.network import Layer

GATED = ("lstm", "gru", "gru_reset_before", "conv_lstm_1d")


IMAGES = ("conv_lstm_1d", "conv_lstm_2d", "conv_lstm_3d")


MERGE_MODES = ("concat", "sum", "mul", "ave", None)


STACKS = {
    "lstm_gru": ("lstm", "gru"),
    "gru_simple_rnn_lstm": ("gru_reset_before", "simple_rnn", "lstm"),
    "one_lstm": ("lstm",),
}


COMBINED = ("return_sequences", "go_backwards", "zero_output_for_mask", "initial_state")


def named(options):
    return " ".join(f"{name}={value}" for name, value in options.items()) or "plain"


def sized(sizes):
    return " ".join(f"{name}{size}" for name, size in zip("NTDM", sizes, strict=True))


def make(cell, *, T=5, D=2, M=3, **options):
    """A network of that cell alone, in double precision; it puts out the final states as well."""
    return make_network(T=T, D=D, M=M, K=None, **{"return_state": True, **DOUBLE, **CELLS[cell], **options})


def replay_calls(network, calls, **arithmetic):
    states, results = None, []
    for call in calls:
        replayed = replay(network, call, states=states, **arithmetic)
        states = replayed.states
        results.append(list(replayed.outputs))
    return results


def assert_same(actual, expected, tolerance=1e-12):
    """Compare lists of outputs, every shape and every number."""
    assert len(actual) == len(expected)
    for array, nested in zip(actual, expected, strict=True):
        assert np.shape(array) == np.shape(nested)
        np.testing.assert_allclose(np.array(array), np.array(nested), rtol=tolerance, atol=tolerance)


def assert_all_same(actual, expected):
    """Compare the outputs of several calls."""
    assert len(actual) == len(expected)
    for outputs, expected_outputs in zip(actual, expected, strict=True):
        assert_same(outputs, expected_outputs)


CONVOLUTIONS = [
    {"padding": "same"},
    {"padding": "valid", "kernel_size": 1},
    {"padding": "same", "kernel_size": 2},
    {"padding": "same", "strides": 2},
    {"padding": "valid", "strides": 2, "kernel_size": 2},
    {"padding": "same", "strides": 3, "kernel_size": 2},
    {"padding": "valid", "dilation_rate": 2, "kernel_size": 2},
    {"padding": "same", "dilation_rate": 2},
    {"padding": "same", "dilation_rate": 3, "kernel_size": 2},
]


def make_convolution(cell, options, **more):
    """A ConvLSTM whose first axis has the options and whose other axes have smaller ones."""
    rank = len(IMAGE_SIZES[CELLS[cell]["kind"]])
    sizes = {
        "kernel_size": (options.get("kernel_size", 3), 2, 1)[:rank],
        "strides": (options.get("strides", 1), 1, 2 if "strides" in options else 1)[:rank],
        "dilation_rate": (options.get("dilation_rate", 1), 1, 1)[:rank],
    }
    return make(cell, T=3, padding=options["padding"], return_sequences=True, **sizes, **more)


def make_stack(stack, *, T=6, D=2, mask=False, go_backwards=False, return_sequences=True, zero_output_for_mask=False):
    """RNN([cells]) lowered: each layer reads the one below, and only the lowest takes the steps backwards.

    The layers above see the steps in the order in which they were taken, so their mask is reversed as well.
    """
    rng = np.random.default_rng(7)
    names = [*(f"rnn/{k}_{cell}" for k, cell in enumerate(STACKS[stack][:-1])), "rnn"]
    sizes = [D, *(3 + k for k in range(len(names)))]
    order = Tensor("mask/reverse") if go_backwards else Tensor("mask")
    layers, source = [], "inputs"
    for k, (name, cell) in enumerate(zip(names, STACKS[stack], strict=True)):
        layer = make_recurrent(
            name,
            rng,
            D=sizes[k],
            M=sizes[k + 1],
            source=source,
            mask=(order if k else Tensor("mask")) if mask else None,
            go_backwards=go_backwards and k == 0,
            return_sequences=return_sequences or name != "rnn",
            return_state=True,
            zero_output_for_mask=zero_output_for_mask,
            **DOUBLE,
            **CELLS[cell],
        )
        layers.append(layer)
        source = name
    states = [Tensor(layer.name, 1 + k) for layer in layers for k in range(reference.STATES[layer.kind])]
    reverse = Layer("mask/reverse", "Reverse", inputs=(Tensor("mask"),), dtype="float64")
    return Network(
        "by_hand",
        inputs=(InputSpec("inputs", (T, D), "float64"), *((InputSpec("mask", (T,), "bool"),) if mask else ())),
        layers=(*((reverse,) if mask and go_backwards else ()), *layers),
        outputs=(Tensor("rnn"), *states),
    )


def reference_of_stack(network, call):
    cells = [layer for layer in network.layers if layer.kind != "Reverse"]
    output, states = reference.stacked(
        cells,
        call[0].tolist(),
        call[1].tolist() if len(call) > 1 else None,
        return_sequences=cells[-1].options["return_sequences"],
        go_backwards=cells[0].options["go_backwards"],
        zero_output_for_mask=cells[0].options["zero_output_for_mask"],
    )
    return [output, *states]


STACK_OPTIONS = [
    {},
    {"return_sequences": False},
    {"mask": True},
    {"mask": True, "zero_output_for_mask": True},
    {"go_backwards": True},
    {"mask": True, "go_backwards": True},
    {"mask": True, "go_backwards": True, "return_sequences": False},
]


def reference_of_bidirectional(network, call, merge_mode):
    given = {spec.name: array.tolist() for spec, array in zip(network.inputs, call, strict=True)}
    forward, backward = network.layers[:2]
    starts = [given[tensor.layer] for half in (forward, backward) for tensor in half.initial_state]
    outputs, states = reference.bidirectional(
        forward, backward, given["inputs"], given.get("mask"), starts, merge_mode=merge_mode
    )
    return [*outputs, *states]


BIDIRECTIONAL_OPTIONS = [
    {},
    {"mask": True},
    {"mask": True, "return_sequences": False},
    {"initial_state": True},
    {"forward": "gru", "backward": "gru_reset_before", "mask": True, "initial_state": True},
    {"forward": "simple_rnn", "backward": "lstm"},
]


def dense_arguments(layer):
    return layer.weights["kernel"].tolist(), layer.weights["bias"].tolist(), layer.options["activation"].name


SIZES = [(1, 1, 1, 1), (1, 4, 3, 5), (2, 1, 4, 3), (3, 7, 1, 2), (4, 6, 5, 1), (2, 30, 3, 7)]


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell not in IMAGES])
@pytest.mark.parametrize("sizes", SIZES, ids=sized)
def test_replay_gives_the_reference_at_every_size(cell, sizes):
    N, T, D, M = sizes
    network = make(cell, T=T, D=D, M=M, return_sequences=True, seed=N)
    calls = [make_inputs(network, N)]

    assert_all_same(replay_calls(network, calls), reference.run(network, calls))


@pytest.mark.parametrize("cell", IMAGES)
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (3, 4, 2, 1), (2, 5, 1, 3)], ids=sized)
def test_replay_of_images_gives_the_reference_at_every_size(cell, sizes):
    N, T, D, M = sizes
    network = make(cell, T=T, D=D, M=M, return_sequences=True, seed=N)
    calls = [make_inputs(network, N)]

    assert_all_same(replay_calls(network, calls), reference.run(network, calls))


@pytest.mark.few(75)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("mask", [False, True], ids=["unmasked", "masked"])
@pytest.mark.parametrize(
    "flags", list(product((False, True), repeat=4)), ids=lambda flags: named(dict(zip(COMBINED, flags, strict=True)))
)
def test_replay_gives_the_reference_for_every_combination_of_options(cell, mask, flags):
    network = make(cell, T=4, mask=mask, **dict(zip(COMBINED, flags, strict=True)))
    calls = [make_inputs(network, 3, seed=3)]

    assert_all_same(replay_calls(network, calls), reference.run(network, calls))


@pytest.mark.parametrize("cell", GATED)
@pytest.mark.parametrize("activation", sorted(reference.ACTIVATIONS))
@pytest.mark.parametrize("option", ["activation", "recurrent_activation"])
def test_replay_gives_the_reference_for_every_activation(cell, activation, option):
    network = make(cell, T=4, recurrent_scale=0.6, return_sequences=True, **{option: activation})
    calls = [make_inputs(network, 2)]

    assert_all_same(replay_calls(network, calls), reference.run(network, calls))


@pytest.mark.parametrize("cell", ["lstm", "gru", "conv_lstm_1d"])
@pytest.mark.parametrize("go_backwards", [False, True], ids=["forwards", "backwards"])
def test_replay_of_many_steps_is_the_same_across_the_pieces_in_which_it_projects(cell, go_backwards):
    network = make(cell, T=24, M=16, return_sequences=True, go_backwards=go_backwards)
    call = make_inputs(network, 400)  # 24·400·16 numbers are more than one piece of 2^17

    results = replay(network, call).outputs

    first = [tuple(array[:1] for array in call)]
    assert_same([array[:1] for array in results], reference.run(network, first)[0])


@pytest.mark.parametrize("cell", CELLS)
def test_replay_gives_the_reference_without_biases(cell):
    network = make(cell, use_bias=False, return_sequences=True, initial_state=True)
    calls = [make_inputs(network, 3)]

    assert "bias" not in network.layer("rnn").weights
    assert_all_same(replay_calls(network, calls), reference.run(network, calls))


@pytest.mark.parametrize(("cell", "gates"), [("simple_rnn", 1), ("lstm", 4)])
def test_replay_gives_the_reference_with_a_second_bias(cell, gates, rng):
    one = make(cell, M=3, return_sequences=True)
    network = reference.replaced(one, "rnn", bias=rng.normal(size=(2, gates * 3)))
    calls = [make_inputs(network, 3)]

    results = replay_calls(network, calls)

    assert_all_same(results, reference.run(network, calls))
    for row in (0, 1):  # either counts
        other = reference.replaced(network, "rnn", bias=network.layer("rnn").weights["bias"] * [[row], [1 - row]])
        assert not np.allclose(replay_calls(other, calls)[0][0], results[0][0])


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    "options",
    [{}, {"mask": True}, {"mask": True, "go_backwards": True}, {"initial_state": True}, {"return_state": False}],
    ids=named,
)
def test_replay_of_a_stateful_layer_goes_on_from_the_call_before(cell, options):
    network = make(cell, T=3, stateful=True, return_sequences=True, **options)
    calls = [make_inputs(network, 3, seed=seed) for seed in (1, 2, 3)]

    results = replay_calls(network, calls)

    assert_all_same(results, reference.run(network, calls))
    started_afresh = replay(network, calls[1]).outputs[0]
    assert np.allclose(results[1][0], started_afresh) == ("initial_state" in options)


@pytest.mark.parametrize("cell", IMAGES)
@pytest.mark.parametrize("options", CONVOLUTIONS, ids=named)
def test_replay_convolves_as_the_reference_does(cell, options):
    network = make_convolution(cell, options, mask=True, initial_state=True)
    calls = [make_inputs(network, 3)]

    assert_all_same(replay_calls(network, calls), reference.run(network, calls))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_weights_inputs_and_given_states_are_rounded_to_the_precision_of_the_layer_first(cell, dtype):
    options = {"mask": True, "initial_state": True, "weight_dtype": "float64", "input_dtype": "float64"}
    network, unrounded = make(cell, dtype=dtype, **options), make(cell, dtype="float64", **options)
    calls = [make_inputs(network, 3)]

    results = replay_calls(network, calls)

    assert_all_same(results, reference.run(network, calls))
    assert not np.array_equal(results[0][0], replay(unrounded, calls[0]).outputs[0])


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    "options",
    [
        {"return_sequences": True},
        {"mask": True, "initial_state": True, "go_backwards": True},
        {"stateful": True, "mask": True, "zero_output_for_mask": True, "return_sequences": True},
        {"activation": "relu", "use_bias": False},
    ],
    ids=named,
)
def test_replay_that_carries_noise_has_the_same_values(cell, options):
    network = make(cell, T=4, **{**options, "dtype": "float32", "weight_dtype": "float32"})
    calls = [make_inputs(network, 3, seed=seed) for seed in (1, 2)]

    noisy = replay_calls(network, calls, arithmetic=FREE_RUNNING)

    assert_all_same([[rounded.value for rounded in call] for call in noisy], reference.run(network, calls))
    assert all(np.all(rounded.noise > 0.0) for call in noisy for rounded in call)


@pytest.mark.parametrize("merge_mode", MERGE_MODES)
@pytest.mark.parametrize("options", BIDIRECTIONAL_OPTIONS, ids=named)
def test_replay_runs_both_directions_as_the_reference_does(merge_mode, options):
    network = make_bidirectional(T=5, D=2, M=3, merge_mode=merge_mode, **options)
    call = make_inputs(network, 4)

    assert_same(replay(network, call).outputs, reference_of_bidirectional(network, call, merge_mode))


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("options", STACK_OPTIONS, ids=named)
def test_replay_stacks_cells_as_the_reference_does(stack, options):
    network = make_stack(stack, **options)
    call = make_inputs(network, 4)

    assert_same(replay(network, call).outputs, reference_of_stack(network, call))


def in_every_step(*layers, shape):
    """TimeDistributed of some layers, lowered: the first reads the tensor `each/fold`."""
    fold = Layer("each/fold", "FoldTime", inputs=(Tensor("inputs"),), dtype="float64")
    inner = (Tensor(layers[-1].name), Tensor("inputs"))
    unfold = Layer("each", "UnfoldTime", inputs=inner, dtype="float64")
    inputs = (InputSpec("inputs", shape, "float64"),)
    return Network("by_hand", inputs, (fold, *layers, unfold), (Tensor("each"),))


def test_replay_of_a_dense_layer_in_every_step_gives_the_reference():
    dense = make_dense("each/dense", np.random.default_rng(0), D=3, K=2, source="each/fold", dtype="float64")
    network = in_every_step(dense, shape=(5, 3))
    call = make_inputs(network, 4)

    assert_same(replay(network, call).outputs, [reference.dense(call[0].tolist(), *dense_arguments(dense))])


def test_replay_of_a_recurrent_layer_in_every_step_gives_the_reference():
    rnn = make_recurrent(
        "each/lstm", np.random.default_rng(0), D=3, M=2, source="each/fold", **CELLS["lstm"], **DOUBLE
    )
    network = in_every_step(rnn, shape=(5, 4, 3))
    call = make_inputs(network, 2)

    assert_same(replay(network, call).outputs, [[reference.recurrent(rnn, sample)[0] for sample in call[0].tolist()]])


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell not in IMAGES])
def test_replay_of_an_embedding_that_masks_zero_gives_the_reference(cell):
    rng = np.random.default_rng(0)
    table, ids = rng.normal(size=(7, 2)), np.array([[3, 0, 6, 0], [0, 0, 1, 5], [2, 4, 1, 3]], np.int32)
    embedding = Layer(
        "embedding",
        "Embedding",
        inputs=(Tensor("ids"),),
        options={"input_dim": 7, "output_dim": 2, "mask_zero": True},
        weights={"embeddings": table},
        dtype="float64",
    )
    counts = Layer("counts", "NotEqual", inputs=(Tensor("ids"),), options={"value": 0}, dtype="float64")
    options = {"D": 2, "M": 3, "source": "embedding", "mask": Tensor("counts"), "return_sequences": True}
    rnn = make_recurrent("rnn", rng, **options, **CELLS[cell], **DOUBLE)
    inputs = (InputSpec("ids", (4,), "int32"),)
    network = Network("by_hand", inputs, (embedding, counts, rnn), (Tensor("embedding"), Tensor("rnn")))

    looked_up = reference.embedding(ids.tolist(), table.tolist())
    expected = reference.recurrent(rnn, looked_up, [[number != 0 for number in sample] for sample in ids.tolist()])[0]

    assert_same(replay(network, (ids,)).outputs, [looked_up, expected])
