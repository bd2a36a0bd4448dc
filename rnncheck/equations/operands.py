"""What equations compute on: plain float64 arrays or `Rounded` numbers, by the same words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rnncheck.network import Array
from rnncheck.rounding.rounded import Operand, Rounded

# --- what is not smooth: where a function has pieces, and what runs over the units ---


def piecewise(x: X, at: float, below: Operand, above: Operand, *, jumps: bool = False) -> X:
    """`above` where x > at, else `below`; both where rounding may have put x on either side."""
    if isinstance(x, Rounded):
        return x.branch(at, below, above, jumps=jumps)
    return np.where(x > at, above, below)


def move(x: X, change: Callable[[Array], Array]) -> X:
    """Return the numbers of x where `change` puts them, plain or `Rounded`."""
    return x.move(change) if isinstance(x, Rounded) else change(np.asarray(x))


X = Any  # a plain float64 array or a Rounded


Weights = Mapping[str, Any]  # name -> plain array or products.Matrix


Options = Mapping[str, Any]


Inputs = Sequence[X]


Apply = Callable[[Inputs, Weights, Options], X]


def plain(x: X) -> Array:
    """Return the numbers alone: ids and masks have no rounding."""
    return np.asarray(x.value if isinstance(x, Rounded) else x)


def choose(condition: Array, chosen: X, other: X) -> X:
    """Return `chosen` where the condition holds, else `other`."""
    if isinstance(chosen, Rounded) or isinstance(other, Rounded):
        return Rounded.where(condition, chosen, other)
    return np.where(condition, chosen, other)


def sum_over(x: X, axis: int) -> X:
    """Sum over an axis, which stays, with length 1."""
    return x.sum(axis) if isinstance(x, Rounded) else np.sum(x, axis, keepdims=True)


def max_over(x: X, axis: int) -> X:
    """Return the largest over an axis, which stays, with length 1."""
    return x.max(axis) if isinstance(x, Rounded) else np.max(x, axis, keepdims=True)


def without_axis(x: X, axis: int) -> X:
    """Return x without an axis of length 1."""
    return move(x, lambda array: array.squeeze(axis))
