"""Attention, Dot, and softmax over any axes."""

from __future__ import annotations

import numpy as np

from rnncheck.equations.activations import exp, log, softmax, tanh
from rnncheck.equations.normalization import unit_length
from rnncheck.equations.operands import (
    Inputs,
    Options,
    Weights,
    X,
    choose,
    max_over,
    move,
    plain,
    sum_over,
    without_axis,
)
from rnncheck.network import Array
from rnncheck.rounding.rounded import Rounded

# What Attention takes from the scores that a mask excludes, and what Softmax puts in their place.
_EXCLUDED, _EXCLUDED_FLOAT16 = 1e9, 65504.0


_LOWEST, _LOWEST_FLOAT16 = -1e9, -3e4


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
    masks = dict(zip(reversed(options.get("masks", ())), map(plain, reversed(inputs)), strict=False))
    query, value, *rest = inputs[: len(inputs) - len(masks)]
    scores = _scores(query, rest[0] if rest else value, weights, options)
    excluded = _excluded(scores.shape, masks.get("value"), causal=options.get("use_causal_mask", False))
    if excluded is not None:
        scores = choose(excluded, scores - _of_format(scores, _EXCLUDED, _EXCLUDED_FLOAT16), scores)
    result = softmax(scores) @ value
    return result if "query" not in masks else choose(masks["query"][..., np.newaxis], result, np.zeros(1))


def _scores(query: X, key: X, weights: Weights, options: Options) -> X:
    if options["score_mode"] == "dot":
        scores = query @ key.swapaxes(-2, -1)
        return scores * weights["scale"] if "scale" in weights else scores
    pairs = move(query, lambda q: q[..., :, np.newaxis, :]) + move(key, lambda k: k[..., np.newaxis, :, :])
    pairs = pairs * weights["scale"] if "scale" in weights else pairs
    return without_axis(sum_over(tanh(pairs), -1), -1) * weights["concat_score_weight"]


def _excluded(shape: tuple[int, ...], value_mask: Array | None, *, causal: bool) -> Array | None:
    excluded = np.triu(np.ones(shape[-2:], bool), 1) if causal else None
    if value_mask is None:
        return excluded
    missing: Array = ~value_mask.astype(bool)[..., np.newaxis, :]
    return missing if excluded is None else missing | excluded


def _of_format(x: X, usual: float, in_float16: float) -> float:
    return in_float16 if isinstance(x, Rounded) and x.precision.name == "float16" else usual


def softmax_over_axes(inputs: Inputs, weights: Weights, options: Options) -> X:
    """exp(x - max x)/Σ exp(x - max x) over an axis; over several, exp(x - log Σ exp x), as Keras computes it.

    A second input is a mask: where it is false, x counts as very low, and the result is zero.
    """
    del weights
    x, *masks = inputs
    keep = plain(masks[0]).astype(bool) if masks else None
    if keep is not None:
        x = choose(keep, x, np.asarray(_of_format(x, _LOWEST, _LOWEST_FLOAT16)))
    axes = options["axis"]
    axes = list(axes) if isinstance(axes, list | tuple) else [axes]
    last = list(range(-len(axes), 0))
    x = move(x, lambda array: np.moveaxis(array, axes, last))
    flat = x.reshape((*x.shape[: len(x.shape) - len(axes)], -1))
    result = (softmax(flat) if len(axes) == 1 else exp(flat - _log_sum_exp(flat))).reshape(x.shape)
    result = move(result, lambda array: np.moveaxis(array, last, axes))
    return result if keep is None else choose(keep, result, np.zeros(1))


def _log_sum_exp(x: X) -> X:
    largest = max_over(x, -1)
    return log(sum_over(exp(x - largest), -1)) + largest
