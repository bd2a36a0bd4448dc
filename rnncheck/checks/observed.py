"""What an implementation was seen to have before each step: where every step check starts from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from rnncheck.equations.arithmetic import PLAIN, receive_input, received, receiving
from rnncheck.equations.cells import CELLS, cell_of, sizes, widest
from rnncheck.equations.layers import operation_of
from rnncheck.equations.replay import expanded, processing_order
from rnncheck.network import Array, Layer, Network, Recording, Resolution, Tensor

Samples = slice | Array  # which of them: a range, or their numbers


@dataclass(frozen=True, eq=False)
class Steps:
    """The observed steps of one recurrent layer in one call, in the order in which it takes them."""

    x: Array  # what the layer read, (N, T, ..., D)
    h: Array  # what it put out after every step, (N, T, ..., M)
    initial: Array  # the state h before the first step, (N, ..., M)
    # The states that no step shows, before the first one: an LSTM's c, (N, ..., M); None for what an earlier call
    # left. Empty for a cell without such a state.
    memory: tuple[Array | None, ...]
    final_memory: tuple[Array, ...]  # what was seen of them after the last step; empty where nothing was
    counts: Array | None  # which steps count, (N, T) of booleans; None without a mask
    zero_output: bool  # whether the output is zero at a step that does not count; else it repeats an earlier one
    repeats_first: bool = False  # whether that is the first one, in place of the one before
    stored_x: Resolution | None = None  # how finely x is stored, if more coarsely than the layer's format
    stored_h: Resolution | None = None  # the same of h and the states before it
    stored_memory: Resolution | None = None  # the same of the final memory

    @cached_property
    def _last_counted(self) -> Array:
        # For every step, the last earlier step that counts; -1 where there is none, (N, T + 1).
        assert self.counts is not None
        t_steps = self.counts.shape[1]
        latest = np.maximum.accumulate(
            np.where(self.counts, np.arange(t_steps, dtype=np.int32), np.int32(-1)), axis=1
        )
        return np.concatenate([np.full_like(latest[:, :1], -1), latest], axis=1)

    @property
    def final(self) -> Array:
        """The state h after the last step, (N, ..., M)."""
        t_steps = self.h.shape[1]
        return self.before(slice(None), slice(t_steps, t_steps + 1))[:, 0]

    def before(self, samples: Samples, steps: slice) -> Array:
        """Return the implementation's own state h before each of some steps, (N, T, ..., M)."""
        h = self.h[samples]
        initial = self.initial[samples, np.newaxis]
        if h.dtype == np.float32:  # so that what is joined to it stays float32
            initial = initial.astype(np.float32)
        if self.counts is None:
            earlier = h[:, max(steps.start - 1, 0) : steps.stop - 1]
            return earlier if steps.start else np.concatenate([initial, earlier], axis=1)
        last = self._last_counted[samples, steps]
        seen = h[np.arange(h.shape[0])[:, np.newaxis], np.maximum(last, 0)]
        return np.where(expanded(last, seen) < 0, initial, seen)

    def repeated(self, samples: Samples, steps: slice) -> Array:
        """Return what some steps put out where they do not count, (N, T, ..., M)."""
        if self.zero_output:
            return np.zeros(self.h[samples, steps].shape)
        earlier = self.h[samples, max(steps.start - 1, 0) : steps.stop - 1].astype(np.float64)
        if self.repeats_first:
            earlier = np.broadcast_to(self.h[samples, :1].astype(np.float64), earlier.shape)
        return earlier if steps.start else np.concatenate([np.zeros_like(self.h[samples, :1]), earlier], axis=1)


