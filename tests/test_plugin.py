"""The pytest plugin: it passes, fails with the table, parametrises, says what it runs, and costs nothing unused."""

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from pytest_rnncheck import pytest_report_header
from rnncheck.equations.replay import replay
from rnncheck.frameworks.sources import open_network

DEMO = Path(__file__).parent.parent / "rnncheck" / "demo"
SINE, SINE_INPUTS = DEMO / "sine.keras", DEMO / "inputs.npy"


# In a process of its own, whose modules pytester leaves alone: frameworks cannot be imported twice.
@pytest.fixture
def run(pytester, monkeypatch):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)

    def run_pytest(source, *words):
        pytester.makepyfile(test_it=source)
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:xdist", *words)

    return run_pytest


_MODEL = """
    import keras
    import numpy as np
    import pytest

    @pytest.fixture
    def model():
        keras.utils.set_random_seed(1)
        layers = [keras.Input((5, 2)), keras.layers.LSTM(4, bias_initializer="normal"), keras.layers.Dense(1)]
        return keras.Sequential(layers)

    def export(model):
        '''Return the model as a function that its weights were copied to.'''
        twin = keras.models.clone_model(model)
        twin.set_weights(model.get_weights())
        return twin, lambda x: twin.predict(x, verbose=0)
"""


def test_model_export_and_cases_pass_and_a_changed_weight_fails_with_the_table(run, pytester):
    done = run(
        _MODEL
        + """
    def test_model(model, rnncheck):
        assert rnncheck(model).verdict == "match"

    def test_export(model, rnncheck):
        rnncheck(model, outputs=export(model)[1], metamorphic=True)

    def test_changed_weight(model, rnncheck):
        twin, port = export(model)
        kernel, recurrent, bias, *rest = twin.get_weights()
        recurrent[0, 3] += 1e-3
        twin.set_weights([kernel, recurrent, bias, *rest])
        rnncheck(model, outputs=port)

    @pytest.mark.rnncheck(layer="gru", N=2, T=4, mask=["none", "holes"])
    def test_cases(rnncheck, rnncheck_case):
        report = rnncheck(rnncheck_case, paths=["call"])
        assert report.entries[0].case["mask"] == rnncheck_case.mask
        assert report.entries[0].seed == 3
        assert report.paths == ("call",)
    """,
        "--junitxml=junit.xml",
        "--rnncheck-seed",
        "3",
    )

    done.assert_outcomes(passed=4, failed=1)
    done.stdout.fnmatch_lines(
        [
            "E *MismatchError: MISMATCH  *: in layer 'lstm*', one entry of the recurrent kernel is off by 0.001",
            "E * first wrong at sample 0, unit 0*: expected *, got *; rounding allows *",
            "E * mismatch  dense* output  end_to_end  4x1 *",
        ]
    )
    found = ET.parse(pytester.path / "junit.xml").getroot().iter("testcase")  # noqa: S314 - written just now
    assert "raise MismatchError" not in done.stdout.str()  # nor other lines of rnncheck's own
    assert "PytestWarning" not in done.stdout.str()
    properties = {case.get("name"): {p.get("name"): p.get("value") for p in case.iter("property")} for case in found}
    assert properties["test_model"]["rnncheck_verdict"] == "match"
    assert 0.0 < float(properties["test_model"]["rnncheck_score_max"]) < 7.0
    assert properties["test_changed_weight"]["rnncheck_verdict"] == "mismatch"
    assert properties["test_changed_weight"]["rnncheck_answer"].startswith("MISMATCH  ")
    assert float(properties["test_changed_weight"]["rnncheck_score_max"]) > 20.0


def test_recorded_arrays_pass_then_fail_without_a_framework(run, pytester):
    _, network = open_network(SINE)
    x = np.load(SINE_INPUTS)
    np.savez(pytester.path / "run.npz", x=x, y=replay(network, [x]).outputs[0].astype(np.float32))

    done = run(
        f"""
        import sys
        import numpy as np

        RUN = np.load("run.npz")

        def test_recorded(rnncheck):
            rnncheck({str(SINE)!r}, RUN["x"], outputs=RUN["y"])
            assert not {{"keras", "tensorflow", "jax", "torch"}} & set(sys.modules)

        def test_states(rnncheck):
            rnncheck({str(SINE)!r}, RUN["x"], outputs=RUN["y"] + np.float32(1e-3))
        """
    )

    done.assert_outcomes(passed=1, failed=1)
    done.stdout.fnmatch_lines(["E *MismatchError: MISMATCH  sine.keras: *"])


