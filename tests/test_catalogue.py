"""What the faults of the catalogue mean, written out a second time: loops over samples and steps, in plain NumPy.

`lstm` and `gru` are implementations as somebody may have written them. A fault is what one of them computes with one
thing done wrong, and the replay of the changed network must give the same numbers.
"""

import itertools
import math
from dataclasses import dataclass, replace

import ml_dtypes
import numpy as np
import pytest
from formulas import FORMULAS
from reference import DOUBLE, make_bidirectional, make_inputs, make_network, make_recurrent, replaced
from test_layers import Case as LayerCase
from test_layers import draw, drawn_weights, options_of

from rnncheck.checks.observed import observe
from rnncheck.equations.activations import activate
from rnncheck.equations.changes import with_layer
from rnncheck.equations.replay import replay
from rnncheck.faults.catalogue import FAULTS, injections, masks, precision
from rnncheck.faults.catalogue.causes import NO_SAMPLE_PADDED, PADS_THE_END
from rnncheck.faults.emulation import emulate
from rnncheck.network import InputSpec, Layer, Network, Tensor

NAMES = {fault.name: fault for fault in FAULTS}
N, T, D, M = 4, 5, 3, 6
BACK = range(T - 1, -1, -1)

MASK = np.array([[0, 1, 0, 1, 1], [1, 1, 0, 1, 0], [1, 1, 1, 0, 0], [0, 0, 0, 0, 0]], bool)


@dataclass(frozen=True)
class Given:
    """What an implementation gets: W (D, G·M), U (M, G·M), b, the inputs, the initial states, which steps count."""

    W: np.ndarray
    U: np.ndarray
    b: np.ndarray
    x: np.ndarray
    h0: np.ndarray
    c0: np.ndarray
    counts: np.ndarray


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def loop(step, x, states, counts, *, times=range(T), zero_output=False, passed=None, repeats_first=False):
    """Outputs (N, T, M), in the order of the times; a step that does not count keeps the states and the output."""
    outputs = np.zeros((N, T, M))
    for n in range(N):
        now, output = [state[n] for state in states], np.zeros(M)
        for k, t in enumerate(times):
            after = step(x[n, t], *now)
            if counts[n, t]:
                now, output = after, after[0]
            else:
                now = passed(now, after) if passed else now
                output = np.zeros(M) if zero_output else outputs[n, 0] if repeats_first and k else output
            outputs[n, k] = output
    return outputs


def blocks(z, order):
    """The blocks of M columns, by the names of the gates."""
    return {gate: z[..., k * M : (k + 1) * M] for k, gate in enumerate(order)}


def lstm(
    given,
    *,
    order="ifco",
    bias_order="ifco",
    dot=np.matmul,
    sigma=sigmoid,
    act=np.tanh,
    forget=None,
    out=None,
    before=lambda h, c: (h, c),
    **of_loop,
):
    def step(x, h, c):
        h, c = before(h, c)
        z, bias = blocks(dot(x, given.W) + dot(h, given.U), order), blocks(given.b, bias_order)
        i, o = sigma(z["i"] + bias["i"]), sigma(z["o"] + bias["o"])
        f = forget(z["f"] + bias["f"], i) if forget else sigma(z["f"] + bias["f"])
        c = f * c + i * act(z["c"] + bias["c"])
        return (out(o, c) if out else o * act(c)), c

    return loop(step, given.x, (given.h0, given.c0), given.counts, **of_loop)


def gru(
    given,
    *,
    order="zrh",
    bias_order="zrh",
    sigma=sigmoid,
    act=np.tanh,
    reset_after=True,
    keep=lambda z, h, g: z * h + (1.0 - z) * g,
    before=lambda h: h,
):
    def step(x, h):
        h = before(h)
        z, inner = blocks(x @ given.W, order), blocks(h @ given.U, order)
        bias, own = (blocks(row, bias_order) for row in given.b)
        update = sigma(z["z"] + bias["z"] + inner["z"] + own["z"])
        reset = sigma(z["r"] + bias["r"] + inner["r"] + own["r"])
        after = reset * (inner["h"] + own["h"])
        recurrent = after if reset_after else (reset * h) @ blocks(given.U, order)["h"] + own["h"]
        return (keep(update, h, act(z["h"] + bias["h"] + recurrent)),)

    return loop(step, given.x, (given.h0,), given.counts)


def every_weight(given, change):
    return replace(given, W=change(given.W), U=change(given.U), b=change(given.b))


def transposed(U):
    """Each gate's block with the entries (i, j) and (j, i) exchanged."""
    new = np.empty_like(U)
    for column in range(U.shape[1]):
        block, j = divmod(column, M)
        for i in range(M):
            new[i, column] = U[j, block * M + i]
    return new


def reshaped(weight):
    """Memory that holds one column after the other, read row after row."""
    memory = [weight[i, j] for j in range(weight.shape[1]) for i in range(weight.shape[0])]
    return np.array(memory).reshape(weight.shape)


