"""Windows over spatial axes: what convolutions and pooling read, as plain rearrangements of numbers.

Spatial axes stand between any leading axes R and the channels C, which are last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rnncheck.network import Array
from rnncheck.rounding import Rounded

X = Any  # a plain float64 array or a Rounded

# A step of 1 along each of the spatial axes, of which there are at most three.
_ONES = (1, 1, 1)


def move(x: X, change: Callable[[Array], Array]) -> X:
    """Return the numbers of x where `change` puts them, plain or `Rounded`."""
    return x.move(change) if isinstance(x, Rounded) else change(np.asarray(x))


def convolve(
    x: X,
    kernel: Any,
    kernel_size: Sequence[int],
    strides: Sequence[int] = _ONES,
    padding: str = "valid",
    dilation_rate: Sequence[int] = _ONES,
) -> X:
    """Σ over the window of x·kernel: x (R, spatial..., C), kernel (k·C, K) -> (R, spatial'..., K).

    The k places of the window come in the order of the spatial axes, the last one fastest, and the channels fastest
    of all, so that Keras' kernel (k1, k2, ..., C, K) need only be reshaped. The sum stays open.

    Args:
        x: what the window runs over; leading axes are kept.
        kernel: a plain matrix, or one of `rnncheck.products`.
        kernel_size: the window's size along each spatial axis.
        strides: the steps from one window to the next.
        padding: `valid`, `same`, or `causal` for one spatial axis.
        dilation_rate: the steps from one number of a window to the next.
    """
    read = move(x, lambda array: _patches(array, kernel_size, strides, padding, dilation_rate))
    channels = x.shape[-1] * int(np.prod(kernel_size))
    product = read.reshape((-1, channels)) @ kernel
    return product.reshape((*read.shape[:-1], product.shape[-1]))


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


def _patches(
    array: Array, kernel_size: Sequence[int], strides: Sequence[int], padding: str, dilation_rate: Sequence[int]
) -> Array:
    """Return (R, spatial..., C) as (R, spatial'..., kernel..., C), with zeros where a window reads padding."""
    rank, leading = len(kernel_size), array.ndim - len(kernel_size) - 1
    for place in reversed(range(rank)):
        axis = leading + place
        read = windows(array.shape[axis], kernel_size[place], strides[place], dilation_rate[place], padding)
        array = _taken(array, read, axis)
    outputs, sizes = (tuple(range(leading + part, leading + 2 * rank, 2)) for part in (0, 1))
    ordered: Array = array.transpose(*range(leading), *outputs, *sizes, array.ndim - 1)
    return ordered.reshape(*ordered.shape[: leading + rank], -1)


def _taken(array: Array, places: Array, axis: int) -> Array:
    """Return the numbers at some places of an axis, which becomes two; zero at places outside."""
    length = array.shape[axis]
    inside = (places >= 0) & (places < length)
    taken = np.take(array, np.clip(places, 0, length - 1), axis)
    if inside.all():
        return taken
    return np.where(inside.reshape(*inside.shape, *(1,) * (array.ndim - axis - 1)), taken, 0.0)
