"""From an ONNX graph to a Network.

Every tensor of a Network has the samples first; a tensor of an ONNX graph has its axes in any order, some of them
merged into one, and further ones of length 1. A `Value` says how the one is made of the other, so that transposing,
squeezing and reshaping cost nothing. What is the same for all inputs, such as weights and shapes, is computed here.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from types import MappingProxyType
from typing import Any

import numpy as np

from rnncheck.equations.activations import sigmoid_in_gru, softsign_by_reciprocal, tanh_by_sigmoid, tanh_in_gru
from rnncheck.equations.cells import CELLS
from rnncheck.equations.shapes import rehearse
from rnncheck.errors import InputError, UnsupportedError, escaped
from rnncheck.frameworks.onnx.file import LOOPS, OnnxFile
from rnncheck.frameworks.onnx.folding import fold
from rnncheck.frameworks.onnx.sizes import Size, known
from rnncheck.network import Activation, Array, InputSpec, Layer, Network, Tensor

Axes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Value:
    """A tensor of the graph that depends on the inputs."""

    tensor: Tensor  # of the Network
    shape: tuple[Size, ...]  # of the Network's tensor, (N, ...)
    axes: Axes  # for each axis in ONNX, the Network's axes that it is made of, slowest first; none for a length of 1
    dtype: str

    @property
    def lengths(self) -> tuple[Size, ...]:
        """The shape that ONNX sees."""
        return tuple(Size.product(self.shape[axis] for axis in group) for group in self.axes)

    @property
    def plain(self) -> bool:
        """Whether ONNX has the same axes in the same order."""
        return self.axes == _own_axes(len(self.shape))

    def turned(self, array: Array) -> Array:
        """Return an array of the Network, (N, ...), as ONNX has it."""
        order = [axis for group in self.axes for axis in group]
        shape = [int(np.prod([array.shape[axis] for axis in group], dtype=np.int64)) for group in self.axes]
        return array.transpose(order).reshape(shape)

    def turned_back(self, array: Array, lengths: Mapping[str, int]) -> Array:
        """Return an array of ONNX as the Network has it, given the open lengths."""
        order = [axis for group in self.axes for axis in group]
        parts = array.reshape([self.shape[axis].at(dict(lengths)) for axis in order])
        return parts.transpose(np.argsort(order)) if order else parts


def _own_axes(rank: int) -> Axes:
    return tuple((axis,) for axis in range(rank))


@dataclass(frozen=True)
class Reading:
    """What was read from a graph."""

    network: Network
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    shown: Mapping[str, Value]  # tensor of the graph -> what it shows: what a layer puts out, or a state at its end
    # Tensor of the graph that has all steps of a recurrent node -> that, and the layer of each direction
    sequences: Mapping[str, tuple[Value, tuple[str, ...]]]


@dataclass(frozen=True)
class Node:
    """A node of the graph."""

    name: str  # of the layer that it becomes
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    options: Mapping[str, Any]
    opset: int


class _SamplesElsewhereError(UnsupportedError):
    """A recurrent node has its samples in another axis than its input was taken to have them in."""


def read(file: OnnxFile) -> Reading:
    """Read the graph of a file.

    Raises:
        UnsupportedError: it has an operator or an attribute that rnncheck does not replay, or one that it replays in
            another place only.
        InputError: a weight is NaN or infinite.
    """
    graph = file.model.graph
    nodes = _needed(file)
    for node in nodes:
        if node.kind in LOOPS:
            raise UnsupportedError(
                f"node {node.name!r}: got the operator {node.kind}, whose steps rnncheck does not replay; expected "
                "RNN, GRU or LSTM. Check it through its outputs: "
                f"rnncheck verify MODEL.keras --against {file.path.name}."
            )
    weights = {each.name for each in graph.initializer}
    inputs = [each for each in graph.input if each.name not in weights]
    if not inputs:
        raise UnsupportedError(f"{file.path.name}: got a graph without an input; expected one.")
    # Which axis of an input has the samples does not stand in the file: the first, or as recurrent nodes have it.
    furthest: tuple[tuple[int, bool], UnsupportedError] | None = None
    for choice in product(*((0, 1) if _rank(each) > 1 else (0,) for each in inputs)):
        reader = _Reader(file, dict(zip((each.name for each in inputs), choice, strict=True)))
        try:
            return reader.read(nodes)
        except UnsupportedError as error:
            reached = len(reader.layers), not isinstance(error, _SamplesElsewhereError)
            if furthest is None or reached > furthest[0]:
                furthest = reached, error
    assert furthest is not None
    raise furthest[1]


# The nodes that the outputs depend on, in order, with names that no two share.
def _needed(file: OnnxFile) -> list[Node]:
    from onnx import helper, numpy_helper

    graph = file.model.graph
    wanted, kept = {each.name for each in graph.output}, []
    for node in reversed(graph.node):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= set(node.input)
    taken: Counter[str] = Counter(each.name for each in graph.input)
    nodes = []
    for node in reversed(kept):
        base = escaped(node.name).strip("/").replace("/", ".") or node.op_type.lower()
        taken[base] += 1
        options = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        plain = {
            name: numpy_helper.to_array(value) if hasattr(value, "data_type") else _text(value)
            for name, value in options.items()
        }
        name = base if taken[base] == 1 else f"{base}_{taken[base]}"
        kind = node.op_type if node.domain in {"", "ai.onnx"} else f"{node.domain}.{node.op_type}"
        nodes.append(Node(name, escaped(kind), tuple(node.input), tuple(node.output), plain, file.opset))
    return nodes


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return [_text(each) for each in value] if isinstance(value, list | tuple) else value


def _rank(given: Any) -> int:
    return len(given.type.tensor_type.shape.dim)


class _Reader:
    """Reads the nodes in order; what is known is an array, all else a Value."""

    def __init__(self, file: OnnxFile, samples: Mapping[str, int]) -> None:
        from onnx import numpy_helper

        self.file, self.samples = file, samples
        self.layers: list[Layer] = []
        self.values: dict[str, Any] = {"": None}
        self.shown: dict[str, Value] = {}
        self.sequences: dict[str, tuple[Value, tuple[str, ...]]] = {}
        graph = file.model.graph
        self.readers = Counter(name for node in graph.node for name in node.input)
        self.readers.update(each.name for each in graph.output)
        for each in graph.initializer:
            self.values[each.name] = numpy_helper.to_array(each)

    def read(self, nodes: Sequence[Node]) -> Reading:
        graph = self.file.model.graph
        given = [each for each in graph.input if each.name in self.samples]
        specs = [self._input(each) for each in given]
        for node in nodes:
            outputs = self._outputs(node, [self._value(node, name) for name in node.inputs])
            self.values |= dict(zip(node.outputs, outputs, strict=False))
            for name, value in zip(node.outputs, outputs, strict=False):
                if isinstance(value, Value) and name and name not in self.sequences and name in self.readers:
                    self.shown[name] = value
        outputs = [self._output(each.name) for each in graph.output]
        network = Network(
            escaped(graph.name) or "graph",
            tuple(specs),
            tuple(self.layers),
            tuple(value.tensor for value in outputs),
            tuple(each.name for each in graph.output),
        )
        inputs = tuple(self.values[each.name] for each in given)
        return Reading(rehearse(network), inputs, tuple(outputs), self.shown, self.sequences)

    def _input(self, given: Any) -> InputSpec:
        from onnx import helper

        kind, name = given.type.tensor_type, given.name
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type).name if kind.elem_type else "unknown"
        if dtype not in {"float64", "float32", "float16", "int64", "int32", "bool"} or not kind.HasField("shape"):
            raise UnsupportedError(
                f"input {escaped(name)!r}: got {dtype} numbers{'' if kind.HasField('shape') else ' of no shape'}; "
                "expected real or whole numbers with a shape."
            )
        sizes = [each.dim_value if each.HasField("dim_value") else None for each in kind.shape.dim]
        if not sizes:
            raise UnsupportedError(f"input {escaped(name)!r}: got a single number; expected samples.")
        first = self.samples[name]
        order = [first, *(axis for axis in range(len(sizes)) if axis != first)]
        n, *others = (sizes[axis] for axis in order)
        shape = (Size(n) if n else Size(1, ("N",)), *(
            Size(1, (f"{name}.{axis}",)) if size is None else Size(size) for axis, size in enumerate(others, start=1)
        ))  # fmt: skip
        axes = tuple((order.index(axis),) for axis in range(len(sizes)))
        self.values[name] = Value(Tensor(name), shape, axes, dtype)
        return InputSpec(name, tuple(others), dtype, n)

    def _value(self, node: Node, name: str) -> Any:
        if name not in self.values:
            raise UnsupportedError(
                f"node {node.name!r}: got {escaped(name)!r}, which nothing gives; expected a tensor."
            )
        return self.values[name]

    def _output(self, name: str) -> Value:
        value = self.values.get(name)
        if not isinstance(value, Value):
            raise UnsupportedError(
                f"output {escaped(name)!r}: got numbers that no input changes; expected an output."
            )
        return value

    def _outputs(self, node: Node, inputs: Sequence[Any]) -> Sequence[Any]:
        operator = _OPERATORS.get(node.kind)
        if not any(isinstance(each, Value) for each in inputs) or node.kind == "Shape":
            lengths = [known(each.lengths) if isinstance(each, Value) else each for each in inputs]
            found = fold(node.kind, node.options, lengths)
            if found is not None:
                return [found]
        elif operator is not None and _takes(operator, self, node, *inputs):
            found = operator(self, node, *inputs)
            if found is not None:
                return found if isinstance(found, tuple) else [found]
        given = ", ".join(map(_described, inputs))
        options = "".join(f", {name}={value}" for name, value in node.options.items() if np.size(value) < 10)
        expected = "expected it of other inputs" if operator else f"expected {', '.join(_OPERATORS)}"
        raise UnsupportedError(
            f"node {node.name!r}: got {node.kind}({given}{options}), which is not replayed; {expected}."
        )

    # Adds a layer, which puts out what has the axes of its inputs unless others are given.
    def add(
        self,
        node: Node,
        kind: str,
        inputs: Sequence[Value],
        options: Mapping[str, Any] = MappingProxyType({}),
        weights: Mapping[str, Array] = MappingProxyType({}),
        *,
        name: str = "",
        shape: tuple[Size, ...] = (),
        axes: Axes = (),
        dtype: str = "",
    ) -> Value:
        first, name = inputs[0], name or node.name
        dtype = dtype or first.dtype
        tensors = tuple(each.tensor for each in inputs)
        self.layers.append(Layer(name, kind, tensors, options, _finite(node, weights), dtype))
        return Value(Tensor(name), shape or first.shape, axes or first.axes, dtype)

    def constant(self, node: Node, name: str, array: Array, like: Value) -> Value:
        """Add an array that the model holds, (N, ...) or (1, ...)."""
        shape, own = tuple(map(Size, array.shape)), {"value": array}
        self.layers.append(Layer(name, "Constant", (), {}, _finite(node, own), like.dtype))
        return Value(Tensor(name), shape, _own_axes(array.ndim), like.dtype)

    def unmerged(self, node: Node, x: Value, *, features: int = 1) -> Value:
        """Return a value whose last axes are axes of the Network, the last ones there too."""
        groups = x.axes[len(x.axes) - features :]
        if all(len(group) == 1 for group in groups):
            return x
        if len(groups) == 1 and groups[0] == tuple(range(len(x.shape) - len(groups[0]), len(x.shape))):
            kept = len(x.shape) - len(groups[0])
            merged = Size.product(x.shape[kept:])
            sizes = [-1 if size.open else size.number for size in (*x.shape[1:kept], merged)]
            if kept > 0 and sizes.count(-1) < 2 and not merged.open:
                axes = (*x.axes[:-1], (kept,))
                shape = (*x.shape[:kept], merged)
                name = f"{node.name}/merged"
                options = {"target_shape": tuple(sizes)}
                return self.add(node, "Reshape", [x], options, name=name, shape=shape, axes=axes)
        raise UnsupportedError(f"node {node.name!r}: got {_described(x)}; expected features in the last axis.")


# What each operator becomes: (reader, node, inputs) -> a value, an array, or several; None where it is not replayed.
_Read = Callable[..., Any]
_OPERATORS: dict[str, _Read] = {}


def _operator(*names: str) -> Callable[[_Read], _Read]:
    def entered(function: _Read) -> _Read:
        _OPERATORS.update(dict.fromkeys(names, function))
        return function

    return entered


def _takes(function: _Read, *args: Any) -> bool:
    try:
        inspect.signature(function).bind(*args)
    except TypeError:
        return False
    return True


def _described(value: Any) -> str:
    if isinstance(value, Value):
        return f"{value.tensor} ({', '.join(map(str, value.lengths))})"
    if value is None:
        return "nothing"
    return f"an array {np.shape(value)}" if np.size(value) > 4 else str(np.asarray(value).tolist())


def _finite(node: Node, weights: Mapping[str, Array]) -> Mapping[str, Array]:
    for name, weight in weights.items():
        if not np.isfinite(weight).all():
            raise InputError(f"node {node.name!r}: got a {name} that is NaN or infinite; expected finite numbers.")
    return weights


def _is_features(x: Value, axis: Any) -> bool:
    # Whether an axis is the last one, there and in the Network.
    own = isinstance(axis, int) and axis % len(x.axes) == len(x.axes) - 1
    return own and x.axes[-1] == (len(x.shape) - 1,) and len(x.shape) > 1


@_operator("Identity", "Dropout")
def _same(reader: _Reader, node: Node, x: Value, *_: Any) -> Any:
    return x


@_operator("Cast")
def _cast(reader: _Reader, node: Node, x: Value) -> Any:
    from onnx import helper

    dtype = helper.tensor_dtype_to_np_dtype(node.options["to"]).name
    if dtype == x.dtype or {dtype, x.dtype} <= {"int32", "int64"}:
        return replace(x, dtype=dtype)
    floats = {"float64", "float32", "float16"}
    return reader.add(node, "Cast", [x], dtype=dtype) if {dtype, x.dtype} <= floats else None


@_operator("Transpose")
def _transposed(reader: _Reader, node: Node, x: Value) -> Any:
    order = node.options.get("perm") or range(len(x.axes))[::-1]
    return replace(x, axes=tuple(x.axes[axis] for axis in order))


@_operator("Squeeze")
def _squeezed(reader: _Reader, node: Node, x: Value, axes: Any = None) -> Any:
    given = node.options.get("axes") if axes is None else axes
    rank = len(x.axes)
    wanted = {int(a) % rank for a in given} if given is not None else {k for k, g in enumerate(x.axes) if not g}
    if any(x.axes[axis] for axis in wanted):
        return None
    return replace(x, axes=tuple(group for axis, group in enumerate(x.axes) if axis not in wanted))


@_operator("Unsqueeze")
def _unsqueezed(reader: _Reader, node: Node, x: Value, axes: Any = None) -> Any:
    given = np.ravel(node.options["axes"] if axes is None else axes)
    rank = len(x.axes) + len(given)
    wanted = {int(axis) % rank for axis in given}
    own = iter(x.axes)
    return replace(x, axes=tuple(() if axis in wanted else next(own) for axis in range(rank)))


@_operator("Flatten")
def _flattened(reader: _Reader, node: Node, x: Value) -> Any:
    axis = node.options.get("axis", 1) % (len(x.axes) + 1)
    parts = (x.axes[:axis], x.axes[axis:])
    return replace(x, axes=tuple(tuple(each for group in part for each in group) for part in parts))


@_operator("Reshape")
def _reshaped(reader: _Reader, node: Node, x: Value, target: Any) -> Any:
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


@_operator("Slice")
def _sliced(reader: _Reader, node: Node, x: Value, *given: Any) -> Any:
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
def _part(reader: _Reader, node: Node, name: str, x: Value, axis: int, start: int, end: int, by: int) -> Any:
    length, group = x.lengths[axis], x.axes[axis]
    if by == 1 and start == 0 and (end >= (2**31 - 1) or length == Size(end)):
        return x
    if len(group) != 1 or group == (0,):
        return None
    (own,) = group
    if by == -1 and end < -(2**31) + 2 and start in {-1, length.number - 1 if not length.open else -1}:
        return reader.add(node, "Reverse", [x], name=name) if own == 1 else None
    if length.open:
        picked = start if by == 1 and (end == start + 1 or (start == -1 and end >= 2**31 - 1)) else None
    else:
        places = range(length.number)[start:end:by]
        picked = places[0] if len(places) == 1 else None
    if picked is None:
        return None
    return _picked(reader, node, name, x, axis, picked)


# One place of an axis, which ONNX keeps with length 1.
def _picked(reader: _Reader, node: Node, name: str, x: Value, axis: int, index: int) -> Value:
    (own,) = x.axes[axis]
    axes = tuple(
        () if place == axis else tuple(each - (each > own) for each in group) for place, group in enumerate(x.axes)
    )
    shape = x.shape[:own] + x.shape[own + 1 :]
    return reader.add(node, "Step", [x], {"index": index, "axis": own}, name=name, shape=shape, axes=axes)


@_operator("Gather")
def _gathered(reader: _Reader, node: Node, x: Any, index: Any) -> Any:
    axis = node.options.get("axis", 0)
    if isinstance(index, Value):
        return _embedded(reader, node, x, index) if isinstance(x, np.ndarray) and x.ndim == 2 and axis == 0 else None
    axis %= len(x.axes)
    if np.ndim(index) or len(x.axes[axis]) != 1 or x.axes[axis] == (0,):
        return None
    found = _picked(reader, node, node.name, x, axis, int(index))
    return replace(found, axes=tuple(group for place, group in enumerate(found.axes) if place != axis))


def _embedded(reader: _Reader, node: Node, table: Array, ids: Value) -> Any:
    ids = replace(ids, dtype=table.dtype.name)
    options = {"input_dim": len(table), "output_dim": table.shape[1], "mask_zero": False}
    shape, axes = (*ids.shape, Size(table.shape[1])), (*ids.axes, (len(ids.shape),))
    return reader.add(node, "Embedding", [ids], options, {"embeddings": table}, shape=shape, axes=axes)


@_operator("Concat")
def _side_by_side(reader: _Reader, node: Node, *parts: Any) -> Any:
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


@_operator("MatMul")
def _multiplied(reader: _Reader, node: Node, x: Any, kernel: Any) -> Any:
    if not isinstance(x, Value) or not isinstance(kernel, np.ndarray) or kernel.ndim != 2:
        return None
    return _dense(reader, node, x, {"kernel": kernel})


def _dense(reader: _Reader, node: Node, x: Value, weights: Mapping[str, Array]) -> Any:
    x = reader.unmerged(node, x)
    if not _is_features(x, -1):
        return None
    shape = (*x.shape[:-1], Size(weights["kernel"].shape[1]))
    options = {"units": weights["kernel"].shape[1], "activation": Activation("linear"), "bias_first": True}
    return reader.add(node, "Dense", [x], options, weights, shape=shape)


@_operator("Gemm")
def _affine(reader: _Reader, node: Node, x: Any, kernel: Any, bias: Any = None) -> Any:
    plain = node.options.get("alpha", 1.0) == 1.0 and node.options.get("beta", 1.0) == 1.0
    if not isinstance(x, Value) or isinstance(kernel, Value) or node.options.get("transA") or not plain:
        return None
    kernel = kernel.T if node.options.get("transB") else kernel
    if bias is None:
        return _dense(reader, node, x, {"kernel": kernel})
    bias = np.ravel(bias)
    return _dense(reader, node, x, {"kernel": kernel, "bias": np.resize(bias, kernel.shape[1])})


@_operator("Add")
def _added(reader: _Reader, node: Node, a: Any, b: Any) -> Any:
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
        reader.layers[-1] = replace(last, weights=_finite(node, {**last.weights, "bias": other}))
        del reader.shown[alone[0]]
        return x
    return _merged(reader, node, "Add", a, b)


@_operator("Mul")
def _times(reader: _Reader, node: Node, a: Any, b: Any) -> Any:
    return _merged(reader, node, "Multiply", a, b)


@_operator("Sub")
def _less(reader: _Reader, node: Node, a: Any, b: Any) -> Any:
    return _merged(reader, node, "Subtract", a, b)


def _merged(reader: _Reader, node: Node, kind: str, a: Any, b: Any) -> Any:
    x = a if isinstance(a, Value) else b
    both = []
    for each in (a, b):
        value = each
        if not isinstance(each, Value):
            array = np.asarray(each)
            numbers = array.reshape(array.shape[-1:] or (1,))  # one for each feature, or one for all
            if array.size != numbers.size or (numbers.size > 1 and not _is_features(x, -1)):
                return None
            value = reader.constant(node, f"{node.name}/constant", numbers[np.newaxis], x)
        elif (each.axes, each.shape) != (x.axes, x.shape):
            return None
        both.append(value)
    return replace(reader.add(node, kind, both), shape=x.shape, axes=x.axes)


# ONNX' activations: the name here, and for each attribute our parameter and ONNX' default.
_ACTIVATIONS: Mapping[str, tuple[str, Mapping[str, tuple[str, float]]]] = {
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
_BY_LOWER_NAME = {name.lower(): name for name in _ACTIVATIONS if name != "Celu"}


# How ONNX Runtime computes some of them, by the operator that they are in; the others as they stand.
_COMPUTED = {
    ("RNN", "Tanh"): tanh_by_sigmoid,
    ("GRU", "Tanh"): tanh_in_gru,
    ("GRU", "Sigmoid"): sigmoid_in_gru,
    ("Softsign", "Softsign"): softsign_by_reciprocal,
}


def _activation_of(node: Node, kind: str, given: Mapping[str, float]) -> Activation:
    name, attributes = _ACTIVATIONS[kind]
    # Attributes are float32.
    values = {own: float(np.float32(given.get(each, default))) for each, (own, default) in attributes.items()}
    return Activation(name, values, _COMPUTED.get((node.kind, kind)))


@_operator(*(name for name in _ACTIVATIONS if name not in _OF_GATES_ALONE))
def _activated(reader: _Reader, node: Node, x: Value) -> Any:
    return reader.add(node, "Activation", [x], {"activation": _activation_of(node, node.kind, node.options)})


@_operator("Softmax", "LogSoftmax")
def _softmax(reader: _Reader, node: Node, x: Value) -> Any:
    name = {"Softmax": "softmax", "LogSoftmax": "log_softmax"}[node.kind]
    # Before version 13 all axes from this one on were one.
    axis = node.options.get("axis", -1 if node.opset >= 13 else 1)
    x = reader.unmerged(node, x)
    return reader.add(node, "Activation", [x], {"activation": Activation(name)}) if _is_features(x, axis) else None


@_operator("ReduceMean", "ReduceMax")
def _over_steps(reader: _Reader, node: Node, x: Value, axes: Any = None) -> Any:
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


@_operator("LayerNormalization")
def _layer_normalized(reader: _Reader, node: Node, x: Value, scale: Any, shift: Any = None) -> Any:
    if isinstance(scale, Value) or isinstance(shift, Value) or not _is_features(x, node.options.get("axis", -1)):
        return None
    weights = {"gamma": scale, **({} if shift is None else {"beta": shift})}
    options = {"axis": (-1,), "epsilon": float(np.float32(node.options.get("epsilon", 1e-5))), "rms_scaling": False}
    return reader.add(node, "LayerNormalization", [x], options, weights)


@_operator("ReverseSequence")
def _reversed(reader: _Reader, node: Node, x: Value, lengths: Any) -> Any:
    # As exporters write it: all steps of all samples.
    time, batch = node.options.get("time_axis", 0), node.options.get("batch_axis", 1)
    if isinstance(lengths, Value) or x.axes[time] != (1,) or x.axes[batch] != (0,):
        return None
    whole = all(Size.of(length) == x.lengths[time] for length in np.ravel(lengths))
    return reader.add(node, "Reverse", [x]) if whole else None


# Our kind of each recurrent operator, and its blocks of gates in our order: ONNX has i o f c, and z r h as we do.
_RECURRENT = {"RNN": ("SimpleRNN", (0,)), "LSTM": ("LSTM", (0, 2, 3, 1)), "GRU": ("GRU", (0, 1, 2))}
_DEFAULTS = {"RNN": ["Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"]}
_OUR_NAMES = {
    "RNN": ("activation",),
    "LSTM": ("recurrent_activation", "activation", "output_activation"),
    "GRU": ("recurrent_activation", "activation"),
}


@_operator(*_RECURRENT)
def _recurrent(
    reader: _Reader,
    node: Node,
    x: Any,
    w: Any,
    r: Any,
    b: Any = None,
    lens: Any = None,
    initial_h: Any = None,
    initial_c: Any = None,
    p: Any = None,
) -> Any:
    weights = {"W": w, "R": r, "B": b, "P": p}
    for name, weight in weights.items():
        if isinstance(weight, Value):
            raise UnsupportedError(f"node {node.name!r}: got its {name} from an input; expected weights in the file.")
    directions = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
    backwards = directions.get(node.options.get("direction", "forward"))
    batch_first = bool(node.options.get("layout", 0))
    steps, samples = (1, 0) if batch_first else (0, 1)
    if not isinstance(x, Value) or backwards is None or len(x.axes) != 3:
        return None
    if x.axes[samples] != (0,):
        raise _SamplesElsewhereError(
            f"node {node.name!r}: got {_described(x)}; expected the samples in axis {samples}, as its layout says."
        )
    x = reader.unmerged(node, x)
    if x.axes[steps] != (1,) or x.axes[2] != (2,) or len(w) != len(backwards):
        return None
    names = [node.name] if len(backwards) == 1 else [f"{node.name}/forward", f"{node.name}/backward"]
    mask = _mask(reader, node, x, lens)
    by_direction = []
    for d, (name, back) in enumerate(zip(names, backwards, strict=True)):
        own = {key: None if weight is None else weight[d] for key, weight in weights.items()}
        starts = _starts(reader, node, name, d, r.shape[-1], x, (initial_h, initial_c))
        activations = _gate_activations(node, len(backwards))[d]
        by_direction.append(_direction(reader, node, name, x, own, activations, mask=mask, starts=starts, back=back))
    together = zip(*by_direction, strict=True)
    y, *last = (_put_together(reader, node, *each, batch_first=batch_first) for each in enumerate(together))
    reader.sequences[all_steps(node.outputs)] = (y, tuple(names))
    return (y, *last)


def all_steps(outputs: Sequence[str]) -> str:
    """Return the name of the tensor that has all steps of a recurrent node, which may not put it out itself."""
    return outputs[0] or f"all steps of {next(filter(None, outputs))}"


# What a node puts out at a place, with an axis for the directions: all steps, h or c.
def _put_together(reader: _Reader, node: Node, place: int, parts: Sequence[Value], *, batch_first: bool) -> Value:
    value, direction = parts[0], tuple[int, ...]()
    if len(parts) > 1:
        axis = 1 if place else 2
        shape = (*value.shape[:axis], Size(len(parts)), value.shape[-1])
        name, direction = f"{node.name}/last {'hc'[place - 1]}" if place else node.name, (axis,)
        value = Value(Tensor(name), shape, (), value.dtype)
        if any(reader.readers[output] for output in node.outputs[place : place + 1]):
            reader.add(node, "Stack", parts, {"axis": axis}, name=name)
    n, *others = ((0,), direction) if place else ((0,), (1,), direction)
    order = (n, *others) if batch_first else (*others, n)
    return replace(value, axes=(*order, (len(value.shape) - 1,)))


# One direction: all its steps in the order of x, and its states after the last step.
def _direction(
    reader: _Reader,
    node: Node,
    name: str,
    x: Value,
    weights: Mapping[str, Any],
    activations: Mapping[str, Activation],
    *,
    mask: Tensor | None,
    starts: tuple[Tensor, ...],
    back: bool,
) -> list[Value]:
    kind, blocks = _RECURRENT[node.kind]

    def ordered(weight: Array, order: Sequence[int] = blocks) -> Array:
        rows = np.split(weight, len(order))
        return np.concatenate([rows[block] for block in order])

    m = weights["R"].shape[-1]
    own = {"kernel": ordered(weights["W"]).T, "recurrent_kernel": ordered(weights["R"]).T}
    if weights["B"] is not None:
        own["bias"] = np.stack([ordered(half) for half in np.split(weights["B"], 2)])
    options: dict[str, Any] = {
        "units": m,
        "bias_first": True,
        **activations,
        **({"reset_after": bool(node.options.get("linear_before_reset", 0))} if kind == "GRU" else {}),
        **({"clip": float(node.options["clip"])} if "clip" in node.options else {}),
        **({"input_forget": True} if node.options.get("input_forget") else {}),
        "return_sequences": True,
        "return_state": True,
        "go_backwards": back,
        "stateful": False,
        "zero_output_for_mask": mask is not None,
    }
    if weights["P"] is not None and weights["P"].any():
        kind, own["peephole"] = "PeepholeLSTM", ordered(weights["P"], (0, 2, 1))
    layer = Layer(name, kind, (x.tensor,), options, _finite(node, own), x.dtype, mask, starts)
    reader.layers.append(layer)
    shape = (x.shape[0], x.shape[1], Size(m))
    y = Value(Tensor(name), shape, _own_axes(3), x.dtype)
    if back:
        y = reader.add(node, "Reverse", [y], name=f"{name}/in order")
    states = range(1, 1 + len(CELLS[kind].states))
    return [y, *(Value(Tensor(name, k), (x.shape[0], Size(m)), _own_axes(2), x.dtype) for k in states)]


# Which steps count, from the lengths of the sequences; None where all do.
def _mask(reader: _Reader, node: Node, x: Value, lens: Any) -> Tensor | None:
    if lens is None or (not isinstance(lens, Value) and all(Size.of(each) == x.shape[1] for each in np.ravel(lens))):
        return None
    if not isinstance(lens, Value):
        if lens.dtype == object:
            raise UnsupportedError(f"node {node.name!r}: got sequence_lens that depend on shapes; expected numbers.")
        lens = reader.constant(node, f"{node.name}/lengths", np.asarray(lens, np.float64), x)
    elif lens.axes != ((0,),):
        raise UnsupportedError(f"node {node.name!r}: got sequence_lens {_described(lens)}; expected one per sample.")
    name = f"{node.name}/mask"
    reader.layers.append(Layer(name, "StepsBefore", (lens.tensor, x.tensor), {}, {}, x.dtype))
    return Tensor(name)


# The states that a direction starts from; none where they are zeros.
def _starts(
    reader: _Reader, node: Node, name: str, d: int, m: int, x: Value, given: tuple[Any, ...]
) -> tuple[Tensor, ...]:
    given = given[: len(CELLS[_RECURRENT[node.kind][0]].states)]
    if all(each is None or (not isinstance(each, Value) and not np.any(each)) for each in given):
        return ()
    batch_first = bool(node.options.get("layout", 0))
    starts = []
    for letter, each in zip("hc", given, strict=False):
        own = f"{name}/initial {letter}"
        if isinstance(each, Value):
            axis = 1 if batch_first else 0
            group = each.axes[axis]
            if len(group) == 1 and group != (0,):
                each = _picked(reader, node, own, each, axis, d)  # noqa: PLW2901 - the part of this direction
            rest = each.axes[:axis] + each.axes[axis + 1 :]
            if each.axes[axis] or rest != ((0,), (1,)) or each.shape[1] != Size(m):
                raise UnsupportedError(
                    f"node {node.name!r}: got initial_{letter} {_described(each)}; expected samples and {m} units."
                )
            starts.append(each.tensor)
            continue
        array = np.zeros((1, m), x.dtype) if each is None else np.asarray(each)
        if array.ndim == 3:
            array = array[:, d] if batch_first else array[d]
        starts.append(reader.constant(node, own, array, x).tensor)
    return tuple(starts)


# The activations of each direction, by our names for them. ONNX lists alphas and betas of those that have one.
def _gate_activations(node: Node, directions: int) -> list[dict[str, Activation]]:
    named = node.options.get("activations") or _DEFAULTS[node.kind] * directions
    alphas, betas = (iter(node.options.get(f"activation_{each}", [])) for each in ("alpha", "beta"))
    count = len(_DEFAULTS[node.kind])
    if len(named) != count * directions:
        raise UnsupportedError(f"node {node.name!r}: got {len(named)} activations; expected {count * directions}.")
    read = [*_each_activation(node, named, alphas, betas)]
    by_direction = [read[d * count : (d + 1) * count] for d in range(directions)]
    result = []
    for activations in by_direction:
        own = dict(zip(_OUR_NAMES[node.kind], activations, strict=True))
        if own.get("output_activation") == own["activation"]:
            del own["output_activation"]
        result.append(own)
    return result


def _each_activation(
    node: Node, named: Sequence[str], alphas: Iterator[float], betas: Iterator[float]
) -> Iterator[Activation]:
    for name in named:
        kind = _BY_LOWER_NAME.get(name.lower())
        if kind is None:
            expected = ", ".join(_BY_LOWER_NAME.values())
            raise UnsupportedError(f"node {node.name!r}: got the activation {escaped(name)}; expected {expected}.")
        attributes = _ACTIVATIONS[kind][1]
        given = {}
        for attribute, values in (("alpha", alphas), ("beta", betas)):
            if attribute in attributes:
                value = next(values, attributes[attribute][1])
                if np.isnan(value):
                    raise UnsupportedError(f"node {node.name!r}: got {kind} without its {attribute}; expected one.")
                given[attribute] = value
        yield _activation_of(node, kind, given)
