"""How much a run on zeros may hold and multiply: what is counted of each kind of layer, and the limits."""

import numpy as np
import pytest
from reference import make_network

from rnncheck import InputSpec, Network, Tensor, UnsupportedError
from rnncheck.equations.shapes import on_zeros, rehearse
from rnncheck.network import Activation, Layer


def zeros(*shape):
    return np.zeros(shape, np.float32)


def network_of(layers, *shapes):
    """Layers (kind, options, weights), each on what the one before it puts out; the first on all inputs."""
    inputs = tuple(InputSpec(f"x{k}", shape, "float32") for k, shape in enumerate(shapes))
    made, read = [], tuple(Tensor(spec.name) for spec in inputs)
    for number, (kind, options, weights) in enumerate(layers):
        made.append(Layer(f"l{number}", kind, read, options, weights))
        read = (Tensor(f"l{number}"),)
    return Network("large", inputs, tuple(made), read)


def refusal(layers, *shapes):
    with pytest.raises(UnsupportedError) as raised:
        rehearse(network_of(layers, *shapes))
    return str(raised.value)


def said(numbers, products, before=0, name="l0"):
    return (
        f"layer {name!r}: got sizes for which a run on two samples holds {numbers:,} numbers here, "
        f"{before + numbers:,} so far, and multiplies {products:,} times; expected at most 33,554,432, 134,217,728 "
        "and 34,359,738,368."
    )


CONVOLUTION = {"kernel_size": (5,), "strides": (2,), "padding": "valid", "dilation_rate": (1,), "groups": 1}
POOLING = {"pool_size": (3,), "strides": (1,), "padding": "valid"}
LSTM = {"units": 3, "return_sequences": False}

