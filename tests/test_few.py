"""The mark `few`: some cases run in make test, the others in make test-long, and none is lost."""

from pathlib import Path

import pytest

SOURCE = """
    import pytest

    @pytest.mark.few(2)
    @pytest.mark.parametrize("n", range(5))
    def test_some(n):
        pass

    @pytest.mark.few(2)
    @pytest.mark.parametrize("n", [0, pytest.param(1, marks=pytest.mark.long), 2])
    def test_marked(n):
        pass
"""


@pytest.fixture
def chosen(pytester):
    pytester.makeconftest((Path(__file__).parent / "conftest.py").read_text())
    pytester.makeini("[pytest]\nmarkers =\n  few(count)\n  long\n")
    pytester.makepyfile(SOURCE)

    def run(words):
        done = pytester.inline_run("-p", "no:cacheprovider", "-m", words)
        return [
            report.nodeid.partition("::")[2]
            for report in done.getreports("pytest_runtest_logreport")
            if report.when == "call"
        ]

    return run


def test_every_case_runs_once_in_one_of_the_two(chosen):
    quick, long = chosen("not long"), chosen("long")

    assert sum(name.startswith("test_some") for name in quick) == 2
    assert {"test_marked[0]", "test_marked[2]"} <= set(quick)
    assert sorted(quick + long) == [*(f"test_marked[{n}]" for n in range(3)), *(f"test_some[{n}]" for n in range(5))]
    assert chosen("not long") == quick
