"""Where a layer's weights come from: a model in memory, or a file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from rnncheck.network import Array


@dataclass(frozen=True)
class Owner:
    """One Keras object that has weights of its own, such as a Dense layer or the cell of an LSTM layer.

    Attributes:
        names: the names of its weights, in the order in which Keras creates them.
        trainable: for each, whether Keras counts it among the trainable weights.
        path: how to reach the object from the model, as Keras 3 names it in `model.weights.h5`: attribute names and,
            after "layers" or "cells", the name that `container_names` gives it.
        layer: the name of the model's own layer that the object belongs to.
    """

    names: tuple[str, ...]
    trainable: tuple[bool, ...]
    path: tuple[str, ...]
    layer: str


class WeightStore(Protocol):
    """Gives weights to whoever reads a model's description."""

    def read(self, owners: Sequence[Owner]) -> list[Mapping[str, Array]]:
        """Return the weights of every owner by name.

        Args:
            owners: every owner of the model, in the order of the model's layers.

        Raises:
            InputError: weights are missing or left over.
        """
        ...


def container_names(class_names: Sequence[str]) -> list[str]:
    """Return how Keras 3 names the members of a list of layers in a file: by class, numbered where it repeats."""
    seen: dict[str, int] = {}
    names = []
    for class_name in class_names:
        name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", class_name))
        name = re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()  # LSTMCell: lstm_cell
        count = seen.get(name, 0)
        seen[name] = count + 1
        names.append(f"{name}_{count}" if count else name)
    return names
