"""The pytest plugin: it passes, fails with the table, parametrises, says what it runs, and costs nothing unused."""

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

FIXTURES = Path(__file__).parent.parent / "fixtures"
SINE, SINE_INPUTS = FIXTURES / "sine.keras", FIXTURES / "sine_inputs.npy"


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
            "E * first wrong at sample 0, unit 0: expected *, got *; rounding allows *",
            "E * dense* output  end_to_end  n=0 unit=0 *",
        ]
    )
    found = ET.parse(pytester.path / "junit.xml").getroot().iter("testcase")  # noqa: S314 - written just now
    assert "raise MismatchError" not in done.stdout.str()  # nor other lines of rnncheck's own
    assert "PytestWarning" not in done.stdout.str()
    properties = {case.get("name"): {p.get("name"): p.get("value") for p in case.iter("property")} for case in found}
    assert properties["test_model"]["rnncheck_verdict"] == "match"
    assert 0.0 < float(properties["test_model"]["rnncheck_score_max"]) < 7.0
    assert properties["test_changed_weight"]["rnncheck_verdict"] == "mismatch"
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
    "recurrent_scale=['a']": "*the mark rnncheck: *'a'*",
}


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


def test_case_without_a_mark_fails(run):
    done = run("def test_it(rnncheck_case): pass")

    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*rnncheck_case: the test has no mark; expected @pytest.mark.rnncheck*"])
