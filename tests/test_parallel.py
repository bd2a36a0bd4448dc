"""Threads: results in order, failures passed on, cores given back."""

import os
import resource
import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from rnncheck.checks.threads import threads


@pytest.mark.parametrize("count", [0, 1, 2, 3, 8])
def test_threads_give_results_in_the_order_of_the_items(count):
    with threads() as mapper:
        squares = list(mapper(lambda item: item * item, range(count)))

    assert squares == [item * item for item in range(count)]


def test_threads_share_the_items():
    with threads() as mapper:
        workers = list(mapper(lambda item: threading.get_ident(), range(6)))

    assert workers == workers[:2] * 3
    assert threading.get_ident() not in workers


def test_threads_pass_a_failure_on():
    with threads() as mapper, pytest.raises(ZeroDivisionError):
        list(mapper(lambda item: 1 // item, [1, 0, 2]))


@pytest.mark.skipif("not hasattr(os, 'sched_getaffinity')", reason="the system has no such call")
def test_threads_keep_to_a_core_only_while_they_work():
    allowed = os.sched_getaffinity(0)

    with threads() as mapper:
        while_working = list(mapper(lambda item: (threading.get_native_id(), os.sched_getaffinity(0)), range(4)))
        with pytest.raises(ZeroDivisionError):
            list(mapper(lambda item: 1 // item, [0, 0, 0, 0]))

    assert {len(cores) for _, cores in while_working} == {1}
    assert len(set.union(*(cores for _, cores in while_working))) == min(2, len(allowed))
    assert {frozenset(os.sched_getaffinity(thread)) for thread, _ in while_working} == {frozenset(allowed)}


def threads_of_numpy():
    """How many threads NumPy's own BLAS uses; SciPy brings another one, which no product here goes through."""
    return [each["num_threads"] for each in threadpool_info() if "numpy" in each["filepath"]]


def test_threads_limit_blas_to_one_thread_inside_only():
    before = threads_of_numpy()
    with threads():
        inside = threads_of_numpy()
    after = threads_of_numpy()

    assert set(inside) == {1}
    assert after == before


@pytest.mark.skipif("not sys.platform.startswith('linux')", reason="getrusage counts page faults as Linux does")
def test_memory_that_arrays_give_back_is_kept_for_the_next_ones():
    with threads():
        for _ in range(3):
            np.ones((3, 2**20))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(20):
            np.ones((3, 2**20))
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    pages = 20 * 3 * 2**20 * 8 / resource.getpagesize()
    assert faults < 0.2 * pages
