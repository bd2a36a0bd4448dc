"""The models and inputs that cases become: whatever could hide a fault is not there."""

from dataclasses import replace

import numpy as np
import pytest

from rnncheck.cases.case import FRONTS, LAYERS, MASKS, MERGE_MODES, NOTEBOOK, POLICIES, RANKS, Case
from rnncheck.cases.inputs import make_mask
from rnncheck.frameworks.keras.build import MASK_VALUE, VOCABULARY, build
from rnncheck.frameworks.keras.extract import to_numpy

SIZES = {"N": 3, "T": 7, "D": 4, "M": 6, "K": 2}


def weights_of(built, layer):
    """The weights of a layer by Keras' names; a stateful layer's states are no weights."""
    weights = built.model.get_layer(layer).weights
    return {w.path.rsplit("/", 1)[-1]: to_numpy(w) for w in weights if "state" not in w.path}


def shapes(arrays):
    return {name: array.shape for name, array in arrays.items()}


@pytest.fixture(scope="module")
def plain():
    return build(Case(**SIZES))


def test_model_has_the_sizes_of_the_case(plain):
    assert plain.model.input_shape == (None, 7, 4)
    assert plain.model.output_shape == (None, 2)
    assert [layer.name for layer in plain.model.layers] == ["inputs", "simple_rnn", "dense"]
    assert shapes(weights_of(plain, "simple_rnn")) == {
        "kernel": (4, 6),
        "recurrent_kernel": (6, 6),
        "bias": (6,),
    }
    assert shapes(weights_of(plain, "dense")) == {"kernel": (6, 2), "bias": (2,)}


@pytest.mark.parametrize("layer", ["simple_rnn", "dense"])
def test_weights_and_biases_are_random_and_none_is_zero(plain, layer):
    for weight in weights_of(plain, layer).values():
        assert np.all(weight != 0.0)
        assert len(np.unique(weight)) == weight.size


def test_biases_are_large_enough_to_show_and_of_both_signs():
    bias = weights_of(build(Case(M=64)), "simple_rnn")["bias"]

    assert np.all((np.abs(bias) >= 0.1) & (np.abs(bias) <= 0.5))
    assert np.any(bias > 0)
    assert np.any(bias < 0)


def test_recurrent_kernel_is_not_symmetric(plain):
    kernel = weights_of(plain, "simple_rnn")["recurrent_kernel"]

    assert np.all(np.abs(kernel - kernel.T)[~np.eye(6, dtype=bool)] > 1e-3)


def test_inputs_are_random_float32_of_the_cases_shape(plain):
    ((x,),) = plain.calls

    assert (x.shape, x.dtype) == ((3, 7, 4), np.float32)
    assert len(np.unique(x)) == x.size
    assert abs(x.mean()) < 0.5
    assert 0.7 < x.std() < 1.3


def test_inputs_come_with_initial_state_and_mask_in_the_models_order():
    built = build(Case(**SIZES, initial_state=True, mask="mixed"))
    (arrays,) = built.calls

    assert [tensor.name for tensor in built.model.inputs] == ["inputs", "h0", "mask"]
    assert [(array.shape, array.dtype) for array in arrays] == [
        ((3, 7, 4), np.float32),
        ((3, 6), np.float32),
        ((3, 7), np.bool_),
    ]
    assert np.all(arrays[1] != 0.0)


def test_stateful_case_makes_two_calls_that_differ():
    built = build(Case(**SIZES, stateful=True))

    assert len(built.calls) == 2
    assert not np.array_equal(built.calls[0][0], built.calls[1][0])
    assert built.model.input_shape == (3, 7, 4)


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_recurrent_scale_is_the_largest_singular_value(scale):
    kernel = weights_of(build(Case(**SIZES, recurrent_scale=scale)), "simple_rnn")["recurrent_kernel"]

    np.testing.assert_allclose(np.linalg.svd(kernel, compute_uv=False)[0], scale, rtol=1e-6)


@pytest.mark.few(3)
@pytest.mark.parametrize("activation", ["tanh", "relu", "linear", "exponential", "softmax", "squareplus"])
def test_states_stay_moderate_with_every_kind_of_activation(activation):
    built = build(Case(N=2, T=40, D=3, M=16, K=2, activation=activation, return_sequences=True, return_state=True))

    _, state = built.model.predict(built.calls[0][0], verbose=0)

    assert np.all(np.isfinite(state))
    assert 1e-3 < np.abs(state).max() < 100.0


