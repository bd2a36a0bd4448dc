"""Layers without a state, on numbers of their own: convolutions, moves and masks."""

import math
import re
from dataclasses import dataclass, field

import numpy as np
import pytest
from formulas import FORMULAS, windows_over

from rnncheck.equations.arithmetic import KERNELS, rounded_weights
from rnncheck.equations.formats import kept, with_kept_factors
from rnncheck.equations.layers import HELPERS, LAYERS, operation_of
from rnncheck.equations.moves import OutsideTableError
from rnncheck.equations.operands import TooLargeError
from rnncheck.equations.windows import convolve
from rnncheck.frameworks.keras.config.entries import ENTRIES, keras_defaults
from rnncheck.frameworks.keras.config.values import read_options
from rnncheck.network import Layer
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


CHANNELS_FIRST = {"data_format": "channels_first"}

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
    # Behind those above, whose random numbers the kept figures have.
    "conv1d_grouped": Case("Conv1D", {"filters": 6, "kernel_size": 3, "groups": 3, "padding": "causal"}, ((7, 6),)),
    "conv1d_channels_first": Case("Conv1D", {"filters": 3, "kernel_size": 3, **CHANNELS_FIRST}, ((2, 7),)),
    "conv2d": Case("Conv2D", {"filters": 3, "kernel_size": (2, 3), "activation": "sigmoid"}, ((5, 6, 2),)),
    "conv2d_same_strided": Case(
        "Conv2D",
        {"filters": 2, "kernel_size": (3, 4), "strides": (2, 3), "padding": "same", "use_bias": False},
        ((7, 8, 3),),
    ),
    "conv2d_grouped_dilated": Case(
        "Conv2D",
        {"filters": 4, "kernel_size": 2, "dilation_rate": (1, 2), "groups": 2, "padding": "same"},
        ((5, 6, 6),),
    ),
    "conv2d_channels_first": Case(
        "Conv2D",
        {"filters": 3, "kernel_size": (2, 3), "activation": "softmax", "padding": "same", **CHANNELS_FIRST},
        ((2, 5, 4),),
    ),
    "conv3d": Case(
        "Conv3D", {"filters": 2, "kernel_size": (2, 1, 3), "strides": (1, 2, 1), "padding": "same"}, ((3, 4, 3, 2),)
    ),
    "depthwise_conv1d": Case("DepthwiseConv1D", {"kernel_size": 3, "depth_multiplier": 2}, ((7, 3),)),
    "depthwise_conv2d": Case(
        "DepthwiseConv2D", {"kernel_size": (2, 3), "depth_multiplier": 2, "activation": "tanh"}, ((5, 6, 3),)
    ),
    "depthwise_conv2d_strided_dilated": Case(
        "DepthwiseConv2D",
        {"kernel_size": 2, "strides": 2, "dilation_rate": 2, "padding": "same", "use_bias": False, **CHANNELS_FIRST},
        ((3, 6, 5),),
    ),
    "separable_conv1d": Case(
        "SeparableConv1D", {"filters": 5, "kernel_size": 3, "depth_multiplier": 2, "activation": "sigmoid"}, ((7, 3),)
    ),
    "separable_conv2d": Case(
        "SeparableConv2D", {"filters": 4, "kernel_size": (3, 2), "strides": 2, "padding": "same"}, ((6, 5, 3),)
    ),
    "separable_conv2d_channels_first": Case(
        "SeparableConv2D", {"filters": 4, "kernel_size": 2, "use_bias": False, **CHANNELS_FIRST}, ((3, 5, 4),)
    ),
    "max_pooling_channels_first": Case("MaxPooling1D", CHANNELS_FIRST, ((4, 7),)),
    "max_pooling_2d": Case(
        "MaxPooling2D", {"pool_size": (2, 3), "strides": (1, 2), "padding": "same"}, ((5, 6, 3),), offset=-9.0
    ),
    "max_pooling_2d_channels_first": Case("MaxPooling2D", CHANNELS_FIRST, ((3, 4, 5),)),
    "max_pooling_3d": Case("MaxPooling3D", {"pool_size": (2, 1, 2)}, ((4, 3, 5, 2),)),
    "average_pooling_2d": Case(
        "AveragePooling2D", {"pool_size": (2, 3), "strides": (2, 1), "padding": "same"}, ((5, 6, 3),)
    ),
    "average_pooling_2d_channels_first": Case("AveragePooling2D", {"pool_size": 2, **CHANNELS_FIRST}, ((3, 4, 5),)),
    "average_pooling_3d": Case("AveragePooling3D", {"pool_size": 2, "padding": "same"}, ((4, 3, 5, 2),)),
    "global_max_pooling_2d": Case("GlobalMaxPooling2D", {}, ((4, 5, 3),)),
    "global_max_pooling_2d_channels_first": Case(
        "GlobalMaxPooling2D", {"keepdims": True, **CHANNELS_FIRST}, ((3, 4, 5),)
    ),
    "global_max_pooling_3d": Case("GlobalMaxPooling3D", {"keepdims": True}, ((4, 3, 2, 3),)),
    "global_average_pooling_channels_first": Case("GlobalAveragePooling1D", CHANNELS_FIRST, ((4, 6),), masks=((6,),)),
    "global_average_pooling_2d": Case("GlobalAveragePooling2D", {"keepdims": True}, ((4, 5, 3),)),
    "global_average_pooling_3d": Case("GlobalAveragePooling3D", CHANNELS_FIRST, ((3, 4, 3, 2),)),
    "zero_padding_1d": Case("ZeroPadding1D", {"padding": (2, 1)}),
    "zero_padding_2d": Case("ZeroPadding2D", {"padding": ((1, 0), (2, 3))}, ((3, 4, 2),)),
    "zero_padding_2d_channels_first": Case("ZeroPadding2D", {"padding": (1, 2), **CHANNELS_FIRST}, ((2, 3, 4),)),
    "zero_padding_3d": Case("ZeroPadding3D", {"padding": 1}, ((3, 4, 2, 2),)),
    "cropping_1d": Case("Cropping1D", {"cropping": (2, 1)}),
    "cropping_2d": Case("Cropping2D", {"cropping": ((1, 0), (0, 2))}, ((3, 4, 2),)),
    "cropping_3d_channels_first": Case("Cropping3D", {"cropping": (1, 0, 1), **CHANNELS_FIRST}, ((2, 3, 4, 3),)),
    "up_sampling_1d": Case("UpSampling1D", {"size": 3}),
    "up_sampling_2d": Case("UpSampling2D", {"size": (2, 3)}, ((3, 4, 2),)),
    "up_sampling_3d_channels_first": Case("UpSampling3D", {"size": (1, 2, 3), **CHANNELS_FIRST}, ((2, 3, 2, 2),)),
    "flatten_channels_first": Case("Flatten", CHANNELS_FIRST, ((2, 3, 4),)),
    "group_normalization": Case("GroupNormalization", {"groups": 2}, ((6, 8),)),
    "group_normalization_of_images": Case(
        "GroupNormalization", {"groups": 3, "axis": 1, "epsilon": 1e-5, "scale": False}, ((6, 4, 3),)
    ),
    "group_normalization_plain": Case(
        "GroupNormalization", {"groups": 4, "center": False, "scale": False}, ((3, 4, 4),)
    ),
    "group_normalization_far_from_zero": Case("GroupNormalization", {"groups": 2}, ((6, 8),), offset=30.0),
    "unit_normalization": Case("UnitNormalization"),
    "unit_normalization_over_both": Case("UnitNormalization", {"axis": [1, 2]}),
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


