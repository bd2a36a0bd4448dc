"""Keras itself, checked: correct code matches under every option, and what deviates does not."""

import functools
import zipfile

import keras
import numpy as np
import pytest
from test_layers_in_keras import NOT_ON_THIS_PROCESSOR

import rnncheck
from experiments.random_case import random_case, verify_case
from rnncheck.cases.case import MASKS, NOTEBOOK, POLICIES, Case
from rnncheck.cases.deviations import KNOWN_DEVIATIONS, deviations_of
from rnncheck.checks.observed import disagreements, observe
from rnncheck.checks.verdicts import Check, Verdict
from rnncheck.errors import described
from rnncheck.frameworks.keras.run import record
from rnncheck.frameworks.keras.session import quiet_framework
from rnncheck.jobs.job import case_job
from rnncheck.jobs.judge import run_and_judge

SIZES = {"N": 3, "T": 6, "D": 4, "M": 5, "K": 2}


def explain(report_or_entry):
    """What to show when a verdict is another than expected."""
    return "\n".join(
        f"{row.layer} {row.output} {row.check}: {row.verdict}, score {row.score_max:.3g}, bound use {row.bound_use}, "
        f"first {row.first} {row.detail}"
        for row in report_or_entry.rows
    )


def assert_matches(report_or_entry):
    assert report_or_entry.verdict is Verdict.MATCH, explain(report_or_entry)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def normal_like(array):
    return normal(*array.shape)


def small_model(**options):
    """Input (6, 4) -> SimpleRNN(5) -> Dense(2), with random biases."""
    model = keras.Sequential([keras.Input((6, 4)), keras.layers.SimpleRNN(5, **options), keras.layers.Dense(2)])
    randomise(model)
    return model


def randomise(model):
    """Give every weight random values, biases included."""
    rng = np.random.default_rng(7)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(size=weight.shape) * 0.5)


# --- layers that stand beside recurrent ones ---


def each(*stack):
    """Layers inside TimeDistributed."""
    return [keras.layers.TimeDistributed(layer) for layer in stack]


FIRST = {"data_format": "channels_first"}
BESIDE = {
    "images": lambda layers: [
        keras.Input((3, 9, 8, 4)),
        *each(layers.Conv2D(6, 3, groups=2, activation="relu"), layers.MaxPooling2D(2, strides=1, padding="same")),
        *each(
            layers.DepthwiseConv2D(2, depth_multiplier=2), layers.SeparableConv2D(3, 2, strides=2), layers.Flatten()
        ),
        layers.LSTM(4),
    ],
    "channels_first": lambda layers: [
        keras.Input((3, 2, 7, 6)),
        *each(layers.ZeroPadding2D((1, 2), **FIRST), layers.DepthwiseConv2D(3, activation="softmax", **FIRST)),
        *each(layers.UpSampling2D(2, **FIRST), layers.AveragePooling2D(2, padding="same", **FIRST)),
        *each(layers.GroupNormalization(2, axis=1), layers.Flatten(**FIRST)),
        layers.SimpleRNN(4),
    ],
    "sequences": lambda layers: [
        keras.Input((9, 4)),
        layers.ZeroPadding1D((2, 1)),
        layers.SeparableConv1D(6, 3, depth_multiplier=2),
        layers.UpSampling1D(2),
        layers.Cropping1D((1, 3)),
        layers.GroupNormalization(3),
        layers.GRU(5, return_sequences=True),
        layers.UnitNormalization(),
        layers.GlobalAveragePooling1D(),
    ],
    "volumes": lambda layers: [
        keras.Input((4, 7, 6, 2)),
        layers.ConvLSTM2D(3, 3, padding="same", return_sequences=True),
        layers.MaxPooling3D((1, 2, 2)),
        layers.Conv3D(4, (2, 3, 2), padding="same", activation="sigmoid"),
        layers.BatchNormalization(),
        layers.GlobalAveragePooling3D(),
    ],
}


@pytest.mark.few(2)
@pytest.mark.parametrize("name", BESIDE)
def test_layers_beside_recurrent_ones_match(name):
    model = keras.Sequential(BESIDE[name](keras.layers))
    randomise(model)

    assert_matches(rnncheck.verify(model))