@pytest.mark.parametrize(
    ("options", "recurrent", "other"),
    [
        ({}, 0.9, 1.0),
        ({"activation": "relu"}, 0.6, 1.0),
        ({"recurrent_activation": "relu"}, 0.3, 0.5),
        ({"activation": "exponential"}, 0.2 / 4, 0.3),
    ],
    ids=["usual", "unbounded", "unbounded gates", "steep"],
)
def test_weights_are_smaller_where_an_activation_is_steep_or_unbounded(options, recurrent, other):
    cell = build(Case(layer="lstm", D=40, M=16, **options)).model.layers[-2].cell

    assert np.linalg.norm(to_numpy(cell.recurrent_kernel)[:, :16], 2) == pytest.approx(recurrent, rel=1e-6)
    assert np.std(to_numpy(cell.kernel)) * np.sqrt(40) == pytest.approx(other, rel=0.1)
    assert np.abs(to_numpy(cell.bias)).max() == pytest.approx(other * 0.5, rel=0.1)


def test_same_seed_makes_the_same_model_and_inputs(plain):
    again = build(Case(**SIZES))

    for layer in ("simple_rnn", "dense"):
        for name, weight in weights_of(plain, layer).items():
            np.testing.assert_array_equal(weights_of(again, layer)[name], weight)
    np.testing.assert_array_equal(again.calls[0][0], plain.calls[0][0])


@pytest.mark.parametrize("weights", ["random", "keras"])
def test_other_seed_makes_other_weights_and_inputs(weights):
    one, other = (build(Case(**SIZES, weights=weights, seed=seed)) for seed in (0, 1))

    for name in ("kernel", "recurrent_kernel"):
        assert np.all(weights_of(one, "simple_rnn")[name] != weights_of(other, "simple_rnn")[name])
    assert np.all(one.calls[0][0] != other.calls[0][0])


def test_keras_weights_depend_on_the_seed_alone():
    one, other = (build(NOTEBOOK) for _ in range(2))

    np.testing.assert_array_equal(weights_of(one, "dense")["kernel"], weights_of(other, "dense")["kernel"])


def test_case_without_bias_has_none():
    built = build(Case(**SIZES, use_bias=False))

    assert shapes(weights_of(built, "simple_rnn")) == {"kernel": (4, 6), "recurrent_kernel": (6, 6)}
    assert shapes(weights_of(built, "dense")) == {"kernel": (6, 2)}


def test_flatten_widens_the_head_to_all_steps():
    built = build(Case(**SIZES, return_sequences=True, flatten=True))

    assert weights_of(built, "dense")["kernel"].shape == (42, 2)
    assert built.model.output_shape == (None, 2)


def test_options_reach_the_keras_layer():
    options = {
        "return_sequences": True,
        "return_state": True,
        "go_backwards": True,
        "stateful": True,
        "unroll": True,
        "zero_output_for_mask": True,
        "dropout": 0.25,
        "recurrent_dropout": 0.5,
        "activation": "relu",
        "dense_activation": "sigmoid",
    }
    model = build(Case(**SIZES, mask="mixed", **options)).model
    layer = model.get_layer("simple_rnn")

    for name in ("return_sequences", "return_state", "go_backwards", "stateful", "unroll", "zero_output_for_mask"):
        assert getattr(layer, name) is True
    assert (layer.dropout, layer.recurrent_dropout) == (0.25, 0.5)
    assert layer.activation.__name__ == "relu"
    assert model.get_layer("dense").activation.__name__ == "sigmoid"


@pytest.mark.parametrize("kind", ["rnn", "stacked"])
def test_options_reach_the_layer_around_a_cell(kind):
    names = ("return_sequences", "return_state", "go_backwards", "stateful", "unroll", "zero_output_for_mask")
    model = build(Case(**{**SIZES, "layer": kind}, mask="mixed", **dict.fromkeys(names, True))).model

    (layer,) = (each for each in model.layers if type(each).__name__ == "RNN")
    assert all(getattr(layer, name) is True for name in names)


@pytest.mark.parametrize("dtype", POLICIES)
def test_dtype_policy_reaches_both_layers(dtype):
    model = build(Case(**SIZES, dtype=dtype)).model

    for layer in ("simple_rnn", "dense"):
        assert model.get_layer(layer).dtype_policy.name == dtype
        assert model.get_layer(layer).compute_dtype == POLICIES[dtype]


