"""Threads: results in order, failures passed on; products that leave other cores alone."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnncheck.checks.blocks import in_threads, shares
from rnncheck.rounding import products


@pytest.mark.parametrize("count", [0, 1, 2, 3, 8])
def test_threads_give_results_in_the_order_of_the_parts(count):
    assert in_threads(lambda part: part * part, iter(range(count))) == [part * part for part in range(count)]


@pytest.mark.parametrize(
    ("cores", "expected"),
    [(1, [[0, 1, 2, 3, 4]]), (2, [[0, 2, 4], [1, 3]]), (8, [[0], [1], [2], [3], [4]]), (None, [[0, 1, 2, 3, 4]])],
)
def test_parts_are_shared_out_to_the_cores(monkeypatch, cores, expected):
    monkeypatch.setattr(os, "cpu_count", lambda: cores)

    assert shares(iter(range(5))) == expected
    assert shares([]) == []


@pytest.mark.skipif("(os.cpu_count() or 1) < 2", reason="one core has one thread")
def test_threads_work_side_by_side():
    both_there = threading.Barrier(2, timeout=30)

    workers = set(in_threads(lambda part: both_there.wait() >= 0 and threading.get_ident(), range(2)))

    assert len(workers) == 2
    assert threading.get_ident() not in workers


def test_one_part_needs_no_thread():
    assert in_threads(lambda part: threading.get_ident(), [0]) == [threading.get_ident()]


def test_threads_pass_a_failure_on():
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda part: 1 // part, [1, 0, 2])


@pytest.mark.skipif("not hasattr(os, 'sched_getaffinity')", reason="the system has no such call")
def test_threads_leave_the_process_as_it_is():
    allowed = os.sched_getaffinity(0)

    assert in_threads(lambda part: os.sched_getaffinity(0), range(4)) == [allowed] * 4


@given(
    rows=st.integers(1, 40),
    n=st.integers(1, 20),
    m=st.integers(1, 80),
    most=st.sampled_from([8, 64, 512]),
    columns=st.sampled_from([1, 5, 16]),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_product_in_tiles_is_the_product(rows, n, m, most, columns, dtype):
    # Of integers, so that no order of summation makes a difference.
    rng = np.random.default_rng(rows * n * m)
    a, b = (rng.integers(-9, 10, shape).astype(dtype) for shape in ((rows, n), (n, 2 * m)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "_IN_ONE_THREAD", most)
        patch.setattr(products, "_COLUMNS", columns)
        whole, part = products.product(a, b), products.product(a, b[:, m // 2 : m // 2 + m])

    assert whole.dtype == dtype
    np.testing.assert_array_equal(whole, a @ b)
    np.testing.assert_array_equal(part, a @ b[:, m // 2 : m // 2 + m])


def test_no_tile_has_more_multiplications_than_one_thread_takes(monkeypatch):
    sizes = []
    matmul = np.matmul

    def counted(a, b, out):
        sizes.append(a.shape[-2] * a.shape[-1] * b.shape[-1])
        return matmul(a, b, out=out)

    monkeypatch.setattr(np, "matmul", counted)
    for rows, n, m in ((1000, 130, 200), (25, 3000, 1100)):
        products.product(np.ones((rows, n)), np.ones((n, m)))

    assert len(sizes) == 8  # whole tiles, and what is left of rows and columns
    assert max(sizes) <= products._IN_ONE_THREAD


def test_nothing_from_the_current_folder_is_imported(tmp_path):
    for name in ("random", "h5py", "keras", "tempfile"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    command = Path(sys.executable).with_name("rnncheck")
    words = ["verify", "-N", "1", "-T", "2", "-D", "1", "-M", "1", "-K", "1", "--backend", "tensorflow"]

    done = subprocess.run([command, *words], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "ran").exists()
