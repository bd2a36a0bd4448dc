"""Layers without a state, on numbers of their own: convolutions, moves and masks."""

import itertools
import re
from dataclasses import dataclass, field

import numpy as np
import pytest
from formulas import FORMULAS, windows_of

from rnncheck.equations.layers import HELPERS, LAYERS
from rnncheck.equations.moves import OutsideTableError
from rnncheck.equations.windows import convolve
from rnncheck.network import Activation
from rnncheck.rounding.precision import PRECISIONS
from rnncheck.rounding.products import Matrix
from rnncheck.rounding.rounded import Rounded


@dataclass(frozen=True)
class Case:
    """A layer with some options, and the shapes of its inputs; N is 3."""

    kind: str
    options: dict = field(default_factory=dict)
    shapes: tuple = ((6, 4),)
    masks: tuple = ()  # the shapes of the masks that follow the inputs
    masked: tuple = ()  # what Attention's masks are of
    call: dict = field(default_factory=dict)
    offset: float = 0.0  # added to the inputs


CASES = {
    "dense": Case("Dense", {"units": 5, "activation": "tanh"}),
    "dense_of_units": Case("Dense", {"units": 5, "activation": "softmax"}, ((4,),)),
    "dense_without_bias": Case("Dense", {"units": 2, "use_bias": False}, ((3, 2, 4),)),
    "conv1d": Case("Conv1D", {"filters": 5, "kernel_size": 3, "activation": "sigmoid"}),
    "conv1d_same_even": Case("Conv1D", {"filters": 2, "kernel_size": 4, "padding": "same"}, ((7, 3),)),
    "conv1d_same_strided": Case(
        "Conv1D", {"filters": 2, "kernel_size": 4, "strides": 3, "padding": "same"}, ((8, 3),)
    ),
    "conv1d_same_wide_strides": Case(
        "Conv1D", {"filters": 2, "kernel_size": 2, "strides": 3, "padding": "same", "use_bias": False}, ((10, 3),)
    ),
    "conv1d_dilated": Case(
        "Conv1D", {"filters": 2, "kernel_size": 3, "dilation_rate": 2, "padding": "same"}, ((9, 2),)
    ),
    "conv1d_causal": Case("Conv1D", {"filters": 2, "kernel_size": 3, "padding": "causal"}),
    "conv1d_causal_dilated": Case(
        "Conv1D", {"filters": 2, "kernel_size": 2, "dilation_rate": 3, "padding": "causal"}, ((8, 2),)
    ),
    "conv1d_causal_strided": Case("Conv1D", {"filters": 2, "kernel_size": 3, "strides": 2, "padding": "causal"}),
    "dot_last": Case("Dot", {"axes": -1}, ((5, 4), (3, 4))),
    "dot_mixed": Case("Dot", {"axes": (1, 2)}, ((4, 5), (3, 4))),
    "dot_first": Case("Dot", {"axes": 1}, ((4, 5), (4, 3))),
    "dot_of_units": Case("Dot", {"axes": 1}, ((6,), (6,))),
    "dot_units_with_steps": Case("Dot", {"axes": (1, 2)}, ((6,), (5, 6))),
    "dot_steps_with_units": Case("Dot", {"axes": (2, 1)}, ((5, 6), (6,))),
    "dot_normalized": Case("Dot", {"axes": 2, "normalize": True}, ((5, 4), (3, 4))),
    "attention": Case("Attention", {}, ((5, 4), (6, 3), (6, 4))),
    "attention_value_is_key": Case("Attention", {"use_scale": True}, ((5, 4), (6, 4))),
    "attention_concat": Case("Attention", {"score_mode": "concat"}, ((5, 4), (6, 3), (6, 4))),
    "attention_concat_scaled": Case("Attention", {"score_mode": "concat", "use_scale": True}, ((5, 4), (6, 4))),
    "attention_causal": Case("Attention", {}, ((5, 4), (6, 4)), call={"use_causal_mask": True}),
    "attention_value_mask": Case("Attention", {}, ((5, 4), (6, 4)), ((6,),), ("value",)),
    "attention_query_mask": Case("Attention", {}, ((5, 4), (6, 4)), ((5,),), ("query",)),
    "attention_both_masks": Case(
        "Attention", {"use_scale": True}, ((6, 4), (6, 3), (6, 4)), ((6,), (6,)), ("query", "value")
    ),
    "activation": Case("Activation", {"activation": "silu"}),
    "relu": Case("ReLU"),
    "relu_clipped": Case("ReLU", {"max_value": 0.7}),
    "relu6": Case("ReLU", {"max_value": 6.0}, offset=5.0),
    "relu_leaky": Case("ReLU", {"negative_slope": 0.3}),
    "relu_threshold": Case("ReLU", {"threshold": 0.5}),
    "relu_all": Case("ReLU", {"threshold": 0.25, "negative_slope": 0.1, "max_value": 1.0}),
    "leaky_relu": Case("LeakyReLU", {"negative_slope": 0.15}),
    "leaky_relu_steep": Case("LeakyReLU", {"negative_slope": 1.5}),
    "elu": Case("ELU", {"alpha": 0.7}),
    "prelu": Case("PReLU"),
    "prelu_shared": Case("PReLU", {"shared_axes": [1]}),
    "softmax": Case("Softmax"),
    "softmax_over_steps": Case("Softmax", {"axis": 1}),
    "softmax_over_both": Case("Softmax", {"axis": (1, 2)}),
    "softmax_masked": Case("Softmax", {}, masks=((6, 4),)),
    "layer_normalization": Case("LayerNormalization", {}, ((6, 8),)),
    "layer_normalization_plain": Case("LayerNormalization", {"center": False, "scale": False}, ((6, 8),)),
    "layer_normalization_over_steps": Case("LayerNormalization", {"axis": 1, "epsilon": 1e-5}),
    "layer_normalization_over_both": Case("LayerNormalization", {"axis": [1, 2]}),
    "layer_normalization_far_from_zero": Case("LayerNormalization", {}, ((6, 8),), offset=30.0),
    "batch_normalization": Case("BatchNormalization"),
    "batch_normalization_plain": Case("BatchNormalization", {"center": False, "scale": False, "epsilon": 1e-5}),
    "batch_normalization_over_steps": Case("BatchNormalization", {"axis": 1}),
    "batch_normalization_far_from_zero": Case("BatchNormalization", {}, offset=30.0),
    "max_pooling": Case("MaxPooling1D", {}, ((7, 4),)),
    "max_pooling_same": Case("MaxPooling1D", {"pool_size": 3, "strides": 2, "padding": "same"}, offset=-9.0),
    "max_pooling_overlapping": Case("MaxPooling1D", {"pool_size": 4, "strides": 1}),
    "average_pooling": Case("AveragePooling1D", {"pool_size": 3}, ((7, 4),)),
    "average_pooling_same": Case("AveragePooling1D", {"pool_size": 3, "strides": 1, "padding": "same"}),
    "average_pooling_same_even": Case(
        "AveragePooling1D", {"pool_size": 4, "strides": 3, "padding": "same"}, ((8, 4),)
    ),
    "global_max_pooling": Case("GlobalMaxPooling1D"),
    "global_max_pooling_kept": Case("GlobalMaxPooling1D", {"keepdims": True}),
    "global_average_pooling": Case("GlobalAveragePooling1D"),
    "global_average_pooling_kept": Case("GlobalAveragePooling1D", {"keepdims": True}, ((7, 4),)),
    "global_average_pooling_masked": Case("GlobalAveragePooling1D", {}, masks=((6,),)),
    "global_average_pooling_masked_kept": Case("GlobalAveragePooling1D", {"keepdims": True}, masks=((6,),)),
    "add": Case("Add", {}, ((6, 4),) * 4),
    "add_broadcast": Case("Add", {}, ((6, 4), (1, 4))),
    "add_of_other_rank": Case("Add", {}, ((6, 4), (4,))),
    "subtract": Case("Subtract", {}, ((6, 4),) * 2),
    "multiply": Case("Multiply", {}, ((6, 4),) * 3),
    "average": Case("Average", {}, ((6, 4),) * 3),
    "maximum": Case("Maximum", {}, ((6, 4),) * 3),
    "minimum": Case("Minimum", {}, ((6, 4),) * 3),
    "concatenate": Case("Concatenate", {}, ((6, 4), (6, 2))),
    "concatenate_steps": Case("Concatenate", {"axis": 1}, ((6, 4), (2, 4))),
    "flatten": Case("Flatten"),
    "flatten_units": Case("Flatten", {}, ((4,),)),
    "reshape": Case("Reshape", {"target_shape": (3, -1)}),
    "permute": Case("Permute", {"dims": (3, 1, 2)}, ((2, 3, 4),)),
    "repeat_vector": Case("RepeatVector", {"n": 5}, ((4,),)),
    "embedding": Case("Embedding", {"input_dim": 9, "output_dim": 4}, ((6,),)),
    "masking": Case("Masking", {"mask_value": 0.5}),
    "dropout": Case("Dropout", {"rate": 0.5}),
    "spatial_dropout_1d": Case("SpatialDropout1D", {"rate": 0.5}),
    "spatial_dropout_2d": Case("SpatialDropout2D", {"rate": 0.5}, ((2, 3, 4),)),
    "spatial_dropout_3d": Case("SpatialDropout3D", {"rate": 0.5}, ((2, 3, 2, 4),)),
    "gaussian_dropout": Case("GaussianDropout", {"rate": 0.5}),
    "gaussian_noise": Case("GaussianNoise", {"stddev": 0.5}),
    "alpha_dropout": Case("AlphaDropout", {"rate": 0.5}),
    "activity_regularization": Case("ActivityRegularization", {"l2": 0.5}),
    "identity": Case("Identity"),
}


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_masked_softmax_leaves_out_what_is_masked_in_every_format(dtype):
    x = Rounded(np.array([[1.0, 2.0, 3.0]]), np.zeros((1, 3)), np.zeros((1, 3)), PRECISIONS[dtype])

    result = LAYERS["Softmax"].apply([x, np.array([[True, False, True]])], {}, {"axis": -1})

    expected = np.exp([1.0, -np.inf, 3.0]) / np.exp([1.0, 3.0]).sum()
    np.testing.assert_allclose(result.value[0], expected, rtol=1e-12)


