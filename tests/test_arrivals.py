"""What becomes of a model's weights in an export, and what is expected of one that has them in fewer digits."""

from dataclasses import replace

import numpy as np
import pytest
from reference import make_bidirectional, make_inputs, make_network, replaced

from rnncheck.checks.check import check
from rnncheck.checks.verdicts import Verdict, worst
from rnncheck.equations.arithmetic import FREE_RUNNING
from rnncheck.equations.cells import gate_names
from rnncheck.equations.formats import with_factors_everywhere
from rnncheck.equations.quantised import with_quantised_factors, with_quantised_results
from rnncheck.equations.replay import replay
from rnncheck.frameworks.arrivals import Held, arrivals, as_arrived
from rnncheck.network import Network, Recording

T, D, M, K = 7, 6, 5, 3
NONE = np.zeros(0)


def held(name, array, form="", scale=NONE, zero_point=NONE, axis=None):
    array = np.asarray(array)
    return Held.of(name, array, form or array.dtype.name, scale, zero_point, axis)


def all_of(network, **instead):
    """The arrays of an export that has every weight as it is, but for some."""
    arrays = {f"{layer.name}.{name}": w for layer in network.layers for name, w in layer.weights.items()} | instead
    return [each if isinstance(each, Held) else held(name, each) for name, each in arrays.items() if each is not None]


def only(network, layer, weight, *arrays):
    """What became of one weight where an export has those arrays alone."""
    found = arrivals(network, [held(f"a{number}", each) for number, each in enumerate(arrays)])
    return next(each for each in found if (each.layer, each.weight) == (layer, weight))


def int8(array, axis=None):
    """Round to 8 bits, with a scale for all numbers, or for each index of an axis."""
    axes = None if axis is None else tuple(each for each in range(array.ndim) if each != axis)
    scale = (np.abs(array).max(axes, keepdims=axis is not None) / 127.0).astype(np.float32)
    return np.rint(array / scale).astype(np.int8), np.ravel(scale)


def test_weights_that_are_as_they_are():
    network = make_network(T=T, D=D, M=M, K=K, kind="LSTM")

    found = arrivals(network, all_of(network))

    assert [(each.layer, each.weight) for each in found] == [
        (layer.name, name) for layer in network.layers for name in layer.weights
    ]
    assert {each.how for each in found} == {"as it is"}
    assert {each.form for each in found} == {""}
    assert all(each.held_in == (f"{each.layer}.{each.weight}",) for each in found)


@pytest.mark.parametrize(("kind", "names"), [("SimpleRNN", "h"), ("GRU", "zrh"), ("LSTM", "ifco")])
def test_gates_have_names_in_the_order_of_their_blocks(kind, names):
    assert gate_names(make_network(T=T, D=D, M=M, K=K, kind=kind).layer("rnn")) == tuple(names)


def test_layouts_are_named_and_turned_back():
    network = make_network(T=T, D=D, M=M, K=K, kind="LSTM")
    weights = network.layer("rnn").weights
    i, f, c, o = np.split(weights["kernel"], 4, axis=1)
    u = weights["recurrent_kernel"]
    both = np.concatenate([weights["kernel"], u])  # (D + M, 4M), as some have them
    bias = weights["bias"]
    iofc = np.concatenate([np.split(bias, 4)[k] for k in (0, 3, 1, 2)])
    onnx = np.concatenate([iofc, np.zeros(4 * M, np.float32)])[np.newaxis]
    for weight, arrays, how, names in [
        ("kernel", [weights["kernel"].T], "transposed", 1),
        ("kernel", [np.concatenate([i, o, f, c], axis=1)], "gates in the order i o f c", 1),
        ("kernel", [np.concatenate([i, o, f, c], axis=1).T[np.newaxis]], "transposed, gates in the order i o f c", 1),
        ("kernel", [i.T, f.T, c.T, o.T], "transposed, split into 4", 4),
        ("kernel", [both], "a part of it", 1),
        ("recurrent_kernel", [both], "a part of it", 1),
        ("recurrent_kernel", [u.reshape(M, 1, 4 * M)], "as it is", 1),
        ("bias", [onnx], "gates in the order i o f c", 1),
        ("bias", [bias[np.newaxis]], "as it is", 1),
    ]:
        found = only(network, "rnn", weight, *arrays, np.zeros((2, 2)))

        assert (found.how, found.form, len(found.held_in)) == (how, "", names)
        assert np.array_equal(found.values, weights[weight])


def test_each_direction_is_found_in_an_array_of_both():
    network = make_bidirectional(T=T, D=D, M=M, K=K, kind="GRU", merge_mode="concat")
    names = [layer.name for layer in network.layers if layer.kind == "GRU"]
    both = np.stack([network.layer(name).weights["kernel"].T for name in names])

    for name in names:
        found = only(network, name, "kernel", both)

        assert found.how == "transposed"
        assert np.array_equal(found.values, network.layer(name).weights["kernel"])


