"""The graph of a model: its layers' calls, in an order in which each comes after what it reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rnncheck.errors import InputError, UnsupportedError
from rnncheck.frameworks.keras.config.calls import Call, Reference, Value, leaves, read_calls, read_ends
from rnncheck.frameworks.keras.config.description import Config, Object, is_operation, name_of
from rnncheck.frameworks.keras.config.entries import OPERATIONS
from rnncheck.frameworks.keras.config.lowering import Lowering
from rnncheck.network import Layer
from rnncheck.rounding.precision import PRECISIONS


def run_model(lowering: Lowering, model: Object, inputs: Sequence[Value], prefix: str) -> list[Value]:
    """Lower the layers of a model, the whole one or one inside it; return its outputs.

    Args:
        lowering: collects the layers.
        model: the model.
        inputs: what it reads.
        prefix: what its layers' names begin with.
    """
    if "input_layers" in model.config:
        return _Graph(lowering, model, prefix).run(inputs)
    values = list(inputs)
    for part in model.parts:
        given = values[0] if len(values) == 1 else values
        values = lowering.run(part, f"{prefix}{part.name}", Call((given,), {}))
    return values


class _Graph:
    """The calls of a functional model."""

    def __init__(self, lowering: Lowering, model: Object, prefix: str) -> None:
        self._lowering = lowering
        self._model = model
        self._prefix = prefix
        self._parts = {part.name: part for part in model.parts}
        self._described = {name_of(d): d for d in model.config["layers"]}
        self._calls = {name: read_calls(name, d.get("inbound_nodes", [])) for name, d in self._described.items()}
        self._values: dict[tuple[str, int], list[Value]] = {}

    def run(self, inputs: Sequence[Value]) -> list[Value]:
        """Lower every call that the outputs depend on; return the outputs."""
        ends = read_ends(self._model.config["input_layers"])
        if len(ends) != len(inputs):
            raise InputError(f"model {self._model.name!r}: got {len(inputs)} inputs; expected {len(ends)}.")
        for end, value in zip(ends, inputs, strict=True):
            self._values[end.layer, 0] = [value]
        outputs = list(map(self._of_call, read_ends(self._model.config["output_layers"])))
        for end in outputs:
            self._resolve((end.layer, end.node))
        return [self._value(end) for end in outputs]

    def _of_call(self, end: Reference) -> Reference:
        """Count the calls of a functional model from 0: where outputs are listed, its own graph counts as the first.

        Source: Keras 3.15, Functional.get_config and functional_from_config.
        """
        part = self._parts.get(end.layer)
        own_graph = part is not None and part.is_model and "input_layers" in part.config
        return replace(end, node=end.node - own_graph)

    def _resolve(self, wanted: tuple[str, int]) -> None:
        """Lower a call after those that it reads from."""
        waiting, stack = set(), [wanted]
        while stack:
            key = stack[-1]
            if key in self._values:
                stack.pop()
                continue
            call = self._call(key)
            missing = [(r.layer, r.node) for r in call.references if (r.layer, r.node) not in self._values]
            if not missing:
                self._values[key] = self._lower(key, call)
                continue
            waiting.add(key)
            if any(each in waiting for each in missing):
                raise InputError(
                    f"model {self._model.name!r}: layer {key[0]!r} reads its own output; expected no loop."
                )
            stack += reversed(missing)

    def _call(self, key: tuple[str, int]) -> Call:
        name, node = key
        calls = self._calls.get(name, [])
        if not 0 <= node < len(calls):
            raise InputError(
                f"model {self._model.name!r}: call {node} of layer {name!r} is read; expected one of its "
                f"{len(calls)} calls."
            )
        return calls[node]

    def _value(self, reference: Reference) -> Value:
        outputs = self._values[reference.layer, reference.node]
        if not 0 <= reference.index < len(outputs):
            raise InputError(
                f"model {self._model.name!r}: output {reference.index} of layer {reference.layer!r} is read; "
                f"expected one of its {len(outputs)}."
            )
        return outputs[reference.index]

    def _lower(self, key: tuple[str, int], call: Call) -> list[Value]:
        name, node = key
        lowered = f"{self._prefix}{name}{f'@{node + 1}' if node else ''}"
        call = call.mapped(self._value)
        if not is_operation(self._described[name]):
            return self._lowering.run(self._parts[name], lowered, call)
        if self._described[name]["class_name"] == "ConvertToTensor":
            return list(leaves(call.args, Value))
        layer = _operation(lowered, self._described[name], self._calls[name][node], call)
        return [Value(self._lowering.add(layer))]


def _operation(lowered: str, description: Config, written: Call, call: Call) -> Layer:
    """Read an operation that Keras recorded where it computes a mask."""
    kind, config = str(description["class_name"]), description["config"]
    name = name_of(description)
    if kind not in OPERATIONS:
        raise UnsupportedError(
            f"layer {name!r}: {kind} is not a layer that rnncheck replays. It is an operation between layers; "
            f"expected only those of masks: {', '.join(sorted(OPERATIONS))}. Use the layer that does the same."
        )
    options = {}
    for option, accepted in OPERATIONS[kind].items():
        value = config.get(option, accepted)
        if accepted is not None and value != accepted:
            raise UnsupportedError(
                f"layer {name!r}: {option}={value!r} is not replayed for the operation {kind}; expected "
                f"{option}={accepted!r}."
            )
        if accepted is None:
            options[option] = value
    inputs = tuple(value.tensor for value in leaves((call.args, call.kwargs), Value))
    if kind == "NotEqual":
        (options["value"],) = (arg for arg in call.args if not isinstance(arg, Value))
    if kind == "Cast":
        return Layer(lowered, kind, inputs, dtype=str(options["dtype"]))
    dtypes = {str(reference.dtype) for reference in written.references} & set(PRECISIONS)
    return Layer(lowered, kind, inputs, options, dtype=dtypes.pop() if len(dtypes) == 1 else "float64")