@pytest.fixture(autouse=True)
def _quiet():
    """As the replay runs: what overflows or is no number shows in the result."""
    with np.errstate(all="ignore"):
        yield


def test_equations_exist_for_every_kind_and_every_kind_is_tested():
    assert set(LAYERS) - HELPERS - {"UnfoldTime"} == {case.kind for case in CASES.values()}
    assert set(LAYERS) >= HELPERS


DEFAULTS = {
    "Dense": {"activation": "linear"},
    "Conv1D": {"activation": "linear", "strides": 1, "padding": "valid", "dilation_rate": 1},
    "Dot": {"normalize": False},
    "Attention": {"score_mode": "dot"},
    "ReLU": {"max_value": None, "negative_slope": 0.0, "threshold": 0.0},
    "Softmax": {"axis": -1},
    "LayerNormalization": {"axis": -1, "epsilon": 1e-3, "rms_scaling": False},
    "BatchNormalization": {"axis": -1, "epsilon": 1e-3},
    "MaxPooling1D": {"pool_size": 2, "strides": None, "padding": "valid"},
    "AveragePooling1D": {"pool_size": 2, "strides": None, "padding": "valid"},
    "GlobalMaxPooling1D": {"keepdims": False},
    "GlobalAveragePooling1D": {"keepdims": False},
}