# (layer, the shapes of its inputs, the numbers that it holds, its products of two)
COUNTED = {
    "convolution": (
        ("Conv1D", CONVOLUTION, {"kernel": zeros(5, 2, 4)}), [(2**24 + 1, 2)],
        (2**23 + 1) * 4, (2**23 + 1) * 2 * 5 * 4,
    ),
    "pooling": (("MaxPooling1D", POOLING, {}), [(2**24 + 1, 2)], (2**24 + 1) * 2, 0),
    "embedding": (("Embedding", {}, {"embeddings": zeros(10, 2**12)}), [(2**14,)], 2**26, 2**26),
    "repeated": (("RepeatVector", {"n": 2**16}, {}), [(1000,)], 1000 * 2**16, 0),
    "added": (("Add", {}, {}), [(2**13, 1), (1, 2**13)], 2**26, 0),
    "dot": (
        ("Dot", {"axes": (2, 1)}, {}), [(6000, 4), (4, 7000)], 6000 * 4 + 4 * 7000 + 6000 * 7000, 6000 * 4 * 7000,
    ),
    "dot_over_one": (
        ("Dot", {"axes": (2, 1)}, {}), [(6000, 1), (1, 7000)], 6000 + 7000 + 6000 * 7000, 6000 * 7000,
    ),
    "dot_over_steps": (
        ("Dot", {"axes": 1}, {}), [(4, 6000), (4, 7000)], 4 * 6000 + 4 * 7000 + 6000 * 7000, 6000 * 4 * 7000,
    ),
    "attention": (
        ("Attention", {"score_mode": "dot"}, {}), [(6000, 4), (7000, 4)], 6000 * 4 + 7000 * 4 + 6000 * 7000,
        6000 * 7000 * 4,
    ),
    "attention_concat": (
        ("Attention", {"score_mode": "concat"}, {}), [(3000, 4), (7000, 4)],
        3000 * 4 + 7000 * 4 + 3000 * 7000 * 4, 3000 * 7000 * 4,
    ),
    # Two samples, and the first step alone is computed.
    "lstm": (
        ("LSTM", LSTM, {"kernel": zeros(2**15, 12), "recurrent_kernel": zeros(3, 12)}), [(1000, 2**15)],
        2 * 1000 * 2**15, 2 * 2**15 * 12,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", COUNTED)
def test_layer_of_any_size_is_refused_with_what_it_would_hold(name):
    layer, shapes, numbers, products = COUNTED[name]

    assert refusal([layer], *shapes) == said(numbers, products)


def test_numbers_are_tried_as_numbers_and_masks_as_masks():
    assert rehearse(network_of([("Subtract", {}, {})], (4, 3), (4, 3))).layers
    mask = InputSpec("mask", (4, 3), "bool")
    softmax = Layer("l0", "Softmax", (Tensor("x"), Tensor("mask")), {"axis": -1})
    network = Network("masked", (InputSpec("x", (4, 3), "float32"), mask), (softmax,), (Tensor("l0"),))
    assert rehearse(network) is network


TURNED = ("Permute", {"dims": (2, 1)}, {})


def test_limit_is_on_one_layer():
    assert rehearse(network_of([TURNED], (2**15, 2**10))).layers
    assert refusal([TURNED], (2**15, 2**10 + 1)) == said(2**15 * (2**10 + 1), 0)


def test_limit_is_on_all_layers_together():
    assert rehearse(network_of([TURNED] * 4, (2**15, 2**10))).layers
    assert refusal([TURNED] * 5, (2**15, 2**10)) == said(2**25, 0, before=4 * 2**25, name="l4")


def test_rows_of_a_layer_that_treats_each_alone_count_once():
    dense = ("Dense", {"activation": Activation("linear")}, {"kernel": zeros(64, 2**11)})

    assert refusal([dense, TURNED], (2**14 + 1, 64)) == said(2**25 + 2**11, 64 * 2**11, before=2**11, name="l1")


def test_limit_is_on_products():
    products = 3900 * 2300 * 3900

    assert refusal([("Dot", {"axes": (2, 1)}, {})], (3900, 2300), (2300, 3900)) == said(
        2 * 3900 * 2300 + 3900 * 3900, products
    )


def test_sizes_that_no_machine_holds_are_problems_only_where_that_is_asked():
    network = make_network(T=4, D=3, M=2, K=None, return_sequences=True)
    problems = {}

    assert on_zeros(network, [(1, 10**10, 3)])[Tensor("rnn")].shape == (1, 10**10, 2)
    on_zeros(network, [(1, 10**10, 3)], problems, limited=True)

    assert list(problems) == ["rnn"]


def test_limit_on_products_may_be_reached():
    """For a PReLU more products are counted than it has."""

    def slopes(t_steps):
        return ("PReLU", {}, {"alpha": zeros(t_steps, 2**13)})

    assert rehearse(network_of([slopes(2**9)], (2**9, 2**13))).layers
    assert refusal([slopes(2**9 + 1)], (2**9 + 1, 2**13)) == said((2**9 + 1) * 2**13, (2**9 + 1) * 2**26)


def test_limit_is_on_an_input():
    assert refusal([TURNED], (2**13 + 1, 2**13)) == (
        "input 'x0': got shape (2, 8193, 8192); expected at most 134,217,728 numbers."
    )
    assert refusal([TURNED], (2**13, 2**13)) == said(2**26, 0)


@pytest.mark.parametrize(("window", "features"), [(10, 2**19), (100, 2**15), (2000, 2**11), (20_000, 2**7)])
def test_open_length_is_guessed_no_longer_than_windows_need(window, features):
    """With these features, any longer guess would have more numbers than a layer may."""
    sizes = {**CONVOLUTION, "kernel_size": (window,), "strides": (window,), "activation": Activation("linear")}

    network = network_of([("Conv1D", sizes, {"kernel": zeros(window, features, 1)})], (None, features))

    assert rehearse(network) is network


def test_window_longer_than_any_guess_is_refused_with_the_first():
    sizes = {**POOLING, "pool_size": (2**18 + 1,)}

    said = refusal([("MaxPooling1D", sizes, {})], (None, 2))

    assert said.startswith("layer 'l0': got ")
    assert "64 places along an axis, of which a window reads 262145" in said
