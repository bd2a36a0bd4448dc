"""The graph of a functional model: its layers' calls, in an order in which each comes after what it reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rnncheck.errors import InputError, UnsupportedError
from rnncheck.frameworks.keras.config.calls import Call, Node, Reference, Value, leaves, read_calls, read_ends
from rnncheck.frameworks.keras.config.description import Config, Object, name_of
from rnncheck.frameworks.keras.config.entries import OPERATIONS
from rnncheck.frameworks.keras.config.values import check_form
from rnncheck.network import Layer
from rnncheck.rounding.precision import PRECISIONS


def read_graph(model: Object) -> tuple[list[Reference], dict[Node, Call], list[Reference]]:
    """Return the inputs of a functional model, the calls that its outputs depend on, in order, and the outputs."""
    calls = {name_of(d): read_calls(name_of(d), d.get("inbound_nodes", [])) for d in model.config["layers"]}
    parts = {part.name: part for part in model.parts}

    # Where a model lists its outputs, the own graph of a functional model inside it counts as that model's first
    # call. Source: Keras 3.15, Functional.get_config and functional_from_config.
    def of_call(end: Reference) -> Reference:
        part = parts.get(end.layer)
        return replace(end, node=end.node - (part is not None and part.is_model and "input_layers" in part.config))

    inputs = read_ends(model.config["input_layers"])
    outputs = list(map(of_call, read_ends(model.config["output_layers"])))
    return inputs, _in_order(model.name, calls, inputs, outputs), outputs


# Depth first, with a stack of its own: a chain of calls may be longer than Python's stack.
def _in_order(
    model: str, calls: Mapping[str, Sequence[Call]], inputs: Sequence[Reference], outputs: Sequence[Reference]
) -> dict[Node, Call]:
    known, waiting = {end.call for end in inputs}, set()
    ordered: dict[Node, Call] = {}
    stack = [end.call for end in reversed(outputs)]
    while stack:
        node = name, number = stack[-1]
        if node in known:
            stack.pop()
            continue
        own = calls.get(name, [])
        if not 0 <= number < len(own):
            said = f"call {number} of layer {name!r} is read; expected one of its {len(own)} calls."
            raise InputError(f"model {model!r}: {said}")
        missing = [each.call for each in leaves(own[number]) if each.call not in known]
        if not missing:
            ordered[node] = own[number]
            known.add(node)
            continue
        waiting.add(node)
        if waiting.intersection(missing):
            raise InputError(
                f"model {model!r}: layer {name!r} reads its own output; expected no loop. Save the model again."
            )
        stack += reversed(missing)
    return ordered


def operation(lowered: str, description: Config, written: Call, call: Call) -> Layer:
    """Read an operation that Keras recorded where it computes a mask, from its call as written and with its values.

    Raises:
        UnsupportedError: it belongs to no mask, or has an option that is not replayed.
    """
    kind, config, options = str(description["class_name"]), description["config"], {}
    where = f"layer {name_of(description)!r}"
    if kind not in OPERATIONS:
        raise UnsupportedError(
            f"{where}: {kind} is an operation between layers that rnncheck does not replay; expected the layer that "
            "does the same."
        )
    for option, accepted in OPERATIONS[kind].items():
        value = config.get(option, accepted)
        if accepted is None:
            options[option] = value
        elif value != accepted:
            said = f"{option}={value!r} is not replayed for the operation {kind}; expected {option}={accepted!r}."
            raise UnsupportedError(f"{where}: {said}")
    inputs = tuple(value.tensor for value in leaves(call, Value))
    if kind == "NotEqual":
        (options["value"],) = (arg for arg in call.args if not isinstance(arg, Value))
    for option, value in options.items():
        check_form(name_of(description), option, value)
    if kind == "Cast":
        return Layer(lowered, kind, inputs, dtype=options["dtype"])
    # It compares numbers in the precision that they have; integers and truth values fit float64.
    dtypes = {str(reference.dtype) for reference in leaves(written)} & set(PRECISIONS)
    return Layer(lowered, kind, inputs, options, dtype=dtypes.pop() if len(dtypes) == 1 else "float64")
