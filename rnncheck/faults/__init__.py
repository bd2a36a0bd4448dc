"""Which mistake would explain a run, and which mistakes it could not have shown."""

from rnncheck.faults.catalogue import FAULTS, Fault, Injection, injections

__all__ = ["FAULTS", "Fault", "Injection", "injections"]
