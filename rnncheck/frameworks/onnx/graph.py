"""What an ONNX graph is read with: its tensors, its nodes, and the reader that operators are entered for.

What is the same for all inputs, such as weights and shapes, is computed here.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from rnncheck.equations.shapes import rehearse
from rnncheck.errors import InputError, RnncheckError, UnsupportedError, escaped
from rnncheck.frameworks.onnx.file import OnnxFile
from rnncheck.frameworks.onnx.folding import fold
from rnncheck.frameworks.onnx.ids import of_ids
from rnncheck.frameworks.onnx.sizes import Size, known
from rnncheck.frameworks.onnx.tensors import Axes, OfIds, Value, own_axes
from rnncheck.network import Array, InputSpec, Layer, Network, Tensor


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


class SamplesElsewhereError(UnsupportedError):
    """A recurrent node has its samples in another axis than its input was taken to have them in."""


class Reader:
    """Reads the nodes in order; what is known is an array, all else a Value."""

    def __init__(self, file: OnnxFile, samples: Mapping[str, int]) -> None:
        self.file, self.samples = file, samples
        self.layers: list[Layer] = []
        self.values: dict[str, Any] = {"": None}
        self.shown: dict[str, Value] = {}
        self.sequences: dict[str, tuple[Value, tuple[str, ...]]] = {}
        graph = file.model.graph
        self.readers = Counter(name for node in graph.node for name in node.input)
        self.readers.update(each.name for each in graph.output)
        for each in graph.initializer:
            self.values[each.name] = array_of(each.name, each)

    def read(self, nodes: Sequence[Node]) -> Reading:
        """Read the nodes; see `rnncheck.frameworks.onnx.extract.read`."""
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
            what = "ids that are not looked up" if isinstance(value, OfIds) else "numbers that no input changes"
            raise UnsupportedError(f"output {escaped(name)!r}: got {what}; expected what a layer puts out.")
        return value

    def _outputs(self, node: Node, inputs: Sequence[Any]) -> Sequence[Any]:
        if (numbers := of_ids(node.kind, node.options, inputs)) is not None:
            return [numbers]
        entered = OPERATORS.get(node.kind)
        if not any(isinstance(each, Value | OfIds) for each in inputs) or node.kind == "Shape":
            lengths = [known(each.lengths) if isinstance(each, Value) else each for each in inputs]
            found = fold(node.kind, node.options, lengths)
            if found is not None:
                return [found]
        elif entered is not None and _takes(entered, self, node, *inputs):
            try:
                found = entered(self, node, *inputs)
            except RnncheckError:
                raise
            # Attributes or shapes that do not fit together.
            except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, ArithmeticError):
                found = None
            if found is not None:
                return found if isinstance(found, tuple) else [found]
        given = ", ".join(map(described, inputs))
        options = "".join(f", {name}={value}" for name, value in node.options.items() if np.size(value) < 10)
        expected = "expected it of other inputs" if entered else f"expected {', '.join(OPERATORS)}"
        raise UnsupportedError(
            f"node {node.name!r}: got {node.kind}({given}{options}), which is not replayed; {expected}."
        )

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
        """Add a layer, which puts out what has the axes of its inputs unless others are given."""
        first, name = inputs[0], name or node.name
        dtype = dtype or first.dtype
        if dtype == "bool":
            raise UnsupportedError(f"node {node.name!r}: got {node.kind} of truth values; expected it of numbers.")
        tensors = tuple(each.tensor for each in inputs)
        self.layers.append(Layer(name, kind, tensors, options, finite(node, weights), dtype))
        return Value(Tensor(name), shape or first.shape, axes or first.axes, dtype)

    def constant(self, node: Node, name: str, array: Array, like: Value) -> Value:
        """Add an array that the model holds, (N, ...) or (1, ...)."""
        shape, own = tuple(map(Size, array.shape)), {"value": array}
        self.layers.append(Layer(name, "Constant", (), {}, finite(node, own), like.dtype))
        return Value(Tensor(name), shape, own_axes(array.ndim), like.dtype)

    def unmerged(self, node: Node, x: Value) -> Value:
        """Return a value whose last axis is one of the Network, and not several."""
        last = x.axes[-1] if x.axes else ()
        if len(last) == 1:
            return x
        kept = len(x.shape) - len(last)
        if last == tuple(range(kept, len(x.shape))):
            merged = Size.product(x.shape[kept:])
            sizes = [-1 if size.open else size.number for size in (*x.shape[1:kept], merged)]
            if kept > 0 and sizes.count(-1) < 2 and not merged.open:
                axes = (*x.axes[:-1], (kept,))
                shape = (*x.shape[:kept], merged)
                name = f"{node.name}/merged"
                options = {"target_shape": tuple(sizes)}
                return self.add(node, "Reshape", [x], options, name=name, shape=shape, axes=axes)
        raise UnsupportedError(f"node {node.name!r}: got {described(x)}; expected features in the last axis.")


# What each operator becomes: (reader, node, inputs) -> a value, an array, or several; None where it is not replayed.
_Read = Callable[..., Any]
OPERATORS: dict[str, _Read] = {}


def operator(*names: str) -> Callable[[_Read], _Read]:
    """Return a decorator that enters a function for some operators."""

    def entered(function: _Read) -> _Read:
        OPERATORS.update(dict.fromkeys(names, function))
        return function

    return entered


def _takes(function: _Read, *args: Any) -> bool:
    try:
        inspect.signature(function).bind(*args)
    except TypeError:
        return False
    return True


def described(value: Any) -> str:
    """Return what a node was given, for a message."""
    if isinstance(value, OfIds):
        return f"whole numbers of {value.ids.tensor} that are not looked up"
    if isinstance(value, Value):
        return f"{value.tensor} ({', '.join(map(str, value.lengths))})"
    if value is None:
        return "nothing"
    return f"an array {np.shape(value)}" if np.size(value) > 4 else str(np.asarray(value).tolist())


def finite(node: Node, weights: Mapping[str, Array]) -> Mapping[str, Array]:
    """Return weights; an InputError where one is NaN or infinite."""
    for name, weight in weights.items():
        if not np.isfinite(weight).all():
            raise InputError(f"node {node.name!r}: got a {name} that is NaN or infinite; expected finite numbers.")
    return weights


def array_of(name: str, tensor: Any) -> Array:
    """Return an array that a file holds; an InputError where it has fewer numbers than it says."""
    from onnx import numpy_helper

    try:
        array: Array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError, OverflowError, MemoryError) as error:
        raise InputError(f"weight {escaped(name)!r}: it cannot be read ({error}); expected it whole.") from error
    return array


def is_features(x: Value, axis: Any) -> bool:
    """Whether an axis is the last one, there and in the Network."""
    own = isinstance(axis, int) and axis % len(x.axes) == len(x.axes) - 1
    return own and x.axes[-1] == (len(x.shape) - 1,) and len(x.shape) > 1


def picked(reader: Reader, node: Node, name: str, x: Value, axis: int, index: int) -> Value:
    """Return one place of an axis, which ONNX keeps with length 1."""
    (own,) = x.axes[axis]
    axes = tuple(
        () if place == axis else tuple(each - (each > own) for each in group) for place, group in enumerate(x.axes)
    )
    shape = x.shape[:own] + x.shape[own + 1 :]
    return reader.add(node, "Step", [x], {"index": index, "axis": own}, name=name, shape=shape, axes=axes)