def test_file_may_call_a_layer_by_another_name_of_keras(tmp_path):
    layers, plain, path = keras.layers, tmp_path / "plain.keras", tmp_path / "model.keras"
    stack = layers.Conv2D(3, 2, name="a"), layers.MaxPooling2D(2, name="b"), layers.GlobalAveragePooling2D(name="c")
    keras.Sequential([keras.Input((6, 5, 2)), *stack]).save(plain)
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(path, "w") as new:
        for member in old.namelist():
            data = old.read(member)
            if member == "config.json":
                data = data.replace(b'"Conv2D"', b'"Convolution2D"').replace(b'"MaxPooling2D"', b'"MaxPool2D"')
                data = data.replace(b'"GlobalAveragePooling2D"', b'"GlobalAvgPool2D"')
            new.writestr(member, data)

    report = rnncheck.verify(path)

    assert_matches(report)
    assert [row.layer for row in report.entries[0].rows[:3]] == ["a", "b", "c"]


def test_layer_that_keras_cannot_run_here_is_an_error_that_says_why():
    options = {"dtype": "float64", "data_format": "channels_first"}  # TensorFlow has no such convolution on the CPU
    model = keras.Sequential([keras.Input((2, 6, 5), dtype="float64"), keras.layers.Conv2D(2, 2, **options)])

    report = rnncheck.verify(model)

    assert report.verdict is Verdict.ERROR
    assert report.entries[0].rows[0].detail == (
        "UnimplementedError: Graph execution error: The Conv2D op currently only supports the NHWC tensor format on "
        "the CPU. The op was given the format: NCHW; for float32, set TF_ENABLE_ONEDNN_OPTS=1 in the environment"
    )


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("first\n\nsecond", "ValueError: first"),
        ("Exception encountered when calling A.call().\n\n\x1b[1mwrong\x1b[0m\n\nmore", (
            "ValueError: Exception encountered when calling A.call(). wrong"
        )),
        ("no\nException encountered: a\nException encountered: b\nException encountered: c", "ValueError: c"),
        ('Graph execution error:\n\nat\n  File "a", line 1\n\nwrong\n\t [[node]]', (
            "ValueError: Graph execution error: wrong"
        )),
        ("Graph execution error:", "ValueError: Graph execution error:"),
    ],
)  # fmt: skip
def test_exception_of_keras_is_told_by_what_was_wrong(said, expected):
    assert described(ValueError(said)) == expected


# --- verify_case: sizes, options, precisions, activations ---


@pytest.mark.few(2)
@pytest.mark.parametrize(
    "sizes",
    [(1, 1, 1, 1, 1), (1, 10, 3, 5, 2), (2, 4, 1, 3, 5), (4, 50, 3, 32, 2), (33, 5, 16, 8, 1), (2, 3, 2, 256, 4)],
    ids=lambda sizes: " ".join(f"{name}{size}" for name, size in zip("NTDMK", sizes, strict=True)),
)
def test_keras_matches_at_every_size(sizes):
    assert_matches(verify_case(Case(**dict(zip("NTDMK", sizes, strict=True)))))


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("wrapper", "inside"),
    [
        ("time_distributed", {"time_distributed/lstm"}),
        ("bidirectional", {"bidirectional/forward_lstm", "bidirectional/backward_lstm"}),
    ],
)
def test_layers_inside_a_wrapper_have_rows_of_their_own(wrapper, inside):
    entry = verify_case(Case(**SIZES, layer="lstm", wrapper=wrapper))

    assert {row.layer for row in entry.rows if "/" in row.layer} == inside


def of_recurrent_layers():
    return [keras.layers.LSTM(5, return_sequences=True, name="lstm"), keras.layers.GRU(3, name="gru")]


def of_a_merge():
    x = keras.Input((6, 4))
    h = keras.layers.Bidirectional(keras.layers.LSTM(3), merge_mode="sum", name="both")(x)
    return [keras.Model(x, keras.layers.Dense(2, name="dense")(h), name="deeper")]


