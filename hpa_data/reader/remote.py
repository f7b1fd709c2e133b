"""Reading at a URL: waiting, with words on the screen, and repeating what may succeed later."""

import logging
import time
import urllib.parse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpa_data.errors import InputError, first_line
from hpa_data.reader.connections import Connections
from hpa_data.reader.failures import CONVERT, ReadFailure, Refused, explain_text
from hpa_data.reader.gate import Gate, open_gate
from hpa_data.reader.kvstore import is_url, make_kvstore
from hpa_data.reader.limits import get_limits
from hpa_data.system.interrupts import is_interrupted

# How often a wait looks about.
POLL_S = 0.2
# The longest pause between two words on the screen.
MAX_NOTICE_S = 40.0


class Server:
    """Where objects are: a folder, or a server behind a gate if it is not one of Amazon's or Google's.

    Parameters
    ----------
    location : str or Path
        A folder, or a URL.

    Attributes
    ----------
    spec : dict
        TensorStore's specification of it.
    gate : Gate or None
    key : str
        Path of its objects on the server behind the gate.

    Raises
    ------
    InputError
        If a URL or the address of a proxy is none.
    """

    def __init__(self, location: str | Path) -> None:
        self.location = location
        self.spec = make_kvstore(location)
        self.gate: Gate | None = None
        self._connections: Connections | None = None
        self.key = ""
        self._has_answered = False
        self.name = "the disk"
        if is_url(location):
            try:
                self.spec, self.gate, self.key = _pass_gate(self.spec)
                netloc = urllib.parse.urlsplit(str(location)).netloc
            except ValueError as error:
                raise InputError(
                    f"Cannot read {location}: {first_line(error)}. Check the address, and the proxy in the environment."
                ) from error
            self.name = self.gate.netloc if self.gate else netloc.rpartition("@")[2]

    def watch(self, connections: Connections) -> None:
        """Have bytes that arrive there count as a sign of life of the server."""
        self._connections = connections

    def allow(self, key: str, n_bytes: int) -> None:
        """Set how large an object, or each below that key, may be; see `Gate.allow`."""
        if self.gate:
            self.gate.allow(f"{self.key}{key}", n_bytes)

    def list_failures(self, since_s: float) -> list[ReadFailure]:
        """List what failed since then, by `time.monotonic`; see `Gate.list_failures`."""
        return self.gate.list_failures(self.key, since_s) if self.gate else []

    def read(
        self,
        starts: Sequence[Callable[[], Any]],
        what: str,
        *,
        damaged: str = "",
        since_s: float | None = None,
    ) -> list[Any]:
        """Wait for reads together, and repeat those that fail for a reason that may pass.

        Parameters
        ----------
        starts : sequence of callable
            Each starts a read, and returns a future of TensorStore.
        what : str
            What is read, for messages: ``the store s3://…``.
        damaged : str
            The beginning of the message if the data are missing or damaged, and not the server to blame.
        since_s : float, optional
            When the first reads were started, if that was before, by `time.monotonic`.

        Raises
        ------
        InputError
            If a read fails for good, or for longer than `RemoteLimits.retry_s`.
        """
        results: list[Any] = [None] * len(starts)
        left = dict(enumerate(starts))
        failed_s: float | None = None
        delay_s = get_limits().delay_s
        while True:
            started_s = time.monotonic() if since_s is None else since_s
            since_s = None
            futures = {index: start() for index, start in left.items()}
            errors: dict[int, Exception] = {}
            for index, future in futures.items():
                try:
                    results[index] = self._wait(future)
                    self._has_answered = True
                except (ValueError, OSError, NotImplementedError, Refused) as error:
                    if isinstance(error, InputError):
                        raise
                    errors[index] = error
            if not errors:
                return results
            first = _choose(list(errors.values()))
            failure = self._explain(first, started_s)
            now_s = time.monotonic()
            failed_s = now_s if failed_s is None or len(errors) < len(left) else failed_s
            if failure.kind == "final" or now_s + delay_s > failed_s + get_limits().retry_s:
                begin = damaged if failure.remedy == CONVERT and damaged else f"Cannot read {what}"
                raise InputError(f"{begin}: {failure.what}. {failure.remedy}") from first
            self._pause(delay_s, failure)
            left = {index: left[index] for index in errors}
            delay_s = min(2 * delay_s, get_limits().max_delay_s)

    def list(self, store: Any) -> Any:
        """Return all keys of a key-value store of TensorStore; InputError if the server lists none."""
        if self.gate is not None and self.spec["driver"] == "http":
            raise InputError(
                f"Cannot list the parts of {self.location}: its server does not list objects (it is a plain web "
                "server). Name the part."
            )
        if self.gate:
            self.gate.begin_list()
        (keys,) = self.read([store.list], f"the list of the objects at {self.location}")
        return keys

    def _explain(self, error: Exception, since_s: float) -> ReadFailure:
        if isinstance(error, Refused):
            return error.failure
        failures = self.list_failures(since_s)
        final = [failure for failure in failures if failure.kind == "final"]
        if failures:
            return (final or failures)[-1]
        text = explain_text(error, is_local=not is_url(self.location), answered=self._has_answered)
        if self.gate:
            text = replace(text, what=text.what.replace(self.gate.address, self.gate.public_address))
        return text

    def _wait(self, future: Any) -> Any:
        """Wait for one read. Says so where the server is silent; ends at once after an interrupt."""
        started_s = time.monotonic()
        pause_s = get_limits().notice_s
        notice_s = started_s + pause_s
        while True:
            try:
                return future.result(timeout=POLL_S)
            except TimeoutError:
                if future.done():  # only now, or with a timeout of its own
                    return future.result()
            heard_s = [line.heard_s for line in (self.gate, self._connections) if line is not None]
            silent_s = time.monotonic() - max([started_s, *heard_s])
            self._check_interrupted(silent_s)
            if silent_s >= get_limits().notice_s and time.monotonic() >= notice_s:
                _say(f"Waiting for {self.name}, {silent_s:.0f} s.")
                pause_s = min(2 * pause_s, MAX_NOTICE_S)
                notice_s = time.monotonic() + pause_s

    def _pause(self, delay_s: float, failure: ReadFailure) -> None:
        """Wait before a repetition."""
        if delay_s >= 2 * get_limits().delay_s:  # not for what passes at once
            _say(f"Waiting for {self.name}: {failure.what}. Next attempt in {delay_s:.0f} s.")
        ends_s = time.monotonic() + delay_s
        while time.monotonic() < ends_s:
            time.sleep(min(POLL_S, delay_s))
            self._check_interrupted(delay_s)

    def _check_interrupted(self, silent_s: float) -> None:
        if silent_s > POLL_S and is_interrupted():
            raise InputError(f"Cannot read from {self.name}: interrupted while waiting. Run the same command again.")


