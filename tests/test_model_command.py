"""`rnncheck verify MODEL` and `rnncheck.verify(path)`: models and inputs from files, good ones and bad ones."""

import json
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

import rnncheck
from rnncheck.jobs.judge import judge_files

SHAPE = "expected (N, 6, 3), with at least one sample."
RESHAPED = "It has as many numbers: give array.reshape(-1, 6, 3), if they are in that order."
IDS = "expected whole numbers from 0 to 6, the rows of the table of layer"
SAVE = "Save the whole model as a .keras file: model.save('model.keras')."


def refused(done, message):
    assert done == (2, "", f"rnncheck: {message}\n")


def sequential(*stack, shape=(6, 3), **options):
    return keras.Sequential([keras.Input(shape, name="x", **options), *stack])


def encoder_decoder():
    source, target = keras.Input((6, 3), name="source"), keras.Input((4, 2), name="target")
    _, h, c = layers.LSTM(5, return_state=True, name="encoder")(source)
    h = layers.LSTM(5, return_sequences=True, name="decoder")(target, initial_state=[h, c])
    return keras.Model([source, target], layers.Dense(2, name="head")(h))


def of_ids():
    return sequential(
        layers.Embedding(7, 4, mask_zero=True, name="embedding"), layers.GRU(5, name="gru"), shape=(6,), dtype="int32"
    )


def of_folded_ids():
    inner = layers.TimeDistributed(layers.Embedding(7, 4, name="embedding"), name="each")
    return sequential(inner, layers.Reshape((5, 12)), layers.SimpleRNN(3), shape=(5, 3), dtype="int32")


def of_doubled_ids():
    x = keras.Input((6,), name="x")
    return keras.Model(x, layers.SimpleRNN(3)(layers.Embedding(7, 4, name="embedding")(layers.Add()([x, x]))))