def cut_every_d(weight):
    """Gate k has the columns from k·D on, from the first again behind the last."""
    columns = weight.shape[-1]
    return np.stack([weight[..., (k * D + j) % columns] for k in range(columns // M) for j in range(M)], axis=-1)


def units_rotated(weight):
    """Unit j of every gate has the weights of unit j - 1."""
    columns = range(weight.shape[-1])
    return np.stack([weight[..., k // M * M + (k - 1) % M] for k in columns], axis=-1)


def one_off(weight, amount):
    new = weight.copy()
    new[..., 3][(0,) * (weight.ndim - 1)] += amount
    return new


def without(array, place):
    new = array.copy()
    new[place] = 0.0
    return new


def clipped(function):
    return lambda x: function(np.minimum(np.maximum(x, -1.0), 1.0))


@np.vectorize
def tf32(number):
    mantissa, exponent = math.frexp(number)
    return round(mantissa * 2.0**11) * 2.0 ** (exponent - 11)


def float16(array):
    return array.astype(np.float16).astype(np.float64)


def bfloat16(array):
    return array.astype(ml_dtypes.bfloat16).astype(np.float64)


def of_255_levels(weight):
    level = max(abs(number) for number in weight.reshape(-1)) / 127.0
    return np.array([round(number / level) * level for number in weight.reshape(-1)]).reshape(weight.shape)


def sum_in_float16(row, weight):
    totals = np.zeros(weight.shape[1])
    for a, others in zip(row, weight, strict=True):
        totals = float16(totals + a * others)
    return totals


def read_as_time_major(x):
    """x[n, t] is row t·N + n of the memory's rows of D numbers."""
    rows = x.reshape(-1, D)
    return np.array([[rows[t * N + n] for t in range(T)] for n in range(N)])


def with_mask(rule):
    """What an LSTM computes whose mask is what a rule makes of each sample's list."""
    return lambda g: lstm(replace(g, counts=np.array([rule(list(row)) for row in g.counts])))


LSTM_ORDERS = ("iofc", "ifoc", "icfo", "fico", "cfoi")
AMOUNTS = (0.001, 0.0001, 1e-05)

LSTM = {
    **{f"gate_order_{o}": lambda g, o=o: lstm(g, order=o, bias_order=o) for o in LSTM_ORDERS},
    **{f"bias_gate_order_{o}": lambda g, o=o: lstm(g, bias_order=o) for o in LSTM_ORDERS},
    "split_by_input_dim": lambda g: lstm(every_weight(g, cut_every_d)),
    "recurrent_kernel_transposed": lambda g: lstm(replace(g, U=transposed(g.U))),
    "kernel_reshaped": lambda g: lstm(replace(g, W=reshaped(g.W))),
    "recurrent_kernel_reshaped": lambda g: lstm(replace(g, U=reshaped(g.U))),
    "input_and_forget_coupled": lambda g: lstm(g, forget=lambda z, i: 1.0 - i),
    "bias_dropped": lambda g: lstm(replace(g, b=0.0 * g.b)),
    "bias_doubled": lambda g: lstm(replace(g, b=g.b + g.b)),
    "forget_bias_added": lambda g: lstm(g, forget=lambda z, i: sigmoid(z + 1.0)),
    "forget_bias_missing": lambda g: lstm(g, forget=lambda z, i: sigmoid(z - 1.0)),
    "forget_bias_after_sigmoid": lambda g: lstm(g, forget=lambda z, i: sigmoid(z) + 1.0),
    "hard_sigmoid_of_keras2": lambda g: lstm(g, sigma=lambda x: np.clip(0.2 * x + 0.5, 0.0, 1.0)),
    "hard_sigmoid_of_keras3": lambda g: lstm(g, sigma=lambda x: np.clip(x / 6.0 + 0.5, 0.0, 1.0)),
    "activation_missing": lambda g: lstm(g, act=lambda x: x),
    "sigmoid_for_tanh": lambda g: lstm(g, act=sigmoid),
    "no_activation_on_memory": lambda g: lstm(g, out=lambda o, c: o * c),
    "activation_misplaced": lambda g: lstm(g, out=lambda o, c: np.tanh(o * c)),
    "activated_twice": lambda g: lstm(g, out=lambda o, c: np.tanh(o * np.tanh(c))),
    "pre_activations_clipped": lambda g: lstm(g, sigma=clipped(sigmoid), act=clipped(np.tanh)),
    "state_not_carried": lambda g: lstm(g, before=lambda h, c: (0.0 * h, 0.0 * c)),
    "memory_not_carried": lambda g: lstm(g, before=lambda h, c: (h, 0.0 * c)),
    "state_halved": lambda g: lstm(g, before=lambda h, c: (h / 2.0, c)),
    "initial_state_ignored": lambda g: lstm(replace(g, h0=0.0 * g.h0, c0=0.0 * g.c0)),
    "initial_states_swapped": lambda g: lstm(replace(g, h0=g.c0, c0=g.h0)),
    "time_reversed": lambda g: lstm(g, times=BACK),
    "time_reversed_in_order": lambda g: lstm(g, times=BACK)[:, ::-1],
    "off_by_one_state": lambda g: np.concatenate([np.zeros((N, 1, M)), lstm(g)[:, :-1]], axis=1),
    "time_and_batch_swapped": lambda g: lstm(replace(g, x=read_as_time_major(g.x))),
    "reversed_along_batch": lambda g: lstm(replace(g, x=np.array([g.x[N - 1 - n] for n in range(N)]))),
    "features_reversed": lambda g: lstm(replace(g, x=np.stack([g.x[..., D - 1 - d] for d in range(D)], axis=-1))),
    "inputs_late_by_one": lambda g: lstm(
        replace(g, x=np.stack([0.0 * g.x[:, 0], *(g.x[:, t - 1] for t in range(1, T))], axis=1))
    ),
    "sample_0_repeated": lambda g: lstm(replace(g, x=np.array([g.x[0]] * N))),
    "only_first_sample_right": lambda g: lstm(replace(g, x=without(g.x, slice(1, None)))),
    "stale_buffer": lambda g: lstm(replace(g, x=np.array([g.x[n - 1] for n in range(N)]))),
    "units_cut_at_block": lambda g: lstm(replace(g, U=without(g.U, slice(4, None)))),  # a block of 4 of 6 units
    "weights_not_loaded": lambda g: lstm(replace(g, W=0.0 * g.W)),
    "recurrent_kernel_not_loaded": lambda g: lstm(replace(g, U=0.0 * g.U)),
    "recurrent_rows_rotated": lambda g: lstm(replace(g, U=np.array([g.U[i - 1] for i in range(M)]))),
    "kernel_rows_rotated": lambda g: lstm(replace(g, W=np.array([g.W[i - 1] for i in range(D)]))),
    "units_rotated": lambda g: lstm(every_weight(g, units_rotated)),
    "last_column_missing": lambda g: lstm(replace(g, W=without(g.W, (slice(None), -1)))),
    **{f"kernel_off_by_{a}": lambda g, a=a: lstm(replace(g, W=one_off(g.W, a))) for a in AMOUNTS},
    **{f"recurrent_kernel_off_by_{a}": lambda g, a=a: lstm(replace(g, U=one_off(g.U, a))) for a in AMOUNTS},
    **{f"bias_off_by_{a}": lambda g, a=a: lstm(replace(g, b=one_off(g.b, a))) for a in (0.001, 1e-06)},
    "tf32_products": lambda g: lstm(g, dot=lambda a, weight: tf32(a) @ tf32(weight)),
    "bfloat16_products": lambda g: lstm(g, dot=lambda a, weight: bfloat16(a) @ bfloat16(weight)),
    "float16_accumulation": lambda g: lstm(g, dot=sum_in_float16),
    "float16_weights": lambda g: lstm(every_weight(g, float16)),
    "bfloat16_weights": lambda g: lstm(every_weight(g, bfloat16)),
    "int8_weights": lambda g: lstm(every_weight(g, of_255_levels)),
    "state_in_bfloat16": lambda g: lstm(g, before=lambda h, c: (bfloat16(h), c)),
    "sigmoid_table": lambda g: lstm(g, sigma=lambda x: sigmoid(np.round(16.0 * np.clip(x, -8.0, 8.0)) / 16.0)),
    **{
        f"weights_of_{d}_decimals": lambda g, d=d: lstm(every_weight(g, lambda w: np.rint(w * 10.0**d) / 10.0**d))
        for d in range(2, 7)
    },
    "only_first_steps": lambda g: without(lstm(g), (slice(None), slice(1, None))),
    "outputs_scaled": lambda g: lstm(g) / 2.0,
    "outputs_shifted": lambda g: 1.0 + lstm(g),
    "outputs_rescaled": lambda g: 1.0 + lstm(g) / 2.0,
    "outputs_negated": lambda g: 0.0 - lstm(g),
    "output_columns_in_other_order": lambda g: np.stack([lstm(g)[..., M - 1 - j] for j in range(M)], axis=-1),
    "outputs_of_other_samples": lambda g: np.array([lstm(g)[N - 1 - n] for n in range(N)]),
    "outputs_transposed": lambda g: np.stack([lstm(g)[:, t] for t in range(T)]).reshape(N, T, M),
    "softmax_applied": lambda g: (powers := np.exp(lstm(g))) / powers.sum(axis=-1, keepdims=True),
    "largest_output_alone": lambda g: np.eye(M)[lstm(g).argmax(axis=-1)],
}

MASKED = {
    "mask_ignored": with_mask(lambda row: [True] * T),
    "mask_inverted": with_mask(lambda row: [not counts for counts in row]),
    "mask_shifted_by_one": with_mask(lambda row: [True, *row[:-1]]),
    "mask_of_other_sample": lambda g: lstm(replace(g, counts=np.array([g.counts[n - 1] for n in range(N)]))),
    "mask_as_length": with_mask(lambda row: [t < sum(row) for t in range(T)]),
    "holes_filled": with_mask(lambda row: [any(row[: t + 1]) and any(row[t:]) for t in range(T)]),
    "fully_masked_row": with_mask(lambda row: row if any(row) else [True] * T),
    "last_output_from_masked_step": with_mask(lambda row: [*row[:-1], True]),
    "first_step_skipped": with_mask(lambda row: [False, *row[1:]]),
    "mask_zeroes_state": lambda g: lstm(g, passed=lambda before, after: [np.zeros(M)] * 2),
    "state_updates_under_mask": lambda g: lstm(g, passed=lambda before, after: after),
    "mask_repeats_first": lambda g: lstm(g, repeats_first=True),
    "mask_by_multiplication": lambda g: lstm(
        replace(g, x=g.x * g.counts[:, :, np.newaxis], counts=np.ones((N, T), bool))
    ),
    "zero_output_for_mask_flipped": lambda g: lstm(g, zero_output=True),
}

BACKWARD = {
    "go_backwards_ignored": lstm,
    "output_turned_round": lambda g: lstm(g, times=BACK)[:, ::-1],
    "first_step_skipped": lambda g: lstm(replace(g, counts=without(g.counts, (slice(None), -1))), times=BACK),
    "reverse_over_padding": lambda g: lstm(
        replace(g, counts=np.array([[T - 1 - t < sum(row) for t in range(T)] for row in g.counts])), times=BACK
    ),
}


def one_after_the_other(given):
    """Every sample starts from the last state of the one before it."""
    h0 = given.h0.copy()
    for n in range(1, N):
        h0[n] = gru(replace(given, h0=h0))[n - 1, -1]
    return gru(replace(given, h0=h0))


GRU = {
    **{f"gate_order_{o}": lambda g, o=o: gru(g, order=o, bias_order=o) for o in ("rzh", "hzr")},
    **{f"bias_gate_order_{o}": lambda g, o=o: gru(g, bias_order=o) for o in ("rzh", "hzr")},
    "reset_after_flipped": lambda g: gru(replace(g, b=(g.b[0] + g.b[1], 0.0 * g.b[1])), reset_after=False),
    "gru_biases_merged": lambda g: gru(
        replace(g, b=(g.b[0] + without(g.b[1], slice(2 * M)), without(g.b[1], slice(2 * M, None))))
    ),
    "recurrent_bias_dropped": lambda g: gru(replace(g, b=(g.b[0], 0.0 * g.b[1]))),
    "input_bias_dropped": lambda g: gru(replace(g, b=(0.0 * g.b[0], g.b[1]))),
    "bias_rows_swapped": lambda g: gru(replace(g, b=(g.b[1], g.b[0]))),
    "update_gate_inverted": lambda g: gru(g, keep=lambda z, h, candidate: (1.0 - z) * h + z * candidate),
    "state_not_carried": lambda g: gru(g, before=lambda h: 0.0 * h),
    "state_kept_between_samples": one_after_the_other,
    "split_by_input_dim": lambda g: gru(every_weight(g, cut_every_d)),
    "units_rotated": lambda g: gru(every_weight(g, units_rotated)),
}


def softsign(x):
    return x / (1.0 + abs(x))


def hard_sigmoid(x):
    return np.clip(x / 6.0 + 0.5, 0.0, 1.0)


def reset_before(given, *, reset_after=False, sigma=hard_sigmoid, act=softsign):
    """A GRU with one bias and other activations than the default."""
    both = replace(given, b=(given.b, 0.0 * given.b))
    return gru(both, reset_after=reset_after, sigma=sigma, act=act)


RESET_BEFORE = {
    "reset_after_flipped": lambda g: reset_before(g, reset_after=True),
    "recurrent_activation_lost": lambda g: reset_before(g, sigma=sigmoid),
    "activation_lost": lambda g: reset_before(g, act=np.tanh),
    "hard_sigmoid_of_keras2": lambda g: reset_before(g, sigma=lambda x: np.clip(0.2 * x + 0.5, 0.0, 1.0)),
}

# name -> (options of the network, the right implementation, what the faults make of it)
SETTINGS = {
    "lstm": ({"kind": "LSTM"}, lstm, LSTM),
    "masked": ({"kind": "LSTM", "mask": True}, lstm, MASKED),
    "backward": ({"kind": "LSTM", "mask": True, "go_backwards": True}, lambda g: lstm(g, times=BACK), BACKWARD),
    "gru": ({"kind": "GRU"}, gru, GRU),
    "reset_before": (
        {"kind": "GRU", "reset_after": False, "activation": "softsign", "recurrent_activation": "hard_sigmoid"},
        reset_before,
        RESET_BEFORE,
    ),
}


def given_to(setting, **options):
    """The network of a setting, its inputs, and the same for the implementations here."""
    network = a_network(initial_state=True, **{"return_sequences": True, **SETTINGS[setting][0], **options})
    inputs = make_inputs(network, N)
    if network.layers[0].mask:
        inputs = (*inputs[:-1], MASK)
    arrays = {spec.name: array for spec, array in zip(network.inputs, inputs, strict=True)}
    weights = [network.layers[0].weights[name] for name in ("kernel", "recurrent_kernel", "bias")]
    starts = [arrays[name] for name in ("h0", "c0") if name in arrays]
    counts = arrays.get("mask", np.ones((N, T), bool))
    return network, inputs, Given(*weights, arrays["inputs"], starts[0], starts[-1], counts)


def a_network(*, K=None, **options):
    return make_network(**{"T": T, "D": D, "M": M, "K": K, **DOUBLE, **options})


def outputs_of(network, inputs):
    return replay(network, inputs).outputs


def with_fault(network, name, layer="rnn"):
    (injection,) = injections(network, [NAMES[name]], [layer])
    return injection.network


def assert_same(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0.0, atol=1e-14)


@pytest.mark.parametrize("setting", SETTINGS)
def test_implementation_without_a_fault_is_the_replay(setting):
    network, inputs, given = given_to(setting)
    _, right, _ = SETTINGS[setting]

    assert_same(outputs_of(network, inputs)[0], right(given))


@pytest.mark.parametrize(
    ("setting", "name"), [(setting, name) for setting, (*_, faults) in SETTINGS.items() for name in faults]
)
def test_fault_computes_what_the_faulty_implementation_does(setting, name):
    network, inputs, given = given_to(setting)
    _, right, faults = SETTINGS[setting]

    expected = faults[name](given)

    assert_same(outputs_of(with_fault(network, name), inputs)[0], expected)
    assert np.abs(expected - right(given)).max() > 1e-8


@pytest.mark.parametrize(
    ("function", "end"),
    [
        (precision.sigmoid_table, sigmoid(np.array([-8.0, 8.0]))),
        (precision.tanh_polynomial, np.array([-1.0, 1.0])),
        (precision.tanh_pade, np.array([-1.0, 1.0])),
    ],
)
def test_approximations_keep_to_the_ends_of_their_range(function, end):
    np.testing.assert_allclose(function(np.array([-30.0, 30.0])), end, rtol=1e-4)


def test_gru_without_bias_resets_on_the_other_side():
    network, other = (a_network(kind="GRU", use_bias=False, reset_after=after) for after in (True, False))
    inputs = make_inputs(network, N)

    (wrong,) = outputs_of(with_fault(network, "reset_after_flipped"), inputs)

    assert_same(wrong, outputs_of(other, inputs)[0])


def test_layer_that_returns_one_step_returns_another():
    late, inputs, given = given_to("lstm", return_sequences=False)
    backward, *_ = given_to("lstm", return_sequences=False, go_backwards=True)

    assert_same(outputs_of(with_fault(late, "off_by_one_state"), inputs)[0], lstm(given)[:, -2])
    assert_same(
        outputs_of(with_fault(backward, "backward_last_step_for_first"), inputs)[0], lstm(given, times=BACK)[:, 0]
    )


def test_layer_that_computes_some_steps_returns_the_last_of_these():
    network, inputs, given = given_to("lstm", return_sequences=False)

    assert_same(outputs_of(with_fault(network, "only_first_steps"), inputs)[0], lstm(given)[:, 0])


def test_earlier_run_leaves_its_states():
    network = a_network(kind="GRU")
    started = a_network(kind="GRU", initial_state=True)
    (x,) = make_inputs(network, N)

    (once,) = outputs_of(network, (x,))

    assert_same(
        outputs_of(with_fault(network, "state_left_by_earlier_run"), (x,))[0], outputs_of(started, (x, once))[0]
    )


def test_recording_has_something_else_for_states():
    network, inputs, given = given_to("lstm", return_sequences=False)
    right = replay(network, inputs, every_step=True)

    late = replay(with_fault(network, "state_recorded_before_step"), inputs, every_step=True)
    memory = replay(with_fault(network, "memory_recorded_as_state"), inputs, every_step=True)
    time_first = replay(with_fault(network, "states_recorded_time_first"), inputs, every_step=True)

    for each in (late, memory, time_first):
        np.testing.assert_array_equal(each.outputs[0], right.outputs[0])
    assert_same(time_first.sequences["rnn"], np.stack([lstm(given)[:, t] for t in range(T)]).reshape(N, T, M))
    assert_same(late.sequences["rnn"], np.concatenate([given.h0[:, np.newaxis], lstm(given)[:, :-1]], axis=1))
    # h = o·tanh(c), with o from the h before.
    z = given.x @ given.W + late.sequences["rnn"] @ given.U + given.b
    assert_same(sigmoid(z[..., 3 * M :]) * np.tanh(memory.sequences["rnn"]), lstm(given))


def test_calls_of_a_stateful_layer_are_one_long_sequence_and_others_start_anew():
    networks = {flag: a_network(kind="GRU", stateful=flag, return_sequences=True) for flag in (True, False)}
    calls = [make_inputs(networks[True], N, seed) for seed in (1, 2)]
    (both,) = outputs_of(
        a_network(kind="GRU", return_sequences=True), (np.concatenate([x for (x,) in calls], axis=1),)
    )

    lost = emulate(with_fault(networks[True], "state_lost_between_calls"), calls)
    kept = emulate(with_fault(networks[False], "state_kept_between_calls"), calls)

    assert_same(lost[1].outputs[0], outputs_of(networks[False], calls[1])[0])
    assert_same(np.concatenate([each.outputs[0] for each in kept], axis=1), both)


def test_dense_without_its_bias_or_its_activation():
    network = a_network(K=2, dense_activation="sigmoid")
    inputs = make_inputs(network, N)
    (h,) = outputs_of(a_network(), inputs)
    weights = network.layer("dense").weights

    no_bias, no_activation = (
        outputs_of(with_fault(network, name, "dense"), inputs)[0]
        for name in ("dense_bias_dropped", "dense_activation_lost")
    )

    assert_same(no_bias, sigmoid(h @ weights["kernel"]))
    assert_same(no_activation, h @ weights["kernel"] + weights["bias"])


def test_flatten_in_other_order_puts_unit_by_unit():
    network = a_network(flatten=True)
    inputs = make_inputs(network, N)
    (h,) = outputs_of(a_network(return_sequences=True), inputs)

    (flat,) = outputs_of(with_fault(network, "flatten_in_other_order", "flatten"), inputs)

    assert_same(flat, [[h[n, t, j] for j in range(M) for t in range(T)] for n in range(N)])


# Layers beside recurrent ones: what a fault makes of each, by the formulas of `formulas.py` or written out.
IMAGES = (5, 4, 6)


def formula(kind, x, weights, options, **other):
    return FORMULAS[kind]([x], weights, options | other)


def padded(x, *ends):
    return np.pad(x, ((0, 0), *ends, (0, 0)))


def multiplier_first(kernel):
    """Memory that holds (..., m, C), read as (..., C, m)."""
    *size, channels, multiplier = kernel.shape
    new = np.empty_like(kernel)
    for place in np.ndindex(*size):
        memory = [kernel[(*place, c, m)] for m in range(multiplier) for c in range(channels)]
        new[place] = np.reshape(memory, (channels, multiplier))
    return new


def of_torch(kernel):
    """Memory that holds (F, C, k1, k2), read as (k1, k2, C, F)."""
    first, second, channels, filters = kernel.shape
    places = [
        (i, j, c, f) for f in range(filters) for c in range(channels) for i in range(first) for j in range(second)
    ]
    return np.reshape([kernel[place] for place in places], kernel.shape)


def in_groups(x, weights, options, members):
    """Every group brought to mean 0 and variance 1, with gamma and beta."""
    result = x.copy()
    for n, group in itertools.product(range(len(x)), members):
        numbers = x[n][..., group]
        result[n][..., group] = (numbers - numbers.mean()) / np.sqrt(numbers.var() + options["epsilon"])
    return result * weights["gamma"] + weights["beta"]


SAME = {"padding": "same"}
OF_SPACE = {
    "kernel_flipped": (
        LayerCase("Conv2D", {"filters": 3, "kernel_size": (2, 3)}, (IMAGES,)),
        lambda x, w, o: formula("Conv2D", x, w | {"kernel": w["kernel"][::-1, ::-1]}, o),
    ),
    "same_padding_in_front": (
        LayerCase("Conv1D", {"filters": 3, "kernel_size": 4, **SAME}, ((7, 2),)),
        lambda x, w, o: formula("Conv1D", padded(x, (2, 1)), w, o, padding="valid"),
    ),
    "causal_padding_on_both_sides": (
        LayerCase("Conv1D", {"filters": 3, "kernel_size": 3, "padding": "causal"}, ((7, 2),)),
        lambda x, w, o: formula("Conv1D", padded(x, (1, 1)), w, o, padding="valid"),
    ),
    "padding_counts_in_average": (
        LayerCase("AveragePooling2D", {"pool_size": 3, "strides": 1, **SAME}, (IMAGES,)),
        lambda x, w, o: formula("AveragePooling2D", padded(x, (1, 1), (1, 1)), w, o, padding="valid"),
    ),
    "padding_counts_in_maximum": (
        LayerCase("MaxPooling2D", {"pool_size": 3, "strides": 1, **SAME}, (IMAGES,), offset=-2.0),
        lambda x, w, o: formula("MaxPooling2D", padded(x, (1, 1), (1, 1)), w, o, padding="valid"),
    ),
    "pooling_confused": (
        LayerCase("GlobalMaxPooling2D", {}, (IMAGES,)),
        lambda x, w, o: formula("GlobalAveragePooling2D", x, w, o),
    ),
    "depthwise_channels_interleaved": (
        LayerCase("SeparableConv2D", {"filters": 3, "kernel_size": 2, "depth_multiplier": 2}, (IMAGES,)),
        lambda x, w, o: formula(
            "SeparableConv2D", x, w | {"depthwise_kernel": multiplier_first(w["depthwise_kernel"])}, o
        ),
    ),
    "kernel_reshaped": (
        LayerCase("Conv2D", {"filters": 3, "kernel_size": (2, 3)}, (IMAGES,)),
        lambda x, w, o: formula("Conv2D", x, w | {"kernel": of_torch(w["kernel"])}, o),
    ),
    "dense_bias_dropped": (
        LayerCase("DepthwiseConv2D", {"kernel_size": 2}, (IMAGES,)),
        lambda x, w, o: formula("DepthwiseConv2D", x, {"kernel": w["kernel"]}, o),
    ),
    "flatten_in_other_order": (
        LayerCase("Flatten", {}, (IMAGES,)),
        lambda x, w, o: [[image[i, j, c] for c in range(6) for i in range(5) for j in range(4)] for image in x],
    ),
    "ends_swapped": (
        LayerCase("ZeroPadding2D", {"padding": ((1, 0), (2, 3))}, (IMAGES,)),
        lambda x, w, o: padded(x, (0, 1), (3, 2)),
    ),
    "upsampling_in_tiles": (
        LayerCase("UpSampling2D", {"size": (2, 3)}, (IMAGES,)),
        lambda x, w, o: np.array([[[image[i % 5, j % 4] for j in range(12)] for i in range(10)] for image in x]),
    ),
    "epsilon_of_torch": (
        LayerCase("LayerNormalization", {}, ((3, 8),)),
        lambda x, w, o: formula("LayerNormalization", x, w, o, epsilon=1e-5),
    ),
    "epsilon_outside_root": (
        LayerCase("BatchNormalization", {}, ((3, 4),)),
        lambda x, w, o: (
            (x - w["moving_mean"]) / (np.sqrt(w["moving_variance"]) + o["epsilon"]) * w["gamma"] + w["beta"]
        ),
    ),
    "variance_unbiased": (
        LayerCase("LayerNormalization", {}, ((3, 8),)),
        lambda x, w, o: (
            (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, ddof=1, keepdims=True) + o["epsilon"]) * w["gamma"]
            + w["beta"]
        ),
    ),
    "groups_interleaved": (
        LayerCase("GroupNormalization", {"groups": 2}, (IMAGES,)),
        lambda x, w, o: in_groups(x, w, o, [[0, 2, 4], [1, 3, 5]]),
    ),
    "groups_ignored": (
        LayerCase("GroupNormalization", {"groups": 2}, (IMAGES,)),
        lambda x, w, o: in_groups(x, w, o, [list(range(6))]),
    ),
    "normalisation_left_out": (LayerCase("UnitNormalization", {}, ((3, 4),)), lambda x, w, o: x),
}


@pytest.mark.parametrize("name", OF_SPACE)
def test_fault_of_a_layer_beside_recurrent_ones_is_what_is_stated(name, rng):
    case, stated = OF_SPACE[name]
    options, weights, (x,) = options_of(case), drawn_weights(case, rng), draw(case, rng)
    layer = Layer("layer", case.kind, (Tensor("x"),), options, weights, dtype="float64")
    network = Network("one", (InputSpec("x", x.shape[1:], "float64"),), (layer,), (Tensor("layer"),))

    (wrong,) = outputs_of(with_fault(network, name, "layer"), (x,))

    np.testing.assert_allclose(wrong, stated(x, weights, options), rtol=1e-11, atol=1e-13)
    assert wrong.shape == outputs_of(network, (x,))[0].shape
    assert not np.allclose(wrong, outputs_of(network, (x,))[0], rtol=1e-4)


def test_separable_convolution_has_the_faults_of_a_kernel(rng):
    case = LayerCase("SeparableConv1D", {"filters": 3, "kernel_size": 2})
    layer = Layer("layer", case.kind, (Tensor("x"),), options_of(case), drawn_weights(case, rng))

    found = possible(Network("one", (), (layer,), ()), "layer")

    assert {"weights_not_loaded", "kernel_reshaped", "last_column_missing", "kernel_off_by_0.001"} <= found


def test_weights_of_few_decimals_beside_a_bias_of_zeros():
    network = a_network()
    network = replaced(network, "rnn", bias=np.zeros_like(network.layer("rnn").weights["bias"]))

    assert "weights_of_3_decimals" in possible(network, "rnn")


@pytest.mark.parametrize(
    ("kind", "options", "impossible"),
    [
        ("Conv1D", {"filters": 3, "kernel_size": 1}, {"kernel_flipped", "same_padding_in_front"}),
        ("Conv1D", {"filters": 3, "kernel_size": 2}, {"causal_padding_on_both_sides"}),
        ("Conv1D", {"filters": 3, "kernel_size": 3, "padding": "same"}, {"same_padding_in_front"}),
        ("DepthwiseConv1D", {"kernel_size": 2}, {"depthwise_channels_interleaved"}),
        ("ZeroPadding1D", {"padding": (2, 2)}, {"ends_swapped"}),
        ("AveragePooling1D", {"pool_size": 2}, {"padding_counts_in_average", "padding_counts_in_maximum"}),
        ("GroupNormalization", {"groups": 1}, {"groups_ignored", "groups_interleaved"}),
        ("BatchNormalization", {"epsilon": 1e-5}, {"epsilon_of_torch", "variance_unbiased"}),
    ],
)  # fmt: skip
def test_fault_that_a_layer_beside_recurrent_ones_cannot_have_is_not_made(kind, options, impossible, rng):
    case = LayerCase(kind, options)
    layer = Layer("layer", kind, (Tensor("x"),), options_of(case), drawn_weights(case, rng))

    assert not impossible & possible(Network("one", (), (layer,), ()), "layer")


@pytest.mark.parametrize(("name", "error"), [("tanh_polynomial", 4e-6), ("tanh_pade", 1e-4)])
def test_approximate_tanh_has_the_error_that_its_summary_says(name, error):
    layer = with_fault(a_network(), name).layer("rnn")
    x = np.linspace(-20.0, 20.0, 40_001)

    largest = np.abs(activate(layer.options["activation"], x) - np.tanh(x)).max()

    assert error / 2.0 < largest < error * 1.2
    assert f"{error:.0e}".replace("e-0", "e-") in NAMES[name].summary


FORWARD, BACKWARD_HALF = "both/forward", "both/backward"


def swap(outputs, a, b):
    outputs = list(outputs)
    outputs[a], outputs[b] = outputs[b], outputs[a]
    return outputs


OF_OUTPUTS = {
    ("halves_swapped", "both"): lambda y, *states: [np.concatenate([y[..., M:], y[..., :M]], axis=-1), *states],
    ("output_not_turned_round", "both/reverse"): lambda y, *states: [
        np.concatenate([y[..., :M], y[:, ::-1, M:]], axis=-1),
        *states,
    ],
    ("final_states_swapped", FORWARD): lambda *outputs: swap(outputs, 1, 2),
    ("final_states_swapped", BACKWARD_HALF): lambda *outputs: swap(outputs, 3, 4),
    ("bidirectional_states_reordered", FORWARD): lambda *outputs: swap(outputs, 1, 3),
}


@pytest.mark.parametrize(("name", "layer"), OF_OUTPUTS)
def test_fault_of_bidirectional_puts_its_outputs_elsewhere(name, layer):
    network = make_bidirectional(T=T, D=D, M=M, merge_mode="concat")
    inputs = make_inputs(network, N)

    wrong = outputs_of(with_fault(network, name, layer), inputs)

    for actual, expected in zip(wrong, OF_OUTPUTS[name, layer](*outputs_of(network, inputs)), strict=True):
        assert_same(actual, expected)


@pytest.mark.parametrize("name", ["backward_uses_forward_weights", "weights_of_other_layer"])
def test_backward_half_with_the_weights_of_the_forward_half(name):
    network = make_bidirectional(T=T, D=D, M=M, merge_mode="sum")
    inputs = make_inputs(network, N)
    alike = replaced(network, BACKWARD_HALF, **network.layer(FORWARD).weights)

    assert_same(outputs_of(with_fault(network, name, BACKWARD_HALF), inputs)[0], outputs_of(alike, inputs)[0])


@pytest.mark.parametrize(("mode", "other"), [("sum", "ave"), ("ave", "sum"), ("mul", "sum")])
def test_merge_mode_confused_is_the_other_mode(mode, other):
    network, correct = (make_bidirectional(T=T, D=D, M=M, merge_mode=each) for each in (mode, other))
    inputs = make_inputs(network, N)

    wrong = outputs_of(with_fault(network, "merge_mode_confused", "both"), inputs)

    assert_same(wrong[0], outputs_of(correct, inputs)[0])


def test_initial_states_of_the_other_half():
    network = make_bidirectional(T=T, D=D, M=M, merge_mode="concat", initial_state=True)
    x, *states = make_inputs(network, N)

    wrong = outputs_of(with_fault(network, "initial_state_of_other_layer", BACKWARD_HALF), (x, *states))

    assert_same(wrong[0], outputs_of(network, (x, *states[:2], *states[:2]))[0])


def test_layers_of_different_size_cannot_exchange_their_initial_states():
    rng = np.random.default_rng(0)
    layers = [
        make_recurrent(f"rnn{m}", rng, D=D, M=m, initial_state=(Tensor(f"h{m}"),), **DOUBLE) for m in (M, M + 1)
    ]

    assert not list(injections(Network("two", (), tuple(layers), ()), [NAMES["initial_state_of_other_layer"]]))


def test_every_fault_is_stated_here():
    stated = {name for *_, faults in SETTINGS.values() for name in faults} | {name for name, _ in OF_OUTPUTS}
    stated |= set(OF_SPACE)
    others = {
        "backward_last_step_for_first", "state_lost_between_calls", "state_kept_between_calls",
        "dense_activation_lost", "tanh_polynomial", "tanh_pade",
        "backward_uses_forward_weights", "weights_of_other_layer", "merge_mode_confused",
        "initial_state_of_other_layer", "state_left_by_earlier_run", "state_recorded_before_step",
        "memory_recorded_as_state", "states_recorded_time_first",
        # See test_onnx.py.
        "clip_ignored", "input_forget_ignored", "output_activation_ignored", "peepholes_ignored",
        "second_direction_has_first_activations",
        "projection_ignored",  # see test_torch.py
    }  # fmt: skip

    assert stated | others == set(NAMES)
    assert not stated & others


def possible(network, layer="rnn"):
    return {injection.fault.name for injection in injections(network, FAULTS, [layer])}


def test_layer_has_the_faults_that_it_can_have_and_no_others():
    """A SimpleRNN without bias, mask and states from elsewhere, which goes forward and returns its last step."""
    assert possible(a_network(use_bias=False)) == {
        "recurrent_kernel_transposed", "kernel_reshaped", "recurrent_kernel_reshaped", "activation_missing",
        "sigmoid_for_tanh", "activated_twice", "pre_activations_clipped", "state_not_carried", "state_halved",
        "state_kept_between_calls", "time_reversed", "off_by_one_state", "time_and_batch_swapped",
        "reversed_along_batch", "features_reversed", "inputs_late_by_one", "sample_0_repeated",
        "only_first_sample_right", "stale_buffer", "units_cut_at_block", "weights_not_loaded",
        "recurrent_kernel_not_loaded", "recurrent_rows_rotated", "kernel_rows_rotated", "units_rotated",
        "last_column_missing", "kernel_off_by_0.001", "kernel_off_by_0.0001", "kernel_off_by_1e-05",
        "recurrent_kernel_off_by_0.001", "recurrent_kernel_off_by_0.0001", "recurrent_kernel_off_by_1e-05",
        "tf32_products", "bfloat16_products", "float16_accumulation", "float16_weights", "bfloat16_weights",
        "int8_weights", "state_in_bfloat16", "tanh_polynomial", "tanh_pade", "weights_of_2_decimals",
        "weights_of_3_decimals", "weights_of_4_decimals", "weights_of_5_decimals", "weights_of_6_decimals",
        "outputs_scaled", "outputs_shifted", "outputs_rescaled", "outputs_negated", "output_columns_in_other_order",
        "outputs_of_other_samples", "softmax_applied", "largest_output_alone", "only_first_steps",
        "state_left_by_earlier_run", "state_kept_between_samples", "state_recorded_before_step",
        "states_recorded_time_first", "outputs_transposed",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "layer", "impossible"),
    [
        ({"D": 1, "M": 1}, "rnn", {"kernel_reshaped", "recurrent_kernel_reshaped", "features_reversed",
                                   "units_rotated", "recurrent_rows_rotated", "kernel_rows_rotated",
                                   "units_cut_at_block"}),
        ({"dtype": "float16"}, "rnn", {"tf32_products", "bfloat16_products", "float16_accumulation",
                                       "float16_weights", "bfloat16_weights", "int8_weights", "state_in_bfloat16"}),
        ({"M": D}, "rnn", {"split_by_input_dim"}),
        ({"kind": "LSTM"}, "rnn", {"final_states_swapped", "initial_states_swapped", "initial_state_ignored"}),
        ({"kind": "LSTM", "recurrent_activation": "tanh"}, "rnn", {"input_and_forget_coupled"}),
        ({"kind": "LSTM"}, "rnn", {"recurrent_activation_lost", "activation_lost", "reset_after_flipped"}),
        ({"mask": True, "zero_output_for_mask": True}, "rnn", {"mask_repeats_first"}),
        ({"go_backwards": True}, "rnn", {"time_reversed", "output_turned_round"}),
        ({"go_backwards": True, "return_sequences": True}, "rnn", {"backward_last_step_for_first"}),
        ({"stateful": True}, "rnn", {"state_kept_between_calls"}),
        ({"K": 2, "dense_activation": "glu"}, "dense", {"dense_activation_lost"}),
        ({"kind": "GRU", "reset_after": False}, "rnn", {"gru_biases_merged", "recurrent_bias_dropped",
                                                        "input_bias_dropped", "bias_rows_swapped"}),
    ],
    ids=lambda value: ",".join(sorted(value)) if isinstance(value, set) else str(value),
)  # fmt: skip
def test_fault_that_would_change_nothing_or_make_no_sense_is_not_made(options, layer, impossible):
    assert not impossible & possible(a_network(**options), layer)


OF_MASKS = {
    "mask_ignored",
    "mask_inverted",
    "mask_shifted_by_one",
    "mask_of_other_sample",
    "mask_as_length",
    "holes_filled",
    "fully_masked_row",
    "last_output_from_masked_step",
    "first_step_skipped",
    "mask_zeroes_state",
    "state_updates_under_mask",
    "mask_repeats_first",
    "mask_by_multiplication",
    "zero_output_for_mask_flipped",
}
OF_A_BIAS = {"bias_doubled", "bias_dropped", "bias_off_by_0.001", "bias_off_by_1e-06"}
OF_GATES = {"split_by_input_dim", "hard_sigmoid_of_keras2", "hard_sigmoid_of_keras3", "sigmoid_table"}
OF_LSTM = {
    *OF_GATES,
    *(f"gate_order_{order}" for order in LSTM_ORDERS),
    "input_and_forget_coupled",
    "no_activation_on_memory",
    "activation_misplaced",
    "memory_not_carried",
    "memory_recorded_as_state",
    "forget_bias_after_sigmoid",
}
OF_ITS_BIAS = {
    *OF_A_BIAS,
    *(f"bias_gate_order_{order}" for order in LSTM_ORDERS),
    "forget_bias_added",
    "forget_bias_missing",
}
OF_GRU = {
    *OF_GATES,
    *OF_A_BIAS,
    "gate_order_rzh",
    "gate_order_hzr",
    "bias_gate_order_rzh",
    "bias_gate_order_hzr",
    "reset_after_flipped",
    "update_gate_inverted",
}
OF_TWO_BIASES = {"gru_biases_merged", "recurrent_bias_dropped", "input_bias_dropped", "bias_rows_swapped"}
OF_WHAT_IS_PUT_OUT = {
    "outputs_scaled",
    "outputs_shifted",
    "outputs_rescaled",
    "outputs_negated",
    "output_columns_in_other_order",
    "outputs_of_other_samples",
    "outputs_transposed",
    "softmax_applied",
    "largest_output_alone",
}
OF_COARSER_FORMATS = {
    "tf32_products",
    "bfloat16_products",
    "float16_accumulation",
    "float16_weights",
    "bfloat16_weights",
    "int8_weights",
    "state_in_bfloat16",
}
NO_BIAS = {"use_bias": False}
BACKWARDS = {"go_backwards": True}

# (options of a network, the faults that its layer has besides those above, those that it lacks)
POSSIBLE = {
    "bias": ({"use_bias": True}, OF_A_BIAS, set()),
    "masked": ({"mask": True}, OF_MASKS, set()),
    "masked zero": ({"mask": True, "zero_output_for_mask": True}, OF_MASKS - {"mask_repeats_first"}, set()),
    "masked backward": (
        {"mask": True, **BACKWARDS},
        {*OF_MASKS, "go_backwards_ignored", "backward_last_step_for_first", "reverse_over_padding"},
        {"time_reversed"},
    ),
    "backward sequences": (
        {"return_sequences": True, **BACKWARDS}, {"go_backwards_ignored", "output_turned_round"}, {"time_reversed"},
    ),
    "sequences": ({"return_sequences": True}, {"time_reversed_in_order"}, set()),
    "state": ({"return_state": True}, set(), set()),
    "stateful": (
        {"stateful": True}, {"state_lost_between_calls"}, {"state_kept_between_calls", "state_left_by_earlier_run"},
    ),
    "started": ({"initial_state": True}, {"initial_state_ignored"}, {"state_left_by_earlier_run"}),
    "relu": (
        {"activation": "relu"}, {"activation_lost"}, {"sigmoid_for_tanh", "tanh_pade", "tanh_polynomial"},
    ),
    "linear": (
        {"activation": "linear"}, {"activation_lost"},
        {"activation_missing", "sigmoid_for_tanh", "tanh_pade", "tanh_polynomial"},
    ),
    "float16": ({"dtype": "float16"}, set(), OF_COARSER_FORMATS),
    "bfloat16": ({"dtype": "bfloat16"}, set(), OF_COARSER_FORMATS),
    "one unit and feature": (
        {"D": 1, "M": 1}, set(),
        {
            "features_reversed", "kernel_reshaped", "kernel_rows_rotated", "output_columns_in_other_order",
            "outputs_transposed", "recurrent_kernel_reshaped", "recurrent_rows_rotated", "units_cut_at_block",
            "units_rotated",
        },
    ),
    "inside": ({"K": 2}, set(), OF_WHAT_IS_PUT_OUT),
    "lstm": ({"kind": "LSTM", "use_bias": True}, OF_LSTM | OF_ITS_BIAS, set()),
    "lstm without bias": ({"kind": "LSTM"}, OF_LSTM, set()),
    "lstm as wide as its inputs": ({"kind": "LSTM", "M": D}, OF_LSTM - {"split_by_input_dim"}, set()),
    "lstm of keras 3": (
        {"kind": "LSTM", "recurrent_activation": "hard_sigmoid"},
        OF_LSTM - {"hard_sigmoid_of_keras3", "sigmoid_table"} | {"recurrent_activation_lost"}, set(),
    ),
    "lstm of keras 2": (
        {"kind": "LSTM", "recurrent_activation": "hard_sigmoid_keras2"},
        OF_LSTM - {"hard_sigmoid_of_keras2", "sigmoid_table"} | {"recurrent_activation_lost"}, set(),
    ),
    "lstm of tanh": (
        {"kind": "LSTM", "recurrent_activation": "tanh"},
        OF_LSTM - {"hard_sigmoid_of_keras2", "hard_sigmoid_of_keras3", "sigmoid_table", "input_and_forget_coupled"}
        | {"recurrent_activation_lost"}, set(),
    ),
    "lstm with its states": (
        {"kind": "LSTM", "return_state": True, "initial_state": True},
        {*OF_LSTM, "final_states_swapped", "initial_state_ignored", "initial_states_swapped"},
        {"state_left_by_earlier_run"},
    ),
    "gru": ({"kind": "GRU", "use_bias": True}, OF_GRU | OF_TWO_BIASES, set()),
    "gru with one bias": ({"kind": "GRU", "use_bias": True, "reset_after": False}, OF_GRU, set()),
}  # fmt: skip


@pytest.mark.parametrize("name", POSSIBLE)
def test_options_add_and_take_away_faults(name):
    options, more, fewer = POSSIBLE[name]

    found, others = possible(a_network(**{**NO_BIAS, **options})), possible(a_network(**NO_BIAS))

    assert (found - others, others - found) == (more, fewer)


OF_WEIGHTS = {
    "weights_not_loaded", "kernel_rows_rotated", "last_column_missing", "kernel_reshaped",
    *(f"kernel_off_by_{amount}" for amount in AMOUNTS), "bias_off_by_0.001", "bias_off_by_1e-06",
    "float16_weights", "bfloat16_weights", "int8_weights", *(f"weights_of_{k}_decimals" for k in range(2, 7)),
}  # fmt: skip


def test_dense_has_the_faults_of_weights_and_outputs():
    network = a_network(K=2)

    assert possible(network, "dense") == OF_WEIGHTS | OF_WHAT_IS_PUT_OUT | {"dense_bias_dropped"}
    assert possible(a_network(K=2, dense_activation="relu"), "dense") - possible(network, "dense") == {
        "dense_activation_lost"
    }


def test_layers_of_bidirectional_have_faults_of_their_own():
    both = make_bidirectional(T=T, D=D, M=M, merge_mode="concat")
    other = make_bidirectional(T=T, D=D, M=M, merge_mode="ave", backward="gru")
    alone = possible(a_network(kind="LSTM", return_sequences=True)) - OF_WHAT_IS_PUT_OUT

    assert possible(both, FORWARD) - alone == {
        "bidirectional_states_reordered", "final_states_swapped", "weights_of_other_layer",
    }  # fmt: skip
    assert possible(both, BACKWARD_HALF) - alone == {
        "backward_uses_forward_weights", "final_states_swapped", "weights_of_other_layer", "go_backwards_ignored",
        "output_turned_round",
    }  # fmt: skip
    assert possible(other, FORWARD) - alone == {"bidirectional_states_reordered", "final_states_swapped"}
    assert not possible(other, BACKWARD_HALF) & {"backward_uses_forward_weights", "weights_of_other_layer"}
    assert possible(both, "both/reverse") == possible(other, "both/reverse") == {"output_not_turned_round"}
    assert possible(both, "both") == {"halves_swapped"}
    assert possible(other, "both") == {"merge_mode_confused"}


def test_halves_of_different_size_keep_their_states_and_weights():
    network = make_bidirectional(T=T, D=D, M=M, merge_mode=None)
    smaller = make_bidirectional(T=T, D=D, M=M - 1, merge_mode=None).layer(BACKWARD_HALF)

    found = possible(with_layer(network, smaller), FORWARD) | possible(with_layer(network, smaller), BACKWARD_HALF)

    assert not found & {
        "bidirectional_states_reordered", "backward_uses_forward_weights", "weights_of_other_layer",
    }  # fmt: skip


def test_layers_that_merge_what_is_no_half_have_no_faults_of_bidirectional():
    rng = np.random.default_rng(0)
    rnn = [make_recurrent(name, rng, D=D, M=M) for name in ("a", "b", "c")]

    def merged(kind, name, *inputs):
        layer = Layer(name, kind, tuple(map(Tensor, inputs)), {"axis": -1})
        return possible(Network("merged", (), (*rnn, layer), (Tensor(name),)), name)

    assert merged("Concatenate", "merge", "a", "b") == merged("Add", "merge", "a", "b") == set()
    assert merged("Concatenate", "merge", "merge/a", "merge/b", "merge/c") == set()
    assert merged("Concatenate", "merge", "merge/a", "merge/b") == {"halves_swapped"}
    assert merged("Multiply", "merge", "merge/a", "merge/b") == {"merge_mode_confused"}


def test_mask_that_is_turned_round_for_a_backward_half_stays_so():
    turned = Layer("both/reverse_mask", "Reverse", (Tensor("mask"),))

    assert possible(Network("m", (), (turned,), ()), "both/reverse_mask") == set()


@pytest.mark.parametrize(
    ("kind", "units", "started", "is_possible"),
    [("LSTM", M, True, True), ("LSTM", M, False, False), ("GRU", M, True, False), ("LSTM", M + 1, True, False)],
    ids=["alike", "not started", "another kind", "another size"],
)
def test_initial_states_are_those_of_another_layer_that_is_alike(kind, units, started, is_possible):
    rng = np.random.default_rng(0)
    first = make_recurrent("a", rng, D=D, M=M, kind="LSTM", initial_state=(Tensor("h"), Tensor("c")))
    starts = (Tensor("h1"), Tensor("c1"))[: 2 if kind == "LSTM" else 1] if started else ()
    second = make_recurrent("b", rng, D=D, M=units, kind=kind, initial_state=starts)
    network = Network("two", (), (first, second), ())

    assert ("initial_state_of_other_layer" in possible(network, "a")) is is_possible
    if is_possible:
        assert with_fault(network, "initial_state_of_other_layer", "a").layer("a").initial_state == starts


@pytest.mark.parametrize(("units", "whole"), [(2, 1), (3, 2), (4, 2), (5, 4), (8, 4), (9, 8)])
def test_units_after_the_last_whole_block_are_left_out(units, whole):
    network = a_network(M=units)
    right = network.layer("rnn").weights["recurrent_kernel"]

    kernel = with_fault(network, "units_cut_at_block").layer("rnn").weights["recurrent_kernel"]

    np.testing.assert_array_equal(kernel[:whole], right[:whole])
    assert not kernel[whole:].any()


def test_flatten_of_channels_first_is_flattened_as_channels_last(rng):
    layer = Layer("flatten", "Flatten", (Tensor("x"),), {"data_format": "channels_first"}, dtype="float64")
    network = Network("one", (InputSpec("x", IMAGES, "float64"),), (layer,), (Tensor("flatten"),))
    x = rng.normal(size=(N, *IMAGES))

    (flat,) = outputs_of(with_fault(network, "flatten_in_other_order", "flatten"), (x,))

    assert_same(flat, x.reshape(N, -1))


def numbers_tried(t_steps):
    network = a_network(T=t_steps, D=1, M=1)
    recordings = emulate(network, [make_inputs(network, 1)])
    fitted = NAMES["only_first_steps"].fitted(network, network.layer("rnn"), recordings)
    return [detail for _, detail in fitted]


def test_numbers_of_steps_that_are_tried():
    """All where there are few, else those that buffers and loops have."""
    assert numbers_tried(3) == ["the first of 3", "the first 2 of 3"]
    assert numbers_tried(24) == ["the first of 24", *(f"the first {count} of 24" for count in range(2, 24))]
    assert numbers_tried(30) == [
        "the first of 30", *(f"the first {count} of 30" for count in (2, 4, 5, 8, 10, 16, 20, 28, 29)),
    ]  # fmt: skip
    assert numbers_tried(1030)[-5:] == [f"the first {count} of 1030" for count in (512, 1000, 1024, 1028, 1029)]


def test_decorator_keeps_what_it_is_told():
    fault = NAMES["mask_as_length"]

    assert fault.summary == "the mask is taken for a length: so many steps from the first on count"
    assert NAMES["gate_order_iofc"].summary == "the gates are read in the order i, o, f, c: ONNX's"
    assert (fault.group, fault.hidden_by) == ("masks", (NO_SAMPLE_PADDED, PADS_THE_END))
    assert masks.mask_as_length(np.array([[False, True]])).tolist() == [[True, False]]


@pytest.mark.parametrize(
    ("mask", "holds"),
    [
        ([[1, 1, 1, 0, 0], [1, 0, 0, 0, 0]], True),
        ([[1, 1, 1, 1, 1], [0, 0, 0, 0, 0]], True),
        ([[1, 1, 1, 0, 0], [1, 0, 1, 0, 0]], False),
        ([[0, 1, 1, 1, 1], [1, 1, 1, 1, 1]], False),
        ([[0, 0, 0, 0, 0], [0, 1, 0, 0, 0]], False),
    ],
    ids=["right", "whole", "hole", "left", "both"],
)
def test_mask_that_pads_the_end_only_is_told_from_others(mask, holds):
    network = a_network(mask=True)
    inputs = (*make_inputs(network, 2)[:-1], np.array(mask, bool))
    (call, *_) = observe(network, emulate(network, [inputs]))

    assert PADS_THE_END.holds(network.layers[0], call) is holds


def test_recurrent_kernel_of_a_convolution_is_transposed_block_by_block(rng):
    kernel = rng.normal(size=(3, 2, 8))  # (size, M, 4M)
    network = replaced(make_network(kind="ConvLSTM1D", T=3, D=2, M=2, K=None), "rnn", recurrent_kernel=kernel)

    (injection,) = injections(network, [NAMES["recurrent_kernel_transposed"]])

    transposed = injection.network.layers[0].weights["recurrent_kernel"]
    for size, gate, row, column in np.ndindex(3, 4, 2, 2):
        assert transposed[size, row, 2 * gate + column] == kernel[size, column, 2 * gate + row]


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("place", ["", "Global"])
def test_poolings_are_exchanged_along_every_number_of_axes(place, rank):
    kinds = [f"{place}{pool}Pooling{rank}D" for pool in ("Max", "Average")]
    for kind, other in (kinds, kinds[::-1]):
        layer = Layer("pool", kind, (Tensor("x"),), {"padding": "valid"})
        network = Network("one", (InputSpec("x", (4,) * rank + (2,), "float32"),), (layer,), (Tensor("pool"),))

        (injection,) = injections(network, [NAMES["pooling_confused"]])

        assert injection.network.layers[0].kind == other
