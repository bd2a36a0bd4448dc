"""What a Keras model says of itself (its JSON configuration), one object at a time: class, options, precision.

What rnncheck does not know is refused, by the layer's and the option's name. Nothing in a description is executed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rnncheck.equations.activations import ACTIVATIONS, KERAS2_ACTIVATIONS
from rnncheck.errors import InputError, UnsupportedError
from rnncheck.frameworks.keras.config.entries import COMMON, ENTRIES, OPERATIONS, Entry, Weight
from rnncheck.frameworks.keras.config.weights import Owner, container_names
from rnncheck.network import Activation, Array
from rnncheck.rounding.precision import PRECISIONS

Config = Mapping[str, Any]


MODEL = "model"  # the kind of the whole model, whatever its class


MODELS = frozenset({"Functional", "Sequential", "Model"})


ALIASES = {None: "linear", "swish": "silu", "hard_swish": "hard_silu"}


# Options that files of Keras 2 call by another name.
_OLD_NAMES = {"LeakyReLU": {"alpha": "negative_slope"}}


_COMPUTES = {"mixed_float16": "float16", "mixed_bfloat16": "bfloat16"}


@dataclass(frozen=True)
class Object:
    """One layer, cell or model as it is described.

    Attributes:
        name: its own name.
        kind: its class.
        config: its options as they were written.
        path: how to reach it from the model; see `weights.Owner`.
        root: the name of the model's own layer that it belongs to.
        trainable: whether it and everything around it may be trained.
        keras2: whether Keras 2 wrote it.
        parts: the objects inside it: a model's layers, an RNN's cell, a Bidirectional's two halves.
    """

    name: str
    kind: str
    config: Config
    path: tuple[str, ...]
    root: str
    trainable: bool
    keras2: bool
    parts: tuple[Object, ...] = ()

    @property
    def entry(self) -> Entry:
        """What is known of its class."""
        return ENTRIES[self.kind]

    @property
    def is_model(self) -> bool:
        """Whether it is a model: the whole one, or one inside it."""
        return self.kind not in ENTRIES

    @property
    def owners(self) -> Iterator[Owner]:
        """Every object in it that has weights, in order."""
        if not self.is_model and (weights := own_weights(self)):
            yield Owner(
                names=tuple(weight.name for weight in weights),
                trainable=tuple(weight.trainable and self.trainable for weight in weights),
                path=self.weights_path,
                layer=self.root,
            )
        for part in self.parts:
            yield from part.owners

    @property
    def weights_path(self) -> tuple[str, ...]:
        """The path of the object that has the weights: the cell of a recurrent layer, else itself."""
        return (*self.path, "cell") if self.entry.role == "recurrent" else self.path


def own_weights(found: Object) -> list[Weight]:
    """Return the weights that an object has with its options."""
    read = {name: found.config.get(name, default) for name, default in found.entry.defaults.items()}
    return [w for w in found.entry.weights if all(read[name] == value for name, value in w.when.items())]


def read_model(description: Config, *, keras2: bool) -> Object:
    """Read the description of a whole model.

    Raises:
        UnsupportedError: it has no graph of layers, or a layer or an option that is not replayed.
        InputError: it is not what Keras writes.
    """
    kind, config = _class(description), _config(description)
    name = str(config.get("name", kind))
    if "layers" not in config or (kind != "Sequential" and "input_layers" not in config):
        raise not_built(name, kind)
    model = Object(name, MODEL, config, (), "", config.get("trainable") is not False, keras2)
    return replace(model, parts=tuple(_members(model, config["layers"], "layers")))


def is_keras2(keras_version: str) -> bool:
    """Whether a Keras of the time before 3 wrote something."""
    return keras_version.split(".", maxsplit=1)[0] in {"1", "2"}


def not_built(name: Any, kind: str) -> UnsupportedError:
    """Return the refusal of what is no graph of layers."""
    return UnsupportedError(
        f"model {name!r}: {kind} without a graph of layers came; expected a built Sequential or functional model. "
        "Build it by giving it an Input."
    )


def name_of(description: Config) -> str:
    """Return the name of what is described."""
    return str(description.get("name") or _config(description).get("name"))


def _class(description: Config) -> str:
    return str(description["class_name"])


def _config(description: Config) -> Config:
    config = description.get("config")
    if not isinstance(config, Mapping):
        raise InputError(
            f"layer {description.get('name', _class(description))!r}: its description has no options; expected those "
            "that Keras writes."
        )
    return config


def is_operation(description: Config) -> bool:
    """Whether it is a function of Keras between layers, such as those that compute masks.

    An `.h5` file gives no module; there an operation is what lacks the options that every layer has.
    """
    module = description.get("module")
    if module is not None:
        return str(module).startswith(("keras.src.ops", "keras.ops"))
    kind, config = _class(description), _config(description)
    return "trainable" not in config and (kind in OPERATIONS or (kind in ENTRIES and "dtype" not in config))


def _members(model: Object, descriptions: Sequence[Config], container: str) -> Iterator[Object]:
    """Yield the layers of a model or the cells of a stack."""
    layers = [d for d in descriptions if container == "cells" or not is_operation(d)]
    for description, step in zip(layers, container_names([_class(d) for d in layers]), strict=True):
        if _class(description) != "InputLayer":
            yield _part(model, description, container, step)


def _part(parent: Object, description: Config, *steps: str) -> Object:
    """Read one description inside another.

    Raises:
        UnsupportedError: its class or an option of it is not replayed.
    """
    kind = _class(description)
    name = str(description.get("name") or _config(description).get("name", kind))
    module = str(description.get("module", "keras"))
    if kind not in {*ENTRIES, *MODELS} or not module.startswith(("keras", "tf_keras")):
        raise not_replayed(name, kind)
    config = _config(description)
    if kind in MODELS and "layers" not in config:
        raise not_replayed(name, kind)
    found = Object(
        name=name,
        kind=kind,
        config=config,
        path=(*parent.path, *steps),
        root=parent.root or name,
        trainable=parent.trainable and config.get("trainable") is not False,
        keras2=parent.keras2,
    )
    if kind in ENTRIES:
        _refuse_unknown(found)
    return replace(found, parts=tuple(_parts(found)))


def _parts(found: Object) -> Iterator[Object]:
    config = found.config
    if found.is_model:
        yield from _members(found, config["layers"], "layers")
    elif found.entry.role == "rnn":
        cell = config["cell"]
        if isinstance(cell, list | tuple):
            cell = {"class_name": "StackedRNNCells", "config": {"name": "stacked_rnn_cells", "cells": cell}}
        yield _part(found, cell, "cell")
    elif found.entry.role == "stack":
        yield from _members(found, config["cells"], "cells")
    elif found.entry.role == "time_distributed":
        yield _part(found, config["layer"], "layer")
    elif found.entry.role == "bidirectional":
        yield from _halves(found)


def _halves(found: Object) -> Iterator[Object]:
    """Yield the forward and the backward layer, named as Keras names them.

    Source: Keras 3.15 and 2.15, Bidirectional.__init__.
    """
    forward = found.config["layer"]
    name, direction = str(_config(forward)["name"]), _config(forward).get("go_backwards", False)
    base = name.removeprefix("forward_")
    backward = found.config.get("backward_layer") or _with(
        forward,
        name=f"backward_{name.removeprefix('backward_')}",
        go_backwards=not direction if found.keras2 else True,
    )
    zero_output = {"zero_output_for_mask": bool(_config(forward).get("return_sequences", False))}
    yield _part(found, _with(forward, name=f"forward_{base}", **zero_output), "forward_layer")
    yield _part(found, _with(backward, **zero_output), "backward_layer")


def _with(description: Config, **options: Any) -> Config:
    return {**description, "config": {**_config(description), **options}}


def not_replayed(name: str, kind: str) -> UnsupportedError:
    """Return the refusal of a layer class, with the list of those that are replayed."""
    return UnsupportedError(
        f"layer {name!r}: {kind} is not a layer that rnncheck replays. Supported: {', '.join(sorted(ENTRIES))}; "
        'see "What is checked" in the README.'
    )


def _refuse_unknown(found: Object) -> None:
    """Refuse what the entry refuses, and every option that a newer Keras may have added."""
    entry, config = found.entry, found.config
    for name, accepted in entry.refused.items():
        value = config.get(name, accepted)
        if value != accepted:
            raise UnsupportedError(
                f"layer {found.name!r}: {name}={_shown(value)} is not replayed for {found.kind}; expected "
                f"{name}={accepted!r}."
            )
    old_names = _OLD_NAMES.get(found.kind, {})
    if unknown := set(config) - entry.known - COMMON - set(entry.older) - set(old_names):
        raise unknown_options(found.name, found.kind, unknown)


def unknown_options(name: str, kind: str, unknown: set[str]) -> UnsupportedError:
    """Return the refusal of options that no entry names."""
    return UnsupportedError(
        f"layer {name!r}: this Keras' {kind} takes {', '.join(sorted(unknown))}, which rnncheck does not know; "
        "expected an older Keras. See the versions in pyproject.toml."
    )


def _shown(value: Any) -> str:
    return str(value["class_name"]) if isinstance(value, Mapping) and "class_name" in value else repr(value)


def options(found: Object) -> dict[str, Any]:
    """Return the options that change a number, by Keras' names.

    Raises:
        UnsupportedError: an activation is not replayed.
        InputError: an option is missing.
    """
    entry = found.entry
    old_names = {new: old for old, new in _OLD_NAMES.get(found.kind, {}).items()}
    read = {}
    for name in (*entry.checked, *entry.inherited):
        written = name if name in found.config else old_names.get(name, name)
        if written not in found.config and name not in entry.defaults:
            raise InputError(
                f"layer {found.name!r}: its description has no {name}; expected one, as Keras writes it."
            )
        value = found.config.get(written, entry.defaults.get(name))
        read[name] = activation(found, value) if name.endswith("activation") else plain(value)
        _check_form(found, name, read[name])
    return _normalised(found.kind, read)


def _check_form(found: Object, name: str, value: Any) -> None:
    for names, claim, words in _FORMS:
        if name in names and not claim(value):
            raise InputError(f"layer {found.name!r}: {name}={value!r} came; expected {words}.")


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _are_sizes(value: Any) -> bool:
    return _is_size(value) or (isinstance(value, tuple) and all(map(_is_size, value)) and bool(value))


# What damaged files may have in place of an option, and would stop the replay.
_FORMS: tuple[tuple[frozenset[str], Callable[[Any], bool], str], ...] = (
    (frozenset({"units", "filters", "n", "groups", "input_dim", "output_dim"}), _is_size, "a positive integer"),
    (frozenset({"kernel_size", "dilation_rate", "pool_size"}), _are_sizes, "positive integers"),
    (frozenset({"strides"}), lambda value: value is None or _are_sizes(value), "positive integers"),
    (frozenset({"padding"}), lambda value: value in {"valid", "same", "causal"}, "valid, same or causal"),
    (
        frozenset({
            "use_bias", "return_sequences", "return_state", "go_backwards", "stateful", "zero_output_for_mask",
            "reset_after", "center", "scale", "keepdims", "mask_zero", "use_scale", "normalize", "rms_scaling",
        }),
        lambda value: isinstance(value, bool),
        "True or False",
    ),
    (
        frozenset({"epsilon", "alpha", "negative_slope", "mask_value"}),
        lambda value: isinstance(value, int | float),
        "a number",
    ),
)  # fmt: skip


def _normalised(kind: str, read: dict[str, Any]) -> dict[str, Any]:
    """Write options that Keras accepts in several forms in one."""
    for name in ("kernel_size", "strides", "dilation_rate"):
        if kind == "Conv1D" and isinstance(read.get(name), int):
            read[name] = (read[name],)
    if kind == "BatchNormalization" and isinstance(read["axis"], tuple) and len(read["axis"]) == 1:
        read["axis"] = read["axis"][0]
    return read


def plain(value: Any) -> Any:
    """Return a written value as plain data: lists as tuples, arrays as arrays, numbers as numbers."""
    if isinstance(value, Mapping) and value.get("class_name") in {"__numpy__", "__tensor__"}:
        array = np.asarray(value["config"]["value"], dtype=value["config"].get("dtype"))
        return array.item() if array.ndim == 0 else array
    if isinstance(value, Mapping) and value.get("class_name") in {"__tuple__", "TensorShape"}:
        value = value.get("items", value.get("config"))
    return tuple(plain(item) for item in value) if isinstance(value, list | tuple) else value


def activation(found: Object, value: Any) -> Activation:
    """Return an activation by name; one with parameters of its own comes as an `Activation`.

    Raises:
        UnsupportedError: rnncheck does not replay it, or not with these parameters.
    """
    given = value if isinstance(value, Activation) else Activation(_activation_name(value))
    name, parameters = given.name, given.parameters
    if name not in ACTIVATIONS:
        raise UnsupportedError(
            f"layer {found.name!r}: activation {name!r} is not one that rnncheck replays. Supported: "
            f"{', '.join(sorted(ACTIVATIONS))}."
        )
    signature = inspect.signature(ACTIVATIONS[name]).parameters
    known = set(signature) - {"x"}
    if unknown := ", ".join(sorted(set(parameters) - known)):
        raise UnsupportedError(
            f"layer {found.name!r}: activation {name!r} with {unknown} is not replayed; expected only "
            f"{', '.join(sorted(known)) or 'the activation without parameters'}."
        )
    needed = {n for n in known if signature[n].default is inspect.Parameter.empty}
    if not needed <= set(parameters):
        raise UnsupportedError(
            f"layer {found.name!r}: activation {name!r} came without {', '.join(sorted(needed - set(parameters)))}; "
            "expected functools.partial with all of them."
        )
    in_keras2 = f"{name}_keras2"
    return Activation(in_keras2 if found.keras2 and in_keras2 in KERAS2_ACTIVATIONS else name, parameters)


def _activation_name(value: Any) -> str:
    """Return the name of an activation; of a function or layer that is none of Keras', what it is called there."""
    if not isinstance(value, Mapping):
        return str(ALIASES.get(value, value))
    if value.get("class_name") == "function":
        return str(value.get("config"))
    return "<lambda>" if value.get("class_name") == "__lambda__" else str(value.get("class_name", "<lambda>"))


