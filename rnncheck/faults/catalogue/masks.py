"""Faults of masks: which steps count, and what stands where one does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rnncheck.equations.cells import Loop
from rnncheck.equations.changes import inserted, moved_for, with_cell, with_options
from rnncheck.faults.catalogue.causes import EQUAL_SAMPLES, NO_SAMPLE_PADDED, PADS_THE_END
from rnncheck.faults.catalogue.fault import backwards, fault, masked, of_layer, of_mask, of_network
from rnncheck.network import Array, Layer, Network, Tensor


@fault("masks", of_layer, when=masked, hidden_by=[NO_SAMPLE_PADDED])
def mask_ignored(layer: Layer) -> Layer:
    """every step counts, whatever the mask says"""
    return replace(layer, mask=None)


@fault("masks", of_mask)
def mask_inverted(mask: Array) -> Array:
    """the steps that count are skipped, and the others count"""
    return np.logical_not(mask)


@fault("masks", of_mask, hidden_by=[NO_SAMPLE_PADDED])
def mask_shifted_by_one(mask: Array) -> Array:
    """every step uses the mask of the step before"""
    return np.concatenate([np.ones_like(mask[:, :1]), mask[:, :-1]], axis=1)


@fault("masks", of_mask, hidden_by=[NO_SAMPLE_PADDED, EQUAL_SAMPLES])
def mask_of_other_sample(mask: Array) -> Array:
    """every sample uses the mask of the sample before it"""
    return np.roll(mask, 1, axis=0)


@fault("masks", of_mask, hidden_by=[NO_SAMPLE_PADDED, PADS_THE_END])
def mask_as_length(mask: Array) -> Array:
    """the mask is taken for a length: so many steps from the first on count"""
    # As ONNX's sequence_lens and cuDNN have it, which know no holes.
    return np.asarray(np.arange(mask.shape[1]) < mask.sum(axis=1, keepdims=True))


@fault("masks", of_mask, hidden_by=[NO_SAMPLE_PADDED, PADS_THE_END])
def holes_filled(mask: Array) -> Array:
    """holes are filled: every step from the first that counts to the last counts"""
    seen = np.maximum.accumulate(mask, axis=1)
    coming = np.maximum.accumulate(mask[:, ::-1], axis=1)[:, ::-1]
    return seen & coming


@fault("masks", of_mask, hidden_by=[NO_SAMPLE_PADDED])
def fully_masked_row(mask: Array) -> Array:
    """a sample in which no step counts is run as if all did"""
    return mask | ~mask.any(axis=1, keepdims=True)


@fault("masks", of_mask, hidden_by=[NO_SAMPLE_PADDED])
def last_output_from_masked_step(mask: Array) -> Array:
    """the last step counts, whatever the mask says"""
    # As where the last output is taken from a padded sequence.
    return np.concatenate([mask[:, :-1], np.ones_like(mask[:, :1])], axis=1)


@fault("masks", of_mask, when=backwards, hidden_by=[NO_SAMPLE_PADDED])
def reverse_over_padding(mask: Array) -> Array:
    """a layer that goes backwards starts in the padding, and takes as many steps as count"""
    return mask_as_length(mask)[:, ::-1]


@fault("masks", of_layer, when=masked, hidden_by=[NO_SAMPLE_PADDED, PADS_THE_END])
def mask_zeroes_state(layer: Layer) -> Layer:
    """a step that does not count sets the states to zero"""
    return with_cell(layer, loop=Loop(passed=lambda before, after: before * 0.0))


@fault("masks", of_layer, when=masked, hidden_by=[NO_SAMPLE_PADDED, PADS_THE_END])
def state_updates_under_mask(layer: Layer) -> Layer:
    """a step that does not count updates the states, though not the output"""
    return with_cell(layer, loop=Loop(passed=lambda before, after: after))


@fault("masks", of_layer, when=masked, hidden_by=[NO_SAMPLE_PADDED])
def mask_repeats_first(layer: Layer) -> Layer | None:
    """a step that does not count repeats the output of the first step"""
    return None if layer.options["zero_output_for_mask"] else with_cell(layer, loop=Loop(repeats_first=True))


@fault("masks", of_network, when=masked, hidden_by=[NO_SAMPLE_PADDED])
def mask_by_multiplication(network: Network, layer: Layer) -> Network:
    """the inputs are multiplied by the mask, and every step counts"""
    assert layer.mask is not None
    # Transposed, a mask (N, T) lines up with inputs (N, T, ...).
    product = moved_for(layer, (layer.inputs[0], layer.mask), lambda x, mask: np.where(mask.T, x.T, 0.0).T)
    return inserted(network, product, replace(layer, inputs=(Tensor(product.name), *layer.inputs[1:]), mask=None))


@fault("masks", of_layer, when=masked, hidden_by=[NO_SAMPLE_PADDED])
def zero_output_for_mask_flipped(layer: Layer) -> Layer:
    """zero_output_for_mask is taken for its opposite"""
    return with_options(layer, zero_output_for_mask=not layer.options["zero_output_for_mask"])