MODELS = {
    "gru": lambda: sequential(layers.GRU(5, name="gru"), layers.Dense(2, name="head")),
    "open": lambda: sequential(layers.LSTM(5, name="lstm"), shape=(None, 3)),
    "dense": lambda: sequential(layers.Dense(2, name="head"), shape=(3,)),
    "stateful": lambda: keras.Sequential(
        [keras.Input(batch_shape=(2, 6, 3), name="x"), layers.SimpleRNN(5, stateful=True, name="rnn")]
    ),
    "ids": of_ids,
    "float_ids": lambda: sequential(layers.Embedding(7, 4), layers.SimpleRNN(3), shape=(6,)),
    "folded_ids": of_folded_ids,
    "doubled_ids": of_doubled_ids,
    "encoder_decoder": encoder_decoder,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with every model in it, with random weights and biases."""
    path, rng = tmp_path_factory.mktemp("models"), np.random.default_rng(0)
    for name, make in MODELS.items():
        model = make()
        model.set_weights([0.4 * rng.normal(size=w.shape) for w in model.get_weights()])
        model.save(path / f"{name}.keras")
    return path


@pytest.fixture
def x():
    return np.random.default_rng(1).normal(size=(4, 6, 3)).astype(np.float32)


def saved(path, array):
    np.save(path, array)
    return path


def rows(path):
    (entry,) = json.loads(path.read_text())["cases"]
    return entry["rows"]


# --- what works ---


@pytest.mark.few(2)
@pytest.mark.parametrize("name", [name for name in MODELS if name != "doubled_ids"])
def test_model_file_matches_on_random_inputs(rnncheck_command, folder, name):
    done = rnncheck_command("verify", folder / f"{name}.keras")

    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"MATCH  {name}.keras: all ")
    assert f"\nnote: {name}.keras: no inputs given: " in done.out


@pytest.mark.few(1)
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_report_of_a_model_file_names_the_file_and_its_layers(rnncheck_command, folder, tmp_path, suffix, x):
    path = tmp_path / f"my model ünïcode 模型{suffix}"
    with warnings.catch_warnings(action="ignore"):
        keras.saving.load_model(folder / "gru.keras").save(path)
    inputs = saved(tmp_path / "my inputs é.npy", x)

    done = rnncheck_command("verify", path, "--inputs", inputs, "--json", tmp_path / "ö.json")

    assert (done.code, done.err) == (0, "")
    (entry,) = json.loads((tmp_path / "ö.json").read_text())["cases"]
    assert (entry["model"], entry["verdict"]) == (path.name, "match")
    assert [(row["layer"], row["check"], row["shape"]) for row in entry["rows"]] == [
        ("gru", "step", [4, 6, 5]),
        ("head", "step", [4, 2]),
        ("head", "end_to_end", [4, 2]),
    ]


def with_names_that_tensorflow_refuses():
    x = keras.Input((6, 3), name="x:0")
    h = keras.Sequential([keras.Input((6, 3)), layers.Dense(3, name="dicht ä")], name="innen ->")(x)
    h = layers.Bidirectional(layers.SimpleRNN(2, return_sequences=True, name="hin & her"), name="ä")(h)
    h = layers.Bidirectional(layers.SimpleRNN(2, return_sequences=True, name="hin & her"), name="ö")(h)
    h = layers.TimeDistributed(layers.Dense(2, name="je Schritt"), name="-td")(h)
    h = layers.RNN([layers.SimpleRNNCell(2, name="zelle 1"), layers.SimpleRNNCell(2)], name="a>b")(h)
    return keras.Model(x, layers.Dense(2, name="_kopf\n")(h), name="日本")


@pytest.mark.few(1)
@pytest.mark.filterwarnings("ignore:You are saving")
@pytest.mark.parametrize("suffix", [".keras", pytest.param(".h5", marks=pytest.mark.long), ""])
def test_names_that_tensorflow_refuses_are_the_users_in_every_row(tmp_path, suffix):
    model = with_names_that_tensorflow_refuses()
    names = [layer.name for layer in model._flatten_layers()]
    if suffix:
        model.save(tmp_path / f"names{suffix}")

    report = rnncheck.verify(tmp_path / f"names{suffix}" if suffix else model)

    assert report.verdict == "match"
    assert [row.layer for row in report.rows if row.check == "step"] == [
        "innen ->/dicht ä",
        *("ä/forward_hin & her", "ä/backward_hin & her", "ä"),
        *("ö/forward_hin & her", "ö/backward_hin & her", "ö"),
        *("-td/je Schritt", "-td", "a>b/0_zelle 1", "a>b", "_kopf\n"),
    ]
    assert [layer.name for layer in model._flatten_layers()] == names  # as they were


def test_names_that_tensorflow_refuses_name_recorded_states(tmp_path, x):
    path = tmp_path / "names.keras"
    with_names_that_tensorflow_refuses().save(path)
    replayed = rnncheck.replay(path, x, every_step=True)
    files = {"inputs": x, "outputs": replayed.outputs[0]}
    for name, array in files.items():
        np.save(tmp_path / f"{name}.npy", array)
    np.savez(tmp_path / "states.npz", **replayed.sequences)
    given = [[tmp_path / f"{name}.npy"] for name in files]

    report = judge_files(path, *given, [tmp_path / "states.npz"], precision="float64")

    assert report.verdict == "match"
    assert "a>b/0_zelle 1" in {row.layer for row in report.rows}


def test_samples_and_steps_are_those_asked_for(rnncheck_command, folder, tmp_path):
    done = rnncheck_command("verify", folder / "open.keras", "-N", 3, "-T", 8, "--json", tmp_path / "a.json")

    assert done.code == 0
    assert rows(tmp_path / "a.json")[0]["shape"] == [3, 8, 5]


def test_seed_decides_the_random_inputs(rnncheck_command, folder, tmp_path):
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        rnncheck_command("verify", folder / "open.keras", "--seed", seed, "--json", tmp_path / name)

    assert rows(tmp_path / "a") == rows(tmp_path / "b") != rows(tmp_path / "c")
    assert json.loads((tmp_path / "a").read_text())["cases"][0]["seed"] == 5


def test_every_kind_of_file_with_the_same_numbers_gives_the_same_rows(rnncheck_command, folder, tmp_path, x):
    np.save(tmp_path / "a.npy", x)
    np.savez(tmp_path / "b.npz", anything=x)
    np.savez_compressed(tmp_path / "c.npz", x=x)
    np.savetxt(tmp_path / "d.csv", x.reshape(-1, 3), delimiter=",", header="a,b,c", comments="")
    found = []

    for path in sorted(tmp_path.iterdir()):
        done = rnncheck_command(
            "verify", folder / "gru.keras", "--inputs", path, "--json", tmp_path / "rows.json", "--quiet"
        )
        found.append(rows(tmp_path / "rows.json"))
        assert done == (0, "", "")

    assert len(found) == 4
    assert all(each == found[0] for each in found)


def test_inputs_by_name_go_to_their_places(rnncheck_command, folder, tmp_path, x):
    np.savez(tmp_path / "x.npz", target=x[:, :4, :2], source=x)

    done = rnncheck_command("verify", folder / "encoder_decoder.keras", "--inputs", tmp_path / "x.npz")

    assert (done.code, done.err) == (0, "")


def test_tolerance_is_checked_besides(rnncheck_command, folder, tmp_path):
    done = rnncheck_command("verify", folder / "gru.keras", "--rtol", 0, "--atol", 1e-30, "--csv", tmp_path / "a.csv")

    assert done.code == 1
    assert "tolerance" in (tmp_path / "a.csv").read_text()


@pytest.mark.few(1)
@pytest.mark.parametrize("as_given", [Path, str], ids=["path", "text"])
def test_python_function_takes_a_path(folder, x, as_given):
    report = rnncheck.verify(as_given(folder / "gru.keras"), x)

    (entry,) = report.entries
    assert (entry.model, entry.seed, str(entry.verdict)) == ("gru.keras", None, "match")


def test_python_function_draws_inputs_for_a_model_and_for_its_file_alike(folder):
    path = folder / "open.keras"

    of_file = rnncheck.verify(path, seed=3, samples=2, steps=5)
    of_model = rnncheck.verify(keras.saving.load_model(path), seed=3, samples=2, steps=5)

    assert of_file.entries[0].seed == 3
    assert of_file.entries[0].rows == of_model.entries[0].rows


# --- files that are no model ---


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("command", ["verify", "show"])
def test_truncated_model_is_refused(rnncheck_command, folder, tmp_path, suffix, command):
    path = tmp_path / f"model{suffix}"
    with warnings.catch_warnings(action="ignore"):
        keras.saving.load_model(folder / "gru.keras").save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    done = rnncheck_command(command, path)

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"rnncheck: {path}: ")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("command", ["verify", "show"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", f"the file is empty; expected a .keras or .h5 file. {SAVE}", id="empty"),
        pytest.param(
            b"import this\n",
            "it is neither a zip archive nor HDF5 but text beginning with b'import this\\n'; expected a .keras or "
            f".h5 file with a model. {SAVE}",
            id="text",
        ),
    ],
)
def test_file_that_is_no_model_is_refused(rnncheck_command, tmp_path, command, content, message):
    path = tmp_path / "model.keras"
    path.write_bytes(content)

    refused(rnncheck_command(command, path), f"{path}: {message}")


@pytest.mark.parametrize("command", ["verify", "show"])
def test_missing_model_is_refused(rnncheck_command, tmp_path, command):
    path = tmp_path / "missing.keras"

    done = rnncheck_command(command, path)

    refused(done, f"{path}: there is no such file; expected a .keras or .h5 file. Check the path.")


def test_weights_alone_are_refused(rnncheck_command, folder, tmp_path):
    path = tmp_path / "model.weights.h5"
    keras.saving.load_model(folder / "gru.keras").save_weights(path)

    done = rnncheck_command("verify", path)

    refused(
        done,
        f"{path}: it has weights, but no model that they belong to; expected a model saved whole. Give the model's "
        "description too, as its architecture: a .keras, .h5 or JSON file. Or save the whole model: "
        "model.save('model.keras').",
    )


# --- code in a model is named and not executed ---


class Trap(layers.Layer):
    """A layer that leaves a mark as soon as somebody makes one from its description."""

    def __init__(self, mark=None, **options):
        super().__init__(**options)
        self.mark = mark
        if mark:
            Path(mark).touch()

    def call(self, inputs):
        return inputs

    def get_config(self):
        return {**super().get_config(), "mark": str(self.mark)}


keras.saving.register_keras_serializable("rnncheck_tests")(Trap)


def lambda_trap(mark):
    name = str(mark)
    return layers.Lambda(lambda x: (open(name, "w").close(), x)[1], output_shape=(2,), name="trap")  # noqa: PTH123


TRAPS = {"Lambda": lambda_trap, "Trap": lambda mark: Trap(mark, name="trap")}


@pytest.mark.parametrize("command", ["verify", "show"])
@pytest.mark.parametrize("kind", TRAPS)
def test_code_in_a_model_is_named_and_not_executed(rnncheck_command, tmp_path, kind, command):
    path, mark = tmp_path / "model.keras", tmp_path / "mark"
    sequential(layers.SimpleRNN(2), TRAPS[kind](mark)).save(path)
    mark.unlink(missing_ok=True)
    keras.saving.load_model(path, safe_mode=False)(np.ones((1, 6, 3)))
    assert mark.exists()  # so that it would be seen
    mark.unlink()

    done = rnncheck_command(command, path)

    assert not mark.exists()
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"rnncheck: layer 'trap': {kind} is not a layer that rnncheck replays; expected one of those under \"What is "
        'checked" in the README. With unchecked set to allow, the other layers are checked.\n'
    )


# --- inputs that do not fit ---


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        (
            "gru",
            np.ones((4, 5, 3)),
            f"input 'x': got shape (4, 5, 3); {SHAPE} It is one step short: give every step, the last one too.",
        ),
        (
            "gru",
            np.ones((6, 3)),
            f"input 'x': got shape (6, 3); {SHAPE} {RESHAPED}",
        ),
        (
            "gru",
            np.ones((0, 6, 3)),
            f"input 'x': got shape (0, 6, 3); {SHAPE} Give a sample and a step, or more.",
        ),
        (
            "open",
            np.ones((4, 5, 2)),
            f"input 'x': got shape (4, 5, 2); {SHAPE.replace('6', 'any')} Give all of it, samples first.",
        ),
        (
            "gru",
            np.full((4, 6, 3), np.nan),
            "input 'x': got nan at [0, 0, 0]; expected finite numbers. Leave such samples out.",
        ),
        (
            "gru",
            np.full((4, 6, 3), "a"),
            "input 'x': got dtype <U1; expected real numbers. Convert it: array.astype('float32') does.",
        ),
        (
            "stateful",
            np.ones((3, 6, 3)),
            ("input 'x': got 3 samples; expected 2, the batch of a stateful model, which keeps a state for each. "
            "Give as many."),
        ),
        (
            "encoder_decoder",
            np.ones((4, 6, 3)),
            "inputs: got 1 array; expected 2: 'source', 'target'. Give one for each.",
        ),
        (
            "ids",
            np.array([[1, 2, 3, 4, 5, 6], [1, 7, 0, 0, 0, 0]]),
            f"input 'x': got 7 at [1, 1]; {IDS} 'embedding'. Give ids of this model.",
        ),
        (
            "ids",
            np.array([[1, 2, 3, 4, -1, 6]]),
            f"input 'x': got -1 at [0, 4]; {IDS} 'embedding'. Give ids of this model.",
        ),
        (
            "folded_ids",
            np.full((2, 5, 3), 2**40),
            f"input 'x': got 1099511627776 at [0, 0, 0]; {IDS} 'each/embedding'. Give ids of this model.",
        ),
    ],
    ids=[
        "steps", "rank", "no-sample", "features", "nan", "words", "stateful", "one-of-two", "id-too-large",
        "id-negative", "id-folded",
    ],
)  # fmt: skip
def test_inputs_that_do_not_fit_are_refused(rnncheck_command, folder, tmp_path, name, given, message):
    path = saved(tmp_path / "x.npy", given)

    refused(rnncheck_command("verify", folder / f"{name}.keras", "--inputs", path), f"{path}: {message}")


def test_ids_that_are_computed_and_lie_outside_the_table_are_named(rnncheck_command, folder, tmp_path):
    path = saved(tmp_path / "x.npy", np.array([[0, 1, 2, 3, -1, 0]]))

    done = rnncheck_command("verify", folder / "doubled_ids.keras", "--inputs", path)

    refused(
        done,
        "Embedding: got an input of -2; expected whole numbers from 0 to 6, the rows of its table.",
    )


def test_ids_at_both_ends_of_the_table_are_taken(rnncheck_command, folder, tmp_path):
    path = saved(tmp_path / "x.npy", np.array([[6, 0, 6, 1, 0, 0]]))

    assert rnncheck_command("verify", folder / "ids.keras", "--inputs", path).code == 0


def test_inputs_of_other_names_are_refused(rnncheck_command, folder, tmp_path, x):
    np.savez(tmp_path / "x.npz", source=x, goal=x)

    done = rnncheck_command("verify", folder / "encoder_decoder.keras", "--inputs", tmp_path / "x.npz")

    refused(
        done,
        f"{tmp_path / 'x.npz'}: inputs: got arrays named 'source', 'goal'; expected 'source', 'target'. Rename them.",
    )


class Bomb:
    """An object whose unpickling leaves a mark."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_pickled_objects_are_never_unpickled(rnncheck_command, folder, tmp_path, suffix):
    path, mark = tmp_path / f"x{suffix}", tmp_path / "mark"
    bomb = np.array([Bomb(mark)], dtype=object)
    np.save(path, bomb, allow_pickle=True) if suffix == ".npy" else np.savez(path, x=bomb)
    loaded = np.load(path, allow_pickle=True)
    if suffix == ".npz":
        with loaded:
            loaded["x"]
    assert mark.exists()  # so that it would be seen
    mark.unlink()

    done = rnncheck_command("verify", folder / "gru.keras", "--inputs", path)

    assert not mark.exists()
    where = f"{path}: array 'x'" if suffix == ".npz" else path
    refused(
        done,
        f"{where}: got Python objects, which are never unpickled; expected numbers. Save an array with a numeric "
        "dtype.",
    )


def test_header_that_declares_more_than_the_file_holds_is_refused(rnncheck_command, folder, tmp_path, x):
    path = saved(tmp_path / "x.npy", x)
    path.write_bytes(path.read_bytes().replace(b"(4, 6, 3), }  ", b"(4000, 6, 3),}"))

    done = rnncheck_command("verify", folder / "gru.keras", "--inputs", path)

    refused(
        done,
        f"{path}: the header declares 288000 bytes for shape (4000, 6, 3), but 288 follow; expected one whole array. "
        "Was writing it interrupted? Save it again.",
    )


def test_mistakes_in_files_are_found_before_a_framework_is_loaded(folder, tmp_path):
    inputs = saved(tmp_path / "x.npy", np.ones((4, 5, 3)))
    script = f"""
import sys
from rnncheck.cli import main
sys.argv = ["rnncheck", "verify", {str(folder / "gru.keras")!r}, "--inputs", {str(inputs)!r}]
try:
    main()
except SystemExit as end:
    print(end.code, *sorted({{"tensorflow", "keras"}} & set(sys.modules)))
"""

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout == "2\n"
    assert "got shape (4, 5, 3)" in done.stderr


# --- options that do not belong to a model file ---


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--layer lstm", "layer"),
        ("-M 5 -D 3", "D, M"),
        ("-N 2 --no-use-bias", "use_bias"),
        ("-N 2,3", "N"),
    ],
    ids=lambda text: text.replace(" ", "_"),
)
def test_options_of_a_case_are_refused_with_a_model(rnncheck_command, folder, words, said):
    path = folder / "open.keras"

    done = rnncheck_command("verify", path, *words.split())

    refused(
        done,
        f"{path}: got {said} with a model file; expected at most one -N and one -T, for random inputs. The file "
        "says the rest.",
    )


