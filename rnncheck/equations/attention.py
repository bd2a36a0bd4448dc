"""Attention, Dot, and softmax over any axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rnncheck.equations.activations import exp, log, softmax, tanh
from rnncheck.equations.layers import layer
from rnncheck.equations.normalization import unit_length
from rnncheck.equations.operands import Axes, X, choose, max_over, move, plain, sum_over, without_axis
from rnncheck.rounding.rounded import Rounded

# What Attention subtracts from the scores that a mask excludes, and what Softmax puts in place of masked numbers;
# float16 ends at 65504. Source: Keras 3.15, Attention._apply_scores and Softmax.call.
_EXCLUDED, _EXCLUDED_FLOAT16 = 1e9, 65504.0
_LOWEST, _LOWEST_FLOAT16 = -1e9, -3e4


@layer("Dot")
def dot(x: X, y: X, *, axes: Axes, normalize: bool) -> X:
    """Σ over one axis of each input, of their products: x (N, a..., n), y (N, n, b...) -> (N, a..., b...).

    With normalize, x and y are first brought to unit length along their axes.
    """
    of_x, of_y = (axes, axes) if isinstance(axes, int) else axes
    if normalize:
        x, y = unit_length(x, of_x), unit_length(y, of_y)
    x = move(x, lambda array: np.moveaxis(array, of_x, -1))
    y = move(y, lambda array: np.moveaxis(array, of_y, 1))
    n, *left, size = x.shape
    right = y.shape[2:]
    # The other axes of each input are one in the product, (N, a·..., b·...).
    product = x.reshape((n, -1, size)) @ y.reshape((n, size, -1))
    return product.reshape((n, *left, *right) if left or right else (n, 1))


@layer("Attention")
def attention(
    *inputs: X, scale: Any = None, concat_score_weight: Any = None,
    score_mode: str, use_causal_mask: bool = False, masks: Sequence[str] = (),
) -> X:  # fmt: skip
    """softmax(scores)·value: query (N, T', D), value (N, T, K), key (N, T, D) -> (N, T', K).

    The scores (N, T', T) are scale·query·keyᵀ, or with score_mode concat concat_score_weight·Σ_d tanh(scale·(query +
    key)). Excluded scores, by the value's mask or by causality, are lowered by a constant, as Keras does; queries
    whose mask is false give zero. Without a third input the value is the key. The last inputs are the masks of what
    the option `masks` names: "query", "value".

    Source: Luong, Pham and Manning, Effective Approaches to Attention-based Neural Machine Translation, EMNLP 2015.
    """
    query, value, *rest = inputs[: len(inputs) - len(masks)]
    mask_of = dict(zip(masks, map(plain, inputs[len(inputs) - len(masks) :]), strict=True))
    key = rest[0] if rest else value
    if score_mode == "dot":
        scores = query @ key.swapaxes(-2, -1)
        scores = scores if scale is None else scores * scale
    else:  # pairs (N, T', T, D)
        pairs = move(query, lambda q: q[..., :, np.newaxis, :]) + move(key, lambda k: k[..., np.newaxis, :, :])
        pairs = pairs if scale is None else pairs * scale
        scores = without_axis(sum_over(tanh(pairs), -1), -1) * concat_score_weight
    # Which scores do not count, by the value's mask (N, T) or since step T comes after step T'.
    excluded = np.triu(np.ones(scores.shape[-2:], bool), 1) if use_causal_mask else None
    if "value" in mask_of:
        missing = ~mask_of["value"].astype(bool)[..., np.newaxis, :]
        excluded = missing if excluded is None else missing | excluded
    if excluded is not None:
        scores = choose(excluded, scores - _of_format(scores, _EXCLUDED, _EXCLUDED_FLOAT16), scores)
    result = softmax(scores) @ value
    return choose(mask_of["query"][..., np.newaxis], result, np.zeros(1)) if "query" in mask_of else result


def _of_format(x: X, usual: float, in_float16: float) -> float:
    return in_float16 if isinstance(x, Rounded) and x.precision.name == "float16" else usual


@layer("Softmax")
def softmax_over_axes(x: X, mask: X = None, *, axis: Axes) -> X:
    """exp(x - max x)/Σ exp(x - max x) over an axis; over several, exp(x - log Σ exp x), as Keras computes it.

    A second input is a mask: where it is false, x counts as very low, and the result is zero.
    """
    keep = None if mask is None else plain(mask).astype(bool)
    if keep is not None:
        x = choose(keep, x, np.asarray(_of_format(x, _LOWEST, _LOWEST_FLOAT16)))
    axes = [axis] if isinstance(axis, int) else list(axis)
    last = list(range(-len(axes), 0))
    x = move(x, lambda array: np.moveaxis(array, axes, last))
    flat = x.reshape((*x.shape[: len(x.shape) - len(axes)], -1))
    if len(axes) == 1:
        result = softmax(flat)
    else:
        largest = max_over(flat, -1)
        result = exp(flat - (log(sum_over(exp(flat - largest), -1)) + largest))
    result = move(result.reshape(x.shape), lambda array: np.moveaxis(array, last, axes))
    return result if keep is None else choose(keep, result, np.zeros(1))
