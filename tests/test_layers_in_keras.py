"""Layers without a state, against Keras itself in every precision."""

from dataclasses import dataclass

import keras
import numpy as np
import pytest
import tensorflow as tf
from test_layers import CASES, CONVOLUTIONS, Case

import rnncheck
from rnncheck.equations.arithmetic import KERNELS
from rnncheck.equations.layers import LAYERS
from rnncheck.equations.windows import convolve
from rnncheck.frameworks.keras.config.entries import ENTRIES
from rnncheck.frameworks.keras.config.values import read_options
from rnncheck.rounding.precision import PRECISIONS
from rnncheck.rounding.products import Matrix
from rnncheck.rounding.rounded import Bounds, Rounded

DTYPES = ("float32", "float64", "float16", "bfloat16")
# Keras policies, and the precision in which the layers' numbers come out.
POLICIES = {name: name for name in DTYPES} | {"mixed_float16": "float16", "mixed_bfloat16": "bfloat16"}
NOT_ON_THIS_PROCESSOR = "TensorFlow convolves channels_first with oneDNN alone, which it uses on some processors"
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
EXACT = {name: case for name, case in CASES.items() if LAYERS[case.kind].exact}
COMPUTED = {name: case for name, case in CASES.items() if not LAYERS[case.kind].exact}
every_computed_case = pytest.mark.parametrize("case", COMPUTED.values(), ids=COMPUTED)


def convolves_channels_first(case):
    return case.kind in {"Conv1D", "Conv2D"} and case.options.get("data_format") == "channels_first"


def runs(case, policy):
    """Whether Keras has a layer for a precision on TensorFlow's CPU."""
    pools_volumes = case.kind in {"MaxPooling3D", "AveragePooling3D"}
    return POLICIES[policy] in {"float32", "bfloat16"} or not (pools_volumes or convolves_channels_first(case))


def in_policies(cases, policies=tuple(POLICIES)):
    """Parametrise a test over cases and the policies that Keras has them in."""
    pairs = {f"{name}-{policy}": (case, policy) for name, case in cases.items() for policy in policies}
    pairs = {name: pair for name, pair in pairs.items() if runs(*pair)}
    return pytest.mark.parametrize(("case", "policy"), pairs.values(), ids=pairs)


@pytest.fixture(autouse=True)
def _quiet():
    """As the replay runs: what overflows or is no number shows in the result."""
    with np.errstate(all="ignore"):
        yield


