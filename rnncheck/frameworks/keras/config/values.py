"""The values in a description: options, activations and precisions as plain data, or refused by name."""

from __future__ import annotations

import inspect
import math
import sys
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
            raise InputError(f"layer {name!r}: its description has no {option}; expected one. Save the model again.")
        value = config.get(option, entry.defaults.get(option))
        value = read_activation(name, value) if option.endswith("activation") else _along_axes(kind, option, value)
        check_form(name, option, value, kind)
        options[option] = value
    return options


def check_form(name: str, option: str, value: Any, kind: str = "") -> None:
    """Refuse an option of a layer, of some kind, that has not the form that it has to have."""
    fits, expected = _form(kind, option)
    if not fits(value):
        raise InputError(f"layer {name!r}: got {option}={value!r}; expected {expected}.")


# How many axes of space a kind of layer has; 0 for one without.
def _rank(kind: str) -> int:
    return int(kind[-2]) if kind[-1:] == "D" and kind[-2].isdigit() else 0


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
        return lambda value: _has(value, rank) and _are_sizes(value), expected
    if option == "cropping" or (option == "padding" and kind.startswith("ZeroPadding")):
        return lambda value: _has(value, rank) and all(map(_are_ends, value)), f"{rank} pairs of {_AMOUNTS}"
    if option == "padding" and kind not in _CAUSAL:
        return _one_of("valid", "same")
    if option == "axis" and kind == "GroupNormalization":
        return _is_integer, "an integer"
    return FORMS[option]


def _one_of(*words: str) -> tuple[Callable[[Any], bool], str]:
    return lambda value: isinstance(value, str) and value in words, f"{', '.join(words[:-1])} or {words[-1]}"


# The options with a number for each axis of space.
_SIZES = ("kernel_size", "dilation_rate", "pool_size", "strides", "size")
_CAUSAL = ("Conv1D", "SeparableConv1D")  # the latter in Keras 2

# The most that an option may declare: units of a layer, and numbers in a window.
_MOST_UNITS, _MOST_IN_WINDOW = 2**24, 2**20

# What inputs and constants may be in.
DTYPES = frozenset({
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "bfloat16", "float32", "float64",
})  # fmt: skip


def is_count(value: Any) -> bool:
    """Whether a value is an integer from 1 up; a truth value is none."""
    return _is_integer(value) and value > 0


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_size(value: Any) -> bool:
    return is_count(value) and value <= _MOST_UNITS


def _are_sizes(value: Any) -> bool:
    return isinstance(value, tuple) and all(map(_is_size, value)) and math.prod(value) <= _MOST_IN_WINDOW


def _has(value: Any, count: int) -> bool:
    return isinstance(value, tuple) and len(value) == count


def _are_ends(value: Any) -> bool:
    return _has(value, 2) and all(_is_integer(each) and 0 <= each <= _MOST_UNITS for each in value)


def _are_integers(value: Any) -> bool:
    return isinstance(value, tuple) and all(map(_is_integer, value))


def _are_axes(value: Any) -> bool:
    return _is_integer(value) or (_are_integers(value) and bool(value))