def options_of(case):
    """A layer's options as Keras' configuration has them."""
    options = DEFAULTS.get(case.kind, {}) | case.options | case.call | {"masks": case.masked}
    if "activation" in options:
        options["activation"] = Activation(options["activation"])
    if "pool_size" in options:
        options["strides"] = options["strides"] or options["pool_size"]
    sequences = {"kernel_size", "pool_size", "strides", "dilation_rate"} & set(options)
    sequences |= {"axis"} if case.kind == "LayerNormalization" else set()
    return options | {name: np.ravel(options[name]).tolist() for name in sequences}


def shapes_of_weights(case, options):
    """The shapes of a layer's weights in Keras' layout, by its options."""
    shape = case.shapes[0]
    along = tuple((0, *shape)[axis] for axis in np.ravel(options.get("axis", -1)))
    shared = tuple(1 if 1 + axis in options.get("shared_axes", ()) else size for axis, size in enumerate(shape))
    units = (options.get("units", options.get("filters")),)
    normalised = {"gamma": along, "beta": along}
    shapes = {
        "Dense": {"kernel": (shape[-1], *units), "bias": units},
        "Conv1D": {"kernel": (*options.get("kernel_size", ()), shape[-1], *units), "bias": units},
        "Attention": {"scale": (), "concat_score_weight": ()},
        "PReLU": {"alpha": shared},
        "LayerNormalization": normalised,
        "BatchNormalization": normalised | {"moving_mean": along, "moving_variance": along},
        "Embedding": {"embeddings": (options.get("input_dim"), options.get("output_dim"))},
    }
    absent = {
        "bias": not options.get("use_bias", True),
        "scale": not options.get("use_scale", False),
        "concat_score_weight": options.get("score_mode") != "concat",
        "gamma": not options.get("scale", True),
        "beta": not options.get("center", True),
    }
    return {name: size for name, size in shapes.get(case.kind, {}).items() if not absent.get(name)}


