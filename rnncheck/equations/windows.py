"""Windows over spatial axes: what convolutions and pooling read, as plain rearrangements of numbers.

Spatial axes stand between any leading axes R and the channels C, which are last.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rnncheck.equations.activations import activate
from rnncheck.equations.layers import affine, layer
from rnncheck.equations.operands import Axes, Sizes, X, choose, max_over, move, plain, sum_over, without_axis
from rnncheck.network import Activation, Array

# A step of 1 along each of the spatial axes, of which there are at most three.
_ONES = (1, 1, 1)


def convolve(
    x: X,
    kernel: Any,
    kernel_size: Sizes,
    strides: Sizes = _ONES,
    padding: str = "valid",
    dilation_rate: Sizes = _ONES,
) -> X:
    """Σ over the window of x·kernel: x (R, spatial..., C), kernel (k·C, K) -> (R, spatial'..., K).

    The k places of the window come in the order of the spatial axes, the last one fastest, and the channels fastest
    of all, so that Keras' kernel (k1, k2, ..., C, K) need only be reshaped. The sum stays open: a bias can still be
    added to it. The padding is `valid`, `same`, or `causal` for one spatial axis.
    """
    return affine(move(x, lambda array: _patches(array, kernel_size, strides, padding, dilation_rate)), kernel=kernel)


def windows(length: int, size: int, stride: int, dilation: int, padding: str) -> Array:
    """Return the places that each window reads, (L', size); below 0 or from `length` on it reads padding.

    Source: TensorFlow 2.21, tf.nn.convolution, and Keras 3.15, Conv1D, for `causal`.
    """
    reach = (size - 1) * dilation + 1
    if padding == "valid":
        count, before = max((length - reach) // stride + 1, 0), 0
    elif padding == "causal":
        count, before = (length - 1) // stride + 1, reach - 1
    else:
        count = -(-length // stride)
        before = max((count - 1) * stride + reach - length, 0) // 2
    places: Array = stride * np.arange(count)[:, np.newaxis] + dilation * np.arange(size) - before
    return places


def _patches(array: Array, kernel_size: Sizes, strides: Sizes, padding: str, dilation_rate: Sizes) -> Array:
    # (R, spatial..., C) -> (R, spatial'..., k·C), with zeros where a window reads padding.
    rank, leading = len(kernel_size), array.ndim - len(kernel_size) - 1
    for place in reversed(range(rank)):
        axis = leading + place
        read = windows(array.shape[axis], kernel_size[place], strides[place], dilation_rate[place], padding)
        array = _taken(array, read, axis)
    # Each axis of space has become two, the window's place and the place in the window: the first ones to the front.
    outputs, sizes = (tuple(range(leading + part, leading + 2 * rank, 2)) for part in (0, 1))
    ordered: Array = array.transpose(*range(leading), *outputs, *sizes, array.ndim - 1)
    return ordered.reshape(*ordered.shape[: leading + rank], -1)


def _taken(array: Array, places: Array, axis: int) -> Array:
    # The axis becomes two, those of `places`; what is outside is zero.
    length = array.shape[axis]
    inside = (places >= 0) & (places < length)
    taken = np.take(array, np.clip(places, 0, length - 1), axis)
    if inside.all():
        return taken
    return np.where(inside.reshape(*inside.shape, *(1,) * (array.ndim - axis - 1)), taken, 0.0)


@layer("Conv1D")
def conv1d(
    x: X, *, kernel: Any, bias: Any = None, activation: Activation,
    kernel_size: Sizes, strides: Sizes, padding: str, dilation_rate: Sizes,
) -> X:  # fmt: skip
    """activation(Σ_j x_{stride·t + dilation·j - before}·kernel_j + bias): x (N, T, D) -> (N, T', K), kernel (k·D, K).

    `before` is how far the padding reaches before the first step: see `rnncheck.equations.windows.windows`.
    """
    product = convolve(x, kernel, kernel_size, strides, padding, dilation_rate)
    return activate(activation, product if bias is None else product + bias)


def _pooled(x: X, pool_size: Axes, strides: Axes, padding: str) -> tuple[X, Array]:
    # What each window reads, (N, T', size, D), and which of its places exist, (T', size). The nearest place inside
    # stands for one outside, which changes no maximum.
    # Keras takes a number or a sequence of one.
    size, stride = (int(np.ravel(option)[0]) for option in (pool_size, strides))
    length = x.shape[1]
    places = windows(length, size, stride, 1, padding)
    return x[:, np.clip(places, 0, length - 1)], (places >= 0) & (places < length)


@layer("MaxPooling1D", exact=True)
def max_pooling1d(x: X, *, pool_size: Any, strides: Any, padding: str) -> X:
    """max over the window's steps: x (N, T, D) -> (N, T', D)."""
    read, _ = _pooled(x, pool_size, strides, padding)
    return without_axis(max_over(read, 2), 2)


@layer("AveragePooling1D")
def average_pooling1d(x: X, *, pool_size: Any, strides: Any, padding: str) -> X:
    """Mean over those of the window's steps that exist: x (N, T, D) -> (N, T', D)."""
    read, inside = _pooled(x, pool_size, strides, padding)
    read = move(read, lambda array: np.where(inside[..., np.newaxis], array, 0.0))
    return without_axis(sum_over(read, 2), 2) / inside.sum(axis=1, dtype=np.float64)[:, np.newaxis]


@layer("GlobalMaxPooling1D", exact=True)
def global_max_pooling1d(x: X, *, keepdims: bool) -> X:
    """max over the steps: x (N, T, D) -> (N, D), or (N, 1, D) with keepdims."""
    largest = max_over(x, 1)
    return largest if keepdims else without_axis(largest, 1)


@layer("GlobalAveragePooling1D")
def global_average_pooling1d(x: X, mask: X = None, *, keepdims: bool) -> X:
    """Mean over the steps, or those that a mask (N, T) counts: x (N, T, D) -> (N, D), or (N, 1, D) with keepdims."""
    if mask is None:
        mean = sum_over(x, 1) / float(x.shape[1])
    else:
        counts = plain(mask).astype(bool)[..., np.newaxis]
        mean = sum_over(choose(counts, x, np.zeros(1)), 1) / counts.sum(axis=1, keepdims=True, dtype=np.float64)
    return mean if keepdims else without_axis(mean, 1)
