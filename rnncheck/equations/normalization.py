"""Normalisation: numbers brought to a mean and a variance, or to unit length.

Where a layer's precision is a half one, Keras computes in float32 and rounds the result (`Operation.casts_weights`).

Source: Keras 3.15, ops.layer_normalization, BatchNormalization.call and ops.normalize.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rnncheck.equations.operands import Options, Weights, X, piecewise
from rnncheck.network import Array
from rnncheck.rounding.precision import PRECISIONS
from rnncheck.rounding.rounded import Elementary, Rounded

# Keras' backend epsilon: what Dot takes for the smallest length.
_SHORTEST = 1e-7


rsqrt = Elementary(
    "rsqrt",
    evaluate=lambda v: 1.0 / np.sqrt(v),
    slope=lambda v, f: -0.5 * f / v,
    steepest=lambda v, slope, e: 0.5 * np.maximum(v - e, 0.0) ** -1.5,
    # Implementations divide by the root, with two roundings, or iterate from an estimate: TensorFlow 2.21 was seen
    # to be off by 3.2 at most and 0.72 in the root mean square, over all float32 numbers.
    accuracy=dict.fromkeys(PRECISIONS, (4.0, 0.9)),
)


def layer_normalization(inputs: Sequence[X], weights: Weights, options: Options) -> X:
    """gamma·(x - mean)/sqrt(variance + epsilon) + beta, mean and variance over `axis`; shapes (..., M) -> (..., M).

    With rms_scaling, gamma·x/sqrt(variance + epsilon).

    Source: Ba, Kiros and Hinton, Layer Normalization, arXiv:1607.06450 (2016), equation 4.
    """
    (x,) = inputs
    axes, shape = _normalised(x, options["axis"])
    mean = _mean(x, axes)
    centred = x - mean
    variance = _mean(centred * centred, axes)
    if isinstance(variance, Rounded):
        variance = variance.covering(_mean(x * x, axes) - mean * mean)
    scale = rsqrt(variance + options["epsilon"])
    if "gamma" in weights:
        scale = scale * weights["gamma"].reshape(shape)
    if options["rms_scaling"]:
        return x * scale
    return _scaled(x, mean, scale, weights["beta"].reshape(shape) if "beta" in weights else None)


def batch_normalization(inputs: Sequence[X], weights: Weights, options: Options) -> X:
    """gamma·(x - moving_mean)/sqrt(moving_variance + epsilon) + beta along `axis`: shapes (..., M) -> (..., M).

    Source: Ioffe and Szegedy, Batch Normalization, ICML 2015, algorithm 2, line 11.
    """
    (x,) = inputs
    _, shape = _normalised(x, options["axis"])
    mean, variance = (weights[name].reshape(shape) for name in ("moving_mean", "moving_variance"))
    if isinstance(x, Rounded):
        variance = x.lift(variance)
    scale = rsqrt(variance + options["epsilon"])
    if "gamma" in weights:
        scale = scale * weights["gamma"].reshape(shape)
    return _scaled(x, mean, scale, weights["beta"].reshape(shape) if "beta" in weights else None)


def _scaled(x: X, mean: X, scale: X, beta: Array | None) -> X:
    """(x - mean)·scale + beta, in the form that rounds most, and that Keras uses: x·scale + (beta - mean·scale)."""
    return x * scale - mean * scale if beta is None else x * scale + (beta - mean * scale)


def unit_length(x: X, axis: int) -> X:
    """x/max(‖x‖, 1e-7) over an axis."""
    square = x * x
    squared = square.sum(axis) if isinstance(square, Rounded) else square.sum(axis, keepdims=True)
    return x * piecewise(squared, _SHORTEST**2, 1.0 / _SHORTEST, rsqrt(squared))


def _normalised(x: X, axis: int | Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the axes, and the shape of a weight that has them, with 1 for all others."""
    rank = len(x.shape)
    axes = tuple(sorted(int(a) % rank for a in np.atleast_1d(np.asarray(axis))))
    return axes, tuple(size if place in axes else 1 for place, size in enumerate(x.shape))


def _mean(x: X, axes: tuple[int, ...]) -> X:
    """Mean over some axes, which stay, with length 1."""
    total = x.sum(axes) if isinstance(x, Rounded) else np.sum(x, axes, keepdims=True)
    return total / float(np.prod([x.shape[axis] for axis in axes]))
