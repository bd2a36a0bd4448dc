"""From a model's own description to a Network, without a framework.

`upgrade` puts what Keras 2 wrote into the form of Keras 3. `description` reads layers by the table in `entries` and
their options by `values`; `calls` reads how they are called. `functional` follows the graph, `lowering` writes out
nested models and wrappers, `implicit_masks` makes their masks explicit. `reader` puts all together with the weights.
"""
