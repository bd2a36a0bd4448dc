"""What a fault is: a named way to get a recurrent network wrong, as a change of its Network.

A fault is a function of what it changes, entered where it stands. Its name is the fault's, and the first line of its
docstring the summary that users see:

    @fault("masks", of_mask, hidden_by=[NO_SAMPLE_PADDED, PADS_THE_END])
    def mask_as_length(mask: Array) -> Array:
        "the mask is taken for a length: so many steps from the first on count"
        return np.arange(mask.shape[1]) < mask.sum(axis=1, keepdims=True)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from rnncheck.equations.cells import CELLS
from rnncheck.equations.changes import masked_through, read_through, with_layer, with_weights
from rnncheck.equations.layers import LAYERS
from rnncheck.faults.catalogue.causes import Cause
from rnncheck.network import Array, Layer, Network, Recording

# (network, layer) -> the network with the fault in that layer; None where the layer cannot have it.
Change = Callable[[Network, Layer], Network | None]

# (network, layer, a run that does not match) -> networks with the fault, each with its parameters in words
Fit = Callable[[Network, Layer, Sequence[Recording]], Iterator[tuple[Network, str]]]

# A function of what a fault changes -> the change of the network. The function may return None where it cannot.
Form = Callable[[Callable[..., Any]], Change]

_Function = TypeVar("_Function", bound=Callable[..., Any])

# The kinds of convolutions without a state, and of layers whose weights can be wrong.
CONVOLUTIONS = tuple(kind for kind in LAYERS if "Conv" in kind)
WITH_WEIGHTS = (*CELLS, "Dense", *CONVOLUTIONS)


@dataclass(frozen=True)
class Fault:
    """One way in which recurrent implementations have been wrong."""

    name: str  # what it is called in tables and JSON
    group: str  # its class: gate order, masks, ...
    summary: str  # one line that says what the faulty implementation does
    change: Change  # makes the fault in one layer
    hidden_by: tuple[Cause, ...] = ()  # what keeps it from showing, the likeliest first
    fitted: Fit | None = None  # finds the parameters with which it may explain a run; None for a fault without any


# All faults, in the order in which they are entered.
ENTERED: list[Fault] = []


def fault(
    group: str,  # the fault's class
    of: Form,  # what the function changes: one of the forms below
    *,
    kinds: Collection[str] = CELLS,  # the kinds of layers that can have it
    when: Callable[[Layer], bool] = lambda _: True,  # whether a layer of these kinds can have it
    hidden_by: Sequence[Cause] = (),  # what keeps it from showing, the likeliest first
    fitted: Callable[[Callable[..., Any]], Fit] | None = None,  # of the function: finds its parameters in a run
    name: str = "",  # for one of a family; the function's own when empty
    summary: str = "",  # what users read; the first line of the function's docstring when empty
) -> Callable[[_Function], _Function]:
    """Enter a function in the catalogue as a fault; the function stays what it is."""

    def enter(function: _Function) -> _Function:
        change = of(function)

        def changed(network: Network, layer: Layer) -> Network | None:
            return change(network, layer) if layer.kind in kinds and when(layer) else None

        says = summary or (function.__doc__ or "").partition("\n")[0]

        def fit(network: Network, layer: Layer, run: Sequence[Recording]) -> Iterator[tuple[Network, str]]:
            assert fitted is not None
            if layer.kind in kinds and when(layer):
                yield from fitted(function)(network, layer, run)

        fits = None if fitted is None else fit
        ENTERED.append(Fault(name or function.__name__, group, says, changed, tuple(hidden_by), fits))
        return function

    return enter


def of_network(change: Change) -> Change:
    """Make a fault of a function (network, layer) -> network."""
    return change


def of_layer(change: Callable[[Layer], Layer | None]) -> Change:
    """Make a fault of a function of the layer."""

    def changed(network: Network, layer: Layer) -> Network | None:
        new = change(layer)
        return None if new is None else with_layer(network, new)

    return changed


def layerwise(changed: Callable[[Callable[..., Any], Layer], Layer | None]) -> Form:
    """Make a form of what a function does to a layer: (function, layer) -> the layer with the fault."""
    return lambda function: of_layer(lambda layer: changed(function, layer))


def of_weight(*names: str) -> Form:
    """Make a fault of a function of a weight, which it may write to: of each that is named, or of each there is."""

    def changed(change: Callable[[Array], Any], layer: Layer) -> Layer | None:
        # Of a separable convolution the pointwise kernel stands for the kernel.
        own = [name if name in layer.weights else f"pointwise_{name}" for name in names or layer.weights]
        if not set(own) <= set(layer.weights):
            return None
        # A layer's own arrays are read-only. The function may leave one as it is.
        new = {name: change(np.array(layer.weights[name])) for name in own}
        new = {name: weight for name, weight in new.items() if weight is not None}
        return with_weights(layer, **new) if new else None

    return layerwise(changed)


def of_mask(change: Callable[[Array], Array]) -> Change:
    """Make a fault of a function of the mask (N, T) that a layer goes by."""
    return lambda network, layer: masked_through(network, layer, change)


def of_inputs(change: Callable[[Array], Array]) -> Change:
    """Make a fault of a function of what a layer reads, (N, T, ...)."""
    return lambda network, layer: read_through(network, layer, change)


def shapes(layer: Layer) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a layer's weights by name."""
    return {name: weight.shape for name, weight in layer.weights.items()}


def halves(network: Network, layer: Layer) -> list[Layer]:
    """Return the recurrent layers in the wrapper that a layer stands in; none for a layer that stands alone."""
    wrapper = layer.name.rpartition("/")[0]
    inside = (each for each in network.layers if wrapper and each.name.rpartition("/")[0] == wrapper)
    return [each for each in inside if each.kind in CELLS]


def masked(layer: Layer) -> bool:
    """Whether a layer has a mask."""
    return layer.mask is not None


def backwards(layer: Layer) -> bool:
    """Whether a recurrent layer takes the steps from last to first."""
    return bool(layer.options["go_backwards"])


@dataclass(frozen=True)
class Injection:
    """A fault in one layer of a network."""

    fault: Fault
    layer: str  # its name
    network: Network  # with the fault in it
    detail: str = ""  # its parameters, in words

    @property
    def summary(self) -> str:
        """What the faulty implementation does, in a line."""
        return self.fault.summary + (f": {self.detail}" if self.detail else "")

    def __str__(self) -> str:
        return f"{self.fault.name} in {self.layer!r}"


def injections(
    network: Network,
    faults: Sequence[Fault],
    names: Collection[str] | None = None,
    run: Sequence[Recording] = (),
) -> Iterator[Injection]:
    """Yield every fault in every layer that can have it: in the layers of some names, or in all.

    A fault with parameters has those that fit a run, if one is given, else some.
    """
    for each in faults:
        for layer in network.layers:
            if names is not None and layer.name not in names:
                continue
            if each.fitted and run:
                for changed, detail in each.fitted(network, layer, run):
                    yield Injection(each, layer.name, changed, detail)
            elif plain := each.change(network, layer):
                yield Injection(each, layer.name, plain)


def chained(network: Network, faults: Iterable[tuple[Fault, str]]) -> tuple[Injection, ...]:
    """Return several faults, each in the layer of a name, one made in the network of the other: the last has all.

    Layers that cannot have their fault are left out.
    """
    chain: list[Injection] = []
    for each, name in faults:
        before = chain[-1].network if chain else network
        changed = each.change(before, before.layer(name))
        if changed is not None:
            chain.append(Injection(each, name, changed))
    return tuple(chain)
