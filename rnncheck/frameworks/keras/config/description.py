"""What a Keras model says of itself (its JSON configuration): objects with their classes, options and precisions.

What rnncheck does not know is refused, by the layer's and the option's name. Nothing in a description is executed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rnncheck.errors import InputError, UnsupportedError
from rnncheck.frameworks.keras.config.entries import COMMON, ENTRIES, MODELS, OPERATIONS, OTHER_NAMES, Entry, Weight
from rnncheck.frameworks.keras.config.owners import Owner, container_names
from rnncheck.frameworks.keras.config.values import read_options, read_precision

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Object:
    """One layer, cell or model as it is described."""

    name: str
    kind: str  # its class
    entry: Entry  # what is known of its class
    config: Config  # its options as they were written
    path: tuple[str, ...]  # how to reach it from the model; see `owners.Owner`
    root: str  # the name of the model's own layer that it belongs to
    trainable: bool  # whether it and everything around it may be trained
    options: Mapping[str, Any]  # those that change a number; none for a model
    precision: str  # what it computes in; empty for a model
    parts: tuple[Object, ...] = ()  # a model's layers, an RNN's cell, a Bidirectional's two halves
    lenient: bool = False  # whether layers that are not replayed are read too
    refusal: UnsupportedError | None = None  # why it is not replayed; None if it is

    def unsupported(self, said: str) -> UnsupportedError:
        """Return the refusal of what rnncheck does not replay."""
        return UnsupportedError(f"layer {self.name!r}: {said}")

    def invalid(self, said: str) -> InputError:
        """Return the refusal of what Keras does not write."""
        return InputError(f"layer {self.name!r}: {said}")

    @property
    def is_model(self) -> bool:
        """Whether it is a model: the whole one, or one inside it."""
        return self.entry.role == "model"

    @property
    def weights(self) -> list[Weight]:
        """The weights that it has with its options."""
        if self.refusal:
            return []
        return [w for w in self.entry.weights if all(self.options[name] == value for name, value in w.when.items())]

    @property
    def everything(self) -> Iterator[Object]:
        """It and all objects inside it, outer ones first."""
        yield self
        for part in self.parts:
            yield from part.everything

    @property
    def owners(self) -> Iterator[Owner]:
        """Every object in it that has weights, in order."""
        for each in self.everything:
            if (weights := each.weights) or each.refusal:
                yield Owner(
                    names=tuple(weight.name for weight in weights),
                    trainable=tuple(weight.trainable and each.trainable for weight in weights),
                    path=each.path if each.refusal else each.weights_path,
                    layer=each.root,
                    unchecked=each.refusal is not None,
                )

    @property
    def weights_path(self) -> tuple[str, ...]:
        """The path of the object that has the weights: the cell of a recurrent layer, else itself."""
        return (*self.path, "cell") if self.entry.role == "recurrent" else self.path


def read_model(description: Config, *, lenient: bool = False) -> Object:
    """Read the description of a whole model in the form of Keras 3; see `Object.lenient`."""
    kind, config = class_of(description), config_of(description)
    name = str(config.get("name", kind))
    if "layers" not in config or (kind != "Sequential" and "input_layers" not in config):
        raise not_built(name, kind)
    trainable = config.get("trainable") is not False
    model = Object(name, kind, MODELS["Functional"], config, (), "", trainable, {}, precision="", lenient=lenient)
    return replace(model, parts=tuple(_members(model, config["layers"], "layers")))


def not_built(name: Any, kind: str) -> UnsupportedError:
    """Return the refusal of what is no graph of layers."""
    return UnsupportedError(
        f"model {name!r}: got {kind} without a graph of layers; expected a built Sequential or functional model. "
        "Build it by giving it an Input."
    )


def name_of(description: Config) -> str:
    """Return the name of what is described."""
    name = description.get("name") or config_of(description).get("name")
    if not isinstance(name, str):
        raise InputError(
            f"layer of class {class_of(description)}: got the name {name!r}; expected a word. If it is a class of "
            "your own, its get_config has to begin with super().get_config()."
        )
    return name


def config_of(description: Config) -> Config:
    """Return the options of what is described; an InputError where it has none."""
    config = description.get("config")
    if not isinstance(config, Mapping):
        name = description.get("name", class_of(description))
        raise InputError(
            f"layer {name!r}: its description has no options; expected those that Keras writes. Save the model again."
        )
    return config


def is_of_keras(description: Config) -> bool:
    """Whether a class is Keras' own, as far as the description says; an `.h5` file gives no module."""
    return str(description.get("module", "keras")).split(".", maxsplit=1)[0] in {"keras", "tf_keras"}


def is_operation(description: Config) -> bool:
    """Whether it is a function of Keras between layers, such as those that compute masks.

    Where no module is given, an operation is what lacks the options that every layer has.
    """
    module = description.get("module")
    if module is not None:
        return str(module).startswith(("keras.src.ops", "keras.ops"))
    kind, config = class_of(description), config_of(description)
    return "trainable" not in config and (kind in OPERATIONS or (kind in ENTRIES and "dtype" not in config))