GATED = {"lstm": 4, "gru": 3, **dict.fromkeys(RANKS, 4)}
BIDIRECTIONAL = {"wrapper": "bidirectional"}
TIME_DISTRIBUTED = {"wrapper": "time_distributed"}


def all_weights(built):
    """Every weight of a model by its path; the states that a stateful layer keeps are none."""
    return {weight.path: to_numpy(weight) for weight in built.model.weights if "state" not in weight.path}


def input_shapes(built):
    return {tensor.name: tuple(tensor.shape[1:]) for tensor in built.model.inputs}


def output_shapes(built):
    return [tuple(tensor.shape[1:]) for tensor in built.model.outputs]


LAYERS_AND_WRAPPERS = [
    pytest.param(layer, wrapper, marks=[pytest.mark.long] if "conv" in layer and wrapper != "none" else [])
    for layer in LAYERS
    for wrapper in ("none", "bidirectional", "time_distributed")
]


@pytest.mark.few(4)
@pytest.mark.parametrize(("layer", "wrapper"), LAYERS_AND_WRAPPERS)
def test_model_of_every_layer_and_wrapper_predicts_what_it_says(layer, wrapper):
    built = build(Case(**SIZES, layer=layer, wrapper=wrapper, mask="mixed", return_sequences=True, flatten=True))

    (array,) = [built.model.predict(list(built.calls[0]), verbose=0)]

    assert array.shape == (3, 2)
    assert np.all(np.isfinite(array))
    assert len(np.unique(array)) == array.size


@pytest.mark.parametrize(
    ("layer", "kernels"),
    [
        ("lstm", {"kernel": (4, 24), "recurrent_kernel": (6, 24), "bias": (24,)}),
        ("gru", {"kernel": (4, 18), "recurrent_kernel": (6, 18), "bias": (2, 18)}),
        ("conv_lstm_1d", {"kernel": (2, 4, 24), "recurrent_kernel": (2, 6, 24), "bias": (24,)}),
        ("conv_lstm_2d", {"kernel": (2, 3, 4, 24), "recurrent_kernel": (2, 3, 6, 24), "bias": (24,)}),
        ("conv_lstm_3d", {"kernel": (2, 3, 2, 4, 24), "recurrent_kernel": (2, 3, 2, 6, 24), "bias": (24,)}),
    ],
)
def test_layer_has_weights_for_every_gate(layer, kernels):
    assert shapes(weights_of(build(Case(**SIZES, layer=layer)), layer)) == kernels


def test_gru_that_resets_before_the_product_has_one_bias():
    built = build(Case(**SIZES, layer="gru", reset_after=False))

    assert weights_of(built, "gru")["bias"].shape == (18,)


@pytest.mark.few(10)
@pytest.mark.parametrize(
    "options",
    [
        *({"layer": layer} for layer in LAYERS),
        {"layer": "lstm", **BIDIRECTIONAL, "own_backward": True},
        {"layer": "gru", **TIME_DISTRIBUTED},
        {"layer": "stacked", "cells": 3},
        {"layer": "lstm", "layers": 2},
        {"mask": "mixed", "mask_from": "embedding"},
        *({"front": front} for front in FRONTS),
    ],
    ids=lambda options: " ".join(map(str, options.values())),
)
def test_every_weight_is_random_and_none_is_zero(options):
    weights = all_weights(build(Case(**SIZES, **options)))

    for weight in weights.values():
        assert np.all(weight != 0.0)
        assert len(np.unique(weight)) == weight.size
    assert len({weight.tobytes() for weight in weights.values()}) == len(weights)


@pytest.mark.parametrize("scale", [0.5, 3.0])
@pytest.mark.parametrize("layer", GATED)
def test_recurrent_scale_is_the_largest_singular_value_of_every_gate(layer, scale):
    kernel = weights_of(build(Case(**SIZES, layer=layer, recurrent_scale=scale)), layer)["recurrent_kernel"]

    gates = np.split(kernel.reshape(-1, kernel.shape[-1]), GATED[layer], axis=-1)

    np.testing.assert_allclose([np.linalg.svd(gate)[1][0] for gate in gates], scale, rtol=1e-6)


