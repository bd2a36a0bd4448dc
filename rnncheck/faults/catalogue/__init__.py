"""The catalogue of the ways in which people get recurrent networks wrong.

To add a fault, write one decorated function in the module of its class; see `rnncheck.faults.catalogue.fault`.
"""

from rnncheck.faults.catalogue.fault import ENTERED, Fault, injections

# Each module enters its faults when it is imported, so that this order is the catalogue's.
# isort: off
from rnncheck.faults.catalogue import gates, biases, activations, states, masks, direction  # noqa: F401
from rnncheck.faults.catalogue import weights, precision, outputs, recording, space, attributes  # noqa: F401
# isort: on

FAULTS: tuple[Fault, ...] = tuple(ENTERED)

__all__ = ["FAULTS", "Fault", "injections"]
