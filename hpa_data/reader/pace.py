"""How many requests to have in flight: as many as hide the latency, and no more than the server bears."""

import math

from hpa_data.reader.connections import MAX_IN_FLIGHT

# At least, and until the latency is known.
MIN_IN_FLIGHT, FIRST_IN_FLIGHT = 8, 32
# For each that would do if every request took the shortest time.
SPARE = 1.5


class Pace:
    """Follows what a server does; the caller holds a lock.

    Where a server answers that it is overloaded, half as many requests are in flight from then on, and one more with
    each round of them after that.
    """

    def __init__(self) -> None:
        self._limit = float(MAX_IN_FLIGHT)
        self._n_finished = self._n_overloads = 0
        self._settled_at = 0

    def choose(self, *, latency_s: float, rate: float, n_in_flight: int, n_overloads: int) -> int:
        """Return how many requests to have in flight.

        Parameters
        ----------
        latency_s : float
            From a request to its answer; 0 if it is not known.
        rate : float
            Answers a second that can be used; 0 if that is not known.
        n_in_flight : int
            Now.
        n_overloads : int
            How often the server has answered that it is overloaded, from the start.
        """
        if n_overloads > self._n_overloads:
            self._n_overloads = n_overloads
            if self._n_finished >= self._settled_at:  # those that were in flight then say nothing new
                self._limit = max(MIN_IN_FLIGHT, min(self._limit, n_in_flight) / 2)
                self._settled_at = self._n_finished + n_in_flight
        n_needed = math.ceil(SPARE * latency_s * rate) if latency_s and rate else FIRST_IN_FLIGHT
        return min(max(n_needed, MIN_IN_FLIGHT), int(self._limit))

    def finish(self) -> None:
        """Count a request that has ended."""
        self._n_finished += 1
        self._limit = min(MAX_IN_FLIGHT, self._limit + 1 / self._limit)
