"""Running a model file in Keras: with a description of what changes a number, in a form that Keras 3 takes.

Keras is not given what a file says of training, and gets a file that Keras 2 wrote in today's form where it refuses
the other. Only the form is upgraded. What a word means is Keras 3's affair: `hard_sigmoid` is another function there.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rnncheck.errors import InputError
from rnncheck.frameworks.keras.config.calls import is_reference
from rnncheck.frameworks.keras.config.description import Object, read_model
from rnncheck.frameworks.keras.config.entries import ENTRIES
from rnncheck.frameworks.keras.config.upgrade import HARD_SIGMOID, is_keras2, upgraded
from rnncheck.frameworks.keras.config.values import activation_name, policy_name
from rnncheck.frameworks.keras.extract import constructor_arguments, find
from rnncheck.frameworks.keras.files.modelfile import CONFIG, ModelFile
from rnncheck.network import Array


def load(file: ModelFile) -> Any:
    """Load a model file that `reader.read` accepts with Keras, which runs no code that the file brings along.

    A file of Keras 1 or 2 that Keras refuses is put in today's form first.
    """
    import keras

    keras2, harmless = is_keras2(file.config, file.keras_version), _harmless(file.config)
    if file.architecture is None:
        try:
            with _described_as(file, harmless) as path:
                return keras.saving.load_model(path, compile=False, safe_mode=True)
        except Exception:
            if not keras2:
                raise
    description = upgraded(harmless) if keras2 else harmless
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


# A description without what Keras would act upon although it changes no number: how weights start and are trained,
# what is compiled, and sizes to build for before a layer is called.
def _harmless(described: Any) -> Any:
    if isinstance(described, list):
        return [_harmless(each) for each in described]
    if not isinstance(described, Mapping):
        return described
    kept = {key: _harmless(value) for key, value in described.items()}
    if "class_name" in kept:
        kept = {key: value for key, value in kept.items() if key not in {"build_config", "compile_config"}}
    if kept.get("class_name") in ENTRIES and isinstance(kept.get("config"), dict):
        kept["config"] = {key: _option(key, value) for key, value in kept["config"].items() if key != "weights"}
    return kept


# An object that stands for a name could be of any class.
def _option(name: str, value: Any) -> Any:
    if name.endswith("_initializer"):
        return "zeros"
    if name.endswith(("_regularizer", "_constraint")):
        return None
    if name.endswith("activation") and isinstance(value, Mapping):
        return activation_name(value)
    return policy_name(value) if name == "dtype" and isinstance(value, Mapping) else value


# A copy of a file with another description.
@contextmanager
def _described_as(file: ModelFile, description: Any) -> Iterator[Path]:
    text = json.dumps(description)
    with tempfile.TemporaryDirectory() as folder:
        if zipfile.is_zipfile(file.path):
            path = Path(folder) / "model.keras"
            with zipfile.ZipFile(file.path) as old, zipfile.ZipFile(path, "w") as new:
                for member in (each for each in old.infolist() if each.filename != CONFIG and not each.is_dir()):
                    with old.open(member) as read, new.open(member.filename, "w", force_zip64=True) as written:
                        shutil.copyfileobj(read, written)
                new.writestr(CONFIG, text)
        else:
            import h5py

            path = Path(folder) / "model.h5"
            shutil.copyfile(file.path, path)
            with h5py.File(path, "r+") as copied:
                copied.attrs["model_config"] = text
        yield path


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
        taken["config"] = {name: value for name, value in taken["config"].items() if name in names}
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
