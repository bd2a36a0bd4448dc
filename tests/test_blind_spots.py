"""What a run could not have shown, and why: each cause hides the faults that are stated here, and no others."""

import functools
from dataclasses import replace

import numpy as np
import pytest
from reference import DOUBLE, make_bidirectional, make_inputs, make_network, make_recurrent, replaced
from test_layers import Case, drawn_weights, options_of

from rnncheck.checks.observed import observe
from rnncheck.equations.changes import with_weights
from rnncheck.faults.catalogue import FAULTS, causes
from rnncheck.faults.emulation import emulate
from rnncheck.faults.trial import blind_spots
from rnncheck.network import InputSpec, Layer, Network, Tensor

N, T, D, M = 4, 6, 3, 6


def of_one_layer(kind, options, *shape, **changes):
    """A network of a layer without states."""
    case = Case(kind, options, (shape,))
    weights = drawn_weights(case, np.random.default_rng(3))
    layer = Layer("layer", kind, (Tensor("x"),), {**options_of(case), **changes}, weights, dtype="float64")
    return Network("one", (InputSpec("x", shape, "float64"),), (layer,), (Tensor("layer"),))


def two_layers(t_steps):
    """Two layers with initial states of their own."""
    rng = np.random.default_rng(5)
    layers = [
        make_recurrent(f"rnn{k}", rng, D=D, M=M, initial_state=(Tensor(f"start{k}"),), **DOUBLE) for k in (0, 1)
    ]
    starts = (InputSpec(f"start{k}", (M,), "float64") for k in (0, 1))
    outputs = tuple(Tensor(layer.name) for layer in layers)
    return Network("two", (InputSpec("inputs", (t_steps, D), "float64"), *starts), tuple(layers), outputs)


def recurrent(kind, **options):
    return lambda t_steps: make_network(**{"kind": kind, "T": t_steps, "D": D, "M": M, "K": 2, **DOUBLE, **options})


STARTED = {"initial_state": True, "return_sequences": True}
MASKED = {**STARTED, "mask": True}
# By name, the network of a number of steps.
NETWORKS = {
    "simple_rnn": recurrent("SimpleRNN"),
    "lstm": recurrent("LSTM"),
    "input_forget": recurrent("LSTM", input_forget=True),
    "gru": recurrent("GRU"),
    "reset_before": recurrent("GRU", reset_after=False),
    "flattened": recurrent("SimpleRNN", flatten=True),
    "stateful": recurrent("SimpleRNN", stateful=True),
    "backward": recurrent("SimpleRNN", go_backwards=True),
    "backward_sequences": recurrent("SimpleRNN", go_backwards=True, return_sequences=True),
    "started": recurrent("LSTM", **STARTED),
    "masked": recurrent("LSTM", **MASKED),
    "masked_backward": recurrent("LSTM", go_backwards=True, **MASKED),
    "bidirectional": lambda t_steps: make_bidirectional(T=t_steps, D=D, M=M, merge_mode="sum"),
    "two_layers": two_layers,
    "convolution": lambda _: of_one_layer("Conv1D", {"filters": 3, "kernel_size": 2}, 6, 4),
    "depthwise": lambda _: of_one_layer("DepthwiseConv1D", {"kernel_size": 2, "depth_multiplier": 2}, 6, 4),
    "pooling": lambda _: of_one_layer("MaxPooling1D", {"pool_size": 3, "strides": 1, "padding": "same"}, 6, 4),
}


def calls_of(network):
    return [make_inputs(network, N, seed) for seed in (1, 2)]


@functools.cache
def rich(name):
    """A network, and two calls that show every fault in it."""
    network = NETWORKS[name](T)
    return network, calls_of(network)


def with_inputs(change, *names):
    """Change the arrays of some inputs."""

    def poor(network, calls):
        specs = [spec.name for spec in network.inputs]
        return network, [
            tuple(change(x) if name in names else x for name, x in zip(specs, call, strict=True)) for call in calls
        ]

    return poor


