"""From an ONNX graph to a Network: which nodes are needed, and which axis of an input has the samples."""

from __future__ import annotations

from collections import Counter
from itertools import islice, product
from typing import Any

from rnncheck.errors import UnsupportedError, escaped

# Each enters the operators that it reads when it is imported.
from rnncheck.frameworks.onnx import operators, recurrent  # noqa: F401
from rnncheck.frameworks.onnx.file import LOOPS, OnnxFile
from rnncheck.frameworks.onnx.graph import Node, Reader, Reading, SamplesElsewhereError, array_of

# So many ways of which axes have the samples are tried.
_MOST_CHOICES = 64


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
    choices = product(*((0, 1) if _rank(each) > 1 else (0,) for each in inputs))
    for choice in islice(choices, _MOST_CHOICES):
        reader = Reader(file, dict(zip((each.name for each in inputs), choice, strict=True)))
        try:
            return reader.read(nodes)
        except UnsupportedError as error:
            reached = len(reader.layers), not isinstance(error, SamplesElsewhereError)
            if furthest is None or reached > furthest[0]:
                furthest = reached, error
    assert furthest is not None
    raise furthest[1]


# The nodes that the outputs depend on, in order, with names that no two share.
def _needed(file: OnnxFile) -> list[Node]:
    from onnx import helper

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
            name: array_of(name, value) if hasattr(value, "data_type") else _text(value)
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
