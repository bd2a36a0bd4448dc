"""What a tensor of an ONNX graph is in a Network.

Every tensor of a Network has the samples first; a tensor of an ONNX graph has its axes in any order, some of them
merged into one, and further ones of length 1. A `Value` says how the one is made of the other, so that transposing,
squeezing and reshaping cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from rnncheck.frameworks.onnx.sizes import Size
from rnncheck.network import Array, Tensor

Axes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Value:
    """A tensor of the graph that depends on the inputs."""

    tensor: Tensor  # of the Network
    shape: tuple[Size, ...]  # of the Network's tensor, (N, ...)
    axes: Axes  # for each axis in ONNX, the Network's axes that it is made of, slowest first; none for a length of 1
    dtype: str

    @property
    def lengths(self) -> tuple[Size, ...]:
        """The shape that ONNX sees."""
        return tuple(Size.product(self.shape[axis] for axis in group) for group in self.axes)

    @property
    def plain(self) -> bool:
        """Whether ONNX has the same axes in the same order."""
        return self.axes == own_axes(len(self.shape))

    def turned(self, array: Array) -> Array:
        """Return an array of the Network, (N, ...), as ONNX has it."""
        order = [axis for group in self.axes for axis in group]
        shape = [int(np.prod([array.shape[axis] for axis in group], dtype=np.int64)) for group in self.axes]
        return array.transpose(order).reshape(shape)

    def turned_back(self, array: Array, lengths: Mapping[str, int]) -> Array:
        """Return an array of ONNX as the Network has it, given the open lengths."""
        order = [axis for group in self.axes for axis in group]
        parts = array.reshape([self.shape[axis].at(dict(lengths)) for axis in order])
        return parts.transpose(np.argsort(order)) if order else parts


@dataclass(frozen=True)
class OfIds:
    """What each number of a tensor of ids becomes, such as a negative one that counts from the end."""

    ids: Value
    function: Callable[[Array], Array]


def own_axes(rank: int) -> Axes:
    """Return the axes of a tensor that ONNX has as the Network has it."""
    return tuple((axis,) for axis in range(rank))
