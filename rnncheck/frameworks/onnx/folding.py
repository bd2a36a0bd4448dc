"""What an ONNX graph computes from its weights and the lengths of its axes alone, so that no input changes it.

Lengths that a model leaves open are `Size`s, in arrays of objects. An array that has such a length has it as 1, which
stands for any number, as in broadcasting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rnncheck.frameworks.onnx.sizes import Size
from rnncheck.network import Array

Options = Mapping[str, Any]

# The most numbers that one of these arrays may have.
_MOST = 2**25

_FOLDED: dict[str, Callable[..., Array]] = {}


def _folded(*names: str) -> Callable[[Callable[..., Array]], Callable[..., Array]]:
    def entered(function: Callable[..., Array]) -> Callable[..., Array]:
        _FOLDED.update(dict.fromkeys(names, function))
        return function

    return entered


def fold(kind: str, options: Options, arrays: Sequence[Any]) -> Array | None:
    """Return what an operator gives for known arrays; None where nobody can say here."""
    function = _FOLDED.get(kind)
    if function is None or sum(map(np.size, arrays)) > _MOST:
        return None
    try:
        return function(options, *arrays)
    except (TypeError, ValueError, IndexError, KeyError, OverflowError):  # what it is given does not fit
        return None


@_folded("Constant")
def _constant(options: Options) -> Array:
    (value,) = options.values()
    return np.asarray(value)


@_folded("Identity", "Dropout")
def _same(options: Options, x: Array, *_: Any) -> Array:
    return x


# Its argument are the lengths of a tensor, or an array that is known itself.
@_folded("Shape")
def _shape(options: Options, lengths: Array) -> Array:
    return lengths[options.get("start", 0) : options.get("end")]


@_folded("Cast")
def _cast(options: Options, x: Array) -> Array:
    from onnx import helper

    return x if x.dtype == object else x.astype(helper.tensor_dtype_to_np_dtype(options["to"]))


@_folded("Gather")
def _gather(options: Options, x: Array, index: Array) -> Array:
    return np.asarray(np.take(x, index, axis=options.get("axis", 0)))


@_folded("Slice")
def _slice(options: Options, x: Array, *given: Any) -> Array:
    names = ("starts", "ends", "axes", "steps")
    found = {**options, **dict(zip(names, given, strict=False))}
    starts, ends = (np.ravel(found[name]) for name in names[:2])
    axes = np.ravel(found["axes"]) if found.get("axes") is not None else np.arange(len(starts))
    steps = np.ravel(found["steps"]) if found.get("steps") is not None else np.ones(len(starts), int)
    parts = [slice(None)] * x.ndim
    for start, end, axis, by in zip(starts, ends, axes, steps, strict=True):
        stop = None if by < 0 and end < -x.shape[axis] else int(end)
        parts[axis] = slice(int(start), stop, int(by))
    return x[tuple(parts)]


@_folded("Concat")
def _concatenated(options: Options, *parts: Array) -> Array:
    return np.concatenate(parts, options["axis"])


@_folded("Unsqueeze")
def _unsqueezed(options: Options, x: Array, axes: Any = None) -> Array:
    given = options["axes"] if axes is None else axes
    return np.expand_dims(x, tuple(int(axis) for axis in given))


@_folded("Squeeze")
def _squeezed(options: Options, x: Array, axes: Any = None) -> Array:
    given = options.get("axes") if axes is None else axes
    return np.squeeze(x, None if given is None else tuple(int(axis) for axis in given))


@_folded("Reshape")
def _reshaped(options: Options, x: Array, target: Array) -> Array:
    sizes = [int(size) or (0 if options.get("allowzero") else x.shape[k]) for k, size in enumerate(target)]
    return x.reshape(sizes)


@_folded("Transpose")
def _transposed(options: Options, x: Array) -> Array:
    return x.transpose(options.get("perm"))


@_folded("Mul")
def _times(options: Options, a: Array, b: Array) -> Array:
    return np.asarray(a * b)


@_folded("Add")
def _plus(options: Options, a: Array, b: Array) -> Array:
    return np.asarray(a + b)


@_folded("ReduceProd")
def _multiplied(options: Options, x: Array, axes: Any = None) -> Array:
    if np.ndim(x) != 1:
        raise ValueError
    product = np.asarray(np.prod(x))
    return product[np.newaxis] if options.get("keepdims", 1) else product


# Open lengths are 1, which stands for any.
def _filled(value: Any, sizes: Array) -> Array:
    shape = [1 if size.open else size.number for size in map(Size.of, sizes)]
    if np.prod(shape, dtype=float) > _MOST:
        raise ValueError
    return np.broadcast_to(value, shape)


@_folded("ConstantOfShape")
def _constant_of_shape(options: Options, sizes: Array) -> Array:
    return _filled(np.ravel(options.get("value", np.float32(0.0)))[0], sizes)


@_folded("Expand")
def _expanded(options: Options, x: Array, sizes: Array) -> Array:
    if np.ndim(x) and np.size(x) > 1:
        return np.broadcast_to(x, np.broadcast_shapes(np.shape(x), _filled(0.0, sizes).shape))
    return _filled(np.ravel(x)[0], sizes)
