"""Descriptions that Keras 1 and 2 wrote, put into the form of Keras 3: for the reader and for Keras itself.

Only the form changes here. What Keras 2 computed in another way has a name of its own (`HARD_SIGMOID`) or is a rule
for masks, which `Lowering` is told of.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from rnncheck.errors import InputError
from rnncheck.frameworks.keras.config.calls import is_reference
from rnncheck.frameworks.keras.config.description import Config, class_of, config_of, is_of_keras, name_of
from rnncheck.frameworks.keras.config.entries import ENTRIES, MODELS
from rnncheck.frameworks.keras.config.values import plain
from rnncheck.network import Activation

# 0.2x + 0.5, which Keras 3 computes as x/6 + 0.5.
HARD_SIGMOID = Activation("hard_sigmoid_keras2")

_RENAMED = {"InputLayer": {"batch_input_shape": "batch_shape"}, "LeakyReLU": {"alpha": "negative_slope"}}

# Options that change no number in the layers that do not know them: Embedding has an input_dim, and Keras 2 writes
# the options of Conv for every convolution.
_DROPPED = frozenset({
    "implementation", "input_dim", "input_length", "fused", "dynamic", "batch_input_shape", "input_dtype", "groups",
    "kernel_initializer", "kernel_regularizer", "kernel_constraint",
})  # fmt: skip

Write = Callable[[Any], Any]  # a reference of Keras 2 -> the same in Keras 3


def is_keras2(description: Config, keras_version: str) -> bool:
    """Whether a Keras before 3 wrote a description; its inputs tell where no version is known."""
    if keras_version:
        return keras_version.split(".", maxsplit=1)[0] in {"1", "2"}
    return '"batch_input_shape"' in json.dumps(description)


def upgraded(description: Config) -> Config:
    """Return the description of a whole model in Keras 3's form; what rnncheck does not know stays as it is."""
    model = _model(description)
    members = model["config"].get("layers")
    if "input_layers" in model["config"] or not members or members[0]["class_name"] == "InputLayer":
        return model
    # Keras 2 left the InputLayer out of a Sequential model, and wrote the shape into the first layer.
    first, shape = members[0], model["config"].get("build_input_shape") or _first_shape(description)
    if shape is None:
        return model
    dtype = first["config"].get("dtype", "float32")
    options = {"batch_shape": plain(shape), "dtype": dtype, "name": f"{name_of(first)}_input"}
    inputs = _object("keras.layers", "InputLayer", options)
    return {**model, "config": {**model["config"], "layers": [inputs, *members]}}


# The input shape that the first layer of a Sequential model carries; None where none does.
def _first_shape(description: Config) -> Any:
    config = _config(description)
    if (shape := config.get("batch_input_shape") or config.get("batch_shape")) is not None:
        return shape
    inner = config.get("layers") or [config["layer"]] if "layers" in config or "layer" in config else []
    return _first_shape(inner[0]) if inner else None


# Keras before 2.2.3 wrote a Sequential model as the list of its layers.
def _config(description: Config) -> Config:
    if isinstance(description.get("config"), list):
        return {"name": description.get("name", "sequential"), "layers": description["config"]}
    return config_of(description)


def _model(description: Config) -> dict[str, Any]:
    kind, config = str(description["class_name"]), _config(description)
    if "layers" not in config:
        return dict(description)
    if "input_layers" not in config:
        return _object("keras", kind, {**config, "layers": [_upgraded(layer) for layer in config["layers"]]})
    own = {"name": config.get("name", kind), "trainable": config.get("trainable", True)}
    return _object("keras.src.models.functional", "Functional", {**own, **_graph(config)})


def _upgraded(description: Config) -> dict[str, Any]:
    kind = class_of(description)
    if not is_of_keras(description):
        return dict(description)
    if kind in MODELS:
        return _model(description)
    return _object("keras.layers", kind, _options(kind, _config(description)))


def _object(module: str, kind: str, config: Config) -> dict[str, Any]:
    return {"module": module, "class_name": kind, "config": config, "registered_name": None}


