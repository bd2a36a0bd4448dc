"""From a Keras model in memory to a Network: its own description and its weights, read by `reader`."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncheck.equations.activations import ACTIVATIONS, KERAS2_ACTIVATIONS
from rnncheck.frameworks.keras.config.description import not_built, not_replayed, unknown_options
from rnncheck.frameworks.keras.config.entries import COMMON, ENTRIES, MODELS
from rnncheck.frameworks.keras.config.owners import Owner, container_names
from rnncheck.frameworks.keras.config.reader import read
from rnncheck.network import Activation, Array, Network


def extract(model: Any, *, lenient: bool = False) -> Network:
    """Take the Network out of a Keras model.

    Args:
        model: a built Sequential or functional model.
        lenient: whether a layer that is not replayed becomes one of the kind `UNCHECKED`.

    Returns:
        Its layers, weights and graph as plain data.

    Raises:
        UnsupportedError: the model is not built, or has a layer, an option or a structure that rnncheck does not
            replay.
        InputError: a weight is NaN or infinite.
    """
    import keras

    if not getattr(model, "outputs", None):
        raise not_built(getattr(model, "name", model), type(model).__name__)
    # A layer that is used in several places is refused, or renamed for a while, once.
    inside = dict.fromkeys(_inside(model))
    inner = [layer for layer in inside if not _is_model(layer) and type(layer).__name__ != "InputLayer"]
    # A class is refused before Keras is asked to describe it, and so are arguments that a newer Keras may add.
    for layer in [] if lenient else inner:
        kind = type(layer).__name__
        if not _is_read(layer):
            raise not_replayed(str(layer.name), kind)
        if unknown := constructor_arguments(type(layer)) - ENTRIES[kind].known - COMMON:
            raise unknown_options(str(layer.name), kind, unknown)
    return read(_description(model, inner), LiveStore(model), keras.__version__, lenient=lenient)


@dataclass(frozen=True)
class LiveStore:
    """The weights of a Keras model in memory."""

    model: Any

    def read(self, owners: Sequence[Owner]) -> list[Mapping[str, Array]]:
        """Return the weights of every owner by name."""
        holders = [find(self.model, owner.path) for owner in owners]
        pairs = zip(holders, owners, strict=True)
        return [{name: to_numpy(getattr(holder, name)) for name in owner.names} for holder, owner in pairs]


def find(model: Any, path: Sequence[str]) -> Any:
    """Return the object of a Keras model at a path; see `owners.Owner`."""
    found, steps = model, iter(path)
    for step in steps:
        found = getattr(found, step)
        if step in {"layers", "cells"}:
            names = container_names([type(member).__name__ for member in found])
            found = dict(zip(names, found, strict=True))[next(steps)]
    return found


def to_numpy(value: Any) -> Array:
    """Return a Keras variable or array as a NumPy array; bfloat16, which NumPy lacks, as float32."""
    import keras

    array: Array = keras.ops.convert_to_numpy(value)
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def constructor_arguments(layer_class: Any) -> set[str]:
    """Return the names of a layer class' own constructor arguments."""
    parameters = inspect.signature(layer_class.__init__).parameters.values()
    return {p.name for p in parameters if p.kind not in {p.VAR_KEYWORD, p.VAR_POSITIONAL}} - {"self"}


# Every layer and cell inside a layer, outer ones first; the cell of an LSTM layer is a part of it.
def _inside(layer: Any) -> Iterator[Any]:
    for each in layer._layers:
        yield each
        if not _is_recurrent(each):
            yield from _inside(each)


def _is_recurrent(layer: Any) -> bool:
    entry = ENTRIES.get(type(layer).__name__)
    return entry is not None and entry.role == "recurrent"


def _is_of_keras(thing: Any) -> bool:
    return getattr(thing, "__module__", "").startswith("keras.") and hasattr(thing, "__name__")


def _is_read(layer: Any) -> bool:
    return type(layer).__name__ in ENTRIES and _is_of_keras(type(layer))


def _is_model(layer: Any) -> bool:
    return type(layer).__name__ in MODELS and _is_of_keras(type(layer))


# What the model says of itself; a functional model in a class of its own, as a plain one.
def _description(model: Any, inner: Sequence[Any]) -> Mapping[str, Any]:
    import keras

    sequential = isinstance(model, keras.Sequential)
    if not sequential and not _is_model(model):
        model = keras.Model(model._inputs_struct, model._outputs_struct, name=model.name)
    with _named_activations(inner) as stood_in, contextlib.ExitStack() as stack:
        # A layer that is not read may be one that cannot describe itself.
        for layer in inner:
            if not _is_read(layer):
                stack.callback(delattr, layer, "get_config")
                layer.get_config = functools.partial(dict, name=layer.name)
        described = keras.saving.serialize_keras_object(model)
    named: Mapping[str, Any] = _restored(described, stood_in)
    return {**named, "class_name": "Sequential"} if sequential else named


# For a while, put functions with a name of our own in place of those that Keras cannot describe or misnames.
@contextlib.contextmanager
def _named_activations(layers: Sequence[Any]) -> Iterator[dict[str, Activation]]:
    import keras

    found: dict[str, Activation] = {}
    with contextlib.ExitStack() as stack:
        for layer in layers:
            holder = layer.cell if _is_recurrent(layer) else layer
            for attribute in ("activation", "recurrent_activation"):
                function = vars(holder).get(attribute)
                if function is None or isinstance(function, keras.layers.Layer) or _is_of_keras(function):
                    continue

                def stand_in(x: Any) -> Any:
                    return x

                stand_in.__name__ = f"rnncheck_activation_{len(found)}"
                found[stand_in.__name__] = _activation(function)
                stack.callback(setattr, holder, attribute, function)
                setattr(holder, attribute, stand_in)
        yield found


# A functools.partial of a Keras activation has its parameters.
def _activation(function: Any) -> Activation:
    parameters: dict[str, Any] = {}
    if isinstance(function, functools.partial) and not function.args:
        function, parameters = function.func, dict(function.keywords)
    name = getattr(function, "__name__", type(function).__name__)
    if _is_of_keras(function):
        return Activation(name, parameters)
    # The user's own function is not Keras' of that name, and is refused.
    return Activation(f"{function.__module__}.{name}" if name in {*ACTIVATIONS, *KERAS2_ACTIVATIONS} else name)


# The activations in place of what stood in for them.
def _restored(described: Any, partials: Mapping[str, Activation]) -> Any:
    if isinstance(described, Mapping):
        if described.get("class_name") == "function" and described.get("config") in partials:
            return partials[described["config"]]
        return {key: _restored(value, partials) for key, value in described.items()}
    return [_restored(value, partials) for value in described] if isinstance(described, list) else described
