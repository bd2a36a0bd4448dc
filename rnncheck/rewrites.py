"""Other ways to call the layers of a Keras model that must give the same numbers."""

from __future__ import annotations

from typing import Any

from rnncheck.graph import Arguments, is_recurrent, twin


class CutInTwo:
    """Gives recurrent layers their sequence in two parts, one after the other, with the states handed over.

    Left whole are Bidirectional and TimeDistributed, and layers under a mask: what these put out at a step that does
    not count depends on the step before, which the second part does not know.

    Attributes:
        count: how many layers were cut.
        missing: what a model lacks where none was.
    """

    missing = "every recurrent layer has a mask, a wrapper or a single step"

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, layer: Any, args: Any, kwargs: Any) -> Any:
        """Call a layer."""
        found = Arguments.of(layer, args, kwargs) if hasattr(layer, "cell") else None
        if found is None or found.mask is not None or found.sequence.shape[1] < 2:
            return layer(*args, **kwargs)
        self.count += 1
        return _in_two_parts(f"rnncheck_first_part_{self.count}", layer, found)


def _in_two_parts(name: str, layer: Any, found: Arguments) -> Any:
    import keras

    middle = found.sequence.shape[1] // 2
    parts = [found.sequence[:, :middle], found.sequence[:, middle:]]
    first, second = reversed(parts) if layer.go_backwards else parts
    start = found.initial_state
    if start is None and layer.stateful:
        start = layer.states
    part = twin(layer, name, return_sequences=layer.return_sequences, return_state=True, stateful=False)
    before, *states = part(first, initial_state=start)
    after = layer(second, initial_state=states)
    if not layer.return_sequences:
        return after
    output, *states = after if layer.return_state else [after]
    whole = keras.ops.concatenate([before, output], axis=1)
    return (whole, *states) if layer.return_state else whole


class WithMasked:
    """Replaces what recurrent layers are given at steps that do not count.

    Attributes:
        count: how many layers have a mask.
        missing: what a model lacks where none has.
    """

    missing = "no recurrent layer has a mask"

    def __init__(self, value: float) -> None:
        self.count = 0
        self._value = value

    def __call__(self, layer: Any, args: Any, kwargs: Any) -> Any:
        """Call a layer."""
        found = Arguments.of(layer, args, kwargs) if is_recurrent(layer) else None
        if found is None or found.mask is None:
            return layer(*args, **kwargs)
        self.count += 1
        states = {} if found.initial_state is None else {"initial_state": found.initial_state}
        return layer(self._replaced(found.sequence, found.mask), mask=found.mask, **states)

    def _replaced(self, sequence: Any, mask: Any) -> Any:
        import keras

        for _ in sequence.shape[len(mask.shape) :]:
            mask = keras.ops.expand_dims(mask, -1)
        return keras.ops.where(mask, sequence, keras.ops.cast(self._value, sequence.dtype))