def test_sizes_of_random_inputs_are_refused_with_inputs(rnncheck_command, folder):
    path = folder / "open.keras"

    done = rnncheck_command("verify", path, "-T", "5", "-N", "2", "--inputs", "x.npy")

    refused(done, f"{path}: got N, T with --inputs; expected one or the other.")


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("open", "-N 0", "random inputs: got N=0; expected a whole number from 1 up."),
        ("open", "-T -1", "random inputs: got T=-1; expected a whole number from 1 up."),
        (
            "stateful",
            "-N 3",
            "random inputs: got N=3; expected 2, the batch that the model fixes for input 'x'. Leave it out.",
        ),
        (
            "gru",
            "-T 5",
            "random inputs: got T=5; expected none, since the model fixes its steps: 'x' (N, 6, 3). Leave it out.",
        ),
    ],
    ids=["N0", "T-1", "stateful", "fixed-steps"],
)
def test_sizes_that_the_model_does_not_leave_open_are_refused(rnncheck_command, folder, name, words, message):
    refused(rnncheck_command("verify", folder / f"{name}.keras", *words.split()), message)


def test_inputs_beyond_the_memory_are_refused(rnncheck_command, folder):
    done = rnncheck_command("verify", folder / "open.keras", "-N", 10**12)

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("rnncheck: random inputs: got (1000000000000, 12, 3), which need 262 TiB; ")


