"""Which mistake would explain a run, and which mistakes it could not have shown."""
