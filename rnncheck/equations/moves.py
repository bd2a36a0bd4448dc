"""Layers that move, select or compare numbers without computing new ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rnncheck.equations.operands import Apply, Inputs, Options, Weights, X, choose, move, plain
from rnncheck.errors import InputError
from rnncheck.network import Array
from rnncheck.rounding.rounded import Rounded


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
    ids = plain(inputs[0]).astype(np.int64)
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
    return choose((plain(x) != options["mask_value"]).any(axis=-1, keepdims=True), x, np.zeros(1))


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
    return plain(inputs[0]) != options["value"]


def any_true(inputs: Inputs, weights: Weights, options: Options) -> X:
    """Whether any along the last axis is true."""
    del weights, options
    return plain(inputs[0]).any(axis=-1)


def all_true(inputs: Inputs, weights: Weights, options: Options) -> X:
    """Whether all along the last axis are true."""
    del weights, options
    return plain(inputs[0]).all(axis=-1)


def logical_and(inputs: Inputs, weights: Weights, options: Options) -> X:
    """Whether both are true, element by element."""
    del weights, options
    a, b = map(plain, inputs)
    return np.logical_and(a, b)


def logical_or(inputs: Inputs, weights: Weights, options: Options) -> X:
    """Whether one of the two is true, element by element."""
    del weights, options
    a, b = map(plain, inputs)
    return np.logical_or(a, b)


def zeros_like(inputs: Inputs, weights: Weights, options: Options) -> X:
    """False, in the shape of x."""
    del weights, options
    return np.zeros(inputs[0].shape, bool)


def ones_like(inputs: Inputs, weights: Weights, options: Options) -> X:
    """True, in the shape of x."""
    del weights, options
    return np.ones(inputs[0].shape, bool)