class Call:
    """One call as the checks see it: every tensor that was observed, or follows from one by copying."""

    def __init__(self, network: Network, recording: Recording, kept: Mapping[str, Array], index: int | None) -> None:
        """Collect what is known; `kept` has the final states of the call before, by layer."""
        self.index = index  # the number of the call; None when there is one
        self.recording = recording
        self._network = network
        self._kept = kept
        self._tensors: dict[Tensor, Array] = {
            Tensor(spec.name): receive_input(array, spec.dtype)
            for spec, array in zip(network.inputs, recording.inputs, strict=True)
        }
        self._resolutions: dict[Tensor, Resolution] = {}
        stored_outputs = _stored_outputs(network, recording)
        seen = {**dict(zip(network.outputs, recording.outputs, strict=True)), **recording.tensors}
        self.recorded = frozenset(seen)  # the tensors that somebody recorded; others follow from them
        # A layer reads what those before it put out; what was seen itself counts more than what follows from it.
        for layer in network.layers:
            following = self.following(layer)
            own = {tensor: array for tensor, array in seen.items() if tensor.layer == layer.name}
            self._tensors |= {**following, **own}
            for tensor in following.keys() | own.keys():
                stored = stored_outputs.get(tensor) if tensor in own else self._following_resolution(layer)
                if stored is not None:
                    self._resolutions[tensor] = stored

    def first_samples(self, count: int) -> Call:
        """Return the same call with its first samples alone; whole where samples belong together."""
        samples = len(self.recording.inputs[0])
        if count >= samples or not self._network.parts_by_sample:
            return self
        kept = {name: h[:count] for name, h in self._kept.items()}
        return Call(self._network, self.recording.of_samples(slice(count)), kept, self.index)

    def tensor(self, tensor: Tensor) -> Array | None:
        """Return what the implementation had there; None where nobody saw it."""
        return self._tensors.get(tensor)

    def resolution(self, tensor: Tensor) -> Resolution | None:
        """Return how finely what the implementation had there is stored; None where as finely as its format."""
        return self._resolutions.get(tensor)

    def _following_resolution(self, layer: Layer) -> Resolution | None:
        # That of what a layer copies: the coarsest of several.
        if layer.kind in CELLS:
            return self.recording.resolutions.get(layer.name)
        found = [self._resolutions[tensor] for tensor in layer.inputs if tensor in self._resolutions]
        return max(found, key=lambda each: float(each.half_unit(np.ones(()))), default=None)

    def steps(self, layer: Layer) -> Steps | None:
        """Return the observed steps of a recurrent layer; None where not every state was observed."""
        h = self.recording.states.get(layer.name)
        x = self.tensor(layer.inputs[0])
        # Some cells change their states at steps that do not count, where nobody sees it, or between samples.
        loop = cell_of(layer).loop
        hidden = loop.recorded or loop.across_samples or (layer.mask is not None and loop.passed)
        if h is None or x is None or hidden:
            return None
        mask = None if layer.mask is None else self.tensor(layer.mask)
        initial = self._initial_states(layer, (h.shape[0], *h.shape[2:-1]))
        if initial is None or (layer.mask is not None and mask is None):
            return None
        finals = [self.tensor(Tensor(layer.name, index)) for index in range(2, len(cell_of(layer).states) + 1)]
        return Steps(
            x=processing_order(layer, x),
            h=h,
            initial=initial[0],
            memory=initial[1:],
            final_memory=tuple(state for state in finals if state is not None),
            counts=None if mask is None else processing_order(layer, mask),
            zero_output=layer.options["zero_output_for_mask"],
            repeats_first=cell_of(layer).loop.repeats_first,
            stored_x=self.resolution(layer.inputs[0]),
            stored_h=self.recording.resolutions.get(layer.name),
            stored_memory=self.resolution(Tensor(layer.name, 2)),
        )

    def _initial_states(self, layer: Layer, leading: tuple[int, ...]) -> tuple[Any, ...] | None:
        # Every state before the first step, with those axes before M; None where one is not known.
        shapes = [(*leading, size) for size in sizes(layer)]
        if layer.initial_state:
            states = [self.tensor(tensor) for tensor in layer.initial_state]
            if any(state is None for state in states):
                return None
            pairs = zip(states, shapes, strict=True)
            return tuple(np.broadcast_to(s, shape).astype(np.float64) for s, shape in pairs if s is not None)
        # No recording shows what an earlier call left of states other than h.
        hidden = cell_of(layer).states[1:]
        if layer.name in self._kept:
            return (self._kept[layer.name], *(None for _ in hidden))
        return tuple(map(np.zeros, shapes))

    def following(self, layer: Layer) -> dict[Tensor, Array]:
        """Return the outputs of a layer that follow from observed numbers without arithmetic."""
        if layer.kind in CELLS:
            if (steps := self.steps(layer)) is None:
                return {}
            returned = cell_of(layer).loop.returned % steps.h.shape[1]
            output = steps.h if layer.options["return_sequences"] else steps.h[:, returned]
            states = {Tensor(layer.name, 1): steps.final} if layer.options["return_state"] else {}
            return {Tensor(layer.name): output, **states}
        operation = operation_of(layer)
        sources = [self.tensor(tensor) for tensor in layer.inputs]
        if not operation.exact or any(source is None for source in sources):
            return {}
        inputs = [received(source, receiving(layer)) for source in sources if source is not None]
        return {Tensor(layer.name): operation.apply(inputs, PLAIN.weights(layer), layer.options)}


