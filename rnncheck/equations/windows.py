"""Windows over the axes of space: convolutions and pooling of any rank.

x is (N, space..., C), with up to three axes of space. What a layer does to each window is written once; where the
windows lie is `over_windows`, for one axis as for three.

Source: TensorFlow 2.21, tf.nn.convolution, depthwise_conv2d, separable_conv2d and pool; Keras 3.15, Conv1D, for
`causal`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from rnncheck.equations.activations import activate
from rnncheck.equations.layers import affine, layer
from rnncheck.equations.operands import Sizes, X, choose, join, limited, max_over, move, plain, sum_over, without_axis
from rnncheck.network import Activation, Array

# A step of 1 along each of the axes of space, of which there are at most three.
_ONES = (1, 1, 1)

# The padding `same` with its odd place before the first place, not behind the last. Only faults have it.
IN_FRONT = "same in front"

# How many numbers the windows of a layer may read of a sample, and how many are read at once.
_MOST_READ, AT_ONCE = 2**28, 2**22


def over_windows(
    x: X,
    compute: Callable[[X, Array], X],
    size: Sizes,
    strides: Sizes,
    padding: str,
    dilation_rate: Sizes = _ONES,
    *,
    width: int = 0,
) -> X:
    """Return what `compute` makes of every window: x (R, space..., C) -> (R, space'..., K).

    Args:
        x: with any axes R in front.
        compute: (what P windows read (N, P, k, C), which of their places exist (P, k)) -> (N, P, K). The k places are
            in the order of the axes of space, the last one fastest. The nearest place inside is read for one outside.
        size: k along each axis.
        strides: from one window to the next.
        padding: `valid`, `same`, or `causal` for one axis of space.
        dilation_rate: from one place of a window to the next.
        width: K, where it may be more than what a window reads.
    """
    if len(x.shape) < 2 + len(size):
        raise ValueError(f"an input of {len(x.shape)} axes for windows over {len(size)} axes of space")
    leading, space, channels = x.shape[: -1 - len(size)], x.shape[-1 - len(size) : -1], x.shape[-1]
    axes = [_along(*axis, padding) for axis in zip(space, size, strides, dilation_rate, strict=False)]
    counts = tuple(count for count, _ in axes)
    rows = x.reshape((math.prod(leading), math.prod(space), channels))
    width = max(width, math.prod(size) * channels)
    limited(math.prod(counts) * width, _MOST_READ, "its windows read or make")
    at_once = max(1, AT_ONCE // max(1, rows.shape[0] * width))
    pieces = []
    for start in range(0, max(1, math.prod(counts)), at_once):
        numbers = np.arange(start, min(start + at_once, math.prod(counts)))
        places, inside = np.zeros((len(numbers), 1), np.int64), np.ones((len(numbers), 1), bool)
        for length, window, (_, read) in zip(space, np.unravel_index(numbers, counts), axes, strict=True):
            along = read(window)  # (P, size), to be paired with every place along the axes before
            exists = (along >= 0) & (along < length)
            nearest = np.clip(along, 0, length - 1)
            shape = (len(numbers), places.shape[1] * along.shape[1])
            places = (places[:, :, np.newaxis] * length + nearest[:, np.newaxis]).reshape(shape)
            inside = (inside[:, :, np.newaxis] & exists[:, np.newaxis]).reshape(shape)
        pieces.append(compute(rows[:, places], inside))
    whole = pieces[0] if len(pieces) == 1 else join(pieces, lambda arrays: np.concatenate(arrays, axis=1))
    return whole.reshape((*leading, *counts, whole.shape[-1]))


def _along(length: int, size: int, stride: int, dilation: int, padding: str) -> tuple[int, Callable[[Array], Array]]:
    # How many windows there are along an axis, and which places each reads: below 0 or from `length` on, padding.
    reach = (size - 1) * dilation + 1
    if padding == "valid":
        if length < reach:
            raise ValueError(f"{length} places along an axis, of which a window reads {reach}")
        count, before = (length - reach) // stride + 1, 0
    elif padding == "causal":
        count, before = (length - 1) // stride + 1, reach - 1
    else:
        count = -(-length // stride)
        around = max((count - 1) * stride + reach - length, 0)
        before = (around + (padding == IN_FRONT)) // 2
    return count, lambda window: stride * window[:, np.newaxis] + dilation * np.arange(size) - before


def _or_zero(read: X, inside: Array) -> X:
    # What windows read, (N, P, k, C), with zeros for padding.
    return read if inside.all() else move(read, lambda array: np.where(inside[..., np.newaxis], array, 0.0))


def convolve(
    x: X,
    kernel: Any,
    kernel_size: Sizes,
    strides: Sizes = _ONES,
    padding: str = "valid",
    dilation_rate: Sizes = _ONES,
    groups: int = 1,
    *,
    depthwise: bool = False,
) -> X:
    """Σ over the window of x·kernel: x (R, space..., C), kernel (k·C/groups, K) -> (R, space'..., K).

    The places of the window come in the order of the axes of space, the last one fastest, and the channels fastest of
    all, so that Keras' kernel (k1, k2, ..., C/groups, K) need only be reshaped. Each group of K/groups filters reads
    C/groups channels of its own. A depthwise kernel is (k·C, m): every channel is a group, with m filters. The sum
    stays open: a bias can still be added to it.
    """
    groups = x.shape[-1] if depthwise else groups
    filters = plain(kernel).shape[-1] * (groups if depthwise else 1)

    def products(read: X, inside: Array) -> X:
        read = _or_zero(read, inside)
        n, p, k, c = read.shape
        if groups == 1:
            return affine(read.reshape((n, p, k * c)), kernel=kernel)
        own = (k if depthwise else k * c // groups, groups, filters // groups)
        by_group = plain(kernel).reshape(own).swapaxes(0, 1)  # (groups, k·C/groups, K/groups)
        apart, together = (n * p, k, groups, c // groups), (groups, n * p, by_group.shape[1])
        factors = move(read, lambda a: a.reshape(apart).transpose(2, 0, 1, 3).reshape(together))
        return move(factors @ by_group, lambda a: a.swapaxes(0, 1).reshape(n, p, filters))

    return over_windows(x, products, kernel_size, strides, padding, dilation_rate, width=filters)


@layer("Conv1D", "Conv2D", "Conv3D")
def convolution(
    x: X, *, kernel: Any, bias: Any = None, activation: Activation,
    kernel_size: Sizes, strides: Sizes, padding: str, dilation_rate: Sizes, groups: int,
) -> X:  # fmt: skip
    """activation(Σ_j x_{stride·t + dilation·j - before}·kernel_j + bias): x (N, space..., C) -> (N, space'..., K).

    kernel is (k·C/groups, K); `before` is how far the padding reaches before the first place: see `over_windows`.
    """
    product = convolve(x, kernel, kernel_size, strides, padding, dilation_rate, groups)
    return activate(activation, product if bias is None else product + bias)


@layer("DepthwiseConv1D", "DepthwiseConv2D")
def depthwise_convolution(
    x: X, *, kernel: Any, bias: Any = None, activation: Activation,
    kernel_size: Sizes, strides: Sizes, padding: str, dilation_rate: Sizes,
) -> X:  # fmt: skip
    """activation(Σ_j x_{j,c}·kernel_{j,c,m} + bias): x (N, space..., C), kernel (k·C, m) -> (N, space'..., C·m)."""
    product = convolve(x, kernel, kernel_size, strides, padding, dilation_rate, depthwise=True)
    return activate(activation, product if bias is None else product + bias)


@layer("SeparableConv1D", "SeparableConv2D")
def separable_convolution(
    x: X, *, depthwise_kernel: Any, pointwise_kernel: Any, bias: Any = None, activation: Activation,
    kernel_size: Sizes, strides: Sizes, padding: str, dilation_rate: Sizes,
    factor: Callable[[X, Any, str], X] = lambda x, *_: x,
) -> X:  # fmt: skip
    """A depthwise convolution, whose C·m channels pointwise_kernel (C·m, K) makes into K: -> (N, space'..., K).

    The numbers between the two are rounded. `factor` says what a format makes of them before they are multiplied.
    """
    inner = convolve(x, depthwise_kernel, kernel_size, strides, padding, dilation_rate, depthwise=True)
    between = factor(inner, pointwise_kernel, "pointwise_kernel")
    return activate(activation, affine(between, kernel=pointwise_kernel, bias=bias))


@layer("MaxPooling1D", "MaxPooling2D", "MaxPooling3D", exact=True)
def max_pooling(x: X, *, pool_size: Sizes, strides: Sizes, padding: str, counts_padding: bool = False) -> X:
    """max over the window: x (N, space..., C) -> (N, space'..., C).

    Only faults count the padding, as zeros.
    """

    def largest(read: X, inside: Array) -> X:
        return without_axis(max_over(_or_zero(read, inside) if counts_padding else read, 2), 2)

    return over_windows(x, largest, pool_size, strides, padding)


@layer("AveragePooling1D", "AveragePooling2D", "AveragePooling3D")
def average_pooling(x: X, *, pool_size: Sizes, strides: Sizes, padding: str, counts_padding: bool = False) -> X:
    """Mean over those of the window's places that exist: x (N, space..., C) -> (N, space'..., C).

    Only faults count the padding, as zeros.
    """

    def mean(read: X, inside: Array) -> X:
        counted = np.ones_like(inside) if counts_padding else inside
        total = without_axis(sum_over(_or_zero(read, inside), 2), 2)
        return total / counted.sum(axis=1, dtype=np.float64)[:, np.newaxis]

    return over_windows(x, mean, pool_size, strides, padding)


def _of_space(x: X, *, keepdims: bool) -> tuple[X, tuple[int, ...]]:
    # All places of space in one axis, (N, T, C), and the shape of what is left of them.
    n, *space, channels = x.shape
    return x.reshape((n, math.prod(space), channels)), (n, *(1 for _ in space if keepdims), channels)


@layer("GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalMaxPooling3D", exact=True)
def global_max_pooling(x: X, *, keepdims: bool) -> X:
    """max over space: x (N, space..., C) -> (N, C), or (N, 1, ..., C) with keepdims."""
    places, shape = _of_space(x, keepdims=keepdims)
    return max_over(places, 1).reshape(shape)


@layer("GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAveragePooling3D")
def global_average_pooling(x: X, mask: X = None, *, keepdims: bool) -> X:
    """Mean over space, or the steps that a mask (N, T) counts: x (N, space..., C) -> (N, C), or (N, 1, ..., C)."""
    places, shape = _of_space(x, keepdims=keepdims)
    if mask is None:
        mean = sum_over(places, 1) / float(places.shape[1])
    else:
        counts = plain(mask).astype(bool)[..., np.newaxis]
        mean = sum_over(choose(counts, places, np.zeros(1)), 1) / counts.sum(axis=1, keepdims=True, dtype=np.float64)
    return mean.reshape(shape)