@pytest.mark.parametrize("layer", ["lstm", "gru"])
def test_gates_are_not_saturated(layer):
    case = Case(N=16, T=20, D=8, M=32, K=2, layer=layer)
    built = build(case)
    kernel, _, bias = weights_of(built, layer).values()

    before = built.calls[0][0] @ kernel + bias.reshape(-1, bias.shape[-1])[0]

    assert 0.7 < before.std() < 1.5
    assert np.abs(before).max() < 8.0


@pytest.mark.parametrize(
    ("options", "states"),
    [
        ({"layer": "lstm"}, {"h0": (6,), "c0": (6,)}),
        ({"layer": "gru"}, {"h0": (6,)}),
        ({"layer": "rnn", "cell": "lstm"}, {"h0": (6,), "c0": (6,)}),
        ({"layer": "stacked"}, {"h0_0": (7,), "h0_1": (6,), "c0_1": (6,)}),
        ({"layer": "conv_lstm_2d"}, {"h0": (5, 3, 6), "c0": (5, 3, 6)}),
        ({"layer": "gru", **BIDIRECTIONAL}, {"h0": (6,), "h0_backward": (6,)}),
        (
            {"layer": "lstm", **BIDIRECTIONAL},
            {"h0": (6,), "c0": (6,), "h0_backward": (6,), "c0_backward": (6,)},
        ),
        ({"layer": "lstm", "layers": 2}, {"h0": (6,), "c0": (6,), "h0_2": (6,), "c0_2": (6,)}),
        ({"layer": "conv_lstm_1d", "layers": 2}, {"h0": (5, 6), "c0": (5, 6), "h0_2": (4, 6), "c0_2": (4, 6)}),
    ],
    ids=lambda value: " ".join(map(str, value.values())) if "layer" in value else "",
)
def test_initial_states_are_inputs_of_the_model(options, states):
    built = build(Case(**SIZES, **options, initial_state=True, mask="left"))
    (arrays,) = built.calls

    assert list(input_shapes(built).items())[1:-1] == list(states.items())
    assert [array.shape[1:] for array in arrays] == list(input_shapes(built).values())
    assert all(np.all(array != 0.0) for array in arrays[1:-1])


@pytest.mark.parametrize(
    ("options", "states"),
    [
        ({"layer": "lstm"}, [(6,), (6,)]),
        ({"layer": "gru"}, [(6,)]),
        ({"layer": "stacked"}, [(7,), (6,), (6,)]),
        ({"layer": "conv_lstm_1d"}, [(5, 6), (5, 6)]),
        ({"layer": "lstm", **BIDIRECTIONAL}, [(6,)] * 4),
        ({"layer": "lstm", "layers": 2}, [(6,), (6,)]),
    ],
    ids=lambda options: " ".join(map(str, options.values())) if isinstance(options, dict) else "",
)
def test_final_states_are_outputs_of_the_model(options, states):
    built = build(Case(**SIZES, **options, return_state=True))

    assert output_shapes(built)[1:] == states


def test_final_states_follow_the_heads_of_both_directions():
    built = build(Case(**SIZES, layer="lstm", **BIDIRECTIONAL, merge_mode="none", return_state=True))

    assert output_shapes(built) == [(2,)] * 2 + [(6,)] * 4


def test_layers_stand_on_top_of_each_other():
    model = build(Case(**SIZES, layer="gru", layers=3, return_state=True)).model

    assert [layer.name for layer in model.layers] == ["inputs", "gru", "gru_2", "gru_3", "dense"]
    assert [layer.return_sequences for layer in model.layers[1:4]] == [True, True, False]
    assert [layer.return_state for layer in model.layers[1:4]] == [False, False, True]


@pytest.mark.parametrize("dtype", POLICIES)
def test_stack_has_mixed_cells_of_different_sizes_in_every_dtype(dtype):
    layer = build(Case(**SIZES, layer="stacked", cells=3, dtype=dtype)).model.get_layer("stacked")

    assert [type(cell).__name__ for cell in layer.cell.cells] == ["SimpleRNNCell", "LSTMCell", "GRUCell"]
    assert [cell.units for cell in layer.cell.cells] == [8, 7, 6]
    assert {cell.compute_dtype for cell in (layer.cell, *layer.cell.cells)} == {POLICIES[dtype]}


@pytest.mark.parametrize("merge_mode", MERGE_MODES)
def test_bidirectional_merges_as_asked_and_gives_each_output_a_head(merge_mode):
    built = build(Case(**SIZES, layer="lstm", **BIDIRECTIONAL, merge_mode=merge_mode))

    layer = built.model.get_layer("bidirectional")

    assert layer.merge_mode == (None if merge_mode == "none" else merge_mode)
    assert output_shapes(built) == [(2,)] * (2 if merge_mode == "none" else 1)
    assert weights_of(built, "dense")["kernel"].shape == (12 if merge_mode == "concat" else 6, 2)


