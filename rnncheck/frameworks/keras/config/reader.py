"""From a Keras model's own description and its weights to a Network, without Keras."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rnncheck.errors import InputError, UnsupportedError
from rnncheck.frameworks.keras.config.calls import Value, names_of_ends, read_ends
from rnncheck.frameworks.keras.config.description import Config, Object, name_of, not_built, read_model
from rnncheck.frameworks.keras.config.entries import Weight
from rnncheck.frameworks.keras.config.lowering import Lowering
from rnncheck.frameworks.keras.config.owners import WeightStore
from rnncheck.frameworks.keras.config.upgrade import is_keras2, upgraded
from rnncheck.frameworks.keras.config.values import DTYPES, is_count, plain, read_precision
from rnncheck.network import Array, InputSpec, Layer, Network, Tensor


def read(config: Mapping[str, Any], weights: WeightStore, keras_version: str, *, lenient: bool = False) -> Network:
    """Read a model from what `keras.saving.serialize_keras_object(model)` gives, or a model file holds.

    If it is `lenient`, a layer that is not replayed becomes one of the kind `UNCHECKED`.

    Raises:
        UnsupportedError: it has a layer, an option or a structure that rnncheck does not replay.
        InputError: the description or the weights are not what Keras writes.
    """
    try:
        keras2 = is_keras2(config, keras_version)
        model = read_model(upgraded(config) if keras2 else config, lenient=lenient)
        specs = _input_specs(model)
        lowering = Lowering(keras2, lenient)
        outputs = lowering.run_model(model, [Value(Tensor(spec.name)) for spec in specs])
        names = names_of_ends(model.config.get("output_layers"))
    # A damaged description may have anything anywhere.
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"model: its description is not one that Keras writes ({type(error).__name__}: {error}); expected the "
            "configuration of a Sequential or functional model."
        ) from error
    return Network(
        name=model.name,
        inputs=tuple(specs),
        layers=tuple(_with_weights(model, lowering, weights)),
        outputs=tuple(value.tensor for value in outputs),
        output_names=names,
    )


# What a model takes, in its order.
def _input_specs(model: Object) -> list[InputSpec]:
    described = {name_of(layer): layer for layer in model.config["layers"]}
    if "input_layers" in model.config:
        names = [end.layer for end in read_ends(model.config["input_layers"])]
    else:
        names = list(described)[:1]
        if not names or described[names[0]]["class_name"] != "InputLayer":
            raise not_built(model.name, "Sequential")
    return [_spec(name, described[name]["config"]) for name in names]


def _spec(name: str, config: Config) -> InputSpec:
    for option in ("sparse", "ragged"):
        if config.get(option):
            raise UnsupportedError(f"input {name!r}: {option}=True is not replayed; expected dense numbers.")
    shape, dtype = plain(config.get("batch_shape")), config.get("dtype") or "float32"
    if not isinstance(shape, tuple) or not shape or not all(size is None or is_count(size) for size in shape):
        said = "its description has no shape" if shape is None else f"got batch_shape={shape!r}"
        raise InputError(
            f"input {name!r}: {said}; expected batch_shape, with positive integers or None. Save the model again."
        )
    samples, *rest = shape
    if not isinstance(dtype, str) or dtype not in DTYPES:
        dtype = read_precision(name, dtype)
    return InputSpec(name, tuple(rest), dtype, samples)


def _with_weights(model: Object, lowering: Lowering, store: WeightStore) -> Iterator[Layer]:
    owners = list(model.owners)
    found = {owner.path: weights for owner, weights in zip(owners, store.read(owners), strict=True)}
    for layer, owner in lowering.layers:
        if owner is None:
            yield layer
            continue
        own = {weight.name: found[owner.weights_path][weight.name] for weight in owner.weights}
        sizes: dict[str, Any] = {**layer.options, "M": layer.options.get("units"), "F": layer.options.get("filters")}
        for weight in owner.weights:
            array = own[weight.name]
            _check_shape(layer, weight, array, sizes)
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                place = tuple(np.argwhere(~np.isfinite(array))[0].tolist())
                said = f"{weight.name} has {array[place]} at {list(place)}; expected finite weights"
                raise InputError(f"layer {layer.name!r}: {said}.")
        yield replace(layer, weights=own)


# Letters that stand for no option, such as D, are what the first weight says.
def _check_shape(layer: Layer, weight: Weight, array: Array, sizes: dict[str, Any]) -> None:
    if weight.shape is None:
        return
    axes = weight.shape.split(", ") if weight.shape else []
    wanted: list[Any] = []  # None where any size will do
    for axis in axes:
        letter = axis.lstrip("0123456789")
        size = sizes.get(letter) if letter else 1
        factor = int(axis.removesuffix(letter) or 1)
        wanted += size if isinstance(size, tuple) else [size and factor * size]
    if array.ndim == len(wanted) and all(w in {None, s} for w, s in zip(wanted, array.shape, strict=True)):
        for axis, size in zip(reversed(axes), reversed(array.shape), strict=False):
            if sizes.get(axis) is None:
                sizes[axis] = size
        return
    shape = f"{_shown(axes)} = {_shown(['any' if w is None else w for w in wanted])}" if axes else "one number, ()"
    letter = "M" if "units" in layer.options else "F"
    given = f" for {letter}={sizes[letter]}" if sizes[letter] else ""
    chosen = ", ".join(f"{name}={value!r}" for name, value in weight.when.items() if name != "use_bias")
    raise InputError(
        f"layer {layer.name!r}: {weight.name} has shape {array.shape}; expected {shape}{given}"
        f"{' with ' if chosen else ''}{chosen}."
    )


def _shown(shape: Sequence[Any]) -> str:
    return f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"