def options_of(case):
    """A layer's options as the reader has them."""
    given = keras_defaults(case.kind) | case.options
    if "pool_size" in given:
        given = {"strides": given["pool_size"]} | given
    return read_options(case.kind, case.kind, ENTRIES[case.kind], given) | case.call | {"masks": case.masked}


def shapes_of_weights(case, options):
    """The shapes of a layer's weights in Keras' layout, by its options."""
    shape = case.shapes[0]
    along = tuple((0, *shape)[axis] for axis in np.ravel(options.get("axis", -1)))
    shared = tuple(1 if 1 + axis in (options.get("shared_axes") or ()) else size for axis, size in enumerate(shape))
    channels = shape[0 if options.get("data_format") == "channels_first" else -1]
    size, units = options.get("kernel_size", ()), (options.get("units", options.get("filters")),)
    depthwise = (*size, channels, options.get("depth_multiplier"))
    normalised = {"gamma": along, "beta": along}
    shapes = {
        "Dense": {"kernel": (shape[-1], *units), "bias": units},
        "Conv": {"kernel": (*size, channels // options.get("groups", 1), *units), "bias": units},
        "DepthwiseConv": {"kernel": depthwise, "bias": (math.prod(depthwise[-2:]) if depthwise[-1] else None,)},
        "SeparableConv": {
            "depthwise_kernel": depthwise,
            "pointwise_kernel": (*(1 for _ in size), math.prod(depthwise[-2:]) if depthwise[-1] else None, *units),
            "bias": units,
        },
        "Attention": {"scale": (), "concat_score_weight": ()},
        "PReLU": {"alpha": shared},
        "LayerNormalization": normalised,
        "GroupNormalization": normalised,
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
    own = shapes.get(re.sub(r"\dD$", "", case.kind), {})
    return {name: size for name, size in own.items() if not absent.get(name)}


def drawn_weights(case, rng):
    """A layer's weights in Keras' layout."""
    weights = {name: rng.normal(size=shape) for name, shape in shapes_of_weights(case, options_of(case)).items()}
    if "moving_variance" in weights:
        weights["moving_variance"] = np.abs(weights["moving_variance"]) + 0.5
    return weights


def as_matrix(name, weight):
    """A weight as an equation takes it: kernels as matrices."""
    return weight.reshape(-1, weight.shape[-1]) if name in KERNELS else weight


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
    weights = drawn_weights(case, rng)
    matrices = {name: as_matrix(name, weight) for name, weight in weights.items()}

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
    windows = dict(windows_over(spatial, size, strides, padding, dilation))
    result = np.zeros((len(x), *(1 + last for last in max(windows)), kernel.shape[-1]))
    for place, window in windows.items():
        for inside, steps in window:
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


def test_large_convolution_is_computed_in_pieces_with_the_same_numbers(rng):
    image = Rounded(rng.normal(size=(1, 300, 290, 1)), 0.0, 0.0, PRECISIONS["float32"])
    kernel = Matrix(rng.normal(size=(64, 2)), PRECISIONS["float32"])  # its windows read 5.5 million numbers

    whole, part = (convolve(x, kernel, (8, 8)) for x in (image, image[:, 280:]))

    assert (whole.shape, whole.roundings) == ((1, 293, 283, 2), part.roundings)
    for name in ("value", "noise", "bound"):
        np.testing.assert_allclose(getattr(whole, name)[:, 280:], getattr(part, name), rtol=1e-6, atol=1e-14)


@pytest.mark.parametrize(
    ("kind", "options", "shape", "said"),
    [
        (
            "MaxPooling1D",
            {"pool_size": 2**20, "strides": 1, "padding": "same"},
            (2**20, 1),
            "its windows read or make",
        ),
        ("AveragePooling2D", {"pool_size": 2**10, "strides": 1}, (2**12, 2**12, 1), "its windows read or make"),
        ("ZeroPadding3D", {"padding": 2**24}, (2, 2, 2, 1), "it puts out"),
        ("UpSampling2D", {"size": 2**10}, (8, 8, 1), "it puts out"),
    ],
    ids=lambda value: value if isinstance(value, str) and value[0].isupper() else "",
)
def test_windows_and_copies_that_no_machine_holds_are_refused(kind, options, shape, said):
    x = np.broadcast_to(np.zeros(()), (1, *shape))

    with pytest.raises(TooLargeError, match=rf"^sizes for which {said} [\d,]+ numbers of a sample; expected at most"):
        LAYERS[kind].apply([x], {}, options_of(Case(kind, options)))


@pytest.mark.parametrize(
    "case",
    [
        Case("MaxPooling2D", {}, ((6, 4),)),
        Case("Cropping2D", {}, ((6, 4),)),
        Case("UpSampling1D", {}, ((6, 4, 2),)),
        Case("ZeroPadding1D", {}, ((6, 4, 2),)),
    ],
    ids=lambda case: case.kind,
)
def test_input_of_another_rank_is_refused(rng, case):
    with pytest.raises(ValueError, match=r"axes|argument 2|broadcast"):
        LAYERS[case.kind].apply(draw(case, rng), {}, options_of(case))


@pytest.mark.parametrize("kind", ["Conv1D", "DepthwiseConv1D", "MaxPooling1D", "AveragePooling1D"])
def test_windows_longer_than_the_input_are_refused(rng, kind):
    """As TensorFlow does."""
    sizes = {"pool_size": 5} if "Pooling" in kind else {"kernel_size": 5, "filters": 4}
    case = Case(kind, sizes, ((3, 4),))
    weights = {name: as_matrix(name, weight) for name, weight in drawn_weights(case, rng).items()}

    with pytest.raises(ValueError, match=r"^3 places along an axis, of which a window reads 5$"):
        LAYERS[kind].apply(draw(case, rng), weights, options_of(case))


def test_coarse_separable_convolution_rounds_what_is_between_its_products(rng):
    case = Case("SeparableConv1D", {"filters": 5, "kernel_size": 3}, ((7, 3),))
    options, weights, (x,) = options_of(case), drawn_weights(case, rng), draw(case, rng)
    layer = with_kept_factors(Layer("layer", case.kind, (), options, weights, dtype="float64"), 11)

    result = operation_of(layer).apply([x], rounded_weights(layer), layer.options)

    depthwise = {"kernel": kept(weights["depthwise_kernel"], 11)}
    inner = FORMULAS["DepthwiseConv1D"]([kept(x, 11)], depthwise, options)
    expected = kept(inner, 11) @ kept(weights["pointwise_kernel"][0], 11) + weights["bias"]
    np.testing.assert_allclose(result, expected, rtol=1e-12)


def apply(kind, *inputs, options=None, weights=None):
    return LAYERS[kind].apply(inputs, weights or {}, options or {})


@pytest.fixture
def x(rng):
    return rng.normal(size=(3, 4, 2))


def test_reverse_turns_the_steps_round(x):
    np.testing.assert_array_equal(apply("Reverse", x), x[:, [3, 2, 1, 0]])


def test_a_step_is_taken_from_a_sequence(x):
    np.testing.assert_array_equal(apply("Step", x, options={"index": 2}), x[:, 2])
    np.testing.assert_array_equal(apply("Step", x, options={"index": -1}), x[:, 3])


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
