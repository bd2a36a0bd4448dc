"""From a Keras model to a Network. What it does not know it refuses, by the layer's and the option's name.

To read a new layer class, enter it in `ENTRIES`: what its weights are called and, for every argument of its
constructor, whether it is checked, without effect on the numbers, or refused.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rnncheck.activations import ACTIVATIONS
from rnncheck.errors import InputError, UnsupportedError
from rnncheck.network import Activation, Array, InputSpec, Layer, Network, Tensor
from rnncheck.precision import PRECISIONS

# Arguments that every Keras layer has or that act in training only.
_TRAINING_ONLY = (
    "kernel_initializer",
    "recurrent_initializer",
    "bias_initializer",
    "kernel_regularizer",
    "recurrent_regularizer",
    "bias_regularizer",
    "activity_regularizer",
    "kernel_constraint",
    "recurrent_constraint",
    "bias_constraint",
    "dropout",
    "recurrent_dropout",
    "seed",
)


@dataclass(frozen=True)
class Entry:
    """How one Keras layer class is read.

    Attributes:
        weights: the names of its weights; those that a layer lacks are left out.
        checked: constructor arguments that change a number; read from the layer by these names.
        same_numbers: constructor arguments that change how, not what, a layer computes at inference.
        refused: constructor arguments that rnncheck does not replay, with the only value it accepts.
        inherited: options that no constructor argument names, checked all the same.
        holder: the object that has the weights: the layer, or its cell.
    """

    weights: tuple[str, ...] = ()
    checked: tuple[str, ...] = ()
    same_numbers: tuple[str, ...] = ()
    refused: Mapping[str, Any] = field(default_factory=dict)
    inherited: tuple[str, ...] = ()
    holder: Callable[[Any], Any] = lambda layer: layer

    @property
    def known(self) -> set[str]:
        """Every constructor argument that the entry has an opinion on."""
        return {*self.checked, *self.same_numbers, *self.refused}


ENTRIES: Mapping[str, Entry] = {
    "SimpleRNN": Entry(
        weights=("kernel", "recurrent_kernel", "bias"),
        checked=(
            "units",
            "activation",
            "use_bias",
            "return_sequences",
            "return_state",
            "go_backwards",
            "stateful",
        ),
        same_numbers=("unroll", *_TRAINING_ONLY),
        inherited=("zero_output_for_mask",),
        holder=lambda layer: layer.cell,
    ),
    "Dense": Entry(
        weights=("kernel", "bias"),
        checked=("units", "activation", "use_bias"),
        same_numbers=_TRAINING_ONLY,
        refused={"lora_rank": None, "lora_alpha": None, "quantization_config": None},
    ),
    "Flatten": Entry(refused={"data_format": "channels_last"}),
}


def extract(model: Any) -> Network:
    """Take the Network out of a Keras model.

    Args:
        model: a built Sequential or functional model.

    Returns:
        Its layers, weights and graph as plain data.

    Raises:
        UnsupportedError: the model is not built, or has a layer, an option or a structure that rnncheck does not
            replay.
        InputError: a weight is NaN or infinite.
    """
    outputs = _graph_outputs(model)
    return Network(
        name=model.name,
        inputs=tuple(
            InputSpec(t._keras_history.operation.name, tuple(t.shape[1:]), str(t.dtype)) for t in model.inputs
        ),
        layers=tuple(_read_layer(node.operation, node) for node in layer_nodes(model).values()),
        outputs=tuple(_tensor(t) for t in outputs),
    )


def layer_nodes(model: Any) -> dict[str, Any]:
    """Return each layer's node in the model's graph by the layer's name, every layer after those that it reads.

    Raises:
        UnsupportedError: a layer is used more than once.
    """
    seen: dict[str, Any] = {}
    ordered: dict[str, Any] = {}

    def visit(keras_tensor: Any) -> None:
        operation, node_index, _ = keras_tensor._keras_history
        node = operation._inbound_nodes[node_index]
        if seen.setdefault(operation.name, node) is not node:
            raise UnsupportedError(
                f"layer {operation.name!r}: it is used more than once; expected every layer once. Shared layers are "
                "not replayed."
            )
        if operation.name in ordered:
            return
        for parent in node.input_tensors:
            visit(parent)
        ordered[operation.name] = node

    for tensor in _graph_outputs(model):
        visit(tensor)
    return {name: node for name, node in ordered.items() if type(node.operation).__name__ != "InputLayer"}


def _graph_outputs(model: Any) -> list[Any]:
    outputs = getattr(model, "outputs", None)
    if not outputs:
        raise UnsupportedError(
            f"model {getattr(model, 'name', model)!r}: {type(model).__name__} without a graph of layers came; "
            "expected a built Sequential or functional model. Build it by giving it an Input."
        )
    return list(outputs)


def _tensor(keras_tensor: Any) -> Tensor:
    history = keras_tensor._keras_history
    return Tensor(history.operation.name, history.tensor_index)


def _read_layer(layer: Any, node: Any) -> Layer:
    kind = type(layer).__name__
    entry = ENTRIES.get(kind)
    if entry is None or not type(layer).__module__.startswith("keras."):
        raise UnsupportedError(
            f"layer {layer.name!r}: {kind} is not a layer that rnncheck replays. Supported: "
            f'{", ".join(sorted(ENTRIES))}; see "What is checked" in the README.'
        )
    _refuse_unknown(layer, kind, entry)
    call = inspect.signature(layer.call).bind(*node.arguments.args, **node.arguments.kwargs).arguments
    if call.get("training"):
        raise UnsupportedError(
            f"layer {layer.name!r}: it is called with training=True; expected inference, in which dropout is "
            "inactive."
        )
    first, *_ = call.values()
    mask, initial_state = call.get("mask"), call.get("initial_state")
    states = initial_state if isinstance(initial_state, list | tuple) else [initial_state]
    for argument, tensors in (("mask", [mask]), ("initial_state", states)):
        if any(tensor is not None and not hasattr(tensor, "_keras_history") for tensor in tensors):
            raise UnsupportedError(f"layer {layer.name!r}: {argument} is a constant; expected a tensor of the model.")
    return Layer(
        name=layer.name,
        kind=kind,
        inputs=(_tensor(first),),
        options={name: _option(layer, name) for name in (*entry.checked, *entry.inherited)},
        weights=_weights(layer, entry),
        dtype=_precision(layer),
        mask=None if mask is None else _tensor(mask),
        initial_state=tuple(_tensor(state) for state in states if state is not None),
    )


def _refuse_unknown(layer: Any, kind: str, entry: Entry) -> None:
    """Refuse what the entry refuses, and every argument that a newer Keras may have added."""
    for name, accepted in entry.refused.items():
        value = getattr(layer, name, accepted)
        if value != accepted:
            raise UnsupportedError(
                f"layer {layer.name!r}: {name}={value!r} is not replayed for {kind}; expected {name}={accepted!r}."
            )
    unknown = constructor_arguments(type(layer)) - entry.known
    if unknown:
        raise UnsupportedError(
            f"layer {layer.name!r}: this Keras' {kind} takes {', '.join(sorted(unknown))}, which rnncheck does not "
            "know; expected an older Keras. See the versions in pyproject.toml."
        )


def constructor_arguments(layer_class: Any) -> set[str]:
    """Return the names of a layer class' own constructor arguments."""
    parameters = inspect.signature(layer_class.__init__).parameters.values()
    return {p.name for p in parameters if p.kind is not p.VAR_KEYWORD} - {"self"}