def of_masked_steps():
    return [keras.layers.Masking(name="masking"), keras.layers.GRU(3, name="gru")]


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("stack", "inside"),
    [
        (of_recurrent_layers, {"lstm", "gru"}),
        (of_a_merge, {"deeper/both/forward_lstm", "deeper/both/backward_lstm", "deeper/both", "deeper/dense"}),
        (of_masked_steps, {"masking", "gru"}),
    ],
    ids=["recurrent", "merge", "masked"],
)
def test_model_inside_a_wrapper_matches_layer_by_layer(stack, inside):
    """Keras runs it step by step, the probe all steps at once: their last digits may differ."""
    inner = keras.Sequential([keras.Input((6, 4)), *stack()], name="inner")
    model = keras.Sequential([keras.Input((7, 6, 4)), keras.layers.TimeDistributed(inner, name="each")])
    randomise(model)
    x = normal(3, 7, 6, 4)
    x[:, :, 2:4] = 0.0

    report = rnncheck.verify(model, x)

    assert_matches(report)
    assert {row.layer for row in report.rows if row.check is Check.STEP} == {
        "each", *(f"each/inner/{name}" for name in inside)
    }  # fmt: skip


@pytest.mark.long
def test_model_inside_a_wrapper_gets_a_mask_step_by_step():
    inner = keras.Sequential([keras.Input((6,)), keras.layers.Reshape((6, 1)), keras.layers.GRU(3)], name="inner")
    stack = [keras.layers.Masking(), keras.layers.TimeDistributed(inner), keras.layers.LSTM(4)]
    model = keras.Sequential([keras.Input((7, 6)), *stack])
    randomise(model)
    x = normal(3, 7, 6)
    x[1, 2:] = 0.0

    assert_matches(rnncheck.verify(model, x))


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "options",
    [
        {"layer": "stacked", "cell": "gru", "mask": "mixed", "return_state": True},
        {"layer": "stacked", "cell": "lstm", "return_sequences": True},
        {"layer": "rnn", "cell": "lstm", "mask": "left"},
        {"layer": "lstm", "wrapper": "bidirectional", "return_sequences": True},
        {"layer": "lstm", "wrapper": "bidirectional", "merge_mode": "none", "return_state": True},
        {"layer": "gru", "wrapper": "bidirectional", "mask": "mixed", "return_state": True, "merge_mode": "sum"},
    ],
    ids=lambda options: " ".join(map(str, options.values())),
)
def test_layers_of_several_cells_or_directions_match_from_given_states(options):
    entry = verify_case(Case(**SIZES, initial_state=True, **options))

    assert_matches(entry)
    directions = 2 if options.get("wrapper") else 1
    cells = 2 if options["layer"] == "stacked" else 1
    assert (
        len({row.layer for row in entry.rows if row.check is Check.STEP and row.output == "h"}) == directions * cells
    )


def test_cells_of_several_widths_match_from_given_states():
    cells = [keras.layers.LSTMCell(3), keras.layers.GRUCell(5), keras.layers.SimpleRNNCell(2)]
    x, (h, c, *others) = keras.Input((6, 4)), [keras.Input((size,)) for size in (3, 3, 5, 2)]
    y = keras.layers.RNN(cells, name="rnn")(x, initial_state=[[h, c], *([each] for each in others)])
    model = keras.Model([x, h, c, *others], y)
    randomise(model)

    report = rnncheck.verify(model, [normal(3, 6, 4), *(normal(3, size) for size in (3, 3, 5, 2))])

    assert_matches(report)
    assert {row.shape for row in report.rows if row.check is Check.STEP and row.output == "h"} == {
        (3, 6, 3), (3, 6, 5), (3, 6, 2),
    }  # fmt: skip


def test_notebook_matches():
    assert_matches(verify_case(NOTEBOOK))


@pytest.mark.few(3)
@pytest.mark.parametrize(
    "options",
    [
        {"use_bias": False},
        {"return_sequences": True},
        {"return_state": True},
        {"go_backwards": True},
        {"stateful": True},
        {"unroll": True},
        {"initial_state": True},
        {"zero_output_for_mask": True},
        {"flatten": True, "return_sequences": True},
        {"weights": "keras"},
        {"recurrent_scale": 1.5},
        {"stateful": True, "initial_state": True, "return_state": True},
        {"stateful": True, "mask": "mixed", "return_sequences": True, "go_backwards": True},
        {"unroll": True, "mask": "mixed", "zero_output_for_mask": True, "return_state": True},
        {"mask": "mixed", "initial_state": True, "return_sequences": True, "return_state": True},
    ],
    ids=lambda options: " ".join(f"{name}={value}" for name, value in options.items()),
)
def test_keras_matches_with_option(options):
    assert_matches(verify_case(Case(**SIZES, **options)))