def test_mark_makes_a_test_for_every_combination(run):
    done = run(
        """
        import pytest

        @pytest.mark.rnncheck(layer=["lstm", "gru"], N=[1, 4], T=[10], D=3, M=[5, 32], K=2)
        def test_cases(rnncheck_case):
            assert (rnncheck_case.T, rnncheck_case.D, rnncheck_case.K, rnncheck_case.seed) == (10, 3, 2, 7)

        @pytest.mark.rnncheck(N=[1, 4], T=[10, 50], D=3, M=5, K=2)
        def test_sizes(N, T, D, M, K):
            assert N in (1, 4) and T in (10, 50) and (D, M, K) == (3, 5, 2)
        """,
        "-v",
        "--rnncheck-seed=7",
    )

    done.assert_outcomes(passed=12)
    done.stdout.fnmatch_lines(
        ["*::test_cases?lstm N1 T10 D3 M5 K2? PASSED*", "*::test_sizes?simple_rnn N4 T50 D3 M5 K2? PASSED*"]
    )


def test_header_names_versions_backend_dtype_and_seed(run):
    done = run("def test_nothing(): pass", "--rnncheck-seed=5")

    version, keras = metadata.version("rnncheck"), metadata.version("keras")
    done.stdout.fnmatch_lines([f"rnncheck {version}: keras {keras}, *backend tensorflow, dtype float32, seed 5"])


@pytest.mark.parametrize(
    ("written", "variable", "said"),
    [
        ('{"backend": "jax", "floatx": "float16"}', None, "backend jax, dtype float16"),
        ('{"backend": "jax"}', "torch", "backend torch, dtype float32"),
        ("no json", None, "backend tensorflow, dtype float32"),
        ("[1]", None, "backend tensorflow, dtype float32"),
    ],
)
def test_header_says_what_keras_will_read(pytestconfig, tmp_path, monkeypatch, written, variable, said):
    (tmp_path / "keras.json").write_text(written)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    if variable:
        monkeypatch.setenv("KERAS_BACKEND", variable)

    assert pytest_report_header(pytestconfig).endswith(f", {said}, seed 0")


def test_unused_it_loads_neither_rnncheck_nor_a_framework(run):
    done = run(
        """
        import sys

        def test_nothing():
            loaded = {name.split(".")[0] for name in sys.modules}
            assert "pytest_rnncheck" in loaded
            assert not loaded & {"rnncheck", "numpy", "keras", "tensorflow", "jax", "torch"}
        """
    )

    done.assert_outcomes(passed=1)


def test_importing_the_plugin_is_cheap():
    code = "import sys, pytest, pytest_rnncheck; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert "rnncheck" not in loaded


# --- what goes wrong ---


WRONG_MARKS = {
    "layer='lstn'": "*the mark rnncheck: *'lstn'*expected*",
    "size=3": "*the mark rnncheck: case: got 'size'; expected one of N, T, D, M, K, layer,*_scale.",
    "[1, 4]": "*the mark rnncheck: got ?1, 4?; expected options by their names*",
    "N=iter([1, 2])": "*the mark rnncheck: N: got an iterator; expected a collection, such as a list.",
    "N=[]": "*the mark rnncheck: N: got nothing; expected one value or more.",
    "undecidable='pass'": "*the mark rnncheck: undecidable: got 'pass'; expected 'fail' or 'warn'.",
    "recurrent_scale=['a']": "*the mark rnncheck: *'a'*",
}


@pytest.mark.long
def test_mark_that_cannot_be_used_is_an_error_of_collection(run, pytester):
    header = "import pytest\n@pytest.mark.rnncheck"
    marked = [f"{header}({mark})\ndef test_it(rnncheck_case): pass" for mark in WRONG_MARKS]
    pytester.makepyfile(**{f"test_{number}": source for number, source in enumerate(marked)})

    done = run(f"{header}(N=[1, 4])\ndef test_it(): pass")

    done.assert_outcomes(errors=len(WRONG_MARKS) + 1)
    done.stdout.fnmatch_lines_random(
        [*WRONG_MARKS.values(), "*the mark rnncheck: got a test that takes nothing of it; expected rnncheck_case*"]
    )


