"""Faults of layers beside recurrent ones: of convolutions, pooling, padding and normalisation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rnncheck.equations.arithmetic import KERNELS
from rnncheck.equations.changes import (
    moving,
    put_out_through,
    read_through,
    redirected,
    with_options,
    with_weights,
)
from rnncheck.equations.windows import IN_FRONT
from rnncheck.faults.catalogue.causes import CONSTANT_WEIGHTS, NO_NEGATIVE_INPUTS
from rnncheck.faults.catalogue.fault import CONVOLUTIONS, fault, of_layer, of_network
from rnncheck.network import Layer, Network, Tensor


def _ranks(kind: str) -> tuple[str, ...]:
    return tuple(f"{kind}{rank}D" for rank in (1, 2, 3))


_CONVOLVING = (*CONVOLUTIONS, *_ranks("ConvLSTM"))
_MAX, _AVERAGE = _ranks("MaxPooling"), _ranks("AveragePooling")
_OTHER_POOLING = {
    f"{of}{pool}Pooling{rank}D": f"{of}{other}Pooling{rank}D"
    for of in ("", "Global")
    for pool, other in (("Max", "Average"), ("Average", "Max"))
    for rank in (1, 2, 3)
}
_WITH_MOMENTS = ("LayerNormalization", "GroupNormalization")
_WITH_EPSILON = (*_WITH_MOMENTS, "BatchNormalization")


def _same(layer: Layer) -> bool:
    return bool(layer.options["padding"] == "same")


@fault("windows", of_layer, kinds=_CONVOLVING, hidden_by=[CONSTANT_WEIGHTS])
def kernel_flipped(layer: Layer) -> Layer | None:
    """the kernel is turned round, as the textbook's convolution does and Keras does not"""
    kernels = {name: weight for name, weight in layer.weights.items() if name in KERNELS}
    flipped = {name: np.flip(kernel, tuple(range(kernel.ndim - 2))) for name, kernel in kernels.items()}
    return with_weights(layer, **flipped) if max(layer.options["kernel_size"]) > 1 else None


def _pads_unevenly(layer: Layer) -> bool:
    size = layer.options["kernel_size" if "kernel_size" in layer.options else "pool_size"]
    axes = zip(size, layer.options["strides"], layer.options.get("dilation_rate", (1,) * len(size)), strict=True)
    return _same(layer) and any(stride > 1 or (places - 1) * dilation % 2 for places, stride, dilation in axes)


@fault("windows", of_layer, kinds=(*_CONVOLVING, *_MAX, *_AVERAGE), when=_pads_unevenly)
def same_padding_in_front(layer: Layer) -> Layer:
    """the odd place of the padding `same` is in front, as torch's symmetric padding has it, not behind"""
    return with_options(layer, padding=IN_FRONT)


@fault("windows", of_layer, kinds=CONVOLUTIONS, when=lambda layer: layer.options["padding"] == "causal")
def causal_padding_on_both_sides(layer: Layer) -> Layer:
    """a causal convolution is padded on both sides"""
    return with_options(layer, padding="same")


@fault("windows", of_layer, kinds=_AVERAGE, when=_same)
def padding_counts_in_average(layer: Layer) -> Layer:
    """average pooling counts the padding, as torch's count_include_pad"""
    return with_options(layer, counts_padding=True)


@fault("windows", of_layer, kinds=_MAX, when=_same, hidden_by=[NO_NEGATIVE_INPUTS])
def padding_counts_in_maximum(layer: Layer) -> Layer:
    """max pooling takes the padding for zeros, which are larger than negative numbers"""
    return with_options(layer, counts_padding=True)


@fault("windows", of_layer, kinds=_OTHER_POOLING)
def pooling_confused(layer: Layer) -> Layer:
    """max and average pooling are exchanged"""
    return replace(layer, kind=_OTHER_POOLING[layer.kind], inputs=layer.inputs[:1])


@fault("layout", of_layer, kinds=[kind for kind in CONVOLUTIONS if kind[0] != "C"], hidden_by=[CONSTANT_WEIGHTS])
def depthwise_channels_interleaved(layer: Layer) -> Layer | None:
    """a depthwise kernel is read as if its multiplier stood before the channels"""
    name = "kernel" if "kernel" in layer.weights else "depthwise_kernel"
    kernel = layer.weights[name]
    if 1 in kernel.shape[-2:]:
        return None
    return with_weights(layer, **{name: kernel.swapaxes(-1, -2).reshape(kernel.shape)})


@fault("layout", of_layer, kinds=(*_ranks("ZeroPadding"), *_ranks("Cropping")))
def ends_swapped(layer: Layer) -> Layer | None:
    """padding or cropping takes what is before an axis for what is behind it"""
    option = "padding" if "padding" in layer.options else "cropping"
    swapped = tuple(ends[::-1] for ends in layer.options[option])
    return None if swapped == layer.options[option] else with_options(layer, **{option: swapped})


@fault("layout", of_layer, kinds=_ranks("UpSampling"))
def upsampling_in_tiles(layer: Layer) -> Layer:
    """upsampling puts copies of the whole side by side, not of each place"""
    size = layer.options["size"]
    copies = (1, *size) if layer.options.get("data_format") == "channels_first" else (*size, 1)
    return replace(layer, equations=moving(lambda x: np.tile(x, (1, *copies))))


@fault("normalisation", of_layer, kinds=_WITH_EPSILON, when=lambda layer: layer.options["epsilon"] != 1e-5)
def epsilon_of_torch(layer: Layer) -> Layer:
    """the normalisation has torch's epsilon, 1e-5"""
    return with_options(layer, epsilon=1e-5)


@fault("normalisation", of_layer, kinds=_WITH_EPSILON)
def epsilon_outside_root(layer: Layer) -> Layer:
    """the normalisation adds epsilon to the standard deviation, not to the variance"""
    return with_options(layer, outside=True)


@fault("normalisation", of_layer, kinds=_WITH_MOMENTS)
def variance_unbiased(layer: Layer) -> Layer:
    """the normalisation has the variance over n - 1, not over n"""
    return with_options(layer, unbiased=True)


@fault("normalisation", of_network, kinds=("GroupNormalization",))
def groups_interleaved(network: Network, layer: Layer) -> Network | None:
    """a group has every so many channels, not neighbours"""
    groups, axis = layer.options["groups"], layer.options["axis"]
    channels = max((weight.size for weight in layer.weights.values()), default=groups)
    if groups in {1, channels}:
        return None
    order = np.arange(channels).reshape(-1, groups).T.reshape(-1)  # neighbours in it are those of a group
    own = with_weights(layer, **{name: weight[order] for name, weight in layer.weights.items()})
    changed = read_through(network, own, lambda x: x.take(order, axis))
    return put_out_through(changed, changed.layer(layer.name), lambda y: y.take(np.argsort(order), axis))


@fault("normalisation", of_layer, kinds=("GroupNormalization",), when=lambda layer: layer.options["groups"] > 1)
def groups_ignored(layer: Layer) -> Layer:
    """all channels are normalised together, whatever the groups"""
    return with_options(layer, groups=1)


@fault("normalisation", of_network, kinds=(*_WITH_EPSILON, "UnitNormalization"))
def normalisation_left_out(network: Network, layer: Layer) -> Network:
    """the normalisation is left out"""
    return redirected(network, {Tensor(layer.name): layer.inputs[0]})
