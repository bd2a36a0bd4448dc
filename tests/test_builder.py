"""The models and inputs that cases become: whatever could hide a fault is not there."""

import numpy as np
import pytest

from rnncheck.builder import build, make_mask
from rnncheck.case import MASKS, NOTEBOOK, POLICIES, Case
from rnncheck.extractor import to_numpy

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


@pytest.mark.parametrize("activation", ["tanh", "relu", "linear", "exponential", "softmax", "squareplus"])
def test_states_stay_moderate_with_every_kind_of_activation(activation):
    built = build(Case(N=2, T=40, D=3, M=16, K=2, activation=activation, return_sequences=True, return_state=True))

    _, state = built.model.predict(built.calls[0][0], verbose=0)

    assert np.all(np.isfinite(state))
    assert 1e-3 < np.abs(state).max() < 100.0


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


@pytest.mark.parametrize("dtype", POLICIES)
def test_dtype_policy_reaches_both_layers(dtype):
    model = build(Case(**SIZES, dtype=dtype)).model

    for layer in ("simple_rnn", "dense"):
        assert model.get_layer(layer).dtype_policy.name == dtype
        assert model.get_layer(layer).compute_dtype == POLICIES[dtype]


# --- the notebook's model ---


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


# --- masks ---


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