@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("activation", ["tanh", "softsign"])
def test_own_backward_layer_goes_the_other_way_with_another_activation(activation, go_backwards):
    case = Case(**BIDIRECTIONAL, own_backward=True, activation=activation, go_backwards=go_backwards)

    layer = build(case).model.get_layer("bidirectional")

    assert layer.forward_layer.activation.__name__ == activation
    assert layer.backward_layer.activation.__name__ == ("softsign" if activation == "tanh" else "tanh")
    assert layer.forward_layer.go_backwards is go_backwards
    assert layer.backward_layer.go_backwards is not go_backwards


@pytest.mark.parametrize("layer", ["lstm", "gru", "rnn", "conv_lstm_2d"])
def test_gate_options_reach_the_keras_layer(layer):
    cell = {"cell": "lstm"} if layer == "rnn" else {}
    own = {"reset_after": False} if layer == "gru" else {"unit_forget_bias": False}
    case = Case(**SIZES, layer=layer, **cell, **own, recurrent_activation="hard_sigmoid", activation="relu")

    found = build(case).model.get_layer(layer).cell

    assert found.activation.__name__ == "relu"
    assert found.recurrent_activation.__name__ == "hard_sigmoid"
    assert {name: getattr(found, name) for name in own} == own


def test_convolution_options_reach_the_keras_layer():
    case = Case(**SIZES, layer="conv_lstm_3d", kernel_size=1, strides=2, padding="same")
    dilated = Case(**SIZES, layer="conv_lstm_2d", dilation_rate=2)

    layer, other = build(case).model.get_layer("conv_lstm_3d"), build(dilated).model.get_layer("conv_lstm_2d")

    assert (layer.kernel_size, layer.strides, layer.padding) == ((1, 2, 1), (2, 2, 2), "same")
    assert (other.kernel_size, other.dilation_rate, other.padding) == ((2, 3), (2, 2), "valid")


def mask_of(case):
    """The mask that the same case would have as an input."""
    return build(replace(case, mask_from="input")).calls[0][-1]


def test_masking_finds_its_value_in_every_feature_of_the_steps_that_do_not_count():
    case = Case(**SIZES, mask="mixed", mask_from="masking")
    built = build(case)
    ((x,),) = built.calls

    assert built.model.get_layer("masking").mask_value == MASK_VALUE
    np.testing.assert_array_equal(np.all(x == MASK_VALUE, axis=-1), ~mask_of(case))
    np.testing.assert_array_equal(np.any(x == MASK_VALUE, axis=-1), ~mask_of(case))


def test_embedding_finds_zero_in_the_steps_that_do_not_count():
    built = build(Case(**SIZES, mask="mixed", mask_from="embedding"))
    ((ids,),) = built.calls

    assert built.model.get_layer("embedding").mask_zero is True
    assert weights_of(built, "embedding")["embeddings"].shape == (VOCABULARY, 4)
    assert (ids.shape, ids.dtype) == ((3, 7), np.int32)
    assert ids.max() < VOCABULARY
    assert not ids[:, [0, -1]].any()  # padding on both ends
    assert not ids[1].any()  # one sample in which no step counts
    assert ids[[0, 2]].any(axis=1).all()


@pytest.mark.parametrize("mask_from", ["masking", "embedding"])
@pytest.mark.parametrize("wrapper", ["none", "bidirectional", "time_distributed"])
def test_mask_that_a_layer_finds_reaches_every_recurrent_layer(wrapper, mask_from):
    case = Case(**SIZES, layer="lstm", wrapper=wrapper, layers=2, mask="mixed", mask_from=mask_from)
    built = build(case)
    (arrays,) = built.calls

    recurrent = [layer for layer in built.model.layers if layer.name.startswith(("lstm", wrapper))]
    masks = [layer._inbound_nodes[0].arguments.kwargs["mask"] for layer in recurrent]

    assert len(masks) == 2
    assert [mask.shape for mask in masks] == [(None, *case.outer, 7)] * 2
    assert len(arrays) == 1


