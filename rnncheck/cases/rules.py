"""Which options of a case exclude each other, or mean nothing together: one rule each, with its reason."""

from __future__ import annotations

from typing import Any


def refused(case: Any) -> str:
    """Return why a combination of options is refused: what the case has, what was expected; empty if it is valid."""
    both_ways, outer = case.bidirectional, bool(case.outer)
    # Each rule: whether it is broken, what the case has; what was expected, and why.
    # fmt: off
    rules = (
        (case.activation == "glu", "activation='glu'",
         "one that keeps the number of units, since the state is fed back. Use dense_activation='glu' instead."),
        (case.recurrent_activation == "glu", "recurrent_activation='glu'",
         "one that keeps the number of units, since each has its gates. Use dense_activation='glu' instead."),
        (case.dense_activation == "glu" and case.K % 2 == 1, f"dense_activation='glu' with K={case.K}",
         "an even K, since glu halves it."),
        (case.flatten and not (case.return_sequences or case.rank or outer),
         "flatten=True with return_sequences=False",
         "return_sequences=True, since there is nothing to flatten in one step."),
        (case.weights == "keras" and case.dtype == "bfloat16", "weights='keras' with dtype='bfloat16'",
         "weights='random', since Keras' orthogonal initialiser has no bfloat16 form."),
        (case.strides > 1 and case.dilation_rate > 1,
         f"strides={case.strides} with dilation_rate={case.dilation_rate}",
         "1 for one of them, since Keras refuses both."),
        (min(case.space_after(case.layers), default=1) < 1,
         f"kernel_size={case.kernel_size} with dilation_rate={case.dilation_rate}, layers={case.layers}",
         f"kernels that fit into the space, which is {case.space}. Use padding='same'."),
        (case.rank > 0 and case.mask_from != "input", f"mask_from={case.mask_from!r} with layer={case.layer!r}",
         "mask_from='input', since a mask of steps and places is none of steps."),
        (case.front != "none" and case.mask_from != "input",
         f"mask_from={case.mask_from!r} with front={case.front!r}",
         "mask_from='input', since convolutions and pooling drop masks."),
        (case.front == "conv3d" and case.dtype in {"float64", "float16", "mixed_float16"},
         f"dtype={case.dtype!r} with front='conv3d'",
         "float32 or bfloat16, since TensorFlow pools volumes in these alone."),
        (both_ways and case.go_backwards and not case.own_backward, "go_backwards=True with wrapper='bidirectional'",
         "go_backwards=False, or own_backward=True, since both of Keras' own layers would go backwards."),
        (both_ways and case.zero_output_for_mask, "zero_output_for_mask=True with wrapper='bidirectional'",
         "False, since Bidirectional sets it itself: to the value of return_sequences."),
        (both_ways and case.merge_mode == "none" and case.layers > 1, f"merge_mode='none' with layers={case.layers}",
         "layers=1, since the next layer reads one sequence, not two."),
        (both_ways and case.stateful and case.return_state,
         "return_state=True with wrapper='bidirectional', stateful=True",
         "one of them, since Keras' Bidirectional fails when it makes up the mask of the states."),
        (both_ways and "threshold" in {case.activation, case.recurrent_activation},
         "the activation 'threshold' with wrapper='bidirectional'",
         "another, since Keras copies the layer and cannot copy an activation with parameters."),
        (case.layer == "stacked" and case.cells < 2, f"cells={case.cells} with layer='stacked'",
         "2 or more, since Keras fails on a stack of one with a mask or unroll. Use layer='rnn'."),
        (outer and case.return_state, "return_state=True with wrapper='time_distributed'",
         "False, since TimeDistributed puts together one output, no states."),
        (outer and case.initial_state, "initial_state=True with wrapper='time_distributed'",
         "False, since TimeDistributed passes no states on."),
        (outer and case.stateful, "stateful=True with wrapper='time_distributed'",
         "False, since every outer step would go on from the one before."),
    )
    # fmt: on
    return next((f"got {got}; expected {expected}" for broken, got, expected in rules if broken), "")