def _choose(errors: Sequence[Exception]) -> Exception:
    """Return the error to explain: one that no repetition helps against, if there is one."""
    final = (error for error in errors if isinstance(error, Refused) and error.failure.kind == "final")
    return next(final, errors[0])


def _say(line: str) -> None:
    logging.getLogger(__name__).warning(line)


def _pass_gate(spec: dict[str, Any]) -> tuple[dict[str, Any], Gate | None, str]:
    """Return a specification that leads through a gate, the gate, and the path of the objects on the server."""
    if spec["driver"] == "http":
        url = urllib.parse.urlsplit(spec["base_url"])
        gate = open_gate(f"{url.scheme}://{url.netloc}")
        base = gate.address + urllib.parse.urlunsplit(("", "", url.path, url.query, ""))
        return spec | {"base_url": base}, gate, urllib.parse.unquote(url.path) + spec["path"]
    if spec["driver"] == "s3" and "endpoint" in spec:
        url = urllib.parse.urlsplit(spec["endpoint"])
        # Requests are signed for the server's own name, unless there are no credentials.
        gate = open_gate(f"{url.scheme}://{url.netloc}", is_signed="aws_credentials" not in spec)
        changed = spec | {"endpoint": gate.address + url.path.rstrip("/"), "host_header": gate.netloc}
        return changed, gate, f"{url.path.rstrip('/')}/{spec['bucket']}/{spec.get('path', '')}"
    return spec, None, ""