@pytest.mark.few(1)
@pytest.mark.parametrize("mask", MASKS)
def test_keras_matches_under_mask(mask):
    options = {"return_sequences": True, "return_state": True, "initial_state": True}

    assert_matches(verify_case(Case(**SIZES, mask=mask, **options)))


@pytest.mark.parametrize("mask", ["mixed", *(pytest.param(m, marks=pytest.mark.long) for m in MASKS if m != "mixed")])
def test_keras_matches_under_mask_that_zeroes_outputs(mask):
    options = {"zero_output_for_mask": True, "return_state": True, "initial_state": True}

    assert_matches(verify_case(Case(**SIZES, mask=mask, **options)))


@pytest.mark.few(3)
@pytest.mark.parametrize("dtype", POLICIES)
@pytest.mark.parametrize("options", [{}, {"activation": "relu", "initial_state": True, "mask": "mixed"}], ids=str)
def test_keras_matches_in_precision(dtype, options):
    assert_matches(verify_case(Case(**SIZES, dtype=dtype, return_sequences=True, **options)))


@pytest.mark.few(2)  # test_activations_in_keras has them alone
@pytest.mark.parametrize(
    "activation",
    [
        "relu", "softmax", "threshold", "sigmoid", "elu", "gelu", "hard_sigmoid", "hard_shrink", "linear", "softplus",
    ],
)  # fmt: skip
def test_keras_matches_with_activation(activation):
    assert_matches(verify_case(Case(**SIZES, activation=activation, dense_activation=activation)))


def test_glu_matches_as_the_activation_of_dense():
    assert_matches(verify_case(Case(**SIZES, dense_activation="glu", return_sequences=True)))


@pytest.mark.few(1)
@pytest.mark.parametrize("unroll", [False, True], ids=["loop", "unrolled"])
def test_dropout_changes_nothing_at_inference(unroll):
    case = {**SIZES, "unroll": unroll, "return_sequences": True}
    with_dropout = rnncheck.build(Case(**case, dropout=0.5, recurrent_dropout=0.5))
    without = rnncheck.build(Case(**case))

    outputs = [built.model.predict(built.calls[0][0], verbose=0) for built in (with_dropout, without)]

    np.testing.assert_array_equal(*outputs)
    assert_matches(rnncheck.verify(with_dropout.model, with_dropout.calls[0]))


def test_chaotic_case_matches_because_its_steps_do():
    entry = verify_case(Case(N=2, T=200, D=3, M=64, K=2, recurrent_scale=3.0))

    assert_matches(entry)
    assert [str(row.verdict) for row in entry.rows] == ["match", "match", "undecidable"]


@pytest.mark.long  # Keras traces it for eight seconds
def test_cells_of_a_chaotic_stack_are_all_observed_in_one_run():
    """In a run of its own a lower cell ended in another digit: what it put out was not what the next one read."""
    entry = verify_case(random_case(1972, 150_000))

    steps = [row for row in entry.rows if row.check is Check.STEP]
    assert all(row.verdict is Verdict.MATCH for row in steps), explain(entry)