def draw(case, rng):
    """The inputs of a layer and its masks, of 3 samples."""
    inputs = [rng.normal(size=(3, *shape)) + case.offset for shape in case.shapes]
    if case.kind == "Embedding":
        inputs = [rng.integers(0, case.options["input_dim"], inputs[0].shape)]
    elif case.kind == "Masking":
        inputs[0][rng.random(inputs[0].shape[:2]) < 0.4] = case.options["mask_value"]
    masks = [rng.random((3, *shape)) < 0.6 for shape in case.masks]
    for mask in masks:
        mask[..., 1] = True
    return [*inputs, *masks]


WITH_FORMULAS = {name: case for name, case in CASES.items() if case.kind in FORMULAS}


@pytest.mark.parametrize("case", WITH_FORMULAS.values(), ids=WITH_FORMULAS)
def test_equation_is_the_formula(rng, case):
    arrays, options = draw(case, rng), options_of(case)
    weights = {name: rng.normal(size=shape) for name, shape in shapes_of_weights(case, options).items()}
    if "moving_variance" in weights:
        weights["moving_variance"] = np.abs(weights["moving_variance"]) + 0.5
    matrices = {name: w.reshape(-1, w.shape[-1]) if name == "kernel" else w for name, w in weights.items()}

    result = LAYERS[case.kind].apply(arrays, matrices, options)

    np.testing.assert_allclose(result, FORMULAS[case.kind](arrays, weights, options), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("rms_scaling", [True, False])
def test_layer_normalization_with_rms_scaling_leaves_the_mean_in(rng, rms_scaling):
    x, gamma = rng.normal(size=(3, 8)), rng.normal(size=8)
    options = {"axis": [-1], "epsilon": 1e-3, "rms_scaling": rms_scaling}

    result = LAYERS["LayerNormalization"].apply([x], {"gamma": gamma}, options)

    centre = 0.0 if rms_scaling else x.mean(-1, keepdims=True)
    np.testing.assert_allclose(result, gamma * (x - centre) / np.sqrt(x.var(-1, keepdims=True) + 1e-3), rtol=1e-12)


def test_dot_of_a_zero_vector_brought_to_unit_length_is_zero():
    x = Rounded(np.array([[0.0, 0.0], [3.0, 4.0]]), 0.0, 0.0, PRECISIONS["float32"])

    result = LAYERS["Dot"].apply([x, x], {}, {"axes": -1, "normalize": True})

    np.testing.assert_allclose(result.value, [[0.0], [1.0]], rtol=1e-14)
    assert (result.bound < 1e-5).all()


CONVOLUTIONS = {
    "1d": ((7,), (3,), (1,), "valid", (1,)),
    "1d_causal": ((7,), (3,), (2,), "causal", (1,)),
    "2d_same": ((5, 6), (3, 2), (1, 1), "same", (1, 1)),
    "2d_even_same": ((5, 6), (2, 4), (1, 1), "same", (1, 1)),
    "2d_strided": ((7, 6), (3, 2), (2, 3), "same", (1, 1)),
    "2d_dilated": ((7, 6), (3, 2), (1, 1), "same", (2, 3)),
    "2d_valid": ((7, 6), (3, 2), (3, 1), "valid", (1, 1)),
    "3d_same": ((4, 3, 5), (2, 3, 2), (1, 1, 1), "same", (1, 1, 1)),
    "3d_strided": ((4, 5, 6), (2, 3, 4), (2, 1, 3), "same", (1, 1, 1)),
}


every_convolution = pytest.mark.parametrize("options", CONVOLUTIONS.values(), ids=CONVOLUTIONS)


def convolved_by_hand(x, kernel, options):
    spatial, size, strides, padding, dilation = options
    along_axes = [
        list(windows_of(*each_axis, padding)) for each_axis in zip(spatial, size, strides, dilation, strict=True)
    ]
    result = np.zeros((len(x), *map(len, along_axes), kernel.shape[-1]))
    for place in itertools.product(*(range(len(windows)) for windows in along_axes)):
        window = [windows[t] for windows, t in zip(along_axes, place, strict=True)]
        for pairs in itertools.product(*window):
            inside, steps = zip(*pairs, strict=True)
            result[(slice(None), *place)] += x[(slice(None), *steps)] @ kernel[inside]
    return result


@every_convolution
def test_convolution_is_the_sum_over_the_window(rng, options):
    spatial, size, *rest = options
    x, kernel = rng.normal(size=(2, *spatial, 3)), rng.normal(size=(*size, 3, 4))

    result = convolve(x, kernel.reshape(-1, 4), size, *rest)

    np.testing.assert_allclose(result, convolved_by_hand(x, kernel, options), rtol=1e-12, atol=1e-13)


def test_convolution_keeps_leading_axes(rng):
    x, kernel = rng.normal(size=(2, 5, 7, 3)), rng.normal(size=(6, 4))

    result = convolve(x, kernel, (2,), padding="same")

    expected = convolve(x.reshape(10, 7, 3), kernel, (2,), padding="same")
    np.testing.assert_array_equal(result, expected.reshape(2, 5, 7, 4))


def test_convolution_leaves_the_sum_open_for_what_is_added_to_it(rng):
    precision = PRECISIONS["float32"]
    x, kernel = rng.normal(size=(2, 7, 3)), Matrix(rng.normal(size=(6, 4)), precision)

    result = convolve(x, kernel, (2,)) + np.ones(4)

    assert result.shape == (2, 6, 4)
    assert result.roundings == 7


def apply(kind, *inputs, options=None, weights=None):
    return LAYERS[kind].apply(inputs, weights or {}, options or {})


@pytest.fixture
def x(rng):
    return rng.normal(size=(3, 4, 2))


def test_reverse_turns_the_steps_round(x):
    np.testing.assert_array_equal(apply("Reverse", x), x[:, [3, 2, 1, 0]])


def test_fold_time_makes_a_sample_of_every_step_and_unfold_time_undoes_it(x):
    folded = apply("FoldTime", x)

    np.testing.assert_array_equal(folded[5], x[1, 1])
    np.testing.assert_array_equal(apply("UnfoldTime", folded, x), x)
    assert apply("UnfoldTime", np.zeros((12, 5, 6)), x).shape == (3, 4, 5, 6)


def test_constant_is_what_the_model_holds(x):
    np.testing.assert_array_equal(apply("Constant", weights={"value": x}), x)


def test_expand_dims_adds_an_axis_of_length_one(x):
    assert apply("ExpandDims", x, options={"axis": -1}).shape == (3, 4, 2, 1)
    assert apply("ExpandDims", x, options={"axis": 1}).shape == (3, 1, 4, 2)


def test_weight_that_an_equation_does_not_take_is_refused(x):
    with pytest.raises(TypeError, match="unexpected keyword argument 'bias'"):
        apply("Flatten", x, weights={"bias": np.ones(2)})


def test_option_that_changes_no_number_is_left_out(x):
    np.testing.assert_array_equal(apply("Reverse", x, options={"trainable": False}), apply("Reverse", x))


ONE, OTHER = np.array([[True, True], [False, False]]), np.array([[True, False], [True, False]])


DECISIONS = {
    "NotEqual": (lambda: apply("NotEqual", np.array([[0.5, 0.0]]), options={"value": 0.5}), [[False, True]]),
    "Any": (lambda: apply("Any", OTHER), [True, True]),
    "All": (lambda: apply("All", ONE), [True, False]),
    "LogicalAnd": (lambda: apply("LogicalAnd", ONE, OTHER), [[True, False], [False, False]]),
    "LogicalOr": (lambda: apply("LogicalOr", ONE, OTHER), [[True, True], [True, False]]),
    "ZerosLike": (lambda: apply("ZerosLike", ONE), [[False, False], [False, False]]),
    "OnesLike": (lambda: apply("OnesLike", OTHER), [[True, True], [True, True]]),
}


@pytest.mark.parametrize(("decide", "expected"), DECISIONS.values(), ids=DECISIONS)
def test_mask_arithmetic_gives_booleans(decide, expected):
    result = decide()

    assert result.dtype == bool
    assert result.tolist() == expected


@pytest.mark.parametrize("number", [-1, 9])
def test_embedding_refuses_an_id_outside_its_table(number):
    message = f"Embedding: got an input of {number}; expected whole numbers from 0 to 8, the rows of its table."

    with pytest.raises(OutsideTableError, match=re.escape(message)):
        apply("Embedding", np.array([[0, number]]), weights={"embeddings": np.zeros((9, 4))})