def test_axes_of_convolutions_in_another_order():
    network = make_network(T=T, D=3, M=4, K=None, kind="ConvLSTM2D")
    kernel = network.layer("rnn").weights["kernel"]  # (height, width, D, 4M)

    found = only(network, "rnn", "kernel", kernel.transpose(3, 0, 1, 2))

    assert found.how == "axes in the order 3 0 1 2"
    assert np.array_equal(found.values, kernel)


def test_two_rows_of_a_bias_may_be_parted_or_added():
    network = make_network(T=T, D=D, M=M, K=K, kind="GRU")
    bias = network.layer("rnn").weights["bias"]

    parted, added = only(network, "rnn", "bias", *bias), only(network, "rnn", "bias", bias.sum(axis=0))

    assert parted.how == "split into 2"
    assert np.array_equal(parted.values, bias)
    assert added.how == ""  # the reset gate is between the two of h
    layer = network.layer("rnn")
    before = replace(
        network, layers=(replace(layer, options={**layer.options, "reset_after": False}), *network.layers[1:])
    )
    added = only(before, "rnn", "bias", bias.sum(axis=0))
    assert added.how == "its two rows added"
    assert np.array_equal(added.values, [bias.sum(axis=0), np.zeros(3 * M)])


def test_weights_that_are_not_there():
    network = make_network(T=T, D=D, M=M, K=K, kind="LSTM")
    kernel = np.array(network.layer("rnn").weights["kernel"])
    kernel[0, -1] = np.nextafter(kernel[0, -1], np.float32(9.0))  # the last digit of one number

    found = {
        f"{each.layer}.{each.weight}": each for each in arrivals(network, all_of(network, **{"rnn.kernel": kernel}))
    }

    assert [name for name, each in found.items() if not each.how] == ["rnn.kernel"]
    assert found["rnn.kernel"].values is None
    assert found["rnn.kernel"].held_in == ()
    assert as_arrived(network, list(found.values())).layer("rnn").weights["kernel"].tolist() == (
        network.layer("rnn").weights["kernel"].tolist()
    )


@pytest.mark.parametrize(("form", "digits"), [("float16", 10), ("bfloat16", 7)])
def test_fewer_digits_are_named_and_taken(form, digits):
    coarse = np.random.default_rng(0).choice([1.0, 1.5, 1.0 + 2.0**-digits], (D, M)).astype(np.float32)
    fine = coarse + np.float32(2.0 ** (-digits - 3))
    network = replaced(make_network(T=T, D=D, M=M, K=K), "rnn", kernel=fine)

    found = arrivals(network, all_of(network, **{"rnn.kernel": held("k", coarse, form)}))

    assert (found[0].how, found[0].form, found[0].in_integers) == ("as it is", form, False)
    assert np.array_equal(as_arrived(network, found).layer("rnn").weights["kernel"], coarse)


@pytest.mark.parametrize("axis", [None, 0])
def test_integers_are_found_by_what_they_stand_for(axis):
    network = make_network(T=T, D=D, M=M, K=K, kind="LSTM")
    kernel = network.layer("rnn").weights["kernel"].T  # (4M, D), a scale for each row
    numbers, scale = int8(kernel, axis)
    zero_point = np.zeros(len(scale), np.int8)

    found = arrivals(network, all_of(network, **{"rnn.kernel": held("k", numbers, "int8", scale, zero_point, axis)}))

    arrived = found[0]
    assert (arrived.how, arrived.form, arrived.in_integers) == ("transposed", "int8", True)
    assert np.allclose(arrived.values, (numbers * scale.reshape(-1, 1)).T, rtol=1e-7, atol=0.0)
    assert 0.0 < np.abs(arrived.values - kernel.T).max() <= 0.501 * scale.max()


def test_zero_points_are_taken_off():
    values = np.linspace(-1.0, 2.0, 16).reshape(4, 4)
    scale = np.float32([3.0 / 255.0])
    numbers = np.rint(values / scale + 85).astype(np.uint8)

    array = held("k", numbers, "uint8", scale, np.uint8([85]))

    assert np.abs(array.values - values).max() <= 0.501 * scale[0]
    assert array.step.shape == values.shape


def test_an_axis_that_nobody_names_is_the_last_of_its_length():
    array = held("k", np.ones((1, 4, 3), np.int8), "int8", np.float32([1.0, 2.0, 4.0]), np.zeros(3, np.int8))

    assert array.values[0, 0].tolist() == [1.0, 2.0, 4.0]