def test_memory_that_repeats_the_same_step_matches():
    """Where the sequence stands still, so do the rounding errors, and a long memory adds them up."""
    model = keras.Sequential([keras.Input((600, 3)), keras.layers.LSTM(16, return_sequences=True)])
    kernel, recurrent_kernel, bias = ((w * 0.3).astype(np.float32) for w in map(normal_like, model.get_weights()))
    bias[16:32] += 3.0
    model.set_weights([kernel, recurrent_kernel, bias])

    report = rnncheck.verify(model, np.repeat(normal(8, 1, 3), 600, axis=1))

    assert_matches(report)
    assert max(row.score_max for row in report.rows if row.check is Check.STEP) < 4.0


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "deviation", [d for d in KNOWN_DEVIATIONS if "tensorflow" in d.backends], ids=lambda deviation: deviation.reason
)
def test_known_deviation_of_keras_is_still_there(deviation):
    assert deviation.applies(deviation.example)

    (entry,) = run_and_judge([case_job(deviation.example)], most_diagnosed=0).entries

    mended = f"this Keras has mended it: {deviation.reason}; take it out of KNOWN_DEVIATIONS"
    assert entry.verdict is Verdict.MISMATCH, mended


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("kind", "options", "shape", "deviates"),
    [
        ("Conv1D", {"filters": 2, "groups": 2}, (4, 2), True),
        ("Conv1D", {"filters": 2}, (4, 2), False),
        ("Conv2D", {"filters": 3}, (4, 8, 3), False),
        ("Conv3D", {"filters": 3}, (2, 2, 4, 3), True),
        ("DepthwiseConv1D", {}, (3, 3), True),
        ("DepthwiseConv2D", {"depth_multiplier": 2}, (3, 4, 6), True),
        ("SeparableConv2D", {"filters": 5}, (3, 4, 5), True),
        ("SeparableConv2D", {"filters": 5}, (3, 4, 6), False),
    ],
)
def test_bias_along_the_wrong_axis_is_named_where_keras_adds_it_so(kind, options, shape, deviates):
    layer = getattr(keras.layers, kind)(kernel_size=3, padding="same", data_format="channels_first", **options)
    model = keras.Sequential([keras.Input(shape), layer])
    model.set_weights([normal(*w.shape) for w in model.get_weights()])

    (entry,) = rnncheck.verify(model).entries
    if kind in {"Conv1D", "Conv2D"} and "NHWC" in entry.rows[0].detail:
        pytest.skip(NOT_ON_THIS_PROCESSOR)

    (known,) = deviations_of(rnncheck.extract(model), "tensorflow") or [""]
    assert ("TensorFlow adds the bias" in known) == deviates
    assert entry.verdict is (Verdict.MISMATCH if deviates else Verdict.MATCH)
    assert [note for note in entry.notes if "no inputs given" not in note] == (
        [f"Keras is known to deviate here: {known}"] if deviates else []
    )


def test_case_that_the_framework_cannot_run_is_an_error_with_its_reason(monkeypatch):
    def crash(*_, **__):
        raise RuntimeError("out of something\nand more")

    monkeypatch.setattr(keras.Model, "predict", crash)

    entry = verify_case(Case(**SIZES))

    (row,) = entry.rows
    assert entry.verdict is Verdict.ERROR
    assert row.detail == "RuntimeError: out of something"


def test_entry_of_a_case_says_what_it_was():
    case = Case(**SIZES, return_state=True, seed=3)

    entry = verify_case(case)

    assert (entry.name, entry.seed, entry.case) == (str(case), 3, case.to_dict())
    assert [(row.layer, row.output, str(row.check), row.shape) for row in entry.rows] == [
        ("simple_rnn", "h", "step", (3, 6, 5)),
        ("dense", "output", "step", (3, 2)),
        ("dense", "output", "end_to_end", (3, 2)),
        ("simple_rnn", "state", "end_to_end", (3, 5)),
    ]


# --- the probe ---


@pytest.mark.few(2)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"unroll": True, "go_backwards": True},
        {"stateful": True, "return_state": True},
        {"mask": "mixed", "initial_state": True, "return_state": True},
        {"mask": "mixed", "zero_output_for_mask": True},
        {"dtype": "mixed_bfloat16"},
        {"return_sequences": True, "flatten": True},
    ],
    ids=lambda options: " ".join(options) or "plain",
)
def test_states_that_the_probe_shows_end_bit_by_bit_in_the_plain_output(options):
    built = rnncheck.build(Case(**SIZES, **options))
    network = rnncheck.extract(built.model)

    with quiet_framework():
        recordings = record(built.model, network, built.calls)

    assert disagreements(network, observe(network, recordings)) == ()
    for recording in recordings:
        assert recording.states["simple_rnn"].shape == (3, 6, 5)
        np.testing.assert_array_equal(recording.tensors[network.outputs[0]], recording.outputs[0])


# --- verify: users' models ---


def test_report_of_a_model_says_where_it_was_made():
    model = small_model()

    report = rnncheck.verify(model, normal(3, 6, 4))

    assert_matches(report)
    (entry,) = report.entries
    assert (entry.model, entry.seed, entry.case, entry.notes) == (model.name, None, None, ())
    assert report.environment["keras"] == keras.__version__
    assert report.exit_code == 0
    report.raise_for_mismatch()


def test_model_of_several_recurrent_layers_matches():
    model = keras.Sequential(
        [
            keras.Input((6, 4)),
            keras.layers.SimpleRNN(5, return_sequences=True, go_backwards=True),
            keras.layers.Dense(3, activation="relu"),
            keras.layers.SimpleRNN(7, activation="sigmoid"),
            keras.layers.Dense(2),
        ]
    )
    randomise(model)

    report = rnncheck.verify(model, normal(3, 6, 4))

    assert_matches(report)
    assert len({row.layer for row in report.rows if row.check is Check.STEP}) == 4