@dataclass
class Made:
    """A layer of Keras, with its inputs and masks."""

    case: Case
    layer: keras.Layer
    inputs: list
    masks: list

    def __call__(self, inputs=None):
        """What Keras makes of some inputs, in float64."""
        arguments = dict(self.case.call)
        if self.case.kind == "Attention" and self.masks:
            given = dict(zip(self.case.masked, self.masks, strict=True))
            arguments["mask"] = [given.get("query"), given.get("value")]
        elif self.masks:
            arguments["mask"] = self.masks[0]
        tensors = [keras.ops.convert_to_tensor(x) for x in (inputs or self.inputs)]
        try:
            result = self.layer(tensors if len(tensors) > 1 else tensors[0], **arguments)
        except tf.errors.UnimplementedError:
            if convolves_channels_first(self.case):
                pytest.skip(NOT_ON_THIS_PROCESSOR)
            raise
        return keras.ops.convert_to_numpy(result).astype(np.float64)

    @property
    def options(self):
        kind = self.case.kind
        options = read_options(kind, kind, ENTRIES[kind], self.layer.get_config()) | self.case.call
        options["masks"] = self.case.masked
        if self.precision.name == "float64":  # TensorFlow holds these constants in float32 all the same
            leaky = not options.get("max_value") and not options.get("threshold")
            held = ("negative_slope", "max_value") if leaky else ("max_value",)
            options |= {name: float(np.float32(options[name])) for name in held if options.get(name)}
        return options

    @property
    def precision(self):
        """What the layer's output is rounded to, and what it computes in."""
        return PRECISIONS[self.layer.compute_dtype]

    @property
    def computing(self):
        single = PRECISIONS["float32"]
        fine = LAYERS[self.case.kind].casts_weights or self.precision.digits > single.digits
        return self.precision if fine else single

    @property
    def received(self):
        """The inputs as the equations take them: cast, where the layer casts."""
        casts = LAYERS[self.case.kind].casts_inputs
        return [self.precision.round(x) if casts and x.dtype.kind == "f" else np.asarray(x) for x in self.inputs]

    def weights(self, kernel=lambda kernel: kernel):
        weights = {}
        for variable in self.layer.weights:
            value = self.computing.round(variable.numpy())
            weights[variable.name] = value
            if variable.name in KERNELS:
                weights[variable.name] = kernel(value.reshape(-1, value.shape[-1]))
        return weights

    def plain(self):
        """What the equations give for exact numbers."""
        inputs = [x.astype(np.float64) if x.dtype.kind == "f" else x for x in self.received]
        return LAYERS[self.case.kind].apply([*inputs, *self.masks], self.weights(), self.options)

    def rounded(self, errors=None, *, bounds=Bounds.CARRIED):
        """What the equations give, with bound and noise, for inputs that are off by up to some errors."""
        inputs = self.received
        if not LAYERS[self.case.kind].exact:
            errors = errors or [0.0] * len(inputs)
            inputs = [
                Rounded(x.astype(np.float64), np.square(e) / 3.0, e, self.computing, bounds=bounds)
                for x, e in zip(inputs, errors, strict=True)
            ]
        weights = self.weights(lambda kernel: Matrix(kernel, self.computing, bounds))
        result = LAYERS[self.case.kind].apply([*inputs, *self.masks], weights, self.options)
        return result.to(self.precision) if isinstance(result, Rounded) else result


def make(case, rng, policy="float32", samples=3):
    layer = getattr(keras.layers, case.kind)(**case.options, dtype=policy)
    dtype = layer.variable_dtype
    inputs = [draw(case, rng, (samples, *shape)).astype(np.float32) for shape in case.shapes]
    if case.kind == "Embedding":
        inputs = [rng.integers(0, case.options["input_dim"], inputs[0].shape)]
    elif case.kind == "Masking":
        inputs[0][rng.random(inputs[0].shape[:2]) < 0.4] = case.options["mask_value"]
    if policy in DTYPES:
        inputs = [x if x.dtype.kind == "i" else keras.ops.convert_to_numpy(keras.ops.cast(x, dtype)) for x in inputs]
    masks = [rng.random((samples, *shape)) < 0.6 for shape in case.masks]
    for mask in masks:
        mask[..., 1] = True
    shapes = [x.shape for x in inputs]
    if not layer.built:
        layer.build(shapes if len(shapes) > 1 else shapes[0])
    layer.set_weights([weight(rng, variable) for variable in layer.weights])
    return Made(case, layer, inputs, masks)


def draw(case, rng, shape):
    return rng.normal(size=shape) + case.offset


def weight(rng, variable):
    numbers = rng.normal(size=variable.shape)
    return np.abs(numbers) + 0.5 if variable.name == "moving_variance" else numbers


@every_case
def test_value_is_the_same_with_and_without_bounds_and_over_plain_arrays(rng, case):
    made = make(case, rng)

    results = [made.rounded(), made.rounded(bounds=Bounds.FREE)]

    for result in results:
        value = result.value if isinstance(result, Rounded) else result
        np.testing.assert_allclose(value, made.plain(), rtol=1e-12, atol=1e-13)


@pytest.mark.few(130)
@in_policies(COMPUTED)
def test_keras_lies_within_the_bound(rng, case, policy):
    made = make(case, rng, policy)

    result = made.rounded()

    assert result.precision.name == POLICIES[policy]
    assert (np.abs(made() - result.value) <= result.bound).all()