def test_swapped_numbers_are_not_taken_for_quantised_ones():
    network = make_network(T=T, D=D, M=M, K=K, kind="LSTM")
    numbers, scale = int8(network.layer("rnn").weights["kernel"][::-1])

    found = only(network, "rnn", "kernel")
    other = arrivals(network, [held("k", numbers, "int8", scale, np.zeros(1, np.int8))])[0]

    assert (found.how, other.how) == ("", "")


@pytest.mark.parametrize(("levels", "how"), [(2**7, ""), (2**15, "gates in the order f i c o")])
def test_few_numbers_are_found_where_their_steps_are_small(levels, how):
    network = make_network(T=T, D=D, M=M, K=K, kind="LSTM")
    i, f, c, o = np.split(network.layer("rnn").weights["bias"], 4)
    scale = np.float32([np.abs([i, f, c, o]).max() / levels])
    numbers = np.rint(np.concatenate([f, i, c, o]) / scale).astype(np.int32)

    found = arrivals(network, [held("b", numbers, "int32", scale, np.zeros(1, np.int32))])[2]

    assert (found.weight, found.how, found.form) == ("bias", how, "int32" if how else "")


def test_steps_of_zero_tell_nothing():
    network = make_network(T=T, D=D, M=M, K=K)
    zeros = np.zeros((M, M), np.int8)

    found = arrivals(network, [held("z", zeros, "int8", np.zeros(1, np.float32), np.zeros(1, np.int8))])

    assert {each.how for each in found} == {""}


def test_numbers_of_too_few_levels_are_not_taken_for_weights():
    network = make_network(T=T, D=D, M=M, K=K)
    zeros = held("z", np.zeros((D, M), np.int8), "int8", np.float32([3.0]), np.zeros(1, np.int8))

    found = arrivals(network, all_of(network, **{"rnn.kernel": zeros}))

    assert found[0].how == ""
    assert np.array_equal(
        as_arrived(network, found).layer("rnn").weights["kernel"], network.layer("rnn").weights["kernel"]
    )


def test_of_several_arrays_the_one_with_the_most_digits_is_taken():
    network = make_network(T=T, D=D, M=M, K=K)
    kernel = network.layer("rnn").weights["kernel"]
    numbers, scale = int8(kernel)
    coarse = held("coarse", numbers, "int8", scale, np.zeros(1, np.int8))

    found = arrivals(network, [coarse, held("fine", kernel)])[0]

    assert (found.held_in, found.form) == (("fine",), "")


def test_gates_with_the_same_numbers_have_no_order():
    network = make_network(T=T, D=D, M=M, K=K, kind="LSTM")
    bias = np.concatenate([np.zeros(M), np.ones(M), np.zeros(2 * M)]).astype(np.float32)  # as Keras begins
    network = replaced(network, "rnn", bias=bias)
    iofc = np.concatenate([np.zeros(2 * M), np.ones(M), np.zeros(5 * M)]).astype(np.float32)

    found = only(network, "rnn", "bias", iofc)

    assert found.how == "a part of it"
    assert np.array_equal(found.values, bias)


def test_weights_that_are_mostly_zero_are_found():
    rng = np.random.default_rng(0)
    network = make_network(T=T, D=D, M=60, K=None, kind="LSTM")
    kernel = network.layer("rnn").weights["recurrent_kernel"] * (rng.random((60, 240)) < 0.03)
    network = replaced(network, "rnn", recurrent_kernel=kernel.astype(np.float32))
    i, f, c, o = np.split(kernel.astype(np.float32), 4, axis=1)

    found = only(network, "rnn", "recurrent_kernel", np.concatenate([i, o, f, c], axis=1).T[np.newaxis])

    assert found.how == "transposed, gates in the order i o f c"
    assert np.array_equal(found.values, kernel)


@pytest.mark.parametrize(
    ("shape", "scales", "axis", "at"),
    [
        ((2, 4, 6), (2, 6), None, (1, 0, 5)), ((2, 4, 6), (2,), None, (1, 0, 0)), ((4, 6), (6,), None, (0, 5)),
        ((4, 6), (4,), -2, (3, 0)), ((4, 6), (1,), None, (3, 5)), ((2, 2, 6), (2,), None, (1, 0, 0)),
    ],
    ids=str,
)  # fmt: skip
def test_scales_belong_to_their_axis(shape, scales, axis, at):
    scale = np.ones(scales, np.float32)
    scale.flat[-1] = 2.0

    array = held("k", np.ones(shape, np.int8), "int8", scale, np.zeros(scales, np.int8), axis)

    assert array.values[at] == array.step[at] == 2.0
    assert np.unique(array.values).size == (1 if scale.size == 1 else 2)