def _stored_outputs(network: Network, recording: Recording) -> dict[Tensor, Resolution | None]:
    return {tensor: recording.resolutions.get(position) for position, tensor in enumerate(network.outputs)}


def observe(network: Network, recordings: Sequence[Recording]) -> list[Call]:
    """Return the calls one after the other, each knowing what stateful layers kept from the one before."""
    calls: list[Call] = []
    kept: dict[str, Array] = {}
    for index, recording in enumerate(recordings):
        call = Call(network, recording, dict(kept), index if len(recordings) > 1 else None)
        calls.append(call)
        for layer in network.layers:
            if layer.options.get("stateful") and (steps := call.steps(layer)) is not None:
                kept[layer.name] = steps.final
    return calls


def disagreements(network: Network, calls: Sequence[Call]) -> tuple[str, ...]:
    """Say where the run that shows the states did not end, bit by bit, in what the plain run produced.

    Where it did not, the step checks speak of the one run and the end-to-end check of the other.
    """
    notes: dict[Tensor, str] = {}
    for call in calls:
        plain = dict(zip(network.outputs, call.recording.outputs, strict=True))
        shown = dict(call.recording.tensors)
        of_outputs, resolutions = _stored_outputs(network, call.recording), call.recording.resolutions
        for layer in network.layers:
            if layer.name in call.recording.states:
                for tensor, array in call.following(layer).items():
                    plain.setdefault(tensor, shown.get(tensor, array))
                    shown[tensor] = array
        for tensor in plain.keys() & shown.keys():
            stored = (of_outputs.get(tensor), resolutions.get(tensor.layer))
            allowed = sum(each.half_unit(plain[tensor]) for each in stored if each)
            if note := _disagreement(tensor, plain[tensor], shown[tensor], allowed):
                notes[tensor] = note
    return tuple(notes[tensor] for tensor in sorted(notes, key=str))


def _disagreement(tensor: Tensor, plain: Array, shown: Array, allowed: Array | int) -> str:
    # `allowed` is what the two may differ by as they are stored.
    if np.array_equal(plain, shown, equal_nan=True):
        return ""
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        difference = np.abs(plain.astype(np.float64) - shown.astype(np.float64))
    largest = np.max(difference, where=~np.isnan(difference), initial=0.0)
    if np.any(allowed) and (difference <= 1.001 * allowed).all():
        return ""
    return (
        f"layer {tensor.layer!r}: the run that shows the states ends in other numbers than the plain run, by up to "
        f"{largest:.2g}. Its step checks do not vouch for that output; the end-to-end check does."
    )


def largest_layer(network: Network, recordings: Sequence[Recording]) -> int:
    """Return how many numbers the largest layer puts out in all calls, as far as one can see."""
    first = recordings[0]
    seen = (*first.inputs, *first.outputs, *first.states.values(), *first.tensors.values())
    of_states = math.prod(first.inputs[0].shape[:2]) * widest(network)
    return len(recordings) * max(of_states, *(array.size for array in seen))