@pytest.mark.few(120)
@in_policies(EXACT)
def test_keras_gives_the_same_numbers_where_none_is_computed(rng, case, policy):
    made = make(case, rng, policy)

    np.testing.assert_array_equal(made(), np.asarray(made.rounded(), np.float64))


@pytest.mark.few(60)
@in_policies(COMPUTED, ("float32", "float64", "mixed_float16", "bfloat16"))
def test_noise_is_typical_of_keras(rng, case, policy):
    made = make(case, rng, policy, samples=150)

    result = made.rounded(bounds=Bounds.FREE)
    score = (made() - result.value) / result.noise

    assert np.sqrt(np.mean(np.square(score))) < 1.5


@pytest.mark.few(60)
@pytest.mark.parametrize("size", [1e-6, 1e-3])
@every_computed_case
def test_keras_lies_within_the_bound_of_inputs_that_are_off(rng, case, size):
    made = make(case, rng)
    received = [(x + rng.uniform(-size, size, x.shape)).astype(np.float32) for x in made.inputs]
    errors = [np.abs(off - x.astype(np.float64)) for off, x in zip(received, made.inputs, strict=True)]

    result = made.rounded(errors)

    assert (np.abs(made(received) - result.value) <= result.bound).all()


@pytest.mark.parametrize("size", [1e-5])
@every_computed_case
def test_bound_is_of_the_size_of_the_errors_of_the_inputs(rng, case, size):
    made = make(case, rng)

    result = made.rounded([size] * len(made.inputs))

    assert np.median(result.bound) < 2000 * size * (1.0 + case.offset**2)


def by_hand(x, weights, epsilon, *, one_pass, fused):
    """A layer normalisation in float32, in the ways that implementations take."""
    one = np.float32(1.0)
    mean_of = x.mean(-1, keepdims=True, dtype=np.float32)
    centred = np.square(x - mean_of).mean(-1, keepdims=True, dtype=np.float32)
    squares = np.square(x).mean(-1, keepdims=True, dtype=np.float32) - np.square(mean_of)
    scale = one / np.sqrt((squares if one_pass else centred) + np.float32(epsilon))
    if fused:
        scale = scale * weights["gamma"]
        return x * scale + (weights["beta"] - mean_of * scale)
    return (x - mean_of) * scale * weights["gamma"] + weights["beta"]


@pytest.mark.parametrize("one_pass", [False, True], ids=["two_passes", "one_pass"])
@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
@pytest.mark.parametrize("offset", [0.0, 3.0, 100.0])
def test_bound_of_layer_normalization_holds_in_every_way_of_computing_it(rng, offset, fused, one_pass):
    made = make(Case("LayerNormalization", {}, ((6, 8),), offset=offset), rng)
    weights = {variable.name: variable.numpy() for variable in made.layer.weights}

    result = made.rounded()
    actual = by_hand(made.inputs[0], weights, 1e-3, one_pass=one_pass, fused=fused)

    assert (np.abs(actual.astype(np.float64) - result.value) <= result.bound).all()


def test_attention_to_nothing_but_excluded_values_is_uncertain_where_the_format_loses_the_scores(rng):
    made = make(CASES["attention_value_mask"], rng)
    made.masks[0][1] = False

    result = made.rounded(bounds=Bounds.FREE)
    score = np.abs(made() - result.value) / result.noise

    assert (score < 8.0).all()