# The options of a layer or cell by their names in Keras 3, with what an absent one meant to Keras 2.
def _options(kind: str, config: Config) -> dict[str, Any]:
    renamed = {_RENAMED.get(kind, {}).get(name, name): value for name, value in config.items()}
    if kind not in ENTRIES:
        return renamed
    entry = ENTRIES[kind]
    options = {name: entry.defaults[name] for name in entry.checked if name in entry.defaults}
    for name, value in renamed.items():
        if name not in _DROPPED or name in entry.known:
            options[name] = _option(name, value)
    if kind == "BatchNormalization" and isinstance(options["axis"], tuple) and len(options["axis"]) == 1:
        (options["axis"],) = options["axis"]  # Keras 2 took several
    if kind == "Bidirectional" and not options.get("backward_layer"):
        forward = options["layer"]["config"]
        # Keras 3 lets the second layer go backwards always, Keras 2 the other way than the first.
        if forward.get("go_backwards"):
            own = {"name": f"backward_{forward['name'].removeprefix('backward_')}", "go_backwards": False}
            options["backward_layer"] = {**options["layer"], "config": {**forward, **own}}
    return options


def _option(name: str, value: Any) -> Any:
    if name in {"layer", "backward_layer", "cell"} and isinstance(value, Mapping):
        return _upgraded(value)
    if name == "cells":
        return [_upgraded(cell) for cell in value]
    if isinstance(value, Mapping) and name == "dtype":
        return value["config"].get("name", value)
    if name.endswith("activation"):
        if isinstance(value, Mapping) and value.get("class_name") == "function":
            value = value["config"]
        return HARD_SIGMOID if value == "hard_sigmoid" else value
    return plain(value)


# The layers and the ends of a functional model.
# Source: `Functional.get_config` and `functional_from_config` of Keras 2.15 and 3.15.
def _graph(config: Config) -> dict[str, Any]:
    members = {name_of(layer): layer for layer in config["layers"]}
    graphs = {name for name, layer in members.items() if "input_layers" in _config(layer)}

    def begins_with_inputs(layer: Config) -> bool:
        inside = _config(layer)["layers"] if layer["class_name"] == "Sequential" else []
        return bool(inside) and inside[0]["class_name"] == "InputLayer"

    # Keras 2 counts the graph of a model that begins with inputs as its first call. Keras 3 does so for functional
    # models only, and only where outputs are listed.
    counted = graphs | {name for name, layer in members.items() if begins_with_inputs(layer)}

    def tensor(reference: Any) -> dict[str, Any]:
        name, node, index = reference[:3]
        history = [name, node - (name in counted), index]
        return {"class_name": "__keras_tensor__", "config": {"shape": [], "dtype": None, "keras_history": history}}

    def end(reference: Any) -> list[Any]:
        name, node, index = reference[:3]
        return [name, node - (name in counted - graphs), index]

    layers = []
    for name, layer in members.items():
        calls = [_call(name, layer["class_name"], node, tensor) for node in layer.get("inbound_nodes", [])]
        layers.append({**_upgraded(layer), "name": name, "inbound_nodes": calls})
    return {"layers": layers, **{key: _ends(config[key], end) for key in ("input_layers", "output_layers")}}


# A call, which Keras 2 writes as `[["layer", node, tensor, kwargs], ...]`, as `{"args", "kwargs"}`.
def _call(name: str, kind: str, node: Any, tensor: Write) -> dict[str, Any]:
    references = [node] if is_reference(node) else node
    if not all(map(is_reference, references)):
        got = f"got inbound_nodes with {str(node)[:80]}"
        raise InputError(f"layer {name!r}: {got}; expected the calls that Keras 2 writes. Save the model again.")
    written: Config = next((item[3] for item in references if len(item) > 3 and item[3]), {})
    kwargs = {key: _argument(value, tensor) for key, value in written.items()}
    inputs = [tensor(reference) for reference in references]
    if kind in ENTRIES and ENTRIES[kind].role in {"recurrent", "rnn", "bidirectional"} and len(inputs) > 1:
        inputs, kwargs["initial_state"] = inputs[:1], inputs[1:]  # the sequence and the states to start from
    return {"args": [inputs[0] if len(inputs) == 1 else inputs], "kwargs": kwargs}


def _argument(value: Any, tensor: Write) -> Any:
    if is_reference(value):
        return tensor(value)
    if not isinstance(value, list):
        return value
    if value and all(isinstance(row, list) and all(isinstance(x, int | float) for x in row) for row in value):
        return {"class_name": "__numpy__", "config": {"value": value, "dtype": "float64"}}  # an array (N, M)
    return [_argument(item, tensor) for item in value]


# The inputs or outputs of a model in their own structure; one alone stands without a list.
def _ends(written: Any, end: Write) -> Any:
    if is_reference(written):
        return end(written)
    if isinstance(written, Mapping):
        return {key: _ends(value, end) for key, value in written.items()}
    ends = [_ends(item, end) for item in written]
    return ends[0] if len(ends) == 1 else ends