def test_model_whose_mask_is_handed_on_matches():
    x, mask = keras.Input((6, 4)), keras.Input((6,), dtype="bool")
    h = keras.layers.SimpleRNN(5, return_sequences=True)(x, mask=mask)
    h = keras.layers.SimpleRNN(3, return_sequences=True, go_backwards=True)(h)
    model = keras.Model([x, mask], keras.layers.Dense(2)(h))
    randomise(model)
    counts = np.random.default_rng(3).random((3, 6)) > 0.4

    report = rnncheck.verify(model, [normal(3, 6, 4), counts])

    assert_matches(report)


def test_encoder_and_decoder_of_different_lengths_match():
    source, target = keras.Input((6, 4)), keras.Input((3, 2))
    _, state = keras.layers.SimpleRNN(5, return_state=True)(source)
    model = keras.Model(
        [source, target], keras.layers.SimpleRNN(5, return_sequences=True)(target, initial_state=state)
    )
    randomise(model)

    assert_matches(rnncheck.verify(model, [normal(3, 6, 4), normal(3, 3, 2)]))


def test_model_added_to_step_by_step_matches():
    model = keras.Sequential()
    for layer in (keras.Input((6, 4)), keras.layers.SimpleRNN(5), keras.layers.Dense(2)):
        model.add(layer)

    assert_matches(rnncheck.verify(model, normal(3, 6, 4)))


def test_model_of_open_length_matches():
    x = keras.Input((None, 4))
    model = keras.Model(x, keras.layers.SimpleRNN(5)(x))

    assert_matches(rnncheck.verify(model, normal(3, 6, 4)))
    assert_matches(rnncheck.verify(model, normal(2, 9, 4)))


@pytest.mark.long
def test_layers_that_two_models_share_are_checked_in_each():
    layers = keras.layers.SimpleRNN(5, return_sequences=True), keras.layers.SimpleRNN(3), keras.layers.Dense(2)
    models = []
    for steps in (6, 4):
        x = keras.Input((steps, 4))
        h = layers[0](x)
        models.append(keras.Model(x, layers[2](layers[1](h))))

    for model, steps in zip(models, (6, 4), strict=True):
        assert_matches(rnncheck.verify(model, normal(3, steps, 4)))


def by_name(pair):
    return dict(zip("ba", pair, strict=True))


@pytest.mark.few(1)
@pytest.mark.parametrize("structure", [list, tuple, by_name], ids=["list", "tuple", "mapping"])
def test_outputs_of_any_structure_match(structure):
    x = keras.Input((6, 4))
    h = keras.layers.SimpleRNN(5, return_sequences=True)(x)
    model = keras.Model(x, structure((h, keras.layers.Dense(2)(h))))

    assert_matches(rnncheck.verify(model, normal(3, 6, 4)))


def test_inputs_come_by_name():
    x, h0 = keras.Input((6, 4), name="x"), keras.Input((5,), name="h0")
    model = keras.Model([h0, x], keras.layers.SimpleRNN(5)(x, initial_state=h0))

    assert_matches(rnncheck.verify(model, {"x": normal(3, 6, 4), "h0": normal(3, 5)}))
    assert_matches(rnncheck.verify(model, [normal(3, 5), normal(3, 6, 4)]))


def test_model_of_named_inputs_takes_them_by_name():
    x, h0 = keras.Input((6, 4), name="x"), keras.Input((5,), name="h0")
    model = keras.Model({"x": x, "h0": h0}, keras.layers.SimpleRNN(5)(x, initial_state=h0))

    assert_matches(rnncheck.verify(model, {"x": normal(3, 6, 4), "h0": normal(3, 5)}))


def test_activation_with_parameters_matches():
    celu = functools.partial(keras.activations.celu, alpha=0.7)

    assert_matches(rnncheck.verify(small_model(activation=celu), normal(3, 6, 4)))


def test_checking_a_model_twice_gives_the_same_report():
    model, x = small_model(), normal(3, 6, 4)

    first, second = (rnncheck.verify(model, x) for _ in range(2))

    assert first.rows == second.rows


