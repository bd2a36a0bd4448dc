"""The catalogue of the ways in which people get recurrent networks wrong.

To add a fault, enter it in `FAULTS` of the module of its class.
"""

from rnncheck.faults.catalogue import activations, biases, direction, gates, masks, precision, states, weights
from rnncheck.faults.catalogue.fault import Fault, Injection, injections

FAULTS: tuple[Fault, ...] = tuple(
    fault
    for module in (gates, biases, activations, states, masks, direction, weights, precision)
    for fault in module.FAULTS
)


__all__ = ["FAULTS", "Fault", "Injection", "injections"]
