"""Interleaved timing."""

import pytest

from hpa_model.bench.timing import Workload, describe_timings, measure, median_ratio, summarize


def test_workloads_alternate_after_a_round_that_does_not_count() -> None:
    calls: list[str] = []
    workloads = [
        Workload(name="a", description="first", run=lambda: calls.append("a") or 3, prepare=lambda: calls.append("-")),
        Workload(name="b", description="second", run=lambda: calls.append("b") or 1, baseline="a"),
    ]
    done = measure(workloads, rounds=2)
    assert "".join(calls) == "-ab" * 3
    assert done[0].fraction is None
    assert done[1].fraction is not None
    assert "second" in describe_timings(done)


def test_a_measurement_is_the_median_of_its_rounds() -> None:
    done = summarize("a", "first", rates=[10, 30, 20], cpu_s=[3, 1, 2])
    assert (done.rate, done.lowest, done.highest, done.cpu_s, done.fraction) == (20, 10, 30, 2, None)


def test_a_fraction_compares_the_rates_of_the_same_round() -> None:
    # The machine was ten times as fast in the second round.
    assert median_ratio([5, 50, 8], [10, 100, 10]) == pytest.approx(0.5)
