"""What an implementation was seen to have before each step: where every step check starts from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rnncheck.comparator import Block
from rnncheck.equations import CELLS, LAYERS, REARRANGING
from rnncheck.network import Array, Layer, Network, Tensor
from rnncheck.precision import PRECISIONS
from rnncheck.recording import Recording
from rnncheck.replay import processing_order, receive_input


@dataclass(frozen=True, eq=False)
class Steps:
    """The observed steps of one recurrent layer in one call, in the order in which it takes them.

    Attributes:
        x: what the layer read, (N, T, D).
        h: what it put out after every step, (N, T, M).
        initial: the state before the first step, (N, M).
        counts: which steps count, (N, T) of booleans; None without a mask.
        zero_output: whether the output is zero at a step that does not count; else it repeats the one before.
    """

    x: Array
    h: Array
    initial: Array
    counts: Array | None
    zero_output: bool

    @cached_property
    def _last_counted(self) -> Array:
        """For every step, the last earlier step that counts; -1 where there is none, (N, T)."""
        assert self.counts is not None
        t_steps = self.counts.shape[1]
        latest = np.maximum.accumulate(
            np.where(self.counts, np.arange(t_steps, dtype=np.int32), np.int32(-1)), axis=1
        )
        return np.concatenate([np.full_like(latest[:, :1], -1), latest], axis=1)

    @property
    def final(self) -> Array:
        """The state after the last step, (N, M)."""
        t_steps = self.h.shape[1]
        return self._state_before(slice(None), slice(t_steps, t_steps + 1))[:, 0]

    def before(self, block: Block) -> Array:
        """Return the implementation's own state before each step of a block, (R, M)."""
        samples, steps, _ = block.window
        return self._state_before(samples, steps).reshape(-1, self.h.shape[2])

    def _state_before(self, samples: slice, steps: slice) -> Array:
        h = self.h[samples]
        initial = self.initial[samples, np.newaxis]
        if h.dtype == np.float32:  # so that what is joined to it stays float32
            initial = initial.astype(np.float32)
        if self.counts is None:
            earlier = h[:, max(steps.start - 1, 0) : steps.stop - 1]
            return earlier if steps.start else np.concatenate([initial, earlier], axis=1)
        last = self._last_counted[samples, steps]
        seen = h[np.arange(h.shape[0])[:, np.newaxis], np.maximum(last, 0)]
        return np.where(last[..., np.newaxis] < 0, initial, seen)

    def uncounted(self, block: Block) -> tuple[Array, Array] | None:
        """Return which rows of a block count, (R, 1), and what the others must put out, (R, M)."""
        if self.counts is None:
            return None
        samples, steps, _ = block.window
        counts = self.counts[samples, steps]
        if self.zero_output:
            repeated = np.zeros(block.shape)
        else:
            earlier = self.h[samples, max(steps.start - 1, 0) : steps.stop - 1].astype(np.float64)
            zeros = np.zeros((block.shape[0], block.shape[1] - earlier.shape[1], block.shape[2]))
            repeated = np.concatenate([zeros, earlier], axis=1)
        return counts.reshape(-1, 1), repeated.reshape(-1, block.shape[2])