def test_mark_takes_any_collection(run):
    values = ["range(1, 3)", "np.array([1, 2])", "{1, 2}", "(1, 2)", "np.array(2)", "np.arange(1, 3).tolist()"]
    tests = [
        f"""
@pytest.mark.rnncheck(N={value}, K=np.int64(3), layer="gru")
def test_{number}(N, K, layer):
    assert (type(N), type(K), layer) == (int, int, "gru")
"""
        for number, value in enumerate(values)
    ]

    done = run("import numpy as np\nimport pytest\n" + "".join(tests))

    done.assert_outcomes(passed=2 * len(values) - 1)


@pytest.mark.long
def test_marks_of_a_class_hold_for_its_tests_and_their_own_go_first(run):
    done = run("""
        import pytest

        pytestmark = pytest.mark.rnncheck(N=[1, 2], T=3)

        @pytest.mark.rnncheck(T=[4, 5])
        class TestIt:
            def test_both(self, N, T):
                assert T in (4, 5)

            @pytest.mark.rnncheck(T=6, N=7)
            def test_own(self, N, T):
                assert (N, T) == (7, 6)

            def test_that_takes_nothing(self):
                pass

        def test_outside(N, T):
            assert T == 3
    """)

    done.assert_outcomes(passed=4 + 1 + 1 + 2)


@pytest.mark.long
def test_case_without_a_mark_fails(run):
    done = run("def test_it(rnncheck_case): pass")

    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*rnncheck_case: the test has no mark; expected @pytest.mark.rnncheck*"])


# --- how a session ends ---


SESSION = f"""
    import pytest
    import numpy as np
    from rnncheck import InputError, MismatchError, compare

    SINE, INPUTS = {str(SINE)!r}, np.load({str(SINE_INPUTS)!r})
    RIGHT, WRONG = (np.loadtxt({str(DEMO)!r} + "/" + name, delimiter=",", ndmin=2)
                    for name in ("outputs.csv", "wrong_outputs.csv"))

    @pytest.mark.parametrize("samples", [8, 3])
    def test_right(rnncheck, samples):
        rnncheck(SINE, INPUTS[:samples], outputs=RIGHT[:samples])

    def test_wrong(rnncheck):
        rnncheck(SINE, INPUTS, outputs=RIGHT)
        rnncheck(SINE, INPUTS, outputs=WRONG)

    def test_wrong_by_hand():
        compare(SINE, INPUTS, WRONG).raise_for_mismatch()

    def test_expected(rnncheck):
        with pytest.raises(MismatchError):
            rnncheck(SINE, INPUTS, outputs=WRONG)

    def test_misfit(rnncheck):
        rnncheck(SINE, INPUTS[:3], outputs=RIGHT)

    def test_misfit_by_hand():
        compare(SINE, INPUTS[:3], RIGHT)

    def test_misfit_is_caught(rnncheck):
        with pytest.raises(InputError):
            rnncheck(SINE, INPUTS[:3], outputs=RIGHT)
"""
MISFIT = "output 'next_value': got shape (8, 1); expected (3, 1). Give one for each sample of the inputs."
ANSWER = "MISMATCH  sine.keras: in layer 'lstm', the gates are read in the order i, o, f, c: ONNX's"


@pytest.mark.parametrize(
    "words",
    [pytest.param(("-p", "no:xdist"), id="alone"), pytest.param(("-n", "2"), id="xdist", marks=pytest.mark.long)],
)
def test_session_ends_with_what_failed_and_how_much_was_checked(pytester, monkeypatch, words):
    monkeypatch.setenv("CI", "true")  # where pytest cuts no line
    pytester.makepyfile(test_it=SESSION)

    done = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--junitxml=junit.xml", *words)

    done.assert_outcomes(passed=4, failed=4)
    ending = done.outlines[next(at for at, line in enumerate(done.outlines) if "= rnncheck =" in line) + 1 :]
    assert ending[0].split() == ["test", "score", "answer"]
    assert ending[1].startswith("test_it.py::test_wrong  ")
    assert ending[1].endswith(f"  {ANSWER}")
    assert re.fullmatch(r"5 checked, largest score 0\.\d of 8, slowest test_\S+ \d+\.\d s", ending[2])
    assert sorted(line for line in ending if line.startswith("FAILED")) == [
        f"FAILED test_it.py::test_misfit - {MISFIT}",
        f"FAILED test_it.py::test_misfit_by_hand - {MISFIT}",
        f"FAILED test_it.py::test_wrong - {ANSWER}",
        f"FAILED test_it.py::test_wrong_by_hand - {ANSWER}",
    ]
    failed = ET.parse(pytester.path / "junit.xml").getroot().iter("failure")  # noqa: S314 - written just now
    assert sorted(each.get("message") for each in failed) == [ANSWER, ANSWER, MISFIT, MISFIT]