def test_scales_of_blocks_are_not_understood():
    for scales, axis in (((2, 6), 0), ((5,), None), ((6,), 3)):
        with pytest.raises(ValueError, match="scales of an array"):
            held("k", np.ones((4, 6), np.int8), "int8", np.ones(scales, np.float32), np.zeros(scales, np.int8), axis)
    floats = held("W_quantized", np.ones((4, 6), np.float32), "float32", np.ones(5, np.float32))
    assert floats.step is None


# --- what is expected then ---


def quantised(network):
    """The network with 8-bit kernels."""
    arrays = {}
    for layer in network.layers:
        for name in ("kernel", "recurrent_kernel"):
            if name in layer.weights:
                numbers, scale = int8(layer.weights[name], layer.weights[name].ndim - 1)
                zero_point = np.zeros(len(scale), np.int8)
                arrays[f"{layer.name}.{name}"] = held(name, numbers, "int8", scale, zero_point, 1)
    return as_arrived(network, arrivals(network, all_of(network, **arrays)))


def rounding_its_factors(network):
    """A program that rounds to 8 bits what it multiplies, each array by its own largest number."""

    def coarse(x, *_):
        step = np.abs(x).max() / 127.0
        return np.rint(x / step) * step if step else x

    return Network(
        network.name,
        network.inputs,
        tuple(with_factors_everywhere(layer, coarse, 1.0) for layer in network.layers),
        network.outputs,
    )


def recorded(network, inputs):
    return Recording(inputs, tuple(y.astype(np.float32) for y in replay(network, inputs).outputs))


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("kind", ["SimpleRNN", "GRU", "LSTM"])
def test_rounding_to_8_bits_is_what_is_allowed(kind, reset_after):
    options = {"reset_after": reset_after} if kind == "GRU" else {}
    network = quantised(make_network(T=20, D=8, M=32, K=16, kind=kind, return_sequences=True, **options))
    (x,) = make_inputs(network, 16)

    judged = with_quantised_factors(network, [[x]], {"rnn", "dense"})
    rounded = replay(judged, [x], arithmetic=FREE_RUNNING).outputs[0]
    far = (recorded(rounding_its_factors(network), (x,)).outputs[0] - rounded.value) / rounded.noise

    assert 0.4 < np.sqrt(np.mean(far**2)) < 1.1  # the steps are those of the largest number of all
    assert np.abs(far).max() < 8.0
    assert worst(check(judged, [recorded(rounding_its_factors(network), (x,))])[0]) is Verdict.MATCH
    # Without it, a right program is a mismatch.
    assert worst(check(network, [recorded(rounding_its_factors(network), (x,))])[0]) is Verdict.MISMATCH


def test_each_kernel_has_a_step_of_its_own():
    noise = []
    for width in (5, 6):  # kernels of the same shape, and of others
        network = make_network(T=T, D=width, M=5, K=None)
        x = np.full((3, T, width), 100.0 / width, np.float32)
        network = replaced(network, "rnn", kernel=np.full((width, 5), 1e-4, np.float32))
        judged = with_quantised_factors(network, [[x]], {"rnn"})
        noise.append(replay(judged, [x], arithmetic=FREE_RUNNING).outputs[0].noise.max())

    assert noise[0] < 5.0 * noise[1]  # the inputs are a hundred times the states


def test_only_the_named_layers_round():
    network = make_network(T=T, D=D, M=M, K=K)
    inputs = make_inputs(network, 3)

    judged = with_quantised_factors(network, [inputs], set())
    noise = [replay(each, inputs, arithmetic=FREE_RUNNING).outputs[0].noise for each in (network, judged)]

    assert np.array_equal(*noise)


@pytest.mark.parametrize("kind", ["SimpleRNN", "GRU", "LSTM"])
def test_where_all_has_8_bits_more_is_allowed_and_values_stay(kind):
    network = make_network(T=T, D=D, M=M, K=K, kind=kind)
    inputs = make_inputs(network, 3)

    factors = with_quantised_factors(network, [inputs], {"rnn", "dense"})
    results = with_quantised_results(network, [inputs])
    plain, some, all_ = (
        replay(each, inputs, arithmetic=FREE_RUNNING).outputs[0] for each in (network, factors, results)
    )

    assert np.array_equal(plain.value, all_.value)
    assert (some.noise > 100.0 * plain.noise).all()
    assert (all_.noise > some.noise).all()


def test_states_of_a_stateful_network_are_those_of_all_calls():
    network = make_network(T=T, D=D, M=M, K=K, stateful=True, return_sequences=True)
    calls = [make_inputs(network, 3), tuple(5.0 * x for x in make_inputs(network, 3))]

    both, first = (with_quantised_factors(network, some, {"rnn"}) for some in (calls, calls[:1]))
    of_both, of_first = (replay(each, calls[0], arithmetic=FREE_RUNNING).outputs[0].noise for each in (both, first))

    assert (of_both[:, 0] > 2.0 * of_first[:, 0]).all()  # the second call has the larger inputs
