"""Experiments that set or support the constants and claims of rnncheck; each is a command."""
