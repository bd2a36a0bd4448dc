"""The values in a description: options, activations and precisions as plain data, or refused by name."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rnncheck.cases.case import ALIASES, POLICIES
from rnncheck.equations.activations import ACTIVATIONS, KERAS2_ACTIVATIONS
from rnncheck.errors import InputError, UnsupportedError
from rnncheck.frameworks.keras.config.entries import Entry
from rnncheck.network import Activation, Array
from rnncheck.rounding.precision import PRECISIONS


def read_options(name: str, kind: str, entry: Entry, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a layer or cell that change a number, by Keras' names.

    Here and below, what Keras does not write is an InputError, what is not replayed an UnsupportedError.
    """
    options = {}
    for option in (*entry.checked, *entry.inherited):
        if option not in config and option not in entry.defaults:
            raise InputError(f"layer {name!r}: its description has no {option}; expected one, as Keras writes it.")
        value = config.get(option, entry.defaults.get(option))
        value = read_activation(name, value) if option.endswith("activation") else _along_axes(kind, option, value)
        fits, expected = _form(kind, option)
        if not fits(value):
            raise InputError(f"layer {name!r}: got {option}={value!r}; expected {expected}.")
        options[option] = value
    return options


# How many axes of space a kind of layer has; 0 for one without.
def _rank(kind: str) -> int:
    return int(kind[-2]) if kind[-1] == "D" and kind[-2].isdigit() else 0


# An option as plain data; with a number, or a pair of them, for each axis of space where Keras writes one for all.
def _along_axes(kind: str, option: str, value: Any) -> Any:
    value, rank = plain(value), _rank(kind)
    if rank and option in _SIZES:
        return value if isinstance(value, tuple) else (value,) * rank
    if not kind.startswith(("ZeroPadding", "Cropping")) or option == "data_format":
        return value
    if not isinstance(value, tuple):
        return ((value, value),) * rank
    ends = (value,) if rank == 1 else value
    return tuple(each if isinstance(each, tuple) else (each, each) for each in ends)


# What an option has to be, and how that is said.
def _form(kind: str, option: str) -> tuple[Callable[[Any], bool], str]:
    rank = _rank(kind)
    if rank and option in _SIZES:
        expected = f"{rank} positive integers whose product is {_MOST_IN_WINDOW} at most"
        return lambda value: _are_sizes(value) and len(value) == rank, expected
    if option == "cropping" or (option == "padding" and kind.startswith("ZeroPadding")):
        return lambda value: len(value) == rank and all(map(_are_ends, value)), f"{rank} pairs of {_AMOUNTS}"
    if option == "padding" and kind not in _CAUSAL:
        return _one_of("valid", "same")
    if option == "axis" and kind == "GroupNormalization":
        return lambda value: isinstance(value, int), "an integer"
    return _FORMS.get(option, (lambda _: True, ""))


def _one_of(*words: str) -> tuple[Callable[[Any], bool], str]:
    return lambda value: value in words, f"{', '.join(words[:-1])} or {words[-1]}"


# The options with a number for each axis of space.
_SIZES = ("kernel_size", "dilation_rate", "pool_size", "strides", "size")
_CAUSAL = ("Conv1D", "SeparableConv1D")  # the latter in Keras 2

# The most that an option may declare: units of a layer, and numbers in a window.
_MOST_UNITS, _MOST_IN_WINDOW = 2**24, 2**20


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MOST_UNITS


def _are_sizes(value: Any) -> bool:
    return all(map(_is_size, value)) and math.prod(value) <= _MOST_IN_WINDOW


def _are_ends(value: Any) -> bool:
    return len(value) == 2 and all(each == 0 or _is_size(each) for each in value)


_NUMBERS = ("epsilon", "alpha", "negative_slope", "mask_value")
_FLAGS = (
    "use_bias", "return_sequences", "return_state", "go_backwards", "stateful", "zero_output_for_mask", "reset_after",
    "center", "scale", "keepdims", "mask_zero", "use_scale", "normalize", "rms_scaling",
)  # fmt: skip

