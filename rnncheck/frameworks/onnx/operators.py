"""The nodes around the recurrent ones: each becomes layers of a Network, or costs nothing.

An operator is a function (reader, node, inputs) -> a Value, a known array, or several; None where it is not replayed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from rnncheck.equations.activations import sigmoid_in_gru, softsign_by_reciprocal, tanh_by_sigmoid, tanh_in_gru
from rnncheck.frameworks.onnx.graph import Node, Reader, finite, is_features, operator, picked
from rnncheck.frameworks.onnx.sizes import Size
from rnncheck.frameworks.onnx.tensors import OfIds, Value
from rnncheck.network import Activation, Array, Tensor


@operator("Identity", "Dropout")
def _same(reader: Reader, node: Node, x: Value, *_: Any) -> Any:
    return x


@operator("Cast")
def _cast(reader: Reader, node: Node, x: Value) -> Any:
    from onnx import helper

    dtype = helper.tensor_dtype_to_np_dtype(node.options["to"]).name
    if dtype == x.dtype or {dtype, x.dtype} <= {"int32", "int64"}:
        return replace(x, dtype=dtype)
    floats = {"float64", "float32", "float16"}
    return reader.add(node, "Cast", [x], dtype=dtype) if {dtype, x.dtype} <= floats else None


@operator("Transpose")
def _transposed(reader: Reader, node: Node, x: Value) -> Any:
    order = node.options.get("perm") or range(len(x.axes))[::-1]
    return replace(x, axes=tuple(x.axes[axis] for axis in order))


@operator("Squeeze")
def _squeezed(reader: Reader, node: Node, x: Value, axes: Any = None) -> Any:
    given = node.options.get("axes") if axes is None else axes
    rank = len(x.axes)
    wanted = {int(a) % rank for a in given} if given is not None else {k for k, g in enumerate(x.axes) if not g}
    if any(x.axes[axis] for axis in wanted):
        return None
    return replace(x, axes=tuple(group for axis, group in enumerate(x.axes) if axis not in wanted))


@operator("Unsqueeze")
def _unsqueezed(reader: Reader, node: Node, x: Value, axes: Any = None) -> Any:
    given = np.ravel(node.options["axes"] if axes is None else axes)
    rank = len(x.axes) + len(given)
    wanted = {int(axis) % rank for axis in given}
    own = iter(x.axes)
    return replace(x, axes=tuple(() if axis in wanted else next(own) for axis in range(rank)))


@operator("Flatten")
def _flattened(reader: Reader, node: Node, x: Value) -> Any:
    axis = node.options.get("axis", 1) % (len(x.axes) + 1)
    parts = (x.axes[:axis], x.axes[axis:])
    return replace(x, axes=tuple(tuple(each for group in part for each in group) for part in parts))


@operator("Reshape")
def _reshaped(reader: Reader, node: Node, x: Value, target: Any) -> Any:
    if isinstance(target, Value):
        return None
    wanted = [Size.of(each) for each in target]
    if not node.options.get("allowzero"):
        wanted = [x.lengths[k] if size == Size(0) and k < len(x.axes) else size for k, size in enumerate(wanted)]
    rest = [k for k, size in enumerate(wanted) if size == Size(-1)]
    if rest:
        others = Size.product(size for size in wanted if size != Size(-1))
        left = Size.product(x.lengths).over(others)
        if left is None or len(rest) > 1:
            return None
        wanted[rest[0]] = left
    atoms = [axis for group in x.axes for axis in group]
    groups: list[tuple[int, ...]] = []
    for size in wanted:
        group: list[int] = []
        while atoms and Size.product(x.shape[axis] for axis in group) != size:
            group.append(atoms.pop(0))
        if Size.product(x.shape[axis] for axis in group) != size:
            return None
        groups.append(tuple(group))
    # Axes of length 1 may be left over.
    return None if any(x.shape[axis] != Size(1) for axis in atoms) else replace(x, axes=tuple(groups))


@operator("Slice")
def _sliced(reader: Reader, node: Node, x: Value, *given: Any) -> Any:
    names = ("starts", "ends", "axes", "steps")
    found = dict(zip(names, given, strict=False)) or node.options
    if any(isinstance(each, Value) for each in given):
        return None
    starts, ends = (np.ravel(found[name]) for name in names[:2])
    axes = np.ravel(found["axes"]) if found.get("axes") is not None else range(len(starts))
    steps = np.ravel(found["steps"]) if found.get("steps") is not None else [1] * len(starts)
    for number, (start, end, axis, by) in enumerate(zip(starts, ends, axes, steps, strict=True)):
        name = node.name if number == len(starts) - 1 else f"{node.name}/{number}"
        if any(isinstance(each, Size) for each in (start, end)):
            return None
        x = _part(reader, node, name, x, int(axis) % len(x.axes), int(start), int(end), int(by))
        if x is None:
            return None
    return x


# Some places of an axis: all, in the other order, one, or a range of known length.
def _part(reader: Reader, node: Node, name: str, x: Value, axis: int, start: int, end: int, by: int) -> Any:
    length, group = x.lengths[axis], x.axes[axis]
    if by == 1 and start == 0 and (end >= (2**31 - 1) or length == Size(end)):
        return x
    if len(group) != 1 or group == (0,):
        return None
    (own,) = group
    if by == -1 and end < -(2**31) + 2 and start in {-1, length.number - 1 if not length.open else -1}:
        return reader.add(node, "Reverse", [x], name=name) if own == 1 else None
    if length.open:
        place = start if by == 1 and (end == start + 1 or (start == -1 and end >= 2**31 - 1)) else None
    else:
        places = range(length.number)[start:end:by]
        place = places[0] if len(places) == 1 else None
    if place is None:
        return None
    return picked(reader, node, name, x, axis, place)


@operator("Gather")
def _gathered(reader: Reader, node: Node, x: Any, index: Any) -> Any:
    axis = node.options.get("axis", 0)
    if isinstance(index, OfIds) and isinstance(x, np.ndarray):
        x, index = x[index.function(np.arange(len(x)))], index.ids
    if isinstance(index, Value):
        return _embedded(reader, node, x, index) if isinstance(x, np.ndarray) and x.ndim == 2 and axis == 0 else None
    axis %= len(x.axes)
    if np.ndim(index) or len(x.axes[axis]) != 1 or x.axes[axis] == (0,):
        return None
    found = picked(reader, node, node.name, x, axis, int(index))
    return replace(found, axes=tuple(group for place, group in enumerate(found.axes) if place != axis))


def _embedded(reader: Reader, node: Node, table: Array, ids: Value) -> Any:
    ids = replace(ids, dtype=table.dtype.name)
    options = {"input_dim": len(table), "output_dim": table.shape[1], "mask_zero": False}
    shape, axes = (*ids.shape, Size(table.shape[1])), (*ids.axes, (len(ids.shape),))
    return reader.add(node, "Embedding", [ids], options, {"embeddings": table}, shape=shape, axes=axes)


@operator("Concat")
def _side_by_side(reader: Reader, node: Node, *parts: Any) -> Any:
    if not all(isinstance(each, Value) for each in parts):
        return None
    axis = node.options["axis"] % len(parts[0].axes)
    group = parts[0].axes[axis]
    if len({each.axes for each in parts}) > 1 or len(group) != 1 or group == (0,):
        return None
    (own,) = group
    lengths = [each.shape[own] for each in parts]
    others = {each.shape[:own] + each.shape[own + 1 :] for each in parts}
    if len(others) > 1 or any(length.open for length in lengths):
        return None
    shape = list(parts[0].shape)
    shape[own] = Size(sum(length.number for length in lengths))
    own = -1 if own == len(shape) - 1 else own
    return reader.add(node, "Concatenate", parts, {"axis": own}, shape=tuple(shape))


@operator("MatMul")
def _multiplied(reader: Reader, node: Node, x: Any, kernel: Any) -> Any:
    if not isinstance(x, Value) or not isinstance(kernel, np.ndarray) or kernel.ndim != 2:
        return None
    return _dense(reader, node, x, {"kernel": kernel})


def _dense(reader: Reader, node: Node, x: Value, weights: Mapping[str, Array]) -> Any:
    x = reader.unmerged(node, x)
    if not is_features(x, -1):
        return None
    shape = (*x.shape[:-1], Size(weights["kernel"].shape[1]))
    options = {"units": weights["kernel"].shape[1], "activation": Activation("linear"), "bias_first": True}
    return reader.add(node, "Dense", [x], options, weights, shape=shape)


@operator("Gemm")
def _affine(reader: Reader, node: Node, x: Any, kernel: Any, bias: Any = None) -> Any:
    plain = node.options.get("alpha", 1.0) == 1.0 and node.options.get("beta", 1.0) == 1.0
    if not isinstance(x, Value) or isinstance(kernel, Value) or node.options.get("transA") or not plain:
        return None
    kernel = kernel.T if node.options.get("transB") else kernel
    if bias is None:
        return _dense(reader, node, x, {"kernel": kernel})
    units = kernel.shape[1]
    # A row for each sample would be no bias.
    own = np.broadcast_to(bias, (1, units)).ravel() if np.size(bias) in {1, units} else None
    return None if own is None else _dense(reader, node, x, {"kernel": kernel, "bias": own})


@operator("Add")
def _added(reader: Reader, node: Node, a: Any, b: Any) -> Any:
    x, other = (a, b) if isinstance(a, Value) else (b, a)
    last = reader.layers[-1] if reader.layers else None
    alone = [name for name in node.inputs if reader.values.get(name) is x and reader.readers[name] == 1]
    if (
        isinstance(other, np.ndarray)
        and last is not None
        and last.kind == "Dense"
        and x.tensor == Tensor(last.name)
        and "bias" not in last.weights
        and other.shape == (last.options["units"],)
        and alone
    ):  # what ONNX Runtime may compute as one
        reader.layers[-1] = replace(last, weights=finite(node, {**last.weights, "bias": other}))
        del reader.shown[alone[0]]
        return x
    return _merged(reader, node, "Add", a, b)


@operator("Mul")
def _times(reader: Reader, node: Node, a: Any, b: Any) -> Any:
    return _merged(reader, node, "Multiply", a, b)


@operator("Sub")
def _less(reader: Reader, node: Node, a: Any, b: Any) -> Any:
    return _merged(reader, node, "Subtract", a, b)


def _merged(reader: Reader, node: Node, kind: str, a: Any, b: Any) -> Any:
    x = a if isinstance(a, Value) else b
    both = []
    for each in (a, b):
        value = each
        if not isinstance(each, Value):
            array = np.asarray(each)
            numbers = array.reshape(array.shape[-1:] or (1,))  # one for each feature, or one for all
            if array.size != numbers.size or (numbers.size > 1 and not is_features(x, -1)):
                return None
            value = reader.constant(node, f"{node.name}/constant", numbers[np.newaxis], x)
        elif (each.axes, each.shape) != (x.axes, x.shape):
            return None
        both.append(value)
    return replace(reader.add(node, kind, both), shape=x.shape, axes=x.axes)


# ONNX' activations: the name here, and for each attribute our parameter and ONNX' default.
ACTIVATIONS: Mapping[str, tuple[str, Mapping[str, tuple[str, float]]]] = {
    "Relu": ("relu", {}),
    "Tanh": ("tanh", {}),
    "Sigmoid": ("sigmoid", {}),
    "Softplus": ("softplus", {}),
    "Softsign": ("softsign", {}),
    "LeakyRelu": ("leaky_relu", {"alpha": ("negative_slope", 0.01)}),
    "Elu": ("elu", {"alpha": ("alpha", 1.0)}),
    "Celu": ("celu", {"alpha": ("alpha", 1.0)}),
    "HardSigmoid": ("hard_sigmoid_onnx", {"alpha": ("alpha", 0.2), "beta": ("beta", 0.5)}),
    "ThresholdedRelu": ("thresholded_relu", {"alpha": ("threshold", 1.0)}),
    "Affine": ("affine", {"alpha": ("alpha", np.nan), "beta": ("beta", np.nan)}),
    "ScaledTanh": ("scaled_tanh", {"alpha": ("alpha", np.nan), "beta": ("beta", np.nan)}),
}
_OF_GATES_ALONE = {"Affine", "ScaledTanh"}
BY_LOWER_NAME = {name.lower(): name for name in ACTIVATIONS if name != "Celu"}


# How ONNX Runtime computes some of them, by the operator that they are in; the others as they stand.
_COMPUTED = {
    ("RNN", "Tanh"): tanh_by_sigmoid,
    ("GRU", "Tanh"): tanh_in_gru,
    ("GRU", "Sigmoid"): sigmoid_in_gru,
    ("Softsign", "Softsign"): softsign_by_reciprocal,
}


def activation_of(node: Node, kind: str, given: Mapping[str, float]) -> Activation:
    """Return the activation of an operator of ONNX, with the alpha and beta that it is given."""
    name, attributes = ACTIVATIONS[kind]
    # Attributes are float32.
    values = {own: float(np.float32(given.get(each, default))) for each, (own, default) in attributes.items()}
    return Activation(name, values, _COMPUTED.get((node.kind, kind)))


@operator(*(name for name in ACTIVATIONS if name not in _OF_GATES_ALONE))
def _activated(reader: Reader, node: Node, x: Value) -> Any:
    return reader.add(node, "Activation", [x], {"activation": activation_of(node, node.kind, node.options)})


@operator("Softmax", "LogSoftmax")
def _softmax(reader: Reader, node: Node, x: Value) -> Any:
    name = {"Softmax": "softmax", "LogSoftmax": "log_softmax"}[node.kind]
    # Before version 13 all axes from this one on were one.
    axis = node.options.get("axis", -1 if node.opset >= 13 else 1)
    x = reader.unmerged(node, x)
    return reader.add(node, "Activation", [x], {"activation": Activation(name)}) if is_features(x, axis) else None


@operator("ReduceMean", "ReduceMax")
def _over_steps(reader: Reader, node: Node, x: Value, axes: Any = None) -> Any:
    given = node.options.get("axes") if axes is None else axes
    kinds = {"ReduceMean": "GlobalAveragePooling1D", "ReduceMax": "GlobalMaxPooling1D"}
    if given is None or np.size(given) != 1 or len(x.shape) != 3:
        return None
    axis = int(np.ravel(given)[0]) % len(x.axes)
    if x.axes[axis] != (1,):
        return None
    moved = tuple(tuple(each - (each > 1) for each in group if each != 1) for group in x.axes)
    kept = node.options.get("keepdims", 1)
    axes = tuple(group for place, group in enumerate(moved) if kept or place != axis)
    shape = (x.shape[0], x.shape[2])
    return reader.add(node, kinds[node.kind], [x], {"keepdims": False}, shape=shape, axes=axes)


@operator("LayerNormalization")
def _layer_normalized(reader: Reader, node: Node, x: Value, scale: Any, shift: Any = None) -> Any:
    if isinstance(scale, Value) or isinstance(shift, Value) or not is_features(x, node.options.get("axis", -1)):
        return None
    weights = {"gamma": scale, **({} if shift is None else {"beta": shift})}
    options = {"axis": (-1,), "epsilon": float(np.float32(node.options.get("epsilon", 1e-5))), "rms_scaling": False}
    return reader.add(node, "LayerNormalization", [x], options, weights)


@operator("ReverseSequence")
def _reversed(reader: Reader, node: Node, x: Value, lengths: Any) -> Any:
    # As exporters write it: all steps of all samples.
    time, batch = node.options.get("time_axis", 0), node.options.get("batch_axis", 1)
    if isinstance(lengths, Value) or x.axes[time] != (1,) or x.axes[batch] != (0,):
        return None
    whole = all(Size.of(length) == x.lengths[time] for length in np.ravel(lengths))
    return reader.add(node, "Reverse", [x]) if whole else None