def test_checking_a_model_leaves_its_outputs_and_weights_alone():
    model, x = small_model(), normal(3, 6, 4)
    before, weights = model.predict(x, verbose=0), model.get_weights()

    rnncheck.verify(model, x)

    np.testing.assert_array_equal(model.predict(x, verbose=0), before)
    for weight, old in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(weight, old)


def test_checking_a_stateful_model_leaves_its_state_alone():
    x = keras.Input(batch_shape=(3, 6, 4))
    model = keras.Model(x, keras.layers.SimpleRNN(5, stateful=True)(x))
    inputs = normal(3, 6, 4)
    model.predict(inputs, batch_size=3, verbose=0)
    state = keras.ops.convert_to_numpy(model.layers[-1].states[0]).copy()

    report = rnncheck.verify(model, inputs)

    assert_matches(report)
    assert report.rows[0].shape == (2, 3, 6, 5)
    assert state.any()
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model.layers[-1].states[0]), state)


# --- verify: arrays of every kind ---


def strided(x):
    wide = np.zeros((x.shape[0], 2 * x.shape[1], 3 * x.shape[2]), x.dtype)
    wide[:, ::2, ::3] = x
    return wide[:, ::2, ::3]


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


@pytest.mark.few(2)
@pytest.mark.parametrize(
    "change",
    [
        np.asfortranarray,
        strided,
        lambda x: x[::-1, ::-1],
        lambda x: x.astype(">f4"),
        lambda x: x.astype(">f8"),
        read_only,
        lambda x: x.astype(np.float64) + 1e-9,
        lambda x: x.astype(np.float16),
        lambda x: np.round(3 * x).astype(np.int64),
        lambda x: np.round(3 * x).astype(np.int8),
        lambda x: x > 0,
        lambda x: x.tolist(),
    ],
    ids=[
        "fortran",
        "strided",
        "reversed",
        "big-endian float32",
        "big-endian float64",
        "read-only",
        "float64",
        "float16",
        "int64",
        "int8",
        "bool",
        "list",
    ],
)
def test_arrays_of_every_kind_match(change, shared_model):
    given = change(normal(3, 6, 4))
    kept = np.array(given)

    assert_matches(rnncheck.verify(shared_model, [given]))
    np.testing.assert_array_equal(given, kept)


@pytest.fixture(scope="module")
def shared_model():
    return small_model()


@pytest.mark.few(2)
@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_float64_inputs_reach_every_precision_as_keras_casts_them(dtype):
    x = keras.Input((6, 4), dtype=dtype)
    model = keras.Model(x, keras.layers.SimpleRNN(5, dtype=dtype, recurrent_initializer="zeros")(x))

    assert_matches(rnncheck.verify(model, np.random.default_rng(0).normal(size=(3, 6, 4))))


# --- what is wrong is a mismatch ---


@pytest.mark.few(1)
@pytest.mark.parametrize("name", ["kernel", "recurrent_kernel", "bias"])
def test_model_with_a_changed_weight_does_not_match_the_network_it_had(name):
    model, x = small_model(return_sequences=True), normal(3, 6, 4)
    network = rnncheck.extract(model)
    cell = model.layers[0].cell
    weight = getattr(cell, name)
    changed = keras.ops.convert_to_numpy(weight).copy()
    changed.flat[-1] += 1e-4
    correct = model.predict(x, verbose=0)

    weight.assign(changed)
    wrong = model.predict(x, verbose=0)

    assert_matches(rnncheck.compare(network, x, correct))
    assert rnncheck.compare(network, x, wrong).verdict is Verdict.MISMATCH
    assert rnncheck.compare(model, x, correct).verdict is Verdict.MISMATCH
    assert_matches(rnncheck.compare(model, x, wrong))


def test_raise_for_mismatch_carries_the_report():
    model, x = small_model(), normal(3, 6, 4)
    report = rnncheck.compare(model, x, model.predict(x, verbose=0) + np.float32(1e-3))

    with pytest.raises(rnncheck.MismatchError) as caught:
        report.raise_for_mismatch()

    assert isinstance(caught.value, AssertionError)
    assert caught.value.report is report
    assert str(caught.value) == str(report)
    assert report.exit_code == 1


