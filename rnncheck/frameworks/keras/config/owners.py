"""Where a layer's weights come from: a model in memory, or a file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from rnncheck.network import Array


@dataclass(frozen=True)
class Owner:
    """One Keras object that has weights of its own, such as a Dense layer or the cell of an LSTM layer."""

    names: tuple[str, ...]  # of its weights, in the order in which Keras creates them
    trainable: tuple[bool, ...]  # for each, whether Keras counts it among the trainable weights
    # How to reach it from the model, as Keras 3 names it in `model.weights.h5`: attribute names and, after "layers"
    # or "cells", the name that `container_names` gives it.
    path: tuple[str, ...]
    layer: str  # the name of the model's own layer that it belongs to
    unchecked: bool = (
        False  # whether all weights at its path and below belong to it, whatever they are; none are read
    )


class WeightStore(Protocol):
    """Gives weights to whoever reads a model's description."""

    def read(self, owners: Sequence[Owner]) -> list[Mapping[str, Array]]:
        """Return the weights of every owner of the model, in the order of its layers, by name.

        Raises:
            InputError: weights are missing or left over.
        """
        ...


def container_names(class_names: Sequence[str]) -> list[str]:
    """Return how Keras 3 names the members of a list of layers in a file: by class, numbered where it repeats."""
    seen: Counter[str] = Counter()
    names = []
    for class_name in class_names:
        name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", class_name))
        name = re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()  # LSTMCell: lstm_cell
        names.append(f"{name}_{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return names
