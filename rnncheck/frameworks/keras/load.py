"""Running a model file that Keras 2 wrote: Keras 3 refuses most of them, so their descriptions are put in its words.

Only the form is translated. What a word means is Keras 3's affair: `hard_sigmoid` is another function there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rnncheck.frameworks.keras.config.calls import Call, Reference, mapped, read_calls, read_ends
from rnncheck.frameworks.keras.config.description import MODELS, Config, Object, is_keras2, name_of, plain, read_model
from rnncheck.frameworks.keras.config.entries import ENTRIES
from rnncheck.frameworks.keras.config.reader import input_specs
from rnncheck.frameworks.keras.extract import constructor_arguments, find
from rnncheck.frameworks.keras.files.modelfile import ModelFile
from rnncheck.network import Array, InputSpec

_MODULES = {"Sequential": "keras", "Functional": "keras.src.models.functional"}


# What layers start from and how they are trained; their weights come from the file.
_TRAINING = ("_initializer", "_regularizer", "_constraint")


_RENAMED = {"InputLayer": {"batch_input_shape": "batch_shape"}, "LeakyReLU": {"alpha": "negative_slope"}}


_LAYERS = frozenset({"layer", "backward_layer", "cell", "cells"})  # the options that are layers


def load(file: ModelFile) -> Any:
    """Load a model file with Keras, which runs no code that the file brings along.

    A file of Keras 1 or 2 that Keras refuses is put in today's form first.

    Args:
        file: one that `reader.read` accepts: nothing in it is unknown.

    Returns:
        The Keras model.
    """
    import keras

    try:
        return keras.saving.load_model(file.path, compile=False, safe_mode=True)
    except Exception:
        if not is_keras2(file.keras_version):
            raise
    return _rebuilt(file)


def _rebuilt(file: ModelFile) -> Any:
    import keras

    described = read_model(file.config, keras2=True)
    model = keras.saving.deserialize_keras_object(
        _with_input(_translated(file.config), input_specs(described)), safe_mode=True
    )
    owners = list(described.owners)
    weights = zip(owners, file.weights.read(owners), strict=True)
    _fill(model, described, {owner.path: own for owner, own in weights})
    return model


def _fill(live: Any, found: Object, weights: Mapping[tuple[str, ...], Mapping[str, Array]]) -> None:
    """Put the weights into an object and all inside it; a model's layers by name, for their order may differ."""
    if not found.is_model:
        holder = find(live, found.weights_path[len(found.path) :])
        for name, array in weights.get(found.weights_path, {}).items():
            getattr(holder, name).assign(array)
    for part in found.parts:
        inner = live.get_layer(part.name) if found.is_model else find(live, part.path[len(found.path) :])
        _fill(inner, part, weights)


# --- the description ---


def _translated(description: Config) -> dict[str, Any]:
    """Return the description of a layer, a cell or a model as Keras 3 writes it, but for its calls."""
    kind = str(description["class_name"])
    if kind not in MODELS:
        return _object(kind, "keras.layers", _options(kind, description["config"]))
    config = description["config"]
    if "input_layers" in config:
        return _object("Functional", _MODULES["Functional"], _graph(config))
    layers = [_translated(layer) for layer in config["layers"]]
    return _object("Sequential", _MODULES["Sequential"], {"name": config.get("name", kind), "layers": layers})


def _object(kind: str, module: str, config: Config) -> dict[str, Any]:
    return {"module": module, "class_name": kind, "config": config, "registered_name": None}


