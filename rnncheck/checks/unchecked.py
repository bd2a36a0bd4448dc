"""Layers without equations: what they were observed to put out is taken as given, like the model's inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from rnncheck.equations.shapes import of_few_samples, on_zeros
from rnncheck.errors import InputError
from rnncheck.network import UNCHECKED, Array, InputSpec, Network, Recording, Tensor


def take_as_given(
    network: Network, recordings: Sequence[Recording]
) -> tuple[Network, tuple[Recording, ...], tuple[str, ...]]:
    """Return the network without its unchecked layers, whose outputs are inputs; its recordings; and notes.

    All numbers are those of the run that shows the layers, so that what is given and what follows belong together.

    Raises:
        InputError: what an unchecked layer put out does not fit the layers after it.
    """
    given = [layer.name for layer in network.layers if layer.kind == UNCHECKED]
    if not given:
        return network, tuple(recordings), ()
    n = len(recordings[0].inputs[0])
    for name in given:
        shapes = [each.tensors[Tensor(name)].shape for each in recordings if Tensor(name) in each.tensors]
        if len(shapes) < len(recordings) or any(shape[:1] != (n,) for shape in shapes):
            got = f"an output of shape {shapes[0]}" if shapes else "no output by that name when the model ran"
            raise InputError(f"layer {name!r}, which is not checked: got {got}; expected {n} samples, (N, ...).")
    arrays = {name: recordings[0].tensors[Tensor(name)] for name in given}
    kept = [k for k, tensor in enumerate(network.outputs) if tensor.layer not in given]
    opened = replace(
        without_unchecked(network, recordings[0].inputs, arrays),
        outputs=tuple(network.outputs[k] for k in kept),
        output_names=tuple(network.output_names[k] for k in kept) if network.output_names else (),
    )
    taken = network.unchecked.items()
    notes = [f"layer {name!r} ({kind}) was not checked: what it put out is taken as given." for name, kind in taken]
    pairs = [(each.outputs[k], each.tensors.get(network.outputs[k])) for each in recordings for k in kept]
    if any(seen is not None and not np.array_equal(plain, seen, equal_nan=True) for plain, seen in pairs):
        notes.append("the run that shows the layers ends in other numbers than the plain run; the former is checked.")
    return opened, tuple(_given(network, each, given, kept) for each in recordings), tuple(notes)


def without_unchecked(network: Network, inputs: Sequence[Array], shown: Mapping[str, Array]) -> Network:
    """Return the network with what unchecked layers put out, by layer, as further inputs in their place.

    Raises:
        InputError: it does not fit the layers after them.
    """
    if not shown:
        return network
    specs = (InputSpec(name, array.shape[1:], array.dtype.name) for name, array in shown.items())
    layers = (layer for layer in network.layers if layer.kind != UNCHECKED)
    opened = replace(network, inputs=(*network.inputs, *specs), layers=tuple(layers))
    problems: dict[str, str] = {}
    on_zeros(opened, of_few_samples(network, [*inputs, *shown.values()]), problems)
    for name, problem in problems.items():
        raise InputError(f"layer {name!r}: got {problem}. They follow from what an unchecked layer put out.")
    return opened


def _given(network: Network, recording: Recording, given: Sequence[str], kept: Sequence[int]) -> Recording:
    positions = {k: recording.resolutions[k] for k in kept if k in recording.resolutions}
    return replace(
        recording,
        inputs=(*recording.inputs, *(recording.tensors[Tensor(name)] for name in given)),
        outputs=tuple(recording.tensors.get(network.outputs[k], recording.outputs[k]) for k in kept),
        tensors={tensor: array for tensor, array in recording.tensors.items() if tensor.layer not in given},
        resolutions={
            **{name: each for name, each in recording.resolutions.items() if isinstance(name, str)},
            **{kept.index(k): each for k, each in positions.items()},
        },
    )