def _option(layer: Any, name: str) -> Any:
    value = getattr(layer, name)
    return _activation(layer, value) if name == "activation" else value


def _activation(layer: Any, function: Any) -> Activation:
    """Return an activation by name; a functools.partial of a Keras activation gives its parameters."""
    parameters: dict[str, Any] = {}
    if isinstance(function, functools.partial) and not function.args:
        function, parameters = function.func, dict(function.keywords)
    name = getattr(function, "__name__", type(function).__name__)
    from_keras = getattr(function, "__module__", "").startswith("keras.")
    if not from_keras or name not in ACTIVATIONS:
        raise UnsupportedError(
            f"layer {layer.name!r}: activation {name!r} is not one that rnncheck replays. Supported: "
            f"{', '.join(sorted(ACTIVATIONS))}."
        )
    known = set(inspect.signature(ACTIVATIONS[name]).parameters) - {"x"}
    if not set(parameters) <= known:
        unknown = ", ".join(sorted(set(parameters) - known))
        raise UnsupportedError(
            f"layer {layer.name!r}: activation {name!r} with {unknown} is not replayed; expected only "
            f"{', '.join(sorted(known)) or 'the activation without parameters'}."
        )
    needed = {n for n, p in inspect.signature(ACTIVATIONS[name]).parameters.items() if p.default is p.empty} - {"x"}
    if not needed <= set(parameters):
        raise UnsupportedError(
            f"layer {layer.name!r}: activation {name!r} came without {', '.join(sorted(needed - set(parameters)))}; "
            "expected functools.partial with all of them."
        )
    return Activation(name, parameters)


def _weights(layer: Any, entry: Entry) -> dict[str, Array]:
    holder = entry.holder(layer)
    found = {name: getattr(holder, name, None) for name in entry.weights}
    weights = {name: to_numpy(value) for name, value in found.items() if value is not None}
    for name, value in weights.items():
        if not np.isfinite(value).all():
            place = tuple(int(i) for i in np.argwhere(~np.isfinite(value))[0])
            raise InputError(
                f"layer {layer.name!r}: {name} has {value[place]} at {list(place)}; expected finite weights."
            )
    return weights


def to_numpy(value: Any) -> Array:
    """Return a Keras variable or array as a NumPy array; bfloat16, which NumPy lacks, as float32."""
    import keras

    array: Array = keras.ops.convert_to_numpy(value)
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def _precision(layer: Any) -> str:
    policy, dtype = layer.dtype_policy.name, str(layer.compute_dtype)
    if dtype not in PRECISIONS or "_from_" in policy:
        raise UnsupportedError(
            f"layer {layer.name!r}: dtype policy {policy!r} is not replayed; expected one that computes in "
            f"{', '.join(PRECISIONS)}."
        )
    return dtype
