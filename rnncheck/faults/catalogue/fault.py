"""What a fault is: a named way to get a recurrent network wrong, as a change of its Network.

A fault changes one layer, or the graph around it. The changed Network says what the faulty implementation would
compute, so that the same object serves three ways: held against a correct run it must be caught, held against a wrong
run it may explain it, and held against a user's run it tells whether the user's inputs could have shown it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rnncheck.equations.cells import CELLS
from rnncheck.equations.changes import with_layer
from rnncheck.faults.catalogue.causes import Cause
from rnncheck.network import Layer, Network

# (network, layer) -> the network with the fault in that layer; None where the layer cannot have it.
Change = Callable[[Network, Layer], Network | None]


@dataclass(frozen=True)
class Fault:
    """One way in which recurrent implementations have been wrong.

    Attributes:
        name: what it is called in tables and JSON.
        group: its class: gate order, masks, ...
        summary: one line that says what the faulty implementation does.
        change: makes the fault in one layer.
        hidden_by: what keeps it from showing, the likeliest first.
    """

    name: str
    group: str
    summary: str
    change: Change
    hidden_by: tuple[Cause, ...] = ()


@dataclass(frozen=True)
class Injection:
    """A fault in one layer of a network.

    Attributes:
        fault: which.
        layer: the name of the layer.
        network: the network with the fault in it.
    """

    fault: Fault
    layer: str
    network: Network

    def __str__(self) -> str:
        return f"{self.fault.name} in {self.layer!r}"


def injections(network: Network, faults: Sequence[Fault], layers: Sequence[str] | None = None) -> Iterator[Injection]:
    """Yield every fault in every layer that can have it.

    Args:
        network: the correct one.
        faults: which to make.
        layers: the names of the layers to make them in; all when None.
    """
    for fault in faults:
        for layer in network.layers:
            if layers is None or layer.name in layers:
                changed = fault.change(network, layer)
                if changed is not None:
                    yield Injection(fault, layer.name, changed)


def in_layer(change: Callable[[Layer], Layer | None], kinds: Sequence[str] = tuple(CELLS)) -> Change:
    """Return a change of one layer of certain kinds, those that are recurrent unless said otherwise."""

    def changed(network: Network, layer: Layer) -> Network | None:
        new = change(layer) if layer.kind in kinds else None
        return None if new is None else with_layer(network, new)

    return changed