@pytest.mark.parametrize(
    "options",
    [options for options in CONVOLUTIONS.values() if "causal" not in options],
    ids=[name for name, options in CONVOLUTIONS.items() if "causal" not in options],
)
def test_keras_convolution_lies_within_the_bound_and_its_noise_is_typical(rng, options):
    spatial, size, strides, padding, dilation = options
    x = rng.normal(size=(8, *spatial, 3)).astype(np.float32)
    kernel = rng.normal(size=(*size, 3, 4)).astype(np.float32)
    matrix = Matrix(kernel.reshape(-1, 4).astype(np.float64), PRECISIONS["float32"])

    observed = Rounded(x.astype(np.float64), 0.0, 0.0, PRECISIONS["float32"])
    result = convolve(observed, matrix, size, strides, padding, dilation)
    actual = keras.ops.conv(x, kernel, strides=strides, padding=padding, dilation_rate=dilation)
    difference = np.asarray(actual, np.float64) - result.value

    assert (np.abs(difference) <= result.bound).all()
    assert np.sqrt(np.mean(np.square(difference / result.noise))) < 1.5


@pytest.mark.parametrize("kind", sorted(kind for kind, operation in LAYERS.items() if operation.rowwise))
def test_rowwise_layers_treat_every_row_alone(rng, kind):
    case = next(case for case in CASES.values() if case.kind == kind)
    made = make(case, rng)
    operation = LAYERS[kind]
    rows = [x.astype(np.float64).reshape(-1, x.shape[-1]) for x in made.inputs]
    picked = rng.permutation(len(rows[0]))[:5]

    whole = operation.apply(rows, made.weights(), made.options)
    part = operation.apply([x[picked] for x in rows], made.weights(), made.options)

    np.testing.assert_allclose(part, whole[picked], rtol=1e-12)
    np.testing.assert_allclose(whole, made.plain().reshape(whole.shape), rtol=1e-12)


@pytest.mark.parametrize("kind", sorted(kind for kind, operation in LAYERS.items() if operation.exact))
def test_exact_layers_take_rounded_numbers_of_a_free_run(rng, kind):
    cases = [case for case in CASES.values() if case.kind == kind and kind != "Embedding"]
    for case in cases:
        made = make(case, rng)
        inputs = [Rounded(x.astype(float), 0.25, 0.5, PRECISIONS["float32"]) for x in made.inputs]

        result = LAYERS[kind].apply(inputs, made.weights(), made.options)

        np.testing.assert_array_equal(result.value, made.plain())
        assert (np.broadcast_to(result.bound, result.shape) <= 0.5).all()
        assert np.max(result.bound) == 0.5


FIRST_OF_A_KIND = {case.kind: case for case in reversed(CASES.values())}


@pytest.mark.parametrize("kind", FIRST_OF_A_KIND)
def test_mask_is_handed_on_where_keras_hands_it_on(rng, kind):
    made = make(FIRST_OF_A_KIND[kind], rng)
    tensors = [keras.ops.convert_to_tensor(x) for x in made.inputs]
    for tensor in tensors:
        tensor._keras_mask = keras.ops.ones(tensor.shape if kind == "Softmax" else tensor.shape[:2], bool)

    output = made.layer(tensors if len(tensors) > 1 else tensors[0], **made.case.call)

    if kind not in {"Embedding", "Masking"}:  # which make one
        assert (ENTRIES[kind].masks != "stop") == (getattr(output, "_keras_mask", None) is not None)


WITH_WEIGHTS = (
    "Dense", "Conv1D", "Conv2D", "DepthwiseConv2D", "SeparableConv1D", "PReLU", "LayerNormalization",
    "BatchNormalization", "GroupNormalization", "Embedding",
)  # fmt: skip


@pytest.mark.parametrize("kind", WITH_WEIGHTS)
def test_every_weight_of_a_layer_is_read(rng, kind, tmp_path):
    made = make(next(case for case in CASES.values() if case.kind == kind), rng)
    inputs = [keras.Input(shape, dtype=x.dtype) for shape, x in zip(made.case.shapes, made.inputs, strict=True)]
    model = keras.Model(inputs, made.layer(*inputs))
    model.save(tmp_path / "model.keras")

    for source in (model, tmp_path / "model.keras"):
        (read,) = rnncheck.extract(source).layers
        assert {name: array.tolist() for name, array in read.weights.items()} == {
            variable.name: variable.numpy().tolist() for variable in made.layer.weights
        }
