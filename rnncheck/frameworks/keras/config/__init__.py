"""From a model's own description to a Network, without a framework.

`modelfile` opens a file, `hdf5` and `fileweights` take weights out of it. `reader` puts everything together: `calls`
and `arguments` read the graph, `description` the layers by the table in `entries`, `graph` and `lowering` resolve
nested models and wrappers, `masks` makes implicit masks explicit.
"""