class Call:
    """One call as the checks see it: every tensor that was observed, or follows from one by copying."""

    def __init__(
        self,
        network: Network,
        recording: Recording,
        kept: Mapping[str, Array],
        index: int | None,
    ) -> None:
        """Collect what is known.

        Args:
            network: whose numbers they are.
            recording: what was recorded in the call.
            kept: the final states of the call before, by layer.
            index: the number of the call; None when there is one.
        """
        self.index = index
        self._recording = recording
        self._kept = kept
        self._tensors: dict[Tensor, Array] = {
            Tensor(spec.name): receive_input(array, spec.dtype)
            for spec, array in zip(network.inputs, recording.inputs, strict=True)
        }
        for layer in network.layers:
            self._tensors |= self.following(layer)
            self._tensors |= {t: a for t, a in recording.tensors.items() if t.layer == layer.name}
        for tensor, array in zip(network.outputs, recording.outputs, strict=True):
            self._tensors.setdefault(tensor, array)

    def tensor(self, tensor: Tensor) -> Array | None:
        """Return what the implementation had there; None where nobody saw it."""
        return self._tensors.get(tensor)

    def steps(self, layer: Layer) -> Steps | None:
        """Return the observed steps of a recurrent layer; None where they were not observed."""
        h = self._recording.states.get(layer.name)
        x = self.tensor(layer.inputs[0])
        if h is None or x is None:
            return None
        mask = None if layer.mask is None else self.tensor(layer.mask)
        initial = self._initial_state(layer, (h.shape[0], h.shape[2]))
        if initial is None or (layer.mask is not None and mask is None):
            return None
        return Steps(
            x=processing_order(layer, x),
            h=h,
            initial=initial,
            counts=None if mask is None else processing_order(layer, mask),
            zero_output=layer.options["zero_output_for_mask"],
        )

    def _initial_state(self, layer: Layer, shape: tuple[int, int]) -> Array | None:
        if layer.initial_state:
            state = self.tensor(layer.initial_state[0])
            return None if state is None else state.astype(np.float64)
        return self._kept.get(layer.name, np.zeros(shape))

    def following(self, layer: Layer) -> dict[Tensor, Array]:
        """Return the outputs of a layer that follow from observed numbers without arithmetic."""
        if layer.kind in CELLS and (steps := self.steps(layer)) is not None:
            output = steps.h if layer.options["return_sequences"] else steps.h[:, -1]
            following = {Tensor(layer.name): output}
            return following | {Tensor(layer.name, 1): steps.final} if layer.options["return_state"] else following
        if layer.kind in REARRANGING and (source := self.tensor(layer.inputs[0])) is not None:
            received = PRECISIONS[layer.dtype].round(source)
            return {Tensor(layer.name): LAYERS[layer.kind](received, {}, layer.options)}
        return {}


def observe(network: Network, recordings: Sequence[Recording]) -> Iterator[Call]:
    """Yield the calls one after the other, each knowing what stateful layers kept from the one before."""
    kept: dict[str, Array] = {}
    for index, recording in enumerate(recordings):
        call = Call(network, recording, dict(kept), index if len(recordings) > 1 else None)
        yield call
        for layer in network.layers:
            if layer.options.get("stateful") and (steps := call.steps(layer)) is not None:
                kept[layer.name] = steps.final


def disagreements(network: Network, recordings: Sequence[Recording]) -> tuple[str, ...]:
    """Say where the run that shows the states did not end, bit by bit, in what the plain run produced.

    Where it did not, the step checks speak of the one run and the end-to-end check of the other.
    """
    notes: dict[Tensor, str] = {}
    for recording, call in zip(recordings, observe(network, recordings), strict=True):
        plain = dict(zip(network.outputs, recording.outputs, strict=True))
        shown = dict(recording.tensors)
        for layer in network.layers:
            if layer.name in recording.states:
                for tensor, array in call.following(layer).items():
                    plain.setdefault(tensor, shown.get(tensor, array))
                    shown[tensor] = array
        for tensor in plain.keys() & shown.keys():
            if note := _disagreement(tensor, plain[tensor], shown[tensor]):
                notes[tensor] = note
    return tuple(notes[tensor] for tensor in sorted(notes, key=str))


def _disagreement(tensor: Tensor, plain: Array, shown: Array) -> str:
    plain, shown = plain.astype(np.float64), shown.astype(np.float64)
    if np.array_equal(plain, shown, equal_nan=True):
        return ""
    with np.errstate(invalid="ignore"):
        difference = np.abs(plain - shown)
    largest = np.max(difference, where=~np.isnan(difference), initial=0.0)
    return (
        f"layer {tensor.layer!r}: the run that shows the states ends in other numbers than the plain run, by up to "
        f"{largest:.2g}. Its step checks do not vouch for that output; the end-to-end "
        "check does."
    )