def with_samples(choose):
    return lambda network, calls: (network, [tuple(choose(x) for x in call) for call in calls])


def with_all_weights(change):
    """Change the weights of every layer: (name, weight) -> weight."""

    def poor(network, calls):
        layers = (
            with_weights(layer, **{name: change(name, weight) for name, weight in layer.weights.items()})
            for layer in network.layers
        )
        return replace(network, layers=tuple(layers)), calls

    return poor


def without_recurrent_bias(name, weight):
    return np.stack([weight[0], np.zeros_like(weight[1])]) if weight.ndim == 2 and name == "bias" else weight


def with_steps(count):
    def poor(network, calls):
        name = next(name for name in NETWORKS if rich(name)[0] is network)
        network = NETWORKS[name](count)
        return network, calls_of(network)

    return poor


def as_it_is(network, calls):
    return network, calls


def but_one(mask):
    """Every step counts but the last of the last sample."""
    mask = np.ones_like(mask)
    mask[-1, -1] = False
    return mask


PADDED_AT_THE_END = np.arange(T) < np.array([[4], [3], [6], [0]])
ORDERS = ("iofc", "ifoc", "icfo", "fico", "cfoi", "rzh", "hzr")
GATE_ORDERS, BIAS_GATE_ORDERS = ({f"{of}gate_order_{order}" for order in ORDERS} for of in ("", "bias_"))