_AN_INTEGER = f"a positive integer up to {_MOST_UNITS}"
_AMOUNTS = f"integers from 0 to {_MOST_UNITS}"

# What an option has to be; a damaged file may have something else, which would stop the replay.
_FORMS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(
        ("units", "filters", "n", "groups", "depth_multiplier", "input_dim", "output_dim"), (_is_size, _AN_INTEGER)
    ),
    "padding": _one_of("valid", "same", "causal"),
    "data_format": _one_of("channels_last", "channels_first"),
    **dict.fromkeys(_FLAGS, (lambda value: isinstance(value, bool), "True or False")),
    **dict.fromkeys(_NUMBERS, (lambda value: isinstance(value, int | float), "a number")),
}


def plain(value: Any) -> Any:
    """Return a written value as plain data: lists as tuples, arrays as arrays, numbers as numbers."""
    kind = value.get("class_name") if isinstance(value, Mapping) else None
    if kind in {"__numpy__", "__tensor__"}:
        array = np.asarray(value["config"]["value"], dtype=value["config"].get("dtype"))
        return array.item() if array.ndim == 0 else array
    if kind in {"__tuple__", "TensorShape"}:
        value = value.get("items", value.get("config"))
    return tuple(plain(item) for item in value) if isinstance(value, list | tuple) else value


def constant(value: Any) -> Array | None:
    """Return what a call passes in place of a tensor as an array; None where it is none."""
    value = plain(value)
    if isinstance(value, tuple):
        value = np.asarray(value)
    return value if isinstance(value, np.ndarray) and value.dtype.kind in "biuf" else None


def read_activation(layer: str, value: Any) -> Activation:
    """Return an activation; one with parameters of its own, or of Keras 2, is described by an `Activation`."""
    found = value if isinstance(value, Activation) else Activation(_activation_name(value))
    # No description that Keras writes may name a function of Keras 2: `upgrade` alone does.
    replayed = {**ACTIVATIONS, **KERAS2_ACTIVATIONS} if found is value else ACTIVATIONS

    def unsupported(said: str) -> UnsupportedError:
        return UnsupportedError(f"layer {layer!r}: activation {found.name!r} {said}.")

    if found.name not in replayed:
        raise unsupported(f"is not one that rnncheck replays. Supported: {', '.join(sorted(ACTIVATIONS))}")
    takes = {k: v for k, v in inspect.signature(replayed[found.name]).parameters.items() if k != "x"}
    if unknown := ", ".join(sorted(set(found.parameters) - set(takes))):
        expected = ", ".join(sorted(takes)) or "the activation without parameters"
        raise unsupported(f"with {unknown} is not replayed; expected only {expected}")
    needed = {name for name, parameter in takes.items() if parameter.default is inspect.Parameter.empty}
    if missing := ", ".join(sorted(needed - set(found.parameters))):
        raise unsupported(f"lacks {missing}; expected functools.partial with all of its parameters")
    return found


# Of a function or layer that is none of Keras', what it is called there.
def _activation_name(value: Any) -> str:
    if not isinstance(value, Mapping):
        return "linear" if value is None else str(ALIASES.get(value, value))
    if value.get("class_name") == "function":
        return str(value.get("config"))
    return "<lambda>" if value.get("class_name") == "__lambda__" else str(value.get("class_name", "<lambda>"))


def read_precision(layer: str, policy: Any) -> str:
    """Return the precision that a layer with a dtype policy computes in; float32 without one."""
    if isinstance(policy, Mapping):
        inner = policy.get("config", {})
        if "source_name" in inner:  # a quantised policy, which has no name of its own
            inner = {"name": f"{inner.get('mode')}_from_{inner['source_name']}"}
        policy = inner.get("name", policy.get("class_name"))
    policy = policy or "float32"
    if policy not in POLICIES:
        said = f"dtype policy {policy!r} is not replayed; expected one that computes in {', '.join(PRECISIONS)}"
        raise UnsupportedError(f"layer {layer!r}: {said}.")
    return POLICIES[policy]