def test_outputs_without_states_are_compared_end_to_end_alone():
    model, x = small_model(), normal(3, 6, 4)

    report = rnncheck.compare(model, x, model.predict(x, verbose=0))

    assert_matches(report)
    assert [str(row.check) for row in report.rows] == ["end_to_end"]


def test_states_are_compared_whatever_the_order_of_the_inputs():
    x, h0 = keras.Input((6, 4), name="x"), keras.Input((5,), name="h0")
    model = keras.Model([h0, x], keras.layers.SimpleRNN(5, return_sequences=True, name="rnn")(x, initial_state=h0))
    inputs = [normal(3, 5), normal(3, 6, 4)]
    states = model.predict(inputs, verbose=0)

    report = rnncheck.compare(model, inputs, states, states={"rnn": states})

    assert_matches(report)
    assert [str(row.check) for row in report.rows] == ["step", "end_to_end"]


# --- what cannot be checked is refused in words ---


def test_tolerance_of_zero_is_a_tolerance():
    report = rnncheck.verify(small_model(), normal(3, 6, 4), rtol=0.0, atol=0.0)

    (row,) = (row for row in report.rows if row.check is Check.TOLERANCE)
    assert row.verdict is Verdict.MISMATCH


@pytest.mark.parametrize("rank", [2, 3], ids=["rows", "sequences"])
def test_dense_alone_matches(rank):
    x = keras.Input((6, 4)[3 - rank :])
    model = keras.Model(x, keras.layers.Dense(2)(x))

    assert_matches(rnncheck.verify(model, normal(3, *(6, 4)[3 - rank :])))


def test_inputs_of_four_axes_match():
    x = keras.Input((2, 6, 4))
    model = keras.Model(x, keras.layers.Dense(2)(x))

    report = rnncheck.verify(model, normal(3, 2, 6, 4))

    assert_matches(report)
    assert set(report.rows[0].worst) == {"n", "t", "axis_2", "unit"}


@pytest.mark.parametrize("tolerance", [{}, {"rtol": 0.0, "atol": 0.0}], ids=["plain", "with a tolerance"])
def test_flatten_alone_matches(tolerance):
    x = keras.Input((6, 4))
    model = keras.Model(x, keras.layers.Flatten()(x))

    assert_matches(rnncheck.verify(model, normal(3, 6, 4), **tolerance))


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_inputs_that_are_not_finite_are_refused_by_place(wrong, shared_model):
    x = normal(3, 6, 4)
    x[1, 2, 3] = wrong

    with pytest.raises(rnncheck.InputError) as caught:
        rnncheck.verify(shared_model, x)

    name = rnncheck.extract(shared_model).inputs[0].name
    assert (
        str(caught.value)
        == f"input {name!r}: got {wrong} at [1, 2, 3]; expected finite numbers. Leave such samples out."
    )


@pytest.mark.few(1)
@pytest.mark.parametrize("kind", [keras.layers.LayerNormalization, keras.layers.GroupNormalization])
@pytest.mark.parametrize("narrow", ["mixed_float16", "mixed_bfloat16"])
def test_normalization_keeps_the_format_of_what_it_reads(kind, narrow):
    """Keras computes it in float32, and rounds what it gives to the format of its input."""
    options = {"groups": 4} if kind is keras.layers.GroupNormalization else {}
    model = keras.Sequential(
        [
            keras.Input((6, 8)),
            keras.layers.LSTM(8, return_sequences=True, dtype=narrow),
            kind(**options, dtype="float32", name="norm"),
            keras.layers.GRU(3, dtype="float32"),
        ]
    )

    report = rnncheck.verify(model, np.random.default_rng(1).normal(size=(3, 6, 8)).astype(np.float32))

    (row,) = [row for row in report.entries[0].rows if row.layer == "norm"]
    assert row.verdict is Verdict.MATCH
    assert row.score_rms > 0.1


def test_normalization_from_one_half_format_to_the_other_is_refused():
    model = keras.Sequential(
        [
            keras.Input((6, 8)),
            keras.layers.LSTM(8, return_sequences=True, dtype="mixed_float16"),
            keras.layers.LayerNormalization(dtype="mixed_bfloat16", name="norm"),
        ]
    )

    with pytest.raises(rnncheck.UnsupportedError) as caught:
        rnncheck.verify(model)

    assert str(caught.value).startswith(
        "layer 'norm': it reads float16 and computes in bfloat16, and so rounds twice; expected "
        "one of these formats alone, or float32."
    )