# (the reason, what to do, how a run gets so, the networks that it hides something in, the faults that it hides)
CAUSES = [
    (
        "there is one sample only", "Use at least two samples.", with_samples(lambda x: x[:1]),
        ["simple_rnn", "started"],
        {
            "state_kept_between_samples", "time_and_batch_swapped", "reversed_along_batch", "sample_0_repeated",
            "only_first_sample_right", "stale_buffer", "outputs_of_other_samples", "outputs_transposed",
            "states_recorded_time_first",
        },
    ),
    (
        "all samples are equal", "Use random inputs.", with_samples(lambda x: np.repeat(x[:1], N, axis=0)),
        ["simple_rnn", "masked"],
        {"mask_of_other_sample", "reversed_along_batch", "sample_0_repeated", "stale_buffer"},
    ),
    (
        "there is one step only", "Use at least four steps.", with_steps(1),
        ["simple_rnn", "lstm", "input_forget", "reset_before", "flattened", "backward", "backward_sequences",
         "bidirectional"],
        {
            "recurrent_kernel_transposed", "recurrent_kernel_reshaped", "input_and_forget_coupled",
            "forget_bias_added", "forget_bias_missing", "forget_bias_after_sigmoid", "reset_after_flipped",
            "state_not_carried", "memory_not_carried", "state_halved", "only_first_steps", "go_backwards_ignored",
            "time_reversed", "time_reversed_in_order", "input_forget_ignored",
            "output_turned_round", "output_not_turned_round", "backward_last_step_for_first",
            "off_by_one_state",
            "time_and_batch_swapped", "flatten_in_other_order", "units_cut_at_block", "recurrent_kernel_not_loaded",
            "recurrent_rows_rotated", "recurrent_kernel_off_by_0.001", "recurrent_kernel_off_by_0.0001",
            "recurrent_kernel_off_by_1e-05", "state_in_bfloat16", "states_recorded_time_first",
        },
    ),
    (
        "there is one call only",
        "Give the arrays of a second call, too, or ask for metamorphic runs where Keras runs the model.",
        lambda network, calls: (network, calls[:1]), ["simple_rnn", "stateful"],
        {"state_lost_between_calls", "state_kept_between_calls"},
    ),
    (
        "every step counts", "Use a mask with padding and holes.", with_inputs(np.ones_like, "mask"),
        ["masked", "masked_backward"],
        {
            "mask_ignored", "mask_shifted_by_one", "mask_of_other_sample", "mask_as_length", "holes_filled",
            "fully_masked_row", "last_output_from_masked_step", "reverse_over_padding", "mask_zeroes_state",
            "state_updates_under_mask", "mask_repeats_first", "mask_by_multiplication",
            "zero_output_for_mask_flipped",
        },
    ),
    (
        "the mask pads the end only", "Use masks with holes and padding on both ends.",
        with_inputs(lambda _: PADDED_AT_THE_END, "mask"), ["masked"],
        {"mask_as_length", "holes_filled", "mask_zeroes_state", "state_updates_under_mask"},
    ),
    (
        "the initial states are zero", "Use random initial states.",
        with_inputs(np.zeros_like, "h0", "c0", "start0", "start1"), ["started", "two_layers"],
        {"initial_state_ignored", "initial_states_swapped", "initial_state_of_other_layer"},
    ),
    (
        "the bias is zero", "Use random biases.", with_all_weights(lambda name, w: w * (name != "bias")),
        ["lstm", "gru", "convolution"],
        {*BIAS_GATE_ORDERS, "bias_dropped", "bias_doubled", "dense_bias_dropped", "input_bias_dropped",
         "bias_rows_swapped"},
    ),
    (
        "the recurrent bias is zero", "Use random biases.", with_all_weights(without_recurrent_bias), ["gru"],
        {"gru_biases_merged", "recurrent_bias_dropped"},
    ),
    (
        "the weight is zero", "Use random weights.", with_all_weights(lambda name, w: w * ("kernel" not in name)),
        ["simple_rnn", "depthwise"], {"weights_not_loaded", "recurrent_kernel_not_loaded", "last_column_missing"},
    ),
    (
        "the weights are all equal", "Use random weights.", with_all_weights(lambda name, w: np.full_like(w, 0.3)),
        ["simple_rnn", "lstm", "gru", "convolution", "depthwise"],
        {
            *GATE_ORDERS, *BIAS_GATE_ORDERS, "split_by_input_dim", "recurrent_kernel_transposed",
            "recurrent_rows_rotated", "kernel_rows_rotated", "units_rotated", "kernel_flipped",
            "depthwise_channels_interleaved",
        },
    ),
    (
        "all outputs are zero", "Use random weights and inputs.", with_all_weights(lambda name, w: 0.0 * w),
        ["simple_rnn"], {"outputs_scaled", "outputs_negated"},
    ),
    (
        "all outputs of a sample are equal", "Use random weights.",
        with_all_weights(lambda name, w: np.full_like(w, 0.3)), ["simple_rnn"], {"output_columns_in_other_order"},
    ),
    (
        "no number that it reads is negative", "Use inputs of both signs.", with_inputs(np.abs, "x"), ["pooling"],
        {"padding_counts_in_maximum"},
    ),
]  # fmt: skip


def spots_of(network, calls, faults):
    return blind_spots(network, emulate(network, calls), faults)


@pytest.mark.few(5)
@pytest.mark.parametrize(
    ("reason", "remedy", "impoverished", "names", "hidden"), CAUSES, ids=[case[0] for case in CAUSES]
)
def test_cause_hides_the_faults_that_a_richer_run_shows(reason, remedy, impoverished, names, hidden):
    concerned = [
        fault for fault in FAULTS if fault.name in hidden or reason in {cause.reason for cause in fault.hidden_by}
    ]
    found = set()
    for name in names:
        network, calls = rich(name)
        shown = {(spot.fault, spot.layer) for spot in spots_of(network, calls, concerned)}
        for spot in spots_of(*impoverished(network, calls), concerned):
            if spot.reason == reason and (spot.fault, spot.layer) not in shown:
                assert spot.remedy == remedy
                found.add(spot.fault)

    assert found == hidden


