"""How many requests are in flight."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpa_data.reader.connections import MAX_IN_FLIGHT
from hpa_data.reader.pace import FIRST_IN_FLIGHT, MIN_IN_FLIGHT, Pace


@pytest.mark.parametrize(
    ("latency_s", "rate", "expected"),
    [
        *((0.0, 0.0, FIRST_IN_FLIGHT), (0.0, 6000.0, FIRST_IN_FLIGHT)),
        *((0.001, 6000.0, 9), (0.02, 6000.0, 180), (0.1, 6000.0, MAX_IN_FLIGHT)),
        *((0.3, 100.0, 45), (0.02, 10.0, MIN_IN_FLIGHT)),
    ],
)
def test_as_many_are_in_flight_as_hide_the_latency_within_bounds(latency_s: float, rate: float, expected: int) -> None:
    assert Pace().choose(latency_s=latency_s, rate=rate, n_in_flight=0, n_overloads=0) == expected


def test_an_overload_halves_them_once_a_round_and_they_grow_by_one_a_round() -> None:
    pace = Pace()

    def choose(n_in_flight: int, n_overloads: int) -> int:
        return pace.choose(latency_s=1.0, rate=1e4, n_in_flight=n_in_flight, n_overloads=n_overloads)

    assert choose(200, 1) == 100
    assert choose(199, 30) == 100  # of the same round
    for _ in range(200):
        pace.finish()
    assert choose(100, 30) == 101
    assert choose(100, 31) == 50


@given(steps=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 5), st.integers(0, 50))))
def test_they_stay_within_bounds_whatever_the_server_does(steps: list[tuple[int, int, int]]) -> None:
    pace, n_overloads = Pace(), 0
    for n_in_flight, more, n_finished in steps:
        n_overloads += more
        chosen = pace.choose(latency_s=0.2, rate=1e4, n_in_flight=n_in_flight, n_overloads=n_overloads)
        assert MIN_IN_FLIGHT <= chosen <= MAX_IN_FLIGHT
        for _ in range(n_finished):
            pace.finish()