def class_of(description: Config) -> str:
    """Return the class of what is described, by its own name."""
    name = str(description["class_name"])
    return OTHER_NAMES.get(name, name)


# The layers of a model, or the cells of a stack; only a model has operations and inputs among them.
def _members(model: Object, descriptions: Sequence[Config], container: str) -> Iterator[Object]:
    layers = [d for d in descriptions if container == "cells" or not is_operation(d)]
    for description, step in zip(layers, container_names([class_of(d) for d in layers]), strict=True):
        if class_of(description) != "InputLayer":
            try:
                yield _part(model, description, container, step)
            except UnsupportedError as refusal:
                if container == "cells" or not model.lenient:
                    raise
                yield _refused(model, description, refusal, container, step)


# A layer that is not replayed. One of another package may make masks, as Masking does.
def _refused(model: Object, description: Config, refusal: UnsupportedError, *steps: str) -> Object:
    kind, name, path = class_of(description), name_of(description), (*model.path, *steps)
    entry = ENTRIES.get(kind, Entry()) if is_of_keras(description) else Entry(masks="values")
    return Object(name, kind, entry, {}, path, model.root or name, True, {}, precision="", refusal=refusal)


def _part(parent: Object, description: Config, *steps: str) -> Object:
    kind = class_of(description)
    name = str(description.get("name") or config_of(description).get("name", kind))
    entry, config = ENTRIES.get(kind) or MODELS.get(kind), config_of(description)
    # A model that is a class of its own describes no layers: nothing says what it computes.
    if entry is None or not is_of_keras(description) or (kind in MODELS and "layers" not in config):
        raise not_replayed(name, kind)
    if kind in ENTRIES:
        _refuse_unknown(name, kind, entry, config)
    found = Object(
        name=name,
        kind=kind,
        entry=entry,
        config=config,
        path=(*parent.path, *steps),
        root=parent.root or name,
        trainable=parent.trainable and config.get("trainable") is not False,
        options=read_options(name, kind, entry, config),
        precision=read_precision(name, config.get("dtype")) if kind in ENTRIES else "",
        lenient=parent.lenient,
    )
    return replace(found, parts=tuple(_parts(found)))


def _parts(found: Object) -> Iterator[Object]:
    config = found.config
    match found.entry.role:
        case "model":
            yield from _members(found, config["layers"], "layers")
        case "rnn":
            yield _part(found, config["cell"], "cell")
        case "stack":
            yield from _members(found, config["cells"], "cells")
        case "time_distributed":
            yield _part(found, config["layer"], "layer")
        case "bidirectional":
            yield from _halves(found)


# The forward and the backward layer, named as Keras names them.
# Source: Keras 3.15 and 2.15, Bidirectional.__init__.
def _halves(found: Object) -> Iterator[Object]:
    layer = found.config["layer"]
    name, config = str(config_of(layer)["name"]), config_of(layer)
    # Keras sets it in both, whatever they say themselves.
    zero_output = {"zero_output_for_mask": bool(config.get("return_sequences", False))}
    forward = {**config, "name": f"forward_{name.removeprefix('forward_')}"}
    if backward_layer := found.config.get("backward_layer"):
        backward = config_of(backward_layer)
    else:
        backward_layer = layer
        backward = {**config, "name": f"backward_{name.removeprefix('backward_')}", "go_backwards": True}
    yield _part(found, {**layer, "config": {**forward, **zero_output}}, "forward_layer")
    yield _part(found, {**backward_layer, "config": {**backward, **zero_output}}, "backward_layer")


def not_replayed(name: str, kind: str) -> UnsupportedError:
    """Return the refusal of a layer class."""
    return UnsupportedError(
        f'layer {name!r}: {kind} is not a layer that rnncheck replays; expected one of those under "What is checked" '
        "in the README."
    )


# Refuse what the entry refuses, and every option that a newer Keras may have added.
def _refuse_unknown(name: str, kind: str, entry: Entry, config: Config) -> None:
    for option, accepted in entry.refused.items():
        value = config.get(option, accepted)
        if value != accepted:
            shown = value["class_name"] if isinstance(value, Mapping) and "class_name" in value else repr(value)
            said = f"{option}={shown} is not replayed for {kind}; expected {option}={accepted!r}"
            raise UnsupportedError(f"layer {name!r}: {said}.")
    if unknown := set(config) - entry.known - COMMON:
        raise unknown_options(name, kind, unknown)


def unknown_options(name: str, kind: str, unknown: set[str]) -> UnsupportedError:
    """Return the refusal of options that no entry names."""
    return UnsupportedError(
        f"layer {name!r}: this Keras' {kind} takes {', '.join(sorted(unknown))}, which rnncheck does not know; "
        "expected an older Keras. See the versions in pyproject.toml."
    )
