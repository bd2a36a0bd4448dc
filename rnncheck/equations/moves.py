"""Layers that move, select or compare numbers without computing new ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from rnncheck.equations.layers import layer
from rnncheck.equations.operands import Sizes, X, choose, join, limited, move, plain
from rnncheck.errors import InputError
from rnncheck.network import Array


@layer("Concatenate", exact=True)
def concatenate(*inputs: X, axis: int) -> X:
    """The inputs one after the other along an axis, the last unless said otherwise."""
    return join(inputs, lambda arrays: np.concatenate(arrays, axis))


@layer("Flatten", exact=True)
def flatten(x: X) -> X:
    """All numbers of a sample in one row, the last axis fastest: x (N, ...) -> (N, K)."""
    return x.reshape((x.shape[0], int(np.prod(x.shape[1:]))))


@layer("Reshape", exact=True)
def reshape(x: X, *, target_shape: Sequence[int]) -> X:
    """The numbers of a sample in the same order, in another shape: x (N, ...) -> (N, *target_shape)."""
    return x.reshape((x.shape[0], *target_shape))


@layer("Permute", exact=True)
def permute(x: X, *, dims: Sequence[int]) -> X:
    """The axes in the order of dims, which counts them from 1 after N."""
    return move(x, lambda array: array.transpose(0, *dims))


@layer("RepeatVector", exact=True)
def repeat_vector(x: X, *, n: int) -> X:
    """x at each of n steps: x (N, D) -> (N, n, D)."""
    return move(x, lambda array: array[:, np.newaxis].repeat(n, axis=1))


# How many numbers of a sample a layer may put out that makes more of them than it reads.
_MOST = 2**24


@layer("ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D", exact=True)
def zero_padding(x: X, *, padding: Sequence[tuple[int, int]]) -> X:
    """Zeros before and behind x along each axis of space, as many as padding says: x (N, space..., C)."""
    around = ((0, 0), *padding, (0, 0))
    sizes = (size + sum(added) for size, added in zip(x.shape[1:], around[1:], strict=True))
    limited(math.prod(sizes), _MOST, "it puts out")
    return move(x, lambda array: np.pad(array, around))


@layer("Cropping1D", "Cropping2D", "Cropping3D", exact=True)
def cropped(x: X, *, cropping: Sequence[tuple[int, int]]) -> X:
    """x without its first and last places along each axis of space, as many as cropping says: x (N, space..., C)."""
    pairs = zip(x.shape[1:-1], cropping, strict=True)
    return x[(slice(None), *(slice(first, max(first, size - last)) for size, (first, last) in pairs))]


@layer("UpSampling1D", "UpSampling2D", "UpSampling3D", exact=True)
def up_sampling(x: X, *, size: Sizes) -> X:
    """Every place as often as size says along each axis of space: x (N, space..., C) -> (N, size·space..., C)."""
    pairs = zip(x.shape[1:-1], size, strict=True)
    limited(math.prod(length * times for length, times in pairs) * x.shape[-1], _MOST, "it puts out")

    def repeated(array: Array) -> Array:
        for axis, times in enumerate(size, start=1):
            array = array.repeat(times, axis)
        return array

    return move(x, repeated)


@layer("Reverse", exact=True, helper=True)
def reverse(x: X) -> X:
    """The steps, last to first: x (N, T, ...) -> (N, T, ...)."""
    return x[:, ::-1]


@layer("Step", exact=True, helper=True)
def step(x: X, *, index: int, axis: int = 1) -> X:
    """One step of a sequence, or one place of another axis: x (N, T, ...) -> (N, ...)."""
    return x[(slice(None),) * axis + (index,)]


@layer("Stack", exact=True, helper=True)
def stack(*inputs: X, axis: int) -> X:
    """The inputs side by side along a new axis."""
    return join(inputs, lambda arrays: np.stack(arrays, axis))


@layer("StepsBefore", exact=True, helper=True)
def steps_before(lengths: X, x: X) -> X:
    """Whether a step is one of the first of its sample: lengths (N,), x (N, T, ...) -> (N, T)."""
    return np.broadcast_to(np.arange(x.shape[1]) < plain(lengths)[:, np.newaxis], x.shape[:2])


@layer("FoldTime", exact=True, helper=True)
def fold_time(x: X) -> X:
    """Every step of every sample as a sample of its own: x (N, T, ...) -> (N·T, ...)."""
    return x.reshape((-1, *x.shape[2:]))


@layer("UnfoldTime", exact=True)
def unfold_time(y: X, x: X) -> X:
    """The rows y (N·T, ...) as the steps of x (N, T, ...) that they came from -> (N, T, ...)."""
    return y.reshape((*x.shape[:2], *y.shape[1:]))


@layer("ExpandDims", exact=True, helper=True)
def expand_dims(x: X, *, axis: int) -> X:
    """x with one more axis, of length 1, at the place given."""
    return move(x, lambda array: np.expand_dims(array, axis))


class OutsideTableError(InputError):
    """An Embedding was given an id that its table has no row for."""


@layer("Embedding", exact=True, casts_inputs=False)
def embedding(x: X, *, embeddings: Array) -> X:
    """embeddings[x], the row of the table for each id: x (N, T), embeddings (V, D) -> (N, T, D).

    Raises:
        OutsideTableError: an id is outside the table.
    """
    ids = plain(x).astype(np.int64)
    outside = (ids < 0) | (ids >= len(embeddings))
    if outside.any():
        raise OutsideTableError(
            f"Embedding: got an input of {ids[outside][0]}; expected whole numbers from 0 to {len(embeddings) - 1}, "
            "the rows of its table."
        )
    return embeddings[ids]


@layer("Masking", exact=True, rowwise=True)
def masking(x: X, *, mask_value: float) -> X:
    """x, with zeros at the steps whose numbers all equal mask_value: x (N, T, D) -> (N, T, D)."""
    return choose((plain(x) != mask_value).any(axis=-1, keepdims=True), x, np.zeros(1))


@layer("Constant", exact=True, helper=True)
def constant(*, value: Array) -> X:
    """An array that the model holds."""
    return value


# Moved layers have equations of their own; what a Cast receives is cast already.
@layer("Moved", "Cast", exact=True, helper=True)
@layer(
    "Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "GaussianDropout", "GaussianNoise",
    "AlphaDropout", "ActivityRegularization", "Identity", exact=True, rowwise=True,
)  # fmt: skip
def identity(x: X) -> X:
    """x, since the layer does nothing at inference."""
    return x


@layer("NotEqual", exact=True, helper=True)
def not_equal(x: X, *, value: float) -> X:
    """Whether x is not the value, element by element."""
    return plain(x) != value


@layer("Any", exact=True, helper=True)
def any_true(x: X) -> X:
    """Whether any along the last axis is true."""
    return plain(x).any(axis=-1)


@layer("All", exact=True, helper=True)
def all_true(x: X) -> X:
    """Whether all along the last axis are true."""
    return plain(x).all(axis=-1)


@layer("LogicalAnd", exact=True, helper=True)
def logical_and(a: X, b: X) -> X:
    """Whether both are true, element by element."""
    return np.logical_and(plain(a), plain(b))


@layer("LogicalOr", exact=True, helper=True)
def logical_or(a: X, b: X) -> X:
    """Whether one of the two is true, element by element."""
    return np.logical_or(plain(a), plain(b))


@layer("ZerosLike", exact=True, helper=True)
def zeros_like(x: X) -> X:
    """False, in the shape of x."""
    return np.zeros(x.shape, bool)


@layer("OnesLike", exact=True, helper=True)
def ones_like(x: X) -> X:
    """True, in the shape of x."""
    return np.ones(x.shape, bool)