def test_time_distributed_has_a_mask_for_every_outer_step():
    built = build(Case(**SIZES, **TIME_DISTRIBUTED, mask="mixed"))
    x, mask = built.calls[0]

    assert (x.shape, mask.shape) == ((3, 2, 7, 4), (3, 2, 7))
    assert input_shapes(built) == {"inputs": (2, 7, 4), "mask": (2, 7)}
    assert len({row.tobytes() for row in mask.reshape(-1, 7)}) > 3


@pytest.mark.parametrize(("front", "image"), [("conv1d", ()), ("conv2d", (6, 5)), ("conv3d", (6, 5))])
def test_front_keeps_the_steps_and_reads_images_where_it_says_so(front, image):
    case = Case(**SIZES, layer="gru", front=front)
    built = build(case)
    read = built.model.get_layer("gru").input

    assert built.calls[0][0].shape == (case.N, case.T, *image, case.D)
    assert read.shape[:2] == (None, case.T)
    assert case.D < read.shape[2] <= case.features


def test_convolution_has_space_between_steps_and_channels():
    built = build(Case(**SIZES, layer="conv_lstm_3d", mask="mixed"))
    x, mask = built.calls[0]

    assert (x.shape, mask.shape) == ((3, 7, 6, 5, 3, 4), (3, 7))


def test_notebook_case_is_built_with_keras_default_initialisers():
    built = build(NOTEBOOK)
    rnn, head = weights_of(built, "simple_rnn"), weights_of(built, "dense")

    assert shapes(rnn) == {"kernel": (3, 5), "recurrent_kernel": (5, 5), "bias": (5,)}
    assert shapes(head) == {"kernel": (5, 2), "bias": (2,)}
    assert not rnn["bias"].any()
    assert not head["bias"].any()
    np.testing.assert_allclose(rnn["recurrent_kernel"] @ rnn["recurrent_kernel"].T, np.eye(5), atol=1e-6)
    limit = np.sqrt(6.0 / (3 + 5))  # Glorot uniform
    assert 0.5 * limit < np.abs(rnn["kernel"]).max() <= limit


def masks(kind, n=4, t_steps=9):
    return [make_mask(kind, n, t_steps, np.random.default_rng(seed)) for seed in range(200)]


def is_run(counts):
    """Whether the steps that count stand together."""
    return np.count_nonzero(np.diff(counts.astype(int)) == 1) + int(counts[0]) == 1


@pytest.mark.parametrize("kind", [kind for kind in MASKS if kind != "none"])
@pytest.mark.parametrize("sizes", [(1, 1), (1, 4), (2, 3), (4, 9)], ids=str)
def test_mask_is_a_boolean_for_every_step(kind, sizes):
    for mask in masks(kind, *sizes):
        assert (mask.shape, mask.dtype) == (sizes, np.bool_)


def test_mask_all_counts_every_step():
    assert all(mask.all() for mask in masks("all"))


def test_mask_right_ends_in_padding_in_every_sample():
    for mask in masks("right"):
        assert mask[:, 0].all()
        assert not mask[:, -1].any()
        assert all(is_run(row) for row in mask)


def test_mask_left_starts_with_padding_in_every_sample():
    for mask in masks("left"):
        assert not mask[:, 0].any()
        assert mask[:, -1].all()
        assert all(is_run(row) for row in mask)


def test_mask_both_has_padding_on_both_ends_of_every_sample():
    for mask in masks("both"):
        assert not mask[:, [0, -1]].any()
        assert all(is_run(row) for row in mask)


def test_mask_holes_has_steps_missing_inside():
    for mask in masks("holes"):
        assert not mask.all()
        assert any(not is_run(row) for row in mask)


def test_mask_mixed_has_holes_padding_and_one_sample_that_never_counts():
    for mask in masks("mixed"):
        assert not mask[:, [0, -1]].any()
        assert not mask[2].any()
        assert np.count_nonzero(mask.any(axis=1)) >= 2
    assert any(not is_run(row) for mask in masks("mixed") for row in mask if row.any())


@pytest.mark.parametrize("kind", ["left", "right", "both"])
def test_mask_pads_samples_by_different_lengths(kind):
    for mask in masks(kind):
        assert len({tuple(row) for row in mask}) > 1


@pytest.mark.parametrize("kind", [kind for kind in MASKS if kind != "none"])
def test_mask_leaves_some_step_to_check_in_a_case_of_four_steps(kind):
    for mask in masks(kind, n=2, t_steps=4):
        assert mask.any()