def is_number(value: Any) -> bool:
    """Whether a value is a number of float64; NaN, infinities and larger integers are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


_NUMBERS = ("epsilon", "alpha", "negative_slope", "mask_value", "threshold")
_FLAGS = (
    "use_bias", "return_sequences", "return_state", "go_backwards", "stateful", "zero_output_for_mask", "reset_after",
    "center", "scale", "keepdims", "mask_zero", "use_scale", "normalize", "rms_scaling",
)  # fmt: skip

_AN_INTEGER = f"a positive integer up to {_MOST_UNITS}"
_INTEGERS = f"positive integers whose product is {_MOST_IN_WINDOW} at most"
_AMOUNTS = f"integers from 0 to {_MOST_UNITS}"

# What each option has to be; a damaged file may have something else, which would stop the replay.
FORMS: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(
        ("units", "filters", "n", "groups", "depth_multiplier", "input_dim", "output_dim"), (_is_size, _AN_INTEGER)
    ),
    **dict.fromkeys(("kernel_size", "dilation_rate", "pool_size", "strides"), (_are_sizes, _INTEGERS)),
    "padding": _one_of("valid", "same", "causal"),
    "data_format": _one_of("channels_last", "channels_first"),
    "score_mode": _one_of("dot", "concat"),
    "merge_mode": (lambda value: value is None or isinstance(value, str), "a word or None"),
    **dict.fromkeys(("target_shape", "dims"), (_are_integers, "integers")),
    **dict.fromkeys(("axis", "axes"), (_are_axes, "an integer or several")),
    "shared_axes": (lambda value: value is None or _are_axes(value), "integers or None"),
    "max_value": (lambda value: value is None or is_number(value), "a finite number or None"),
    **dict.fromkeys(_FLAGS, (lambda value: isinstance(value, bool), "True or False")),
    **dict.fromkeys(_NUMBERS, (is_number, "a finite number")),
    **dict.fromkeys(
        ("activation", "recurrent_activation"), (lambda value: isinstance(value, Activation), "an activation")
    ),
    "value": (lambda value: isinstance(value, bool) or is_number(value), "a finite number"),  # of NotEqual
    "dtype": (lambda value: isinstance(value, str) and value in DTYPES, "a format of numbers"),  # of Cast
}


def plain(value: Any) -> Any:
    """Return a written value as plain data: lists as tuples, arrays as arrays, numbers as numbers."""
    kind = value.get("class_name") if isinstance(value, Mapping) else None
    if kind in {"__numpy__", "__tensor__"}:
        dtype = value["config"].get("dtype")
        if dtype is not None and dtype not in DTYPES:
            raise InputError(f"model: got an array with dtype {dtype!r}; expected numbers.")
        array = np.asarray(value["config"]["value"], dtype="float32" if dtype == "bfloat16" else dtype)
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
    found = value if isinstance(value, Activation) else Activation(activation_name(value))
    # No description that Keras writes may name a function of Keras 2: `upgrade` alone does.
    replayed = {**ACTIVATIONS, **KERAS2_ACTIVATIONS} if found is value else ACTIVATIONS

    def unsupported(said: str) -> UnsupportedError:
        return UnsupportedError(f"layer {layer!r}: activation {found.name!r} {said}.")

    if found.name not in replayed:
        raise unsupported(f"is not one that rnncheck replays; expected one of {', '.join(sorted(ACTIVATIONS))}")
    takes = {k: v for k, v in inspect.signature(replayed[found.name]).parameters.items() if k != "x"}
    if unknown := ", ".join(sorted(set(found.parameters) - set(takes))):
        expected = ", ".join(sorted(takes)) or "the activation without parameters"
        raise unsupported(f"with {unknown} is not replayed; expected only {expected}")
    needed = {name for name, parameter in takes.items() if parameter.default is inspect.Parameter.empty}
    if missing := ", ".join(sorted(needed - set(found.parameters))):
        raise unsupported(f"lacks {missing}; expected functools.partial with all of its parameters")
    return found


def activation_name(value: Any) -> str:
    """Return the name of an activation as it is written, in a word or as an object."""
    if not isinstance(value, Mapping):
        return "linear" if value is None else str(ALIASES.get(value, value))
    if value.get("class_name") == "function":
        return str(value.get("config"))
    return "<lambda>" if value.get("class_name") == "__lambda__" else str(value.get("class_name", "<lambda>"))


def policy_name(policy: Any) -> Any:
    """Return the name of a dtype policy as it is written, in a word or as an object."""
    if isinstance(policy, Mapping):
        inner = policy.get("config", {})
        if "source_name" in inner:  # a quantised policy, which has no name of its own
            return f"{inner.get('mode')}_from_{inner['source_name']}"
        policy = inner.get("name", policy.get("class_name"))
    return policy or "float32"


def read_precision(layer: str, policy: Any) -> str:
    """Return the precision that a layer with a dtype policy computes in; float32 without one."""
    name = policy_name(policy)
    if name not in POLICIES:
        said = f"dtype policy {name!r} is not replayed; expected one that computes in {', '.join(PRECISIONS)}"
        raise UnsupportedError(f"layer {layer!r}: {said}.")
    return POLICIES[name]