def precision(found: Object) -> str:
    """Return the precision that a layer computes in.

    Raises:
        UnsupportedError: rnncheck knows no such precision, or the layer is quantised.
    """
    return precision_of(found.name, found.config.get("dtype"))


def precision_of(name: str, policy: Any) -> str:
    """Return the precision of a dtype policy as it is written; float32 where none is.

    Raises:
        UnsupportedError: rnncheck knows no such precision.
    """
    if isinstance(policy, Mapping):
        inner = policy.get("config", {})
        if "source_name" in inner:
            inner = {"name": f"{inner.get('mode')}_from_{inner['source_name']}"}
        policy = inner.get("name", policy.get("class_name"))
    policy = policy or "float32"
    dtype = _COMPUTES.get(policy, policy)
    if dtype not in PRECISIONS:
        raise UnsupportedError(
            f"layer {name!r}: dtype policy {policy!r} is not replayed; expected one that computes in "
            f"{', '.join(PRECISIONS)}."
        )
    return str(dtype)


def constant(value: Any) -> Array | None:
    """Return what a call passes in place of a tensor as an array; None where it is none."""
    value = plain(value)
    if isinstance(value, tuple):
        value = np.asarray(value)
    return value if isinstance(value, np.ndarray) and value.dtype.kind in "biuf" else None
