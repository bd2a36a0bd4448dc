"""Running a model file. Keras 3 refuses most that Keras 2 wrote, so it gets their upgraded descriptions.

Only the form is upgraded. What a word means is Keras 3's affair: `hard_sigmoid` is another function there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rnncheck.errors import InputError
from rnncheck.frameworks.keras.config.calls import is_reference
from rnncheck.frameworks.keras.config.description import Object, read_model
from rnncheck.frameworks.keras.config.entries import ENTRIES
from rnncheck.frameworks.keras.config.upgrade import HARD_SIGMOID, is_keras2, upgraded
from rnncheck.frameworks.keras.extract import constructor_arguments, find
from rnncheck.frameworks.keras.files.modelfile import ModelFile
from rnncheck.network import Array

# How weights start and how they are trained; they come from the file.
_TRAINING = ("_initializer", "_regularizer", "_constraint")


def load(file: ModelFile) -> Any:
    """Load a model file that `reader.read` accepts with Keras, which runs no code that the file brings along.

    A file of Keras 1 or 2 that Keras refuses is put in today's form first.
    """
    import keras

    keras2 = is_keras2(file.config, file.keras_version)
    if file.architecture is None:
        try:
            return keras.saving.load_model(file.path, compile=False, safe_mode=True)
        except Exception:
            if not keras2:
                raise
    description = upgraded(file.config) if keras2 else file.config
    model = keras.saving.deserialize_keras_object(_taken(description), safe_mode=True)
    found = read_model(description, lenient=True)
    owners = list(found.owners)
    if unchecked := [owner.layer for owner in owners if owner.unchecked]:
        said = (
            "is not checked, and rnncheck cannot give it its weights; expected a model file that Keras itself loads"
        )
        raise InputError(
            f"{file.path}: layer {unchecked[0]!r} {said}. Save it with Keras 3: model.save('model.keras')."
        )
    _fill(model, found, dict(zip([owner.path for owner in owners], file.weights.read(owners), strict=True)))
    return model


# A name that Keras 3 takes; Keras 2 took slashes too.
def _taken_name(name: Any) -> Any:
    return name.replace("/", "|") if isinstance(name, str) else name


# Where Keras has what an `.h5` file describes without a module.
_MODULES = {
    **dict.fromkeys((*ENTRIES, "InputLayer"), "keras.layers"),
    "Sequential": "keras",
    "Functional": "keras.src.models.functional",
}


# A description with those options and names alone that today's classes take, and today's hard_sigmoid.
def _taken(described: Any) -> Any:
    import keras

    if described is HARD_SIGMOID:
        return "hard_sigmoid"
    if is_reference(described):
        return [_taken_name(described[0]), *described[1:]]
    if isinstance(described, list):
        return [_taken(each) for each in described]
    if not isinstance(described, Mapping):
        return described
    taken = {key: _taken_name(value) if key == "name" else _taken(value) for key, value in described.items()}
    kind = taken.get("class_name")
    if kind in _MODULES:
        taken.setdefault("module", _MODULES[kind])
    if kind in {*ENTRIES, "InputLayer"}:
        names = {"name", "dtype", *constructor_arguments(getattr(keras.layers, kind))}
        names |= set(ENTRIES[kind].inherited) if kind in ENTRIES else set()
        taken["config"] = {
            name: value for name, value in taken["config"].items() if name in names and not name.endswith(_TRAINING)
        }
    return taken


# The weights and names of an object and all inside it, by path. A model's layers are found by name: their order may
# differ.
def _fill(live: Any, found: Object, weights: Mapping[tuple[str, ...], Mapping[str, Array]]) -> None:
    if not found.is_model:
        holder = find(live, found.weights_path[len(found.path) :])
        for name, array in weights.get(found.weights_path, {}).items():
            getattr(holder, name).assign(array)
    live.name = found.name
    for part in found.parts:
        inner = live.get_layer(_taken_name(part.name)) if found.is_model else find(live, part.path[len(found.path) :])
        _fill(inner, part, weights)