def _options(kind: str, config: Config) -> dict[str, Any]:
    """Return those options that today's class takes; where one is absent, what it meant to Keras 2."""
    import keras

    renamed = {_RENAMED.get(kind, {}).get(name, name): value for name, value in config.items()}
    taken = constructor_arguments(getattr(keras.layers, kind)) | {"name", "dtype"}
    defaults: Mapping[str, Any] = {}
    if kind in ENTRIES:
        defaults = {name: value for name, value in ENTRIES[kind].defaults.items() if name in taken}
        taken |= set(ENTRIES[kind].inherited)
    given = {name: _value(name, value) for name, value in renamed.items() if name in taken}
    if kind == "BatchNormalization" and isinstance(given.get("axis"), tuple):
        (given["axis"],) = given["axis"]
    return {**defaults, **{name: value for name, value in given.items() if not name.endswith(_TRAINING)}}


def _value(name: str, value: Any) -> Any:
    """Return an option; functions and precisions by their names."""
    if name in _LAYERS and value is not None:
        return [_translated(each) for each in value] if isinstance(value, list) else _translated(value)
    if isinstance(value, Mapping) and name.endswith("activation"):
        return value["config"]
    if isinstance(value, Mapping) and name == "dtype":
        return value["config"]["name"]
    return plain(value)


def _with_input(model: dict[str, Any], inputs: Sequence[InputSpec]) -> dict[str, Any]:
    """Give a Sequential model the InputLayer that it has to begin with."""
    layers = model["config"]["layers"]
    if model["class_name"] == "Sequential" and layers[0]["class_name"] != "InputLayer":
        (spec,) = inputs
        config = {"batch_shape": (spec.samples, *spec.shape), "dtype": spec.dtype, "name": spec.name}
        layers.insert(0, _object("InputLayer", "keras.layers", config))
    return model


# --- the graph ---


def _graph(config: Config) -> dict[str, Any]:
    """Return the configuration of a functional model."""
    described = {name_of(layer): layer for layer in config["layers"]}

    def call_of(reference: Reference) -> dict[str, Any]:
        node = reference.node - _counts_itself(described[reference.layer])
        history = [reference.layer, node, reference.index]
        return {"class_name": "__keras_tensor__", "config": {"shape": [], "dtype": None, "keras_history": history}}

    def end_of(reference: Reference) -> list[Any]:
        layer = described[reference.layer]
        return [reference.layer, reference.node - (_counts_itself(layer) and not _has_graph(layer)), reference.index]

    layers = []
    for name, layer in described.items():
        calls = [_written(call, layer, call_of) for call in read_calls(name, layer.get("inbound_nodes", []))]
        layers.append({**_translated(layer), "name": name, "inbound_nodes": calls})
    inputs, outputs = ([end_of(end) for end in read_ends(config[ends])] for ends in ("input_layers", "output_layers"))
    return {
        "name": config.get("name"),
        "layers": layers,
        "input_layers": _one(inputs),
        "output_layers": _one(outputs),
    }


def _counts_itself(layer: Config) -> bool:
    """Whether the first call of a model inside a model has the number 1: in Keras 2, its own graph is the number 0.

    Keras 3 has the same habit, for functional models only and where outputs are listed only.

    Source: Keras 2.15, _should_skip_first_node; Keras 3.15, functional_from_config.
    """
    if layer["class_name"] == "Sequential":
        layers = layer["config"]["layers"]
        return bool(layers) and layers[0]["class_name"] == "InputLayer"
    return _has_graph(layer)


def _has_graph(layer: Config) -> bool:
    return layer["class_name"] in MODELS and "input_layers" in layer["config"]


def _written(call: Call, layer: Config, write: Callable[[Reference], Any]) -> dict[str, Any]:
    """Return a call as Keras 3 writes it; Keras 2 lists a sequence and the states to start from together."""
    args, kwargs = list(call.args), dict(call.kwargs)
    kind = layer["class_name"]
    if kind in ENTRIES and ENTRIES[kind].role in {"recurrent", "rnn", "bidirectional"} and isinstance(args[0], list):
        args[0], *kwargs["initial_state"] = args[0]
    return {"args": mapped(args, write), "kwargs": mapped(kwargs, write)}


def _one(ends: list[Any]) -> list[Any]:
    return ends[0] if len(ends) == 1 else ends
