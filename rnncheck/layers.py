"""The equations of all layers without a state, in textbook form, each written once.

Every function runs on plain float64 arrays and on `Rounded` alike, as in `rnncheck.equations`. To add a layer, write
its function and enter it in `LAYERS`.

Source: the layers of Keras 3.15 with data_format channels_last, each by its class name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from rnncheck.activations import activate, elu, exp, leaky_relu, log, piecewise, softmax, tanh
from rnncheck.convolution import convolve, move, windows
from rnncheck.errors import InputError
from rnncheck.network import Array, Layer
from rnncheck.normalization import batch_normalization, layer_normalization, unit_length
from rnncheck.rounding import Rounded

X = Any  # a plain float64 array or a Rounded
Weights = Mapping[str, Any]  # name -> plain array or products.Matrix
Options = Mapping[str, Any]
Inputs = Sequence[X]
Apply = Callable[[Inputs, Weights, Options], X]

# What Attention takes from the scores that a mask excludes, and what Softmax puts in their place.
_EXCLUDED, _EXCLUDED_FLOAT16 = 1e9, 65504.0
_LOWEST, _LOWEST_FLOAT16 = -1e9, -3e4


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


def _plain(x: X) -> Array:
    """Return the numbers alone: ids and masks have no rounding."""
    return np.asarray(x.value if isinstance(x, Rounded) else x)


def _choose(condition: Array, chosen: X, other: X) -> X:
    if isinstance(chosen, Rounded) or isinstance(other, Rounded):
        return Rounded.where(condition, chosen, other)
    return np.where(condition, chosen, other)


def _sum(x: X, axis: int) -> X:
    """Sum over an axis, which stays, with length 1."""
    return x.sum(axis) if isinstance(x, Rounded) else np.sum(x, axis, keepdims=True)


def _max(x: X, axis: int) -> X:
    return x.max(axis) if isinstance(x, Rounded) else np.max(x, axis, keepdims=True)


def _without(x: X, axis: int) -> X:
    return move(x, lambda array: array.squeeze(axis))


# --- products ---


def affine(x: X, weights: Weights) -> X:
    """x·kernel + bias: x (..., D), kernel (D, M), bias (M,) -> (..., M); without a bias, x·kernel."""
    product = x.reshape((-1, x.shape[-1])) @ weights["kernel"] if len(x.shape) != 2 else x @ weights["kernel"]
    total = product + weights["bias"] if "bias" in weights else product
    return total if len(x.shape) == 2 else total.reshape((*x.shape[:-1], total.shape[-1]))


def dense(inputs: Inputs, weights: Weights, options: Options) -> X:
    """activation(x·kernel + bias): x (..., M), kernel (M, K), bias (K,) -> (..., K)."""
    return activate(options["activation"], affine(inputs[0], weights))


def conv1d(inputs: Inputs, weights: Weights, options: Options) -> X:
    """activation(Σ_j x_{stride·t + dilation·j - before}·kernel_j + bias): x (N, T, D) -> (N, T', K), kernel (k·D, K).

    `before` is how far the padding reaches before the first step: see `rnncheck.convolution.windows`.
    """
    keys = ("kernel_size", "strides", "padding", "dilation_rate")
    product = convolve(inputs[0], weights["kernel"], **{key: options[key] for key in keys})
    return activate(options["activation"], product + weights["bias"] if "bias" in weights else product)


def dot(inputs: Inputs, weights: Weights, options: Options) -> X:
    """Σ over one axis of each input, of their products: x (N, a..., n), y (N, n, b...) -> (N, a..., b...).

    With normalize, x and y are first brought to unit length along their axes.
    """
    del weights
    axes = options["axes"]
    axes = [axes, axes] if isinstance(axes, int) else axes
    axes = [axis % len(x.shape) for axis, x in zip(axes, inputs, strict=True)]
    if options["normalize"]:
        inputs = [unit_length(x, axis) for x, axis in zip(inputs, axes, strict=True)]
    (x, y), (of_x, of_y) = inputs, axes
    x = move(x, lambda array: np.moveaxis(array, of_x, -1))
    y = move(y, lambda array: np.moveaxis(array, of_y, 1))
    n, *left, size = x.shape
    right = y.shape[2:]
    product = x.reshape((n, -1, size)) @ y.reshape((n, size, -1))
    return product.reshape((n, *left, *right) if left or right else (n, 1))


def attention(inputs: Inputs, weights: Weights, options: Options) -> X:
    """softmax(scores)·value: query (N, T', D), value (N, T, K), key (N, T, D) -> (N, T', K).

    The scores (N, T', T) are scale·query·keyᵀ, or with score_mode concat concat_score_weight·Σ_d tanh(scale·(query +
    key)). Excluded scores, by the value's mask or by causality, are lowered by a constant, as Keras does; queries
    whose mask is false give zero. Without a third input the value is the key. The option `masks` names what the
    last inputs are: "query", "value".

    Source: Luong, Pham and Manning, Effective Approaches to Attention-based Neural Machine Translation, EMNLP 2015.
    """
    masks = dict(zip(reversed(options.get("masks", ())), map(_plain, reversed(inputs)), strict=False))
    query, value, *rest = inputs[: len(inputs) - len(masks)]
    scores = _scores(query, rest[0] if rest else value, weights, options)
    excluded = _excluded(scores.shape, masks.get("value"), causal=options.get("use_causal_mask", False))
    if excluded is not None:
        scores = _choose(excluded, scores - _of_format(scores, _EXCLUDED, _EXCLUDED_FLOAT16), scores)
    result = softmax(scores) @ value
    return result if "query" not in masks else _choose(masks["query"][..., np.newaxis], result, np.zeros(1))


def _scores(query: X, key: X, weights: Weights, options: Options) -> X:
    if options["score_mode"] == "dot":
        scores = query @ key.swapaxes(-2, -1)
        return scores * weights["scale"] if "scale" in weights else scores
    pairs = move(query, lambda q: q[..., :, np.newaxis, :]) + move(key, lambda k: k[..., np.newaxis, :, :])
    pairs = pairs * weights["scale"] if "scale" in weights else pairs
    return _without(_sum(tanh(pairs), -1), -1) * weights["concat_score_weight"]


def _excluded(shape: tuple[int, ...], value_mask: Array | None, *, causal: bool) -> Array | None:
    excluded = np.triu(np.ones(shape[-2:], bool), 1) if causal else None
    if value_mask is None:
        return excluded
    missing: Array = ~value_mask.astype(bool)[..., np.newaxis, :]
    return missing if excluded is None else missing | excluded


def _of_format(x: X, usual: float, in_float16: float) -> float:
    return in_float16 if isinstance(x, Rounded) and x.precision.name == "float16" else usual


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


def softmax_over_axes(inputs: Inputs, weights: Weights, options: Options) -> X:
    """exp(x - max x)/Σ exp(x - max x) over an axis; over several, exp(x - log Σ exp x), as Keras computes it.

    A second input is a mask: where it is false, x counts as very low, and the result is zero.
    """
    del weights
    x, *masks = inputs
    keep = _plain(masks[0]).astype(bool) if masks else None
    if keep is not None:
        x = _choose(keep, x, np.asarray(_of_format(x, _LOWEST, _LOWEST_FLOAT16)))
    axes = options["axis"]
    axes = list(axes) if isinstance(axes, list | tuple) else [axes]
    last = list(range(-len(axes), 0))
    x = move(x, lambda array: np.moveaxis(array, axes, last))
    flat = x.reshape((*x.shape[: len(x.shape) - len(axes)], -1))
    result = (softmax(flat) if len(axes) == 1 else exp(flat - _log_sum_exp(flat))).reshape(x.shape)
    result = move(result, lambda array: np.moveaxis(array, last, axes))
    return result if keep is None else _choose(keep, result, np.zeros(1))


def _log_sum_exp(x: X) -> X:
    largest = _max(x, -1)
    return log(_sum(exp(x - largest), -1)) + largest


# --- pooling ---


def _pooled_places(x: X, options: Options) -> Array:
    size, stride = (_first(options[key]) for key in ("pool_size", "strides"))
    return windows(x.shape[1], size, stride, 1, options["padding"])


def _first(option: Any) -> int:
    return int(option[0] if isinstance(option, list | tuple) else option)


def max_pooling1d(inputs: Inputs, weights: Weights, options: Options) -> X:
    """max over the window's steps: x (N, T, D) -> (N, T', D)."""
    del weights
    (x,) = inputs
    places = _pooled_places(x, options)
    # A place outside is replaced by the window's nearest inside, which does not change its largest.
    return _without(_max(x[:, np.clip(places, 0, x.shape[1] - 1)], 2), 2)


def average_pooling1d(inputs: Inputs, weights: Weights, options: Options) -> X:
    """Mean over those of the window's steps that exist: x (N, T, D) -> (N, T', D)."""
    del weights
    (x,) = inputs
    places = _pooled_places(x, options)
    inside = (places >= 0) & (places < x.shape[1])
    read = move(
        x, lambda array: np.where(inside[..., np.newaxis], array[:, np.clip(places, 0, array.shape[1] - 1)], 0.0)
    )
    return _without(_sum(read, 2), 2) / inside.sum(axis=1, dtype=np.float64)[:, np.newaxis]


def global_max_pooling1d(inputs: Inputs, weights: Weights, options: Options) -> X:
    """max over the steps: x (N, T, D) -> (N, D), or (N, 1, D) with keepdims."""
    del weights
    largest = _max(inputs[0], 1)
    return largest if options["keepdims"] else _without(largest, 1)


def global_average_pooling1d(inputs: Inputs, weights: Weights, options: Options) -> X:
    """Mean over the steps, or those that a mask (N, T) counts: x (N, T, D) -> (N, D), or (N, 1, D) with keepdims."""
    del weights
    x, *masks = inputs
    if masks:
        counts = _plain(masks[0]).astype(bool)[..., np.newaxis]
        mean = _sum(_choose(counts, x, np.zeros(1)), 1) / counts.sum(axis=1, keepdims=True, dtype=np.float64)
    else:
        mean = _sum(x, 1) / float(x.shape[1])
    return mean if options["keepdims"] else _without(mean, 1)


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


def concatenate(inputs: Inputs, weights: Weights, options: Options) -> X:
    """The inputs one after the other along an axis, the last unless said otherwise."""
    del weights

    def together(arrays: list[Array]) -> Array:
        return np.concatenate(arrays, axis=options["axis"])

    if any(isinstance(x, Rounded) for x in inputs):
        return Rounded.join(inputs, together)
    return together([np.asarray(x) for x in inputs])


# --- numbers moved and selected ---


def _moved(change: Callable[[Array, Options], Array]) -> Apply:
    """Return what moves the numbers of its first input, with the words of `change` for it."""

    def apply(inputs: Inputs, weights: Weights, options: Options) -> X:
        del weights
        return move(inputs[0], lambda array: change(array, options))

    apply.__doc__ = change.__doc__
    return apply


@_moved
def flatten(array: Array, options: Options) -> Array:
    """All numbers of a sample in one row, the last axis fastest: x (N, ...) -> (N, K)."""
    del options
    return array.reshape(array.shape[0], int(np.prod(array.shape[1:])))


@_moved
def reshape(array: Array, options: Options) -> Array:
    """The numbers of a sample in the same order, in another shape: x (N, ...) -> (N, *target_shape)."""
    return array.reshape(array.shape[0], *options["target_shape"])


@_moved
def permute(array: Array, options: Options) -> Array:
    """The axes in the order of dims, which counts them from 1 after N."""
    return array.transpose(0, *options["dims"])


@_moved
def repeat_vector(array: Array, options: Options) -> Array:
    """x at each of n steps: x (N, D) -> (N, n, D)."""
    return array[:, np.newaxis].repeat(options["n"], axis=1)


@_moved
def reverse(array: Array, options: Options) -> Array:
    """The steps, last to first: x (N, T, ...) -> (N, T, ...)."""
    del options
    return array[:, ::-1]


@_moved
def fold_time(array: Array, options: Options) -> Array:
    """Every step of every sample as a sample of its own: x (N, T, ...) -> (N·T, ...)."""
    del options
    return array.reshape(-1, *array.shape[2:])


@_moved
def expand_dims(array: Array, options: Options) -> Array:
    """x with one more axis, of length 1, at the place given."""
    return np.expand_dims(array, options["axis"])


def unfold_time(inputs: Inputs, weights: Weights, options: Options) -> X:
    """The rows y (N·T, ...) as the steps of x (N, T, ...) that they came from -> (N, T, ...)."""
    del weights, options
    y, like = inputs
    return y.reshape((*like.shape[:2], *y.shape[1:]))


class OutsideTableError(InputError):
    """An Embedding was given an id that its table has no row for."""


def embedding(inputs: Inputs, weights: Weights, options: Options) -> X:
    """embeddings[x], the row of the table for each id: x (N, T), embeddings (V, D) -> (N, T, D).

    Raises:
        OutsideTableError: an id is outside the table.
    """
    del options
    table = weights["embeddings"]
    ids = _plain(inputs[0]).astype(np.int64)
    outside = (ids < 0) | (ids >= table.shape[0])
    if outside.any():
        raise OutsideTableError(
            f"Embedding: an input of {ids[outside][0]} came; expected whole numbers from 0 to {table.shape[0] - 1}, "
            "the rows of its table. Give it such numbers."
        )
    return table[ids]


def masking(inputs: Inputs, weights: Weights, options: Options) -> X:
    """x, with zeros at the steps whose numbers all equal mask_value: x (N, T, D) -> (N, T, D)."""
    del weights
    (x,) = inputs
    return _choose((_plain(x) != options["mask_value"]).any(axis=-1, keepdims=True), x, np.zeros(1))


def constant(inputs: Inputs, weights: Weights, options: Options) -> X:
    """An array that the model holds."""
    del inputs, options
    return weights["value"]


def identity(inputs: Inputs, weights: Weights, options: Options) -> X:
    """x, since the layer does nothing at inference."""
    del weights, options
    return inputs[0]


# --- masks ---


def not_equal(inputs: Inputs, weights: Weights, options: Options) -> X:
    """Whether x is not the value, element by element."""
    del weights
    return _plain(inputs[0]) != options["value"]


def any_true(inputs: Inputs, weights: Weights, options: Options) -> X:
    """Whether any along the last axis is true."""
    del weights, options
    return _plain(inputs[0]).any(axis=-1)


def all_true(inputs: Inputs, weights: Weights, options: Options) -> X:
    """Whether all along the last axis are true."""
    del weights, options
    return _plain(inputs[0]).all(axis=-1)


def logical_and(inputs: Inputs, weights: Weights, options: Options) -> X:
    """Whether both are true, element by element."""
    del weights, options
    a, b = map(_plain, inputs)
    return np.logical_and(a, b)


def logical_or(inputs: Inputs, weights: Weights, options: Options) -> X:
    """Whether one of the two is true, element by element."""
    del weights, options
    a, b = map(_plain, inputs)
    return np.logical_or(a, b)


def zeros_like(inputs: Inputs, weights: Weights, options: Options) -> X:
    """False, in the shape of x."""
    del weights, options
    return np.zeros(inputs[0].shape, bool)


def ones_like(inputs: Inputs, weights: Weights, options: Options) -> X:
    """True, in the shape of x."""
    del weights, options
    return np.ones(inputs[0].shape, bool)


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
