"""The equations of all layers without a state, in textbook form, each written once.

Every function runs on plain float64 arrays and on `Rounded` alike, as in `rnncheck.equations.cells`. To add a layer,
write its function and enter it in `LAYERS`.

Source: the layers of Keras 3.15 with data_format channels_last, each by its class name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

import numpy as np

from rnncheck.equations.activations import activate, elu, leaky_relu
from rnncheck.equations.attention import attention, dot, softmax_over_axes
from rnncheck.equations.moves import (
    all_true,
    any_true,
    concatenate,
    constant,
    embedding,
    expand_dims,
    flatten,
    fold_time,
    identity,
    logical_and,
    logical_or,
    masking,
    not_equal,
    ones_like,
    permute,
    repeat_vector,
    reshape,
    reverse,
    unfold_time,
    zeros_like,
)
from rnncheck.equations.normalization import batch_normalization, layer_normalization
from rnncheck.equations.operands import Apply, Inputs, Options, Weights, X, piecewise
from rnncheck.equations.windows import (
    average_pooling1d,
    conv1d,
    global_average_pooling1d,
    global_max_pooling1d,
    max_pooling1d,
)
from rnncheck.network import Layer
from rnncheck.rounding.rounded import Rounded


@dataclass(frozen=True)
class Operation:
    """What a layer without a state does.

    Attributes:
        apply: (the inputs in order, weights, options) -> the output.
        exact: whether it moves or selects numbers without computing: what comes out is bit by bit what went in.
        rowwise: whether each row over the last axis depends on that row of the inputs alone (where they all have
            the output's other axes), so that blocks may be cut along any other axis.
        casts_inputs: whether inputs are cast to the layer's precision first.
        casts_weights: whether weights are cast to the layer's precision first. Where they are not, the layer
            computes in float32 at least, with its weights as they are stored, and rounds its output.
    """

    apply: Apply
    exact: bool = False
    rowwise: bool = False
    casts_inputs: bool = True
    casts_weights: bool = True


# --- products ---


def affine(x: X, weights: Weights) -> X:
    """x·kernel + bias: x (..., D), kernel (D, M), bias (M,) -> (..., M); without a bias, x·kernel."""
    product = x.reshape((-1, x.shape[-1])) @ weights["kernel"] if len(x.shape) != 2 else x @ weights["kernel"]
    total = product + weights["bias"] if "bias" in weights else product
    return total if len(x.shape) == 2 else total.reshape((*x.shape[:-1], total.shape[-1]))


def dense(inputs: Inputs, weights: Weights, options: Options) -> X:
    """activation(x·kernel + bias): x (..., M), kernel (M, K), bias (K,) -> (..., K)."""
    return activate(options["activation"], affine(inputs[0], weights))


# --- activations ---


def activation(inputs: Inputs, weights: Weights, options: Options) -> X:
    """The activation of each number, or over the last axis."""
    del weights
    return activate(options["activation"], inputs[0])


def relu(inputs: Inputs, weights: Weights, options: Options) -> X:
    """min(x, max_value) where x > threshold, else negative_slope·(x - threshold); it jumps at a threshold but 0."""
    del weights
    (x,) = inputs
    threshold, slope, largest = options["threshold"], options["negative_slope"], options["max_value"]
    above = x if largest is None else piecewise(x, largest, x, largest)
    below = (x - threshold) * slope if slope else 0.0
    return piecewise(x, threshold, below, above, jumps=threshold != 0.0)


def leaky_relu_layer(inputs: Inputs, weights: Weights, options: Options) -> X:
    """x where x > 0, else negative_slope·x."""
    del weights
    return leaky_relu(inputs[0], options["negative_slope"])


def elu_layer(inputs: Inputs, weights: Weights, options: Options) -> X:
    """x where x > 0, else alpha·(exp(x) - 1)."""
    del weights
    return elu(inputs[0], options["alpha"])


def prelu(inputs: Inputs, weights: Weights, options: Options) -> X:
    """x where x > 0, else alpha·x: x (N, ...), alpha (...) with 1 along shared axes."""
    del options
    (x,) = inputs
    return piecewise(x, 0.0, x * weights["alpha"], x)


# --- merging ---


def add(inputs: Inputs, weights: Weights, options: Options) -> X:
    """x_1 + x_2 + ..., from left to right."""
    del weights, options
    return _sum_of(_of_one_rank(inputs))


def subtract(inputs: Inputs, weights: Weights, options: Options) -> X:
    """x_1 - x_2."""
    del weights, options
    x_1, x_2 = _of_one_rank(inputs)
    return x_1 - x_2


def multiply(inputs: Inputs, weights: Weights, options: Options) -> X:
    """x_1*x_2*..., from left to right."""
    del weights, options
    return reduce(lambda a, b: a * b, _of_one_rank(inputs))


def average(inputs: Inputs, weights: Weights, options: Options) -> X:
    """(x_1 + x_2 + ...)/k of k inputs."""
    del weights, options
    return _sum_of(_of_one_rank(inputs)) / float(len(inputs))


def maximum(inputs: Inputs, weights: Weights, options: Options) -> X:
    """max(x_1, x_2, ...), element by element."""
    del weights, options
    return reduce(larger, _of_one_rank(inputs))


def minimum(inputs: Inputs, weights: Weights, options: Options) -> X:
    """min(x_1, x_2, ...), element by element."""
    del weights, options
    return reduce(smaller, _of_one_rank(inputs))


def _of_one_rank(inputs: Inputs) -> list[X]:
    """Give inputs of lower rank axes of length 1 after the first."""
    rank = max(len(x.shape) for x in inputs)
    return [x.reshape((x.shape[0], *(1,) * (rank - len(x.shape)), *x.shape[1:])) for x in inputs]


def _sum_of(terms: list[X]) -> X:
    return reduce(lambda a, b: a + b, terms)


def larger(a: X, b: X) -> X:
    """max(a, b), element by element."""
    difference = a - b
    return piecewise(difference, 0.0, b, a) if isinstance(difference, Rounded) else np.maximum(a, b)


def smaller(a: X, b: X) -> X:
    """min(a, b), element by element."""
    difference = a - b
    return piecewise(difference, 0.0, a, b) if isinstance(difference, Rounded) else np.minimum(a, b)


_SAME_AT_INFERENCE = (
    "Dropout",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "GaussianDropout",
    "GaussianNoise",
    "AlphaDropout",
    "ActivityRegularization",
    "Identity",
)


LAYERS: Mapping[str, Operation] = {
    "Dense": Operation(dense, rowwise=True),
    "Conv1D": Operation(conv1d),
    "Dot": Operation(dot),
    "Attention": Operation(attention),
    "Activation": Operation(activation, rowwise=True),
    "ReLU": Operation(relu, rowwise=True),
    "LeakyReLU": Operation(leaky_relu_layer, rowwise=True),
    "ELU": Operation(elu_layer, rowwise=True),
    "PReLU": Operation(prelu),
    "Softmax": Operation(softmax_over_axes),
    "LayerNormalization": Operation(layer_normalization, casts_inputs=False, casts_weights=False),
    "BatchNormalization": Operation(batch_normalization, casts_weights=False),
    "MaxPooling1D": Operation(max_pooling1d, exact=True),
    "AveragePooling1D": Operation(average_pooling1d),
    "GlobalMaxPooling1D": Operation(global_max_pooling1d, exact=True),
    "GlobalAveragePooling1D": Operation(global_average_pooling1d),
    "Add": Operation(add, rowwise=True),
    "Subtract": Operation(subtract, rowwise=True),
    "Multiply": Operation(multiply, rowwise=True),
    "Average": Operation(average, rowwise=True),
    "Maximum": Operation(maximum, exact=True, rowwise=True),
    "Minimum": Operation(minimum, exact=True, rowwise=True),
    "Concatenate": Operation(concatenate, exact=True),
    "Flatten": Operation(flatten, exact=True),
    "Reshape": Operation(reshape, exact=True),
    "Permute": Operation(permute, exact=True),
    "RepeatVector": Operation(repeat_vector, exact=True),
    "Reverse": Operation(reverse, exact=True),
    "FoldTime": Operation(fold_time, exact=True),
    "UnfoldTime": Operation(unfold_time, exact=True),
    "ExpandDims": Operation(expand_dims, exact=True),
    "Embedding": Operation(embedding, exact=True, casts_inputs=False),
    "Masking": Operation(masking, exact=True, rowwise=True),
    "Constant": Operation(constant, exact=True),
    "NotEqual": Operation(not_equal, exact=True),
    "Any": Operation(any_true, exact=True),
    "All": Operation(all_true, exact=True),
    "LogicalAnd": Operation(logical_and, exact=True),
    "LogicalOr": Operation(logical_or, exact=True),
    "ZerosLike": Operation(zeros_like, exact=True),
    "OnesLike": Operation(ones_like, exact=True),
    "Moved": Operation(identity, exact=True),  # as its own equations say
    "Cast": Operation(identity, exact=True),  # what a layer receives is cast already
    **dict.fromkeys(_SAME_AT_INFERENCE, Operation(identity, exact=True, rowwise=True)),
}


# Layers that stand for what a model does between its layers: nobody sees their output, and it has no row of its own.
HELPERS = frozenset({
    "Reverse", "FoldTime", "Constant", "NotEqual", "Any", "All", "LogicalAnd", "LogicalOr", "ExpandDims", "ZerosLike",
    "OnesLike", "Cast", "Moved",
})  # fmt: skip


def operation_of(layer: Layer) -> Operation:
    """Return the equation of a layer without a state: its own, or that of its kind."""
    return layer.equations or LAYERS[layer.kind]