def test_every_cause_of_every_fault_is_stated_here():
    stated = {(fault, reason) for reason, *_, hidden in CAUSES for fault in hidden}

    assert {(fault.name, cause.reason) for fault in FAULTS for cause in fault.hidden_by} == stated


def layer_and_call(name, impoverished):
    network, calls = impoverished(*rich(name))
    return network.layers[0], observe(network, emulate(network, calls))[0]


SAMPLES = {count: with_samples(lambda x, count=count: x[:count]) for count in (1, 2)}


@pytest.mark.parametrize(
    ("cause", "name", "impoverished", "holds"),
    [
        (causes.ONE_SAMPLE, "simple_rnn", SAMPLES[1], True),
        (causes.ONE_SAMPLE, "simple_rnn", SAMPLES[2], False),
        (causes.SINGLE_SAMPLE, "convolution", SAMPLES[1], True),
        (causes.SINGLE_SAMPLE, "convolution", SAMPLES[2], False),
        (causes.EQUAL_SAMPLES, "simple_rnn", SAMPLES[1], False),
        (causes.EQUAL_SAMPLES, "simple_rnn", with_samples(lambda x: x[[0, 0, 0, 1]]), False),
        (causes.EQUAL_SAMPLES, "simple_rnn", with_samples(lambda x: x[[0, 0]]), True),
        (causes.ONE_STEP, "simple_rnn", with_steps(1), True),
        (causes.ONE_STEP, "simple_rnn", with_steps(2), False),
        (causes.ZERO_STATES, "started", with_inputs(np.zeros_like, "h0", "c0"), True),
        (causes.ZERO_STATES, "started", with_inputs(np.zeros_like, "h0"), False),
        (causes.ZERO_STATES, "started", with_inputs(np.zeros_like, "c0"), False),
        (causes.NO_SAMPLE_PADDED, "masked", with_inputs(np.ones_like, "mask"), True),
        (causes.NO_SAMPLE_PADDED, "masked", with_inputs(but_one, "mask"), False),
        (causes.NO_SAMPLE_PADDED, "simple_rnn", as_it_is, False),
        (causes.ZERO_BIAS, "gru", with_all_weights(lambda name, w: w * (name != "bias")), True),
        (causes.ZERO_BIAS, "gru", with_all_weights(without_recurrent_bias), False),
        (causes.ZERO_RECURRENT_BIAS, "gru", with_all_weights(without_recurrent_bias), True),
        (causes.ZERO_RECURRENT_BIAS, "gru", as_it_is, False),
        (causes.ZERO_WEIGHT, "simple_rnn", with_all_weights(lambda name, w: w * (name != "kernel")), True),
        (causes.ZERO_WEIGHT, "simple_rnn", as_it_is, False),
        (causes.CONSTANT_WEIGHTS, "simple_rnn", with_all_weights(lambda name, w: np.full_like(w, -0.3)), True),
        (causes.CONSTANT_WEIGHTS, "simple_rnn", with_all_weights(lambda name, w: w * 0.0 + (name == "kernel")), True),
        (causes.CONSTANT_WEIGHTS, "simple_rnn", with_all_weights(lambda name, w: w * (name == "kernel")), False),
        (causes.ZERO_OUTPUTS, "convolution", with_all_weights(lambda name, w: 0.0 * w), True),
        (causes.ZERO_OUTPUTS, "convolution", as_it_is, False),
        (causes.EQUAL_OUTPUTS, "convolution", with_all_weights(lambda name, w: np.full_like(w, 0.3)), True),
        (causes.EQUAL_OUTPUTS, "convolution", as_it_is, False),
        (causes.NO_NEGATIVE_INPUTS, "pooling", with_inputs(lambda x: np.maximum(x, 0.0), "x"), True),
        (causes.NO_NEGATIVE_INPUTS, "pooling", as_it_is, False),
        (causes.ONE_CALL, "simple_rnn", lambda network, calls: (network, calls[:1]), True),
        (causes.ONE_CALL, "simple_rnn", as_it_is, False),
    ],
)  # fmt: skip
def test_cause_holds_where_it_is_so_and_nowhere_else(cause, name, impoverished, holds):
    layer, call = layer_and_call(name, impoverished)

    assert cause.holds(layer, call) is holds


