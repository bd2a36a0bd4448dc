"""Changes of a Network: other options, weights, equations or connections."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from rnncheck.equations.cells import cell_of
from rnncheck.equations.layers import Operation
from rnncheck.equations.operands import X, move
from rnncheck.network import Array, Layer, Network, Tensor

# The layers that are an LSTM, with products or with convolutions.
LSTMS = ("LSTM", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")


def with_layer(network: Network, layer: Layer) -> Network:
    """Return the network with a layer in the place of the one of that name."""
    return replace(network, layers=tuple(layer if each.name == layer.name else each for each in network.layers))


def with_options(layer: Layer, **options: object) -> Layer:
    """Return the layer with other options."""
    return replace(layer, options={**layer.options, **options})


def with_weights(layer: Layer, **weights: Array) -> Layer:
    """Return the layer with other weights."""
    return replace(layer, weights={**layer.weights, **weights})


def with_cell(layer: Layer, **parts: Any) -> Layer:
    """Return a recurrent layer whose step has other parts; see `rnncheck.equations.cells.Cell`."""
    return replace(layer, equations=replace(cell_of(layer), **parts))


def with_gates(layer: Layer, change: Callable[..., tuple[Any, ...]]) -> Layer:
    """Return a recurrent layer with other gates: `change(*gates)`, of those that its cell computes."""
    gates = cell_of(layer).gates
    return with_cell(layer, gates=lambda *arguments: change(*gates(*arguments)))


def with_state_fed(layer: Layer, change: Callable[[Any], Any]) -> Layer:
    """Return a recurrent layer whose steps start from `change(h)` in place of h."""
    cell = cell_of(layer)
    fed = with_cell(layer, gates=lambda projected, h, *given: cell.gates(projected, change(h), *given))
    if cell.remembers:  # the output reads c, not h
        return fed
    return with_cell(fed, output=lambda gates, h, *given: cell.output(gates, change(h), *given))


# (what is multiplied with a kernel, the kernel, its name) -> what is multiplied in its place
Factor = Callable[[Any, Any, str], Any]


def with_factors(layer: Layer, change: Factor, **parts: Any) -> Layer:
    """Return a recurrent layer that multiplies what `change` makes of x with each kernel in place of x."""
    cell = cell_of(layer)
    return with_cell(
        layer,
        project=lambda x, weights, options: cell.project(change(x, weights["kernel"], "kernel"), weights, options),
        gates=lambda projected, h, weights, options: cell.gates(
            projected, change(h, weights["recurrent_kernel"], "recurrent_kernel"), weights, options
        ),
        **parts,
    )


def moving(change: Callable[..., Array]) -> Operation:
    """Return the operation that moves the numbers of its first input as `change` does, which knows the others too."""
    return Operation(
        lambda inputs, weights, options: move(inputs[0], lambda array: change(array, *inputs[1:])), exact=True
    )


def read_through(network: Network, layer: Layer, change: Callable[[Array], Array]) -> Network:
    """Return the network in which a layer reads its first input as `change` makes it."""
    first, *others = layer.inputs
    moved = moved_for(layer, (first,), change)
    return inserted(network, moved, replace(layer, inputs=(Tensor(moved.name), *others)))


def masked_through(network: Network, layer: Layer, change: Callable[[Array], Array]) -> Network | None:
    """Return the network in which a layer takes its mask (N, T) as `change` makes it; None without a mask."""
    if layer.mask is None:
        return None
    moved = moved_for(layer, (layer.mask,), change)
    return inserted(network, moved, replace(layer, mask=Tensor(moved.name)))


def put_out_through(network: Network, layer: Layer, change: Callable[[Array], Array]) -> Network:
    """Return the network in which whatever reads a layer's output, or returns it, has it as `change` makes it."""
    output = Tensor(layer.name)
    moved = moved_for(layer, (output,), change)
    position = network.layers.index(layer) + 1
    rewired = redirected(network, {output: Tensor(moved.name)})
    return replace(rewired, layers=(*rewired.layers[:position], moved, *rewired.layers[position:]))


def returned_through(network: Network, layer: Layer, change: Callable[[X], X]) -> Network | None:
    """Return the network that returns a layer's output as `change` makes it; None where it does not return it."""
    output = Tensor(layer.name)
    if output not in network.outputs:
        return None
    computed = Operation(lambda inputs, weights, options: change(inputs[0]))
    new = Layer(f"{layer.name} as it is put out", "Moved", (output,), dtype=layer.dtype, equations=computed)
    outputs = tuple(Tensor(new.name) if tensor == output else tensor for tensor in network.outputs)
    return replace(network, layers=(*network.layers, new), outputs=outputs)


def redirected(network: Network, instead: Mapping[Tensor, Tensor]) -> Network:
    """Return the network in which whoever reads or returns certain tensors reads or returns others instead."""

    def others(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(instead.get(tensor, tensor) for tensor in tensors)

    def rewired(layer: Layer) -> Layer:
        mask = None if layer.mask is None else instead.get(layer.mask, layer.mask)
        return replace(layer, inputs=others(layer.inputs), initial_state=others(layer.initial_state), mask=mask)

    return replace(network, layers=tuple(map(rewired, network.layers)), outputs=others(network.outputs))


def moved_for(layer: Layer, inputs: tuple[Tensor, ...], change: Callable[..., Array]) -> Layer:
    """Return a layer that moves the numbers of its first input as `change` does, for another layer to read."""
    # The name of the reader keeps those of two readers apart.
    name = f"{inputs[0]} as {layer.name} has it"
    return Layer(name, "Moved", inputs, dtype=layer.dtype, equations=moving(change))


def inserted(network: Network, new: Layer, reader: Layer) -> Network:
    """Return the network with a new layer before the one that reads it, which takes the place of that of its name."""
    layers = [each for old in network.layers for each in ((new, reader) if old.name == reader.name else (old,))]
    return replace(network, layers=tuple(layers))
