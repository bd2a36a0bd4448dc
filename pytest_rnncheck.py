"""The pytest plugin of rnncheck: check recurrent networks against their equations, in a test suite.

    def test_port(rnncheck):
        rnncheck("model.keras", inputs, outputs=port)

    @pytest.mark.rnncheck(layer=["lstm", "gru"], N=[1, 4], T=[10, 50], D=3, M=[5, 32], K=2)
    def test_layers(rnncheck, rnncheck_case):
        rnncheck(rnncheck_case)

It lies outside the package, so that pytest imports neither rnncheck nor a framework until a test asks for it.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Generator, Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from rnncheck import Report

_MARK = (
    "rnncheck(**options): run the test for every combination of a case's options, such as layer=['lstm', 'gru'], "
    "N=[1, 4], T=10; it takes them as `rnncheck_case`, or one by one by their names, such as `N` and `T`. A mark of "
    "a class or a module holds for its tests, whose own marks go before it. undecidable='warn' makes a warning of a "
    "report that cannot tell."
)
_UNDECIDABLE = ("fail", "warn")
_FRAMEWORKS = ("keras", "tensorflow", "jax", "torch")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option for the seed."""
    group = parser.getgroup("rnncheck")
    group.addoption(
        "--rnncheck-seed", type=int, default=0, help="Seed for random weights and inputs; 0 if none is given."
    )


def pytest_configure(config: pytest.Config) -> None:
    """Describe the mark."""
    config.addinivalue_line("markers", _MARK)


def pytest_report_header(config: pytest.Config) -> str:
    """Return versions, backend, dtype and seed, without loading a framework."""
    settings = _keras_settings()
    words = [*_versions(), f"backend {settings['backend']}", f"dtype {settings['floatx']}", f"seed {_seed(config)}"]
    return f"rnncheck {metadata.version('rnncheck')}: {', '.join(words)}"


def _versions() -> list[str]:
    found = []
    for name in _FRAMEWORKS:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return found


def _keras_settings() -> dict[str, str]:
    """Return the settings that Keras will read: from the environment, its file, or defaults."""
    settings = {"backend": "tensorflow", "floatx": "float32"}
    try:
        home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
        written = json.loads((home / "keras.json").read_text(encoding="utf-8"))
        settings |= {name: str(written[name]) for name in settings if name in written}
    except (OSError, RuntimeError, ValueError, TypeError):  # Keras does without a file that it cannot read
        pass
    return settings | ({"backend": os.environ["KERAS_BACKEND"]} if os.environ.get("KERAS_BACKEND") else {})


def _seed(config: pytest.Config) -> int:
    seed: int = config.getoption("--rnncheck-seed")
    return seed


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a marked test for every combination of the options in its marks; the nearest mark wins."""
    marks = list(metafunc.definition.iter_markers("rnncheck"))
    if not marks:
        return
    from rnncheck.cases.case import Case
    from rnncheck.cases.grid import product_of
    from rnncheck.errors import InputError

    for mark in marks:
        if mark.args:
            raise _unusable(metafunc, f"got {mark.args[0]!r}; expected options by their names, such as N=[1, 4]")
    given = {name: value for mark in reversed(marks) for name, value in mark.kwargs.items()}
    if (undecidable := given.pop("undecidable", "fail")) not in _UNDECIDABLE:
        raise _unusable(metafunc, f"undecidable: got {undecidable!r}; expected 'fail' or 'warn'")
    options = {name: _values(metafunc, name, value) for name, value in given.items()}
    names = [name for name in ("rnncheck_case", *Case.__dataclass_fields__) if name in metafunc.fixturenames]
    own = [mark.kwargs for mark in metafunc.definition.own_markers if mark.name == "rnncheck"]
    if not names and not any(mark.keys() - {"undecidable"} for mark in own):
        return  # the mark of a class is for those of its tests that take something of it
    if not names:
        raise _unusable(
            metafunc, "got a test that takes nothing of it; expected rnncheck_case, or options such as N and T"
        )
    seeds = options.pop("seed", [_seed(metafunc.config)])
    try:
        cases = [case for seed in seeds for case in product_of(options, seed)]
    except (InputError, TypeError) as error:
        raise _unusable(metafunc, str(error)) from None
    values = [[case if name == "rnncheck_case" else getattr(case, name) for name in names] for case in cases]
    metafunc.parametrize(names, values, ids=list(map(str, cases)))


def _unusable(metafunc: pytest.Metafunc, problem: str) -> pytest.Collector.CollectError:
    return pytest.Collector.CollectError(f"{metafunc.definition.nodeid}: the mark rnncheck: {problem.rstrip('.')}.")


def _values(metafunc: pytest.Metafunc, name: str, given: Any) -> list[Any]:
    """Return the values of an option: one, or those of any collection, with NumPy's numbers as Python's."""
    if isinstance(given, Iterator):  # it would be used up by the first test
        raise _unusable(metafunc, f"{name}: got an iterator; expected a collection, such as a list")
    single = isinstance(given, str) or not isinstance(given, Iterable) or getattr(given, "ndim", 1) == 0
    several = [given] if single else list(given)
    if not several:
        raise _unusable(metafunc, f"{name}: got nothing; expected one value or more")
    if isinstance(given, set | frozenset):  # whose order is another in every process
        several.sort(key=str)
    return [value.item() if hasattr(value, "item") else value for value in several]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,  # noqa: ARG001 - pytest passes it by its name
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what rnncheck refuses as one line, and an answer in the short summary and in JUnit's XML."""
    report = yield
    errors = sys.modules.get("rnncheck.errors")  # a test that fails without it loads nothing
    if call.excinfo and errors and isinstance(call.excinfo.value, errors.RnncheckError):
        found = getattr(call.excinfo.value, "report", None)
        if found is None:
            report.longrepr = call.excinfo.getrepr(style="value", chain=False)
        if crash := getattr(report.longrepr, "reprcrash", None):
            crash.message = _answer(found) if found else str(call.excinfo.value)
    return report


