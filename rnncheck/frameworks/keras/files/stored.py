"""The weights in Keras' two kinds of files, given to the objects that own them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING

from rnncheck.errors import InputError
from rnncheck.frameworks.keras.config.owners import Owner
from rnncheck.frameworks.keras.files.hdf5 import Hdf5File
from rnncheck.network import Array

if TYPE_CHECKING:
    import h5py


Path = tuple[str, ...]
Opener = Callable[[], AbstractContextManager[Hdf5File]]

# Attributes that hold a list of layers; in Keras before 2.15, layers were listed under the second name.
_OLD_LAYERS = "_layer_checkpoint_dependencies"
_CONTAINERS = ("layers", _OLD_LAYERS, "cells")

# What a model keeps for its training.
_TRAINING = ("optimizer", "metrics", "seed_generator")

# Groups of a file and their depth; a layer takes two groups, and a model inside a model two levels.
_MOST_GROUPS, _DEEPEST = 20_000, 200

_NAMES_SHOWN = 12
_SAVE_AGAIN = "Save the model again."
_SAVE_WHOLE = "Save the whole model again with model.save(...)."


@dataclass(frozen=True)
class ArchiveWeights:
    """The `model.weights.h5` of a `.keras` file: a group for each object, with its weights as `vars/0`, `vars/1`, ...

    An object's own weights come in the order in which it made them, the trainable ones first.

    Source: `_save_state`, `_save_container_state` in keras/src/saving/saving_lib.py of Keras 2.12 to 3.15.
    """

    opener: Opener
    # Whether the members of a list of layers have to be matched by their order. Keras 2 numbers them in ways of its
    # own: 2.12 and 2.13 count each layer that has weights twice, 2.14 and 2.15 leave out layers saved elsewhere.
    numbered_anew: bool = False

    def read(self, owners: Sequence[Owner]) -> list[Mapping[str, Array]]:
        """Return the weights of every owner by name; see `WeightStore`."""
        keys = self._keys([owner.path for owner in owners])
        with self.opener() as file:
            groups = dict(_groups_with_weights(file))
            paths = {key: path for path, key in self._keys(groups).items()}
            weights: list[Mapping[str, Array]] = [
                {} if owner.unchecked else _own_weights(file, groups.get(paths.get(keys[owner.path], ())), owner)
                for owner in owners
            ]
            unchecked = [keys[owner.path] for owner in owners if owner.unchecked]
            taken = {key for key in paths if any(key[: len(own)] == own for own in unchecked)} | set(keys.values())
            for path in sorted(paths[key] for key in paths.keys() - taken):
                raise _leftover("/".join(path) or "model", len(file.members(groups[path])))
        return weights

    def _keys(self, paths: Collection[Path]) -> dict[Path, Path]:
        return _ranked(paths) if self.numbered_anew else {path: path for path in paths}


@dataclass(frozen=True)
class LegacyWeights:
    """The `model_weights` of an `.h5` file, or a file of them alone: a flat list for each of the model's own layers.

    The list has the trainable weights of all objects in the layer first, then the others. A weight that several
    layers share is listed by each of them.

    Source: `save_weights_to_hdf5_group` in keras/src/legacy/saving/legacy_h5_format.py of Keras 3.15.
    """

    opener: Opener

    def read(self, owners: Sequence[Owner]) -> list[Mapping[str, Array]]:
        """Return the weights of every owner by name; see `WeightStore`."""
        with self.opener() as file:
            lists = _lists_of_weights(file)
        slots: dict[str, list[tuple[bool, int, str]]] = {}  # by layer: trainable, which owner, the weight's name
        for k, owner in enumerate(owners):
            for name, trainable in zip(owner.names, owner.trainable, strict=True):
                slots.setdefault(owner.layer, []).append((trainable, k, name))
        weights: list[dict[str, Array]] = [{} for _ in owners]
        seen: dict[str, Array] = {}
        unchecked = {owner.layer for owner in owners if owner.unchecked}
        # In the file's order, for a shared weight is told by an earlier layer that has it; then what the file lacks.
        for layer in dict.fromkeys([*lists, *slots]):
            own = sorted(slots.get(layer, []), key=itemgetter(0), reverse=True)  # the trainable ones first
            names = [name for *_, name in own]
            arrays = _without_shared(lists.get(layer, {}), len(names), seen)
            if layer in unchecked and not names:
                continue
            if layer in unchecked and len(arrays) != len(names):
                said = "the file has the weights of a layer in it that is not checked among all others"
                todo = "Save the model as a .keras file, which keeps them apart."
                raise InputError(f"layer {layer!r}: {said}; expected none there. {todo}")
            if len(arrays) != len(names):
                where = f"layer {layer!r}"
                raise _wrong_count(layer, len(arrays), names) if names else _leftover(where, len(arrays))
            # In the expected order, as far as their names tell.
            last = [name.rsplit("/", 1)[-1].removesuffix(":0") for name in arrays]
            if last != names and sorted(last) == sorted(names):
                said = f"the file lists {_shown(last)}; expected the order {_shown(names)}"
                raise InputError(f"layer {layer!r}: {said}. {_SAVE_WHOLE}")
            for (_, k, name), array in zip(own, arrays.values(), strict=True):
                weights[k][name] = array
        return [{name: weights[k][name] for name in owner.names} for k, owner in enumerate(owners)]


# The `vars` of every group that has weights of its own; what serves training is left out.
def _groups_with_weights(file: Hdf5File) -> Iterator[tuple[Path, h5py.Group]]:
    waiting: list[tuple[Path, h5py.Group]] = [((), file.root)]
    visited = set()
    while waiting:
        path, group = waiting.pop()
        address = file.address(group)
        if address in visited:
            raise InputError(f"{file.where}: {group.name} is there under two names; expected one. {_SAVE_AGAIN}")
        visited.add(address)
        for name in file.members(group):
            child = file.group(group, name)
            if child is None:
                raise InputError(f"{file.where}: {name!r} is listed, but not there; expected a group. {_SAVE_AGAIN}")
            *outer, last = (*path, *name.split("\\"))  # Keras on Windows writes several levels as one name
            if last == "vars":
                if file.members(child):
                    yield tuple(outer), child
            elif last not in _TRAINING or (outer and outer[-1] in _CONTAINERS):
                waiting.append(((*outer, last), child))
            if len(visited) + len(waiting) > _MOST_GROUPS or len(path) > _DEEPEST:
                got = f"more than {_MOST_GROUPS} groups, or more than {_DEEPEST} inside each other"
                raise InputError(f"{file.where}: got {got}; expected those of a model. {_SAVE_AGAIN}")


def _own_weights(file: Hdf5File, group: h5py.Group | None, owner: Owner) -> dict[str, Array]:
    kinds = zip(owner.names, owner.trainable, strict=True)
    names = [name for name, _ in sorted(kinds, key=itemgetter(1), reverse=True)]  # the trainable ones first
    found = [] if group is None else file.members(group)
    if sorted(found) != sorted(str(k) for k in range(len(names))):
        raise _wrong_count(owner.layer, len(found), names, f" at {'/'.join(owner.path)}")
    arrays = {name: file.array(group, str(k)) for k, name in enumerate(names)}
    return {name: arrays[name] for name in owner.names}


# Each path by one that does not depend on how the members of lists are numbered: a member is told by its class and
# its rank among those of its class, in the same list, that have weights.
def _ranked(paths: Collection[Path]) -> dict[Path, Path]:
    members = {
        path: [(path[:k], *_split(path[k])) for k in range(1, len(path)) if path[k - 1] in _CONTAINERS]
        for path in paths
    }
    numbers: dict[tuple[Path, str], set[int]] = {}
    for container, stem, number in itertools.chain.from_iterable(members.values()):
        numbers.setdefault((container, stem), set()).add(number)
    ranks = {key: {number: rank for rank, number in enumerate(sorted(found))} for key, found in numbers.items()}

    def renumbered(path: Path) -> Path:
        names = ["layers" if name == _OLD_LAYERS else name for name in path]
        for container, stem, number in members[path]:
            names[len(container)] = f"{stem}#{ranks[container, stem][number]}"
        return tuple(names)

    return {path: renumbered(path) for path in paths}


# lstm_cell_1 as lstm_cell and 1.
def _split(member: str) -> tuple[str, int]:
    stem, number = re.fullmatch(r"(.*?)(?:_(\d{1,9}))?", member, re.DOTALL).groups()  # type: ignore[union-attr] # it always matches
    return stem, int(number or 0)


# The weights of each of the model's own layers by Keras' names for them, in the file's order.
def _lists_of_weights(file: Hdf5File) -> dict[str, dict[str, Array]]:
    group = file.group(file.root, "model_weights") or file.root
    layers = file.names(group, "layer_names")
    if layers is None:
        raise InputError(
            f"{file.where}: it describes a model, but has no weights of it; expected the group model_weights with "
            f"the attribute layer_names. {_SAVE_WHOLE}"
        )
    lists = {}
    for layer in [*layers, "top_level_model_weights"]:
        own = file.group(group, layer)
        names = (file.names(own, "weight_names") if own is not None else None) or []
        lists[layer] = {name: file.array(own, name) for name in names}
    return lists


# If a layer has too many weights, leave out what an earlier one has listed; note those that are left.
def _without_shared(own: Mapping[str, Array], expected: int, seen: dict[str, Array]) -> dict[str, Array]:

    def is_shared(name: str, array: Array) -> bool:
        other = seen.get(name)
        return other is not None and other.shape == array.shape and other.tobytes() == array.tobytes()

    left = {name: array for name, array in own.items() if len(own) == expected or not is_shared(name, array)}
    seen.update(left)
    return left


def _wrong_count(layer: str, found: int, names: Sequence[str], where: str = "") -> InputError:
    weights = "1 weight" if found == 1 else f"{found or 'no'} weights"
    said = f"the file has {weights}{where}; expected {len(names)}: {_shown(names)}"
    return InputError(f"layer {layer!r}: {said}. {_SAVE_WHOLE}")


def _leftover(where: str, count: int) -> InputError:
    said = f"the file has {count} weight{'s' * (count > 1)} that no layer of the model takes; expected none"
    return InputError(f"{where}: {said}. {_SAVE_WHOLE}")


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMES_SHOWN]) + ", ..." * (len(names) > _NAMES_SHOWN)
