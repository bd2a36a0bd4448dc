"""Faults of masks: which steps count, and what stands where one does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from rnncheck.equations.cells import CELLS, Loop
from rnncheck.equations.changes import inserted, masked_through, moved_for, with_cell, with_layer, with_options
from rnncheck.equations.operands import X
from rnncheck.faults.catalogue.causes import EQUAL_SAMPLES, NO_SAMPLE_PADDED, PADS_THE_END
from rnncheck.faults.catalogue.fault import Change, Fault, in_layer
from rnncheck.network import Array, Layer, Network, Tensor


def _mask(change: Callable[[Array], Array]) -> Change:
    return lambda network, layer: masked_through(network, layer, change)


def _shifted(mask: Array) -> Array:
    return np.concatenate([np.ones_like(mask[:, :1]), mask[:, :-1]], axis=1)


def _left_aligned(mask: Array) -> Array:
    """Count as many steps as the mask does, but from the first on, as where lengths stand for masks."""
    counted: Array = np.arange(mask.shape[1]) < mask.sum(axis=1, keepdims=True)
    return counted


def _from_first_to_last(mask: Array) -> Array:
    """Count everything between the first step that counts and the last one."""
    seen = np.maximum.accumulate(mask, axis=1)
    coming = np.maximum.accumulate(mask[:, ::-1], axis=1)[:, ::-1]
    return seen & coming


def _whole_where_empty(mask: Array) -> Array:
    return mask | ~mask.any(axis=1, keepdims=True)


def _last_counts(mask: Array) -> Array:
    return np.concatenate([mask[:, :-1], np.ones_like(mask[:, :1])], axis=1)


def _passing(states: Callable[[X, X], X]) -> Change:
    """Return a change of what becomes of a layer's states at steps that do not count."""
    return in_layer(lambda layer: None if layer.mask is None else with_cell(layer, loop=Loop(passed=states)))


def _repeating_first(layer: Layer) -> Layer | None:
    if layer.mask is None or layer.options["zero_output_for_mask"]:
        return None
    return with_cell(layer, loop=Loop(repeats_first=True))


def _right_aligned(mask: Array) -> Array:
    return _left_aligned(mask)[:, ::-1]


def _from_the_padding(network: Network, layer: Layer) -> Network | None:
    """Turn the whole sequence round, padding and all, and take as many steps from there as the mask has."""
    if layer.kind not in CELLS or not layer.options["go_backwards"]:
        return None
    return masked_through(network, layer, _right_aligned)


def _by_multiplication(network: Network, layer: Layer) -> Network | None:
    """Multiply the inputs by the mask and count every step."""
    if layer.mask is None:
        return None

    def times(x: Array, mask: Array) -> Array:
        return np.where(mask.reshape(*mask.shape, *(1,) * (x.ndim - 2)), x, 0.0)

    product = moved_for(layer, (layer.inputs[0], layer.mask), times)
    return inserted(network, product, replace(layer, inputs=(Tensor(product.name), *layer.inputs[1:]), mask=None))


FAULTS = (
    Fault(
        "mask_ignored",
        "masks",
        "every step counts, whatever the mask says",
        lambda network, layer: None if layer.mask is None else with_layer(network, replace(layer, mask=None)),
        (NO_SAMPLE_PADDED,),
    ),
    Fault(
        "mask_inverted", "masks", "the steps that count and those that do not are exchanged", _mask(np.logical_not)
    ),
    Fault(
        "mask_shifted_by_one",
        "masks",
        "every step goes by the mask of the step before",
        _mask(_shifted),
        (NO_SAMPLE_PADDED,),
    ),
    Fault(
        "mask_of_other_sample",
        "masks",
        "every sample goes by the mask of the sample before it",
        _mask(lambda mask: np.roll(mask, 1, axis=0)),
        (NO_SAMPLE_PADDED, EQUAL_SAMPLES),
    ),
    Fault(
        "mask_as_length",
        "masks",
        "the mask is taken for a length: so many steps from the first on count",
        _mask(_left_aligned),
        (NO_SAMPLE_PADDED, PADS_THE_END),
    ),
    Fault(
        "holes_filled",
        "masks",
        "all steps between the first and the last that count are taken to count",
        _mask(_from_first_to_last),
        (NO_SAMPLE_PADDED, PADS_THE_END),
    ),
    Fault(
        "fully_masked_row",
        "masks",
        "a sample in which no step counts is run as if all did",
        _mask(_whole_where_empty),
        (NO_SAMPLE_PADDED,),
    ),
    Fault(
        "last_output_from_masked_step",
        "masks",
        "the last step counts, whatever the mask says",
        _mask(_last_counts),
        (NO_SAMPLE_PADDED,),
    ),
    Fault(
        "reverse_over_padding",
        "masks",
        "a layer that goes backwards starts in the padding, and takes as many steps as the mask has",
        _from_the_padding,
        (NO_SAMPLE_PADDED,),
    ),
    Fault(
        "mask_zeroes_state",
        "masks",
        "a step that does not count leaves zero states behind",
        _passing(lambda before, after: before * 0.0),
        (NO_SAMPLE_PADDED, PADS_THE_END),
    ),
    Fault(
        "state_updates_under_mask",
        "masks",
        "the states go on at a step that does not count, though it puts out nothing new",
        _passing(lambda before, after: after),
        (NO_SAMPLE_PADDED, PADS_THE_END),
    ),
    Fault(
        "mask_repeats_first",
        "masks",
        "a step that does not count puts out what the first step did",
        in_layer(_repeating_first),
        (NO_SAMPLE_PADDED,),
    ),
    Fault(
        "mask_by_multiplication",
        "masks",
        "the inputs are multiplied by the mask, and every step counts",
        _by_multiplication,
        (NO_SAMPLE_PADDED,),
    ),
    Fault(
        "zero_output_for_mask_flipped",
        "masks",
        "zero and the output before are exchanged where a step does not count",
        in_layer(
            lambda layer: (
                None
                if layer.mask is None
                else with_options(layer, zero_output_for_mask=not layer.options["zero_output_for_mask"])
            )
        ),
        (NO_SAMPLE_PADDED,),
    ),
)