def _answer(report: Report) -> str:
    from rnncheck.report.answer import answers

    return str(answers(report.entries)[0]).partition("\n")[0]


class _Checked(NamedTuple):
    """A comparison that a test made."""

    report: pytest.TestReport
    verdict: str
    answer: str
    score: float


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what failed, and how many comparisons there were."""
    names = ("rnncheck_verdict", "rnncheck_answer", "rnncheck_score_max")
    found = []
    for report in (each for reports in terminalreporter.stats.values() for each in reports):
        if isinstance(report, pytest.TestReport) and report.when == "call":
            recorded = ([value for key, value in report.user_properties if key == name] for name in names)
            found += [_Checked(report, *values) for values in zip(*recorded, strict=True)]
    if not found:
        return
    from rnncheck.checks.thresholds import SCORE_LIMIT

    terminalreporter.section("rnncheck")
    failed = [each for each in found if each.report.failed and each.verdict != "match"]
    lines = [
        ("test", "score", "answer"),
        *((each.report.nodeid, f"{each.score:.2g}", each.answer) for each in failed),
    ]
    tests, scores, _ = ([len(cell) for cell in column] for column in zip(*lines, strict=True))
    for test, score, answer in lines if failed else []:
        terminalreporter.line(f"{test:{max(tests)}}  {score:>{max(scores)}}  {answer}")
    matching = [each.score for each in found if each.verdict == "match"]
    largest = f", largest score {max(matching):.1f} of {SCORE_LIMIT:g}" if matching else ""
    slowest = max((each.report for each in found), key=lambda report: report.duration)
    test = slowest.nodeid.rpartition("::")[2]
    terminalreporter.line(f"{len(found)} checked{largest}, slowest {test} {slowest.duration:.1f} s")


@pytest.fixture
def rnncheck_case() -> Any:
    """The case that the mark `rnncheck` made for this test."""
    pytest.fail("rnncheck_case: the test has no mark; expected @pytest.mark.rnncheck(N=[1, 4], ...).", pytrace=False)


@pytest.fixture
def rnncheck(request: pytest.FixtureRequest) -> Checker:
    """Assert that a model, a function or arrays match the equations; see `Checker`."""
    marks = request.node.iter_markers("rnncheck")
    undecidable = next((mark.kwargs["undecidable"] for mark in marks if "undecidable" in mark.kwargs), "fail")
    return Checker(_seed(request.config), request.node.user_properties, undecidable)


class Checker:
    """Asserts that something computes what its equations say, and records numbers as properties of the test."""

    def __init__(self, seed: int, properties: list[tuple[str, object]], undecidable: str) -> None:
        """Keep the seed of random inputs, the test's properties, which JUnit's XML shows, and what its mark says."""
        self._seed = seed
        self._properties = properties
        self._undecidable = undecidable

    def __call__(
        self,
        model: Any,
        inputs: Any = None,
        outputs: Any = None,
        *,
        undecidable: str | None = None,
        **options: Any,
    ) -> Report:
        """Run a model in Keras, or check what something else computed.

        Args:
            model: a Keras model, the path of a `.keras` or `.h5` file, a `Case` to build, or, with outputs, a
                `Network`.
            inputs: as `rnncheck.verify` and `rnncheck.compare` take them; random ones when None.
            outputs: recorded arrays, or a function of the inputs that computes them; None to run the model in Keras.
            undecidable: what becomes of a report that cannot tell: "fail", or "warn" for a warning; what the mark
                says if None.
            options: others of `rnncheck.verify`, or of `rnncheck.compare` where outputs are given, such as states=.

        Returns:
            The report.

        Raises:
            MismatchError: an AssertionError whose message begins with the answer.
            UndecidableError: a MismatchError, where the report cannot tell.
            InputError: an array does not fit, or an option is none; an UnsupportedError likewise.
        """
        __tracebackhide__ = True
        import rnncheck

        if undecidable not in {None, *_UNDECIDABLE}:
            raise rnncheck.InputError(f"undecidable: got {undecidable!r}; expected 'fail' or 'warn'.")
        if outputs is not None:
            report = rnncheck.compare(model, inputs, outputs, **{"seed": self._seed, **options})
        else:
            seed = {} if isinstance(model, rnncheck.Case) else {"seed": self._seed}  # a case has its own
            report = rnncheck.verify(model, inputs, **{**seed, **options})
        self._record(report)
        try:
            report.raise_for_mismatch()
        except rnncheck.UndecidableError:
            if (undecidable or self._undecidable) == "fail":
                raise
            warnings.warn(_answer(report), stacklevel=2)
        return report

    def _record(self, report: Report) -> None:
        """Record the answer and the worst numbers of a report."""
        rows = report.rows
        self._properties += [
            ("rnncheck_verdict", str(report.verdict)),
            ("rnncheck_answer", _answer(report)),
            ("rnncheck_rows", len(rows)),
        ]
        for name in ("score_max", "score_rms", "max_abs_diff", "noise"):
            self._properties.append((f"rnncheck_{name}", max(getattr(row, name) for row in rows)))
