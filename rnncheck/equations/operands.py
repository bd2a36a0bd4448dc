"""What equations compute on: plain float64 arrays or `Rounded` numbers, by the same functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rnncheck.network import Array
from rnncheck.rounding.products import Matrix
from rnncheck.rounding.rounded import Operand, Rounded

X = Any  # a plain float64 array or a Rounded
Weights = Mapping[str, Any]  # name -> a plain array; kernels may be a `rounding.products.Matrix`
Options = Mapping[str, Any]
Sizes = Sequence[int]  # one for each axis of space
Axes = int | Sequence[int]  # one axis or several


def piecewise(x: X, at: float, below: Operand, above: Operand, *, jumps: bool = False) -> X:
    """`above` where x > at, else `below`; they meet there unless the function `jumps`."""
    # Rounding may have put x on the wrong side of `at`, so that `branch` needs both.
    if isinstance(x, Rounded):
        return x.branch(at, below, above, jumps=jumps)
    return np.where(x > at, above, below)


def move(x: X, change: Callable[[Array], Array]) -> X:
    """Return the numbers of x where `change` puts them."""
    return x.move(change) if isinstance(x, Rounded) else change(np.asarray(x))


def plain(x: X) -> Array:
    """Return the values alone: ids, masks and weights have no rounding."""
    return np.asarray(x.value if isinstance(x, Rounded | Matrix) else x)


class TooLargeError(ValueError):
    """A layer takes more numbers than it may."""


def limited(count: int, most: int, said: str) -> None:
    """Raise a TooLargeError where a layer takes more numbers of a sample than it may; `said` is what it does."""
    if count > most:
        raise TooLargeError(f"sizes for which {said} {count:,} numbers of a sample; expected at most {most:,}")


def choose(condition: Array, chosen: X, other: X) -> X:
    """Return `chosen` where the condition holds, else `other`."""
    if isinstance(chosen, Rounded) or isinstance(other, Rounded):
        return Rounded.where(condition, chosen, other)
    return np.where(condition, chosen, other)


def sum_over(x: X, axes: int | tuple[int, ...]) -> X:
    """Sum over some axes, which stay with length 1."""
    return x.sum(axes) if isinstance(x, Rounded) else np.sum(x, axes, keepdims=True)


def max_over(x: X, axis: int) -> X:
    """Return the largest over an axis, which stays with length 1."""
    return x.max(axis) if isinstance(x, Rounded) else np.max(x, axis, keepdims=True)


def join(parts: Sequence[X], together: Callable[[list[Array]], Array]) -> X:
    """Return several results as one: what `together` makes of a list of arrays."""
    if any(isinstance(part, Rounded) for part in parts):
        return Rounded.join(parts, together)
    return together([np.asarray(part) for part in parts])


def without_axis(x: X, axis: int) -> X:
    """Return x without an axis of length 1."""
    return move(x, lambda array: array.squeeze(axis))


def keywords(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of the weights and options that an equation takes, which are its keyword-only parameters."""
    parameters = inspect.signature(function).parameters.values()
    return tuple(each.name for each in parameters if each.kind is each.KEYWORD_ONLY)
