"""Examine the machine, a store and a run, and say what to do, the most important first."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hpa_data.errors import InputError
from hpa_data.reader.kvstore import find_url
from hpa_data.system.files import refuse_unreadable
from hpa_model.bench.doctor.command_lines import hide_secrets
from hpa_model.bench.doctor.facts import Finding, MachineFacts, RunFacts, Severity, StoreFacts
from hpa_model.bench.doctor.machine import examine_machine
from hpa_model.bench.doctor.machine_rules import judge_machine
from hpa_model.bench.doctor.run import examine_run
from hpa_model.bench.doctor.run_rules import judge_run
from hpa_model.bench.doctor.store import examine_store
from hpa_model.bench.doctor.store_rules import judge_store
from hpa_model.runs.folder import CONFIG_FILE, STUDY_FILE, read_run

# More are not done at once; the others are in the record.
MAX_SHOWN = 10
STORE_FILE = "zarr.json"


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What was measured, and what follows from it."""

    machine: MachineFacts
    store: StoreFacts | None
    """None if there is none to look at."""

    run: RunFacts | None
    findings: tuple[Finding, ...]
    """All of them, the most important first."""

    seconds: float
    """That it took."""

    @property
    def shown(self) -> tuple[Finding, ...]:
        """The findings to begin with."""
        return self.findings[:MAX_SHOWN]

    @property
    def is_broken(self) -> bool:
        """Whether something is lost or wrong, not only slow."""
        return any(finding.severity == Severity.BROKEN for finding in self.findings)


def diagnose(paths: Sequence[str]) -> Diagnosis:
    """Examine the machine, and a store and a run if they are given, in either order.

    Of a run without a store, its own store is examined, where it is still there. Nothing is written.

    Raises
    ------
    InputError
        If a path is neither a store nor a run, or there are two of a kind.
    """
    began = time.perf_counter()
    store_path, run_path = _tell_apart(paths)
    machine = examine_machine()
    run = None if run_path is None else examine_run(Path(run_path))
    if store_path is None and run is not None and run.store and (run.is_store_there or find_url(Path(run.store))):
        store_path = run.store
    store = None if store_path is None else examine_store(store_path)
    return Diagnosis(
        machine=machine,
        store=store,
        run=run,
        findings=judge(machine, store, run),
        seconds=time.perf_counter() - began,
    )


def judge(machine: MachineFacts, store: StoreFacts | None = None, run: RunFacts | None = None) -> tuple[Finding, ...]:
    """Return what follows from facts, the most important first. Pure."""
    findings = list(judge_machine(machine, store, run))
    if store is not None:
        findings += judge_store(store, run, machine)
    if run is not None:
        findings += judge_run(run, store, machine)
    order = list(Severity)
    return tuple(sorted(findings, key=lambda finding: order.index(finding.severity)))


def _tell_apart(paths: Sequence[str]) -> tuple[str | None, str | None]:
    """Return which of at most two paths is a store, and which a run."""
    found: dict[str, str] = {}
    for path in paths:
        kind = _find_kind(path)
        if kind in found:
            raise InputError(
                f"STORE and RUN must be one of each. Received: two {kind}s, "
                f"{hide_secrets(found[kind])} and {hide_secrets(path)}. Pass one of them."
            )
        found[kind] = path
    return found.get("store"), found.get("run")


def _find_kind(path: str) -> str:
    if find_url(Path(path)):
        return "store"
    try:
        names = os.listdir(path)
    except OSError as error:
        refuse_unreadable(error, path)
        names = []
    if CONFIG_FILE in names:
        return "run"
    if STORE_FILE in names:
        return "store"
    if STUDY_FILE in names:
        read_run(Path(path))  # which names the runs of the search
    raise InputError(
        f"Cannot examine {path}: it is neither a store (a folder with {STORE_FILE}) nor a run (with {CONFIG_FILE}). "
        "Check the path."
    )
