"""Normalisation: numbers brought to a mean and a variance, or to unit length.

Where a layer's precision is a half one, Keras computes in float32 and rounds the result (`Operation.casts_weights`).

Source: Keras 3.15, ops.layer_normalization, BatchNormalization.call, GroupNormalization.call and ops.normalize.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rnncheck.equations.layers import layer
from rnncheck.equations.operands import Axes, X, piecewise, sum_over
from rnncheck.network import Array
from rnncheck.rounding.precision import PRECISIONS
from rnncheck.rounding.rounded import Elementary, Rounded

rsqrt = Elementary(
    "rsqrt",
    evaluate=lambda v: 1.0 / np.sqrt(v),
    slope=lambda v, f: -0.5 * f / v,
    steepest=lambda v, slope, e: 0.5 * np.maximum(v - e, 0.0) ** -1.5,
    # Implementations divide by the root, with two roundings, or iterate from an estimate: TensorFlow 2.21 was seen
    # to be off by 3.2 at most and 0.72 in the root mean square, over all float32 numbers.
    accuracy=dict.fromkeys(PRECISIONS, (4.0, 0.9)),
)


@layer("LayerNormalization", casts_inputs=False, casts_weights=False)
def layer_normalization(
    x: X, *, gamma: Any = None, beta: Any = None, axis: Axes, epsilon: float, rms_scaling: bool,
    unbiased: bool = False, outside: bool = False,
) -> X:  # fmt: skip
    """gamma·(x - mean)/sqrt(variance + epsilon) + beta, mean and variance over `axis`; shapes (..., M) -> (..., M).

    With rms_scaling, gamma·x/sqrt(variance + epsilon).

    Source: Ba, Kiros and Hinton, Layer Normalization, arXiv:1607.06450 (2016), equation 4.
    """
    axes, shape = _normalised(x, axis)
    mean, variance = _moments(x, axes, unbiased=unbiased)
    scale = _scale(variance, epsilon, gamma, shape, outside=outside)
    return x * scale if rms_scaling else _scaled(x, mean, scale, beta, shape)


@layer("GroupNormalization", casts_inputs=False, casts_weights=False)
def group_normalization(
    x: X, *, gamma: Any = None, beta: Any = None, groups: int, axis: int, epsilon: float,
    unbiased: bool = False, outside: bool = False,
) -> X:  # fmt: skip
    """gamma·(x - mean)/sqrt(variance + epsilon) + beta, in groups of neighbours along `axis`: shapes (N, ..., C).

    Mean and variance are over all axes but N, within a group; gamma and beta are (C,).

    Source: Wu and He, Group Normalization, ECCV 2018, equations 1 to 6.
    """
    axis = range(len(x.shape))[axis]
    grouped = x.reshape((*x.shape[:axis], groups, -1, *x.shape[axis + 1 :]))
    axes = tuple(a for a in range(1, len(grouped.shape)) if a != axis)
    mean, variance = _moments(grouped, axes, unbiased=unbiased)
    _, shape = _normalised(grouped, (axis, axis + 1))
    scale = _scale(variance, epsilon, gamma, shape, outside=outside)
    return _scaled(grouped, mean, scale, beta, shape).reshape(x.shape)


def _moments(x: X, axes: tuple[int, ...], *, unbiased: bool) -> tuple[X, X]:
    # Mean and variance, with length 1 along the axes; only faults have that of a sample, over n - 1.
    mean = _mean(x, axes)
    centred = x - mean
    variance = _mean(centred * centred, axes)
    # Implementations may compute it in one pass, which cancels where the mean is far from zero.
    if isinstance(variance, Rounded):
        variance = variance.covering(_mean(x * x, axes) - mean * mean)
    n = math.prod(x.shape[axis] for axis in axes)
    return mean, variance * (n / (n - 1)) if unbiased and n > 1 else variance


@layer("BatchNormalization", casts_weights=False)
def batch_normalization(
    x: X,
    *,
    gamma: Any = None,
    beta: Any = None,
    moving_mean: Array,
    moving_variance: Array,
    axis: Axes,
    epsilon: float,
    outside: bool = False,
) -> X:
    """gamma·(x - moving_mean)/sqrt(moving_variance + epsilon) + beta along `axis`: shapes (..., M) -> (..., M).

    Source: Ioffe and Szegedy, Batch Normalization, ICML 2015, algorithm 2, line 11.
    """
    _, shape = _normalised(x, axis)
    variance = moving_variance.reshape(shape)
    scale = _scale(x.lift(variance) if isinstance(x, Rounded) else variance, epsilon, gamma, shape, outside=outside)
    return _scaled(x, moving_mean.reshape(shape), scale, beta, shape)


def _scale(variance: X, epsilon: float, gamma: Any, shape: tuple[int, ...], *, outside: bool) -> X:
    # Only faults have epsilon outside the root: 1/(sqrt(variance) + epsilon).
    scale = rsqrt(variance if outside else variance + epsilon)
    scale = scale / (scale * epsilon + 1.0) if outside else scale
    return scale if gamma is None else scale * gamma.reshape(shape)


def _scaled(x: X, mean: X, scale: X, beta: Any, shape: tuple[int, ...]) -> X:
    # (x - mean)·scale + beta, in the form that rounds most, and that Keras uses.
    return x * scale - mean * scale if beta is None else x * scale + (beta.reshape(shape) - mean * scale)


@layer("UnitNormalization")
def unit_normalization(x: X, *, axis: Axes) -> X:
    """x/max(‖x‖, 1e-12) over one axis or several."""
    return unit_length(x, _normalised(x, axis)[0], shortest=1e-12)


def unit_length(x: X, axes: int | tuple[int, ...], *, shortest: float = 1e-7) -> X:
    """x/max(‖x‖, shortest) over some axes; Keras' backend epsilon unless said otherwise."""
    squared = sum_over(x * x, axes)
    return x * piecewise(squared, shortest**2, 1.0 / shortest, rsqrt(squared))


def _normalised(x: X, axis: Axes) -> tuple[tuple[int, ...], tuple[int, ...]]:
    # The axes from the first on, and the shape of a weight that has them, with 1 for all others.
    rank = len(x.shape)
    axes = tuple(sorted(int(a) % rank for a in np.atleast_1d(np.asarray(axis))))
    return axes, tuple(size if place in axes else 1 for place, size in enumerate(x.shape))


def _mean(x: X, axes: tuple[int, ...]) -> X:
    # The axes stay, with length 1.
    return sum_over(x, axes) / float(math.prod(x.shape[axis] for axis in axes))