def test_bad_input_is_one_line(run):
    done = run(SESSION, "-k", "misfit")

    text = done.stdout.str()
    first, second = (text.index(f"_ {name} _") for name in ("test_misfit", "test_misfit_by_hand"))
    (said,) = [line for line in text[first:second].splitlines()[1:] if line and "___" not in line]
    assert said == MISFIT
    assert "= rnncheck =" not in text  # nothing was compared


CHAOS = """
    import numpy as np
    import pytest
    import rnncheck as r

    rng = np.random.default_rng(0)
    options = dict.fromkeys(["go_backwards", "stateful", "return_state", "zero_output_for_mask"], False)
    options |= {"units": 32, "use_bias": True, "return_sequences": False, "activation": r.Activation("tanh")}
    scales = {"kernel": (2, 32), "recurrent_kernel": (32, 32), "bias": (32,)}
    weights = {name: rng.normal(size=shape).astype(np.float32) for name, shape in scales.items()}
    layer = r.Layer("rnn", "SimpleRNN", (r.Tensor("x"),), options, weights)
    CHAOS = r.Network("chaos", (r.InputSpec("x", (None, 2), "float32"),), (layer,), (r.Tensor("rnn"),))
    X = rng.normal(size=(4, 200, 2)).astype(np.float32)

    def port(x):
        return r.replay(CHAOS, x).outputs[0].astype(np.float32)

    def test_fails(rnncheck):
        rnncheck(CHAOS, X, outputs=port)

    def test_is_an_error_of_its_own(rnncheck):
        with pytest.raises(r.UndecidableError) as caught:
            rnncheck(CHAOS, X, outputs=port)
        assert isinstance(caught.value, r.MismatchError)
        assert caught.value.report.verdict == "undecidable"

    def test_warns(rnncheck):
        assert rnncheck(CHAOS, X, outputs=port, undecidable="warn").exit_code == 3

    @pytest.mark.rnncheck(undecidable="warn")
    def test_mark(rnncheck):
        rnncheck(CHAOS, X, outputs=port)

    @pytest.mark.rnncheck(undecidable="warn", N=[1, 2])
    def test_mark_of_cases(rnncheck, N):
        rnncheck(CHAOS, X[:N], outputs=port)

    @pytest.mark.rnncheck(undecidable="warn")
    def test_call_goes_before_the_mark(rnncheck):
        rnncheck(CHAOS, X, outputs=port, undecidable="fail")

    @pytest.mark.rnncheck(undecidable="warn")
    def test_warning_does_for_no_mismatch(rnncheck):
        rnncheck(CHAOS, X[:, :3], outputs=lambda x: port(x) + 1)

    def test_word_that_is_none(rnncheck):
        rnncheck(CHAOS, X, outputs=port, undecidable="pass")
"""


def test_report_that_cannot_tell_fails_by_its_name_or_warns(run, monkeypatch):
    monkeypatch.setenv("CI", "true")

    done = run(CHAOS, "-rA")

    done.assert_outcomes(passed=5, failed=4, warnings=4)
    done.stdout.fnmatch_lines(
        [
            "E *rnncheck.UndecidableError: UNDECIDABLE  chaos: *",
            "*test_it.py:*: UserWarning: UNDECIDABLE  chaos: *",
            "FAILED test_it.py::test_fails - UNDECIDABLE  chaos: * on the way *, rounding errors grow too large",
            "FAILED test_it.py::test_call_goes_before_the_mark - UNDECIDABLE  chaos: *",
            "FAILED test_it.py::test_warning_does_for_no_mismatch - MISMATCH  chaos: *",
            "FAILED test_it.py::test_word_that_is_none - undecidable: got 'pass'; expected 'fail' or 'warn'.",
        ]
    )