def test_weight_without_numbers_is_as_good_as_constant():
    network, calls = rich("simple_rnn")
    layer = with_weights(
        network.layers[0], kernel=np.zeros((0, M)), bias=np.ones(M), recurrent_kernel=np.ones((M, M))
    )

    assert causes.CONSTANT_WEIGHTS.holds(layer, observe(network, emulate(network, calls))[0])


def test_states_that_nobody_saw_are_not_taken_for_zero():
    network, calls = rich("started")
    layer = replace(network.layers[0], initial_state=(Tensor("elsewhere"), Tensor("c0")))
    (call, *_) = observe(network, emulate(network, with_inputs(np.zeros_like, "c0")(network, calls)[1]))

    assert not causes.ZERO_STATES.holds(layer, call)


def a_gate(numbers, *, samples=2, t_steps=3, later=None):
    """A SimpleRNN whose units are the same at every step, and what it gives; `later` numbers from step 64 on."""
    bias = np.arctanh(np.array(numbers))
    units = len(numbers)
    weights = {"kernel": np.zeros((1, units)), "recurrent_kernel": np.zeros((units, units)), "bias": bias}
    if later is not None:
        weights["kernel"][:] = np.arctanh(np.array(later)) - bias
    network = make_network(T=t_steps, D=1, M=units, K=None, return_sequences=True, **DOUBLE)
    network = replaced(network, "rnn", **weights)
    x = np.broadcast_to((np.arange(t_steps) >= 64)[:, np.newaxis].astype(float), (samples, t_steps, 1))
    return network.layers[0], observe(network, emulate(network, [(x,)]))[0]


@pytest.mark.parametrize(
    ("numbers", "saturated"),
    [
        ([0.991] * 9 + [-0.991], True),
        ([0.009] * 9 + [-0.009], True),
        ([0.989] * 10, False),
        ([0.011] * 10, False),
        ([0.995] * 9 + [0.5], False),
        ([0.995] * 10 + [0.5], True),
        ([0.0] * 10, False),
    ],
    ids=["near_one", "near_zero", "less_near_one", "less_near_zero", "nine_of_ten", "ten_of_eleven", "all_zero"],
)
@pytest.mark.parametrize(("samples", "t_steps"), [(2, 3), (1, 1)], ids=["some", "one"])
def test_gates_are_saturated_where_more_than_nine_in_ten_are_within_a_hundredth_of_a_limit(
    numbers, saturated, samples, t_steps
):
    assert causes.SATURATED.holds(*a_gate(numbers, samples=samples, t_steps=t_steps)) is saturated


def test_saturation_is_looked_for_in_the_first_steps_of_a_recurrent_layer_whose_states_are_known():
    layer, call = a_gate([0.995] * 10, t_steps=640, later=[0.5] * 10)
    assert causes.SATURATED.holds(layer, call)

    network, calls = rich("convolution")
    assert not causes.SATURATED.holds(network.layers[0], observe(network, emulate(network, calls))[0])

    network, calls = rich("simple_rnn")
    recordings = [replace(each, states={}) for each in emulate(network, calls)]
    assert not causes.SATURATED.holds(network.layers[0], observe(network, recordings)[0])


def test_nothing_is_said_of_states_that_nobody_recorded():
    network = NETWORKS["lstm"](T)
    recordings = [replace(recording, states={}) for recording in emulate(network, calls_of(network))]
    of_recording = [fault for fault in FAULTS if fault.group == "recording"]

    assert len(of_recording) > 2
    assert blind_spots(network, recordings, of_recording) == ()