def test_inputs_without_a_model_are_refused(rnncheck_command):
    done = rnncheck_command("verify", "--inputs", "x.npy")

    refused(done, "--inputs: got it without MODEL; expected a .keras or .h5 file that it belongs to.")


def not_loaded(folder, path, **metadata):
    """Write a model that rnncheck reads and Keras does not load."""
    with zipfile.ZipFile(folder / "gru.keras") as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = json.loads(old.read(name)) if name.endswith(".json") else old.read(name)
            if name == "config.json":
                content["module"] = "keras.src.nowhere"
            if name == "metadata.json":
                content |= metadata
            new.writestr(name, json.dumps(content) if name.endswith(".json") else content)
    return path


def test_file_of_a_newer_keras_that_does_not_load_names_both_versions(rnncheck_command, folder, tmp_path):
    path = not_loaded(folder, tmp_path / "model.keras", keras_version="99.1.0")

    done = rnncheck_command("verify", path)

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(
        f"rnncheck: {path}: got a file that Keras 99.1.0 wrote and Keras {keras.__version__} cannot load (TypeError: "
    )
    assert done.err.endswith("expected one that the installed Keras can. Install Keras 99.1.0 or a newer one.\n")


def test_model_that_keras_cannot_load_is_an_error_and_no_match(rnncheck_command, folder, tmp_path):
    done = rnncheck_command("verify", not_loaded(folder, tmp_path / "model.keras"))

    assert done.code != 0
    assert "error" in done.out
    assert "Traceback" not in done.out + done.err
