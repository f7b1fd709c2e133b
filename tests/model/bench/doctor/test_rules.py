"""Findings follow from facts, and their commands can be run."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpa_model.bench.doctor.diagnosis import MAX_SHOWN, Diagnosis, judge
from hpa_model.bench.doctor.facts import (
    MachineFacts,
    RunFacts,
    Severity,
    StoreFacts,
)
from hpa_model.bench.doctor.score_rules import chi2_quantile
from hpa_model.bench.doctor.store_rules import bound_damage
from hpa_model.commands import app
from hpa_model.commands.doctor import WIDTH, describe_diagnosis
from hpa_model.config import TrainConfig
from tests.model.bench.doctor.facts import (
    CLASSES,
    FALLING,
    FALLING_F1,
    FLAT_END,
    GPU,
    MACHINE,
    PART,
    RISING_END,
    RUN,
    SCORES,
    SOME_CLASSES,
    STORE,
    VERSIONS,
    change,
    check_findings,
    learned,
    make_epochs,
    make_folds,
    scored,
    set_variable,
    with_part,
)

# For each finding: facts from which it follows, as machine, store and run.
CASES: list[tuple[str, Severity, MachineFacts, StoreFacts | None, RunFacts | None]] = [
    ("other-backend", Severity.PROBLEM, change(MACHINE, backend="torch"), None, None),
    ("no-framework", Severity.PROBLEM, change(MACHINE, versions={**VERSIONS, "keras": "not installed"}), None, None),
    ("slow-png", Severity.ADVICE, change(MACHINE, missing_extras=("png",)), None, None),
    ("no-figures", Severity.ADVICE, change(MACHINE, missing_extras=("figures",)), None, None),
    ("hidden-gpu", Severity.PROBLEM, set_variable("CUDA_VISIBLE_DEVICES", "", **GPU), None, None),
    ("hidden-gpu", Severity.PROBLEM, set_variable("JAX_PLATFORMS", "cpu", backend="jax", **GPU), None, None),
    ("unused-gpu", Severity.PROBLEM, change(MACHINE, has_gpu_packages=False, **GPU), None, None),
    ("unused-gpu", Severity.PROBLEM, change(MACHINE, has_gpu_packages=False, backend="jax", **GPU), None, None),
    ("trained-on-cpu", Severity.ADVICE, change(MACHINE, **GPU), STORE, RUN),
    ("little-memory", Severity.PROBLEM, change(MACHINE, free_bytes=10**9, is_memory_limited=True), None, None),
    ("little-disk", Severity.PROBLEM, MACHINE, change(STORE, disk_free_bytes=10**9), None),
    ("own-tunables", Severity.PROBLEM, set_variable("GLIBC_TUNABLES", ""), None, None),
    ("few-threads", Severity.ADVICE, set_variable("OMP_NUM_THREADS", "1"), None, None),
    ("store-at-url", Severity.ADVICE, MACHINE, StoreFacts(location="s3://a/b.zarr", is_remote=True), None),
    ("no-store", Severity.BROKEN, MACHINE, StoreFacts(location="a.zarr", error="Cannot open it."), None),
    ("empty-store", Severity.PROBLEM, MACHINE, change(STORE, parts=()), None),
    ("unreadable-part", Severity.BROKEN, MACHINE, with_part(error="Cannot read ids."), None),
    ("damaged-samples", Severity.BROKEN, MACHINE, with_part(n_damaged=2), None),
    ("damaged-samples", Severity.BROKEN, MACHINE, with_part(n_damaged=2, is_copies=True), None),
    ("failed-samples", Severity.BROKEN, MACHINE, with_part(n_failed=3), None),
    ("unfinished-part", Severity.BROKEN, MACHINE, with_part(n_pending=3), None),
    ("unfinished-part", Severity.BROKEN, MACHINE, with_part(n_pending=3, is_copies=True), None),
    (
        "contradicting-labels",
        Severity.PROBLEM,
        MACHINE,
        with_part(n_duplicates=2, n_contradictions=1, duplicate_example=("x", "y")),
        None,
    ),
    ("duplicates", Severity.ADVICE, MACHINE, with_part(n_duplicates=2, duplicate_example=("x", "y")), None),
    ("black-samples", Severity.PROBLEM, MACHINE, with_part(n_black=1, black_example="-an id"), None),
    ("dim-channel", Severity.PROBLEM, MACHINE, with_part(means=(0.2, 8.0)), None),
    ("white-channel", Severity.PROBLEM, MACHINE, with_part(means=(230.0, 8.0)), None),
    ("other-layout", Severity.ADVICE, MACHINE, with_part(is_native=False), None),
    ("no-seal", Severity.ADVICE, MACHINE, with_part(is_sealed=False), None),
    ("no-labels", Severity.PROBLEM, MACHINE, with_part(class_counts=(0, 0, 0)), None),
    ("absent-classes", Severity.ADVICE, MACHINE, with_part(class_counts=(500, 0, 300)), None),
    ("rare-classes", Severity.ADVICE, MACHINE, with_part(class_counts=(100, 8, 90)), None),
    ("imbalance", Severity.ADVICE, MACHINE, with_part(class_counts=(900, 20, 90)), RUN),
    ("shared-ids", Severity.PROBLEM, MACHINE, change(STORE, n_shared_ids=4, shared_example="x"), None),
    ("larger-than-memory", Severity.PROBLEM, MACHINE, with_part(n_bytes=40 * 10**9), None),
    (
        "cold-store",
        Severity.ADVICE,
        MACHINE,
        change(with_part(n_bytes=2 * 10**9), cached_fraction=0.1, disk_bytes_per_s=2e7),
        None,
    ),
    ("no-run", Severity.BROKEN, MACHINE, None, RunFacts(path="run", error="Cannot read it.")),
    ("damaged-run", Severity.BROKEN, MACHINE, None, change(RUN, damaged=("a is missing.", "b is missing."))),
    (
        "unfinished-run",
        Severity.PROBLEM,
        MACHINE,
        None,
        change(RUN, folds=make_folds(*[make_epochs(FALLING[:3])] * 3, finished=False), scores=None),
    ),
    ("unscored-run", Severity.PROBLEM, MACHINE, None, change(RUN, scores=None)),
    ("store-moved", Severity.ADVICE, MACHINE, None, change(RUN, is_store_there=False)),
    *[
        ("store-changed", Severity.PROBLEM, MACHINE, STORE, change(RUN, changed_parts=("train",), kind=kind))
        for kind in ("network", "baseline", "ensemble")
    ],
    ("no-report", Severity.ADVICE, MACHINE, STORE, change(RUN, has_report=False)),
    ("unsealed-run", Severity.ADVICE, MACHINE, STORE, change(RUN, is_sealed=False)),
    ("older-version", Severity.ADVICE, MACHINE, STORE, change(RUN, hpa_version="0.3.1")),
    ("no-skill", Severity.PROBLEM, MACHINE, STORE, scored(headline=0.09, in_sample=0.1)),
    ("optimistic-thresholds", Severity.ADVICE, MACHINE, STORE, scored(in_sample=0.7)),
    ("folds-differ", Severity.PROBLEM, MACHINE, STORE, scored(folds=(0.3, 0.5, 0.51))),
    (
        "thresholds-at-edges",
        Severity.ADVICE,
        MACHINE,
        STORE,
        scored(classes=(change(CLASSES[0], threshold=0.001), *SOME_CLASSES)),
    ),
    ("missed-classes", Severity.ADVICE, MACHINE, STORE, scored(classes=(change(CLASSES[0], f1=0.0), *SOME_CLASSES))),
    ("legacy-leak", Severity.PROBLEM, MACHINE, STORE, change(RUN, config=TrainConfig(legacy_leak=True))),
    ("seen-samples", Severity.PROBLEM, MACHINE, STORE, change(RUN, n_seen=5, weights="an other")),
    ("no-leak-check", Severity.ADVICE, MACHINE, STORE, change(RUN, searched="nothing")),
    ("waits-for-data", Severity.PROBLEM, MACHINE, STORE, learned(FALLING, FLAT_END, speed=3900.0)),
    ("waits-for-data", Severity.PROBLEM, MACHINE, STORE, learned(FALLING, FLAT_END, speed=3900.0, image_size=128)),
    (
        "waits-for-data",
        Severity.PROBLEM,
        change(MACHINE, free_bytes=4 * 10**8),
        change(STORE, disk_bytes_per_s=1.4e8),
        learned(FALLING, FLAT_END, speed=300.0),
    ),
    ("unstable-loss", Severity.PROBLEM, MACHINE, STORE, learned([*FALLING, 0.9], epochs=21)),
    ("loss-not-falling", Severity.PROBLEM, MACHINE, STORE, learned([0.2] * 20)),
    ("undertrained", Severity.ADVICE, MACHINE, STORE, learned(FALLING)),
    ("undertrained", Severity.ADVICE, MACHINE, STORE, learned(FALLING, schedule="cosine")),
    ("kept-too-early", Severity.PROBLEM, MACHINE, STORE, learned(FALLING, RISING_END)),
    (
        "overfitting",
        Severity.ADVICE,
        MACHINE,
        STORE,
        learned(FALLING, RISING_END, keep="last", model="gapnet-pl", epochs=60, symmetries=True),
    ),
    (
        "overfitting",
        Severity.PROBLEM,
        MACHINE,
        STORE,
        learned(FALLING, RISING_END, keep="last", f1=FALLING_F1),
    ),
    (
        "overfitting",
        Severity.PROBLEM,
        MACHINE,
        STORE,
        learned(FALLING, RISING_END, keep="last", augment="strong", f1=FALLING_F1),
    ),
]


@pytest.mark.parametrize(
    ("name", "severity", "machine", "store", "run"),
    CASES,
    ids=[f"{number}-{case[0]}" for number, case in enumerate(CASES)],
)
def test_a_finding_follows_from_its_facts_and_its_command_can_be_run(
    name: str, severity: Severity, machine: MachineFacts, store: StoreFacts | None, run: RunFacts | None
) -> None:
    findings = judge(machine, store, run)
    check_findings(findings)
    assert {finding.name: finding.severity for finding in findings}.get(name) == severity, findings


def test_a_validation_loss_of_zero_is_judged() -> None:
    findings = judge(MACHINE, run=learned(FALLING, [*[0.0] * 19, 0.5]))
    check_findings(findings)
    assert "kept-too-early" in {finding.name for finding in findings}


def test_every_rule_has_a_case() -> None:
    folder = Path(app.__file__).parents[1] / "bench" / "doctor"
    text = "".join(path.read_text() for path in folder.glob("*_rules.py"))
    named = set(re.findall(r'name=(?:"([a-z-]+)"|"[a-z-]+" if)', text)) - {""}
    named |= {"unstable-loss", "loss-not-falling", "dim-channel", "white-channel"}
    assert named == {case[0] for case in CASES}


@pytest.mark.parametrize(
    ("machine", "store", "run"),
    [(MACHINE, None, None), (MACHINE, STORE, None), (MACHINE, STORE, RUN), (change(MACHINE, **GPU), STORE, None)],
)
def test_where_all_is_well_nothing_is_found(
    machine: MachineFacts, store: StoreFacts | None, run: RunFacts | None
) -> None:
    diagnosis = Diagnosis(machine=machine, store=store, run=run, findings=judge(machine, store, run), seconds=1)
    assert diagnosis.findings == ()
    assert describe_diagnosis(diagnosis).endswith("All is well: nothing was found that should be done.")


@pytest.mark.parametrize(
    ("run", "store"),
    [
        (learned(FALLING, FLAT_END, speed=300.0), STORE),  # the network is what limits
        (learned(FALLING, FLAT_END, speed=9000.0), STORE),  # of another machine
        (scored(folds=(0.47, 0.5, 0.53)), STORE),  # as chance makes them
        (learned(FALLING[:3], epochs=3), STORE),  # too short to tell
        (change(learned(FALLING, RISING_END), is_finetuned=True), STORE),
        (learned(FALLING, RISING_END, keep="last", augment="strong"), STORE),  # the last one is best
        (scored(folds=(1.0, 0.89, 1.0), headline=0.999, in_sample=1.0, low=0.985, high=1.0), STORE),  # cut off at 1
    ],
)
def test_what_chance_or_another_cause_explains_is_no_finding(run: RunFacts, store: StoreFacts) -> None:
    assert judge(MACHINE, store, run) == ()


counts = st.integers(0, 2000)
parts = st.builds(
    change,
    st.just(PART),
    n_pending=counts,
    n_failed=counts,
    n_black=counts,
    n_damaged=counts,
    n_duplicates=counts,
    is_native=st.booleans(),
    is_sealed=st.booleans(),
    is_copies=st.booleans(),
    means=st.sampled_from([(), (0.0, 255.0), (20.0, 20.0)]),
    class_counts=st.none() | st.tuples(counts, counts, counts),
    n_samples=st.integers(0, 10**6),
    n_bytes=st.integers(0, 10**12),
    n_checked=st.integers(0, 200),
)
stores = st.none() | st.builds(
    change,
    st.just(STORE),
    parts=st.lists(parts, max_size=4).map(tuple),
    disk_bytes_per_s=st.none() | st.floats(1e6, 1e10),
    cached_fraction=st.none() | st.floats(0, 1),
    samples_per_s=st.none() | st.floats(1, 1e5),
    n_shared_ids=counts,
)
machines = st.builds(
    change,
    st.just(MACHINE),
    free_bytes=st.integers(0, 10**12),
    gpus=st.sampled_from([(), ("H200",)]),
    has_gpu_packages=st.booleans(),
    load=st.none() | st.floats(0, 100),
    missing_extras=st.sampled_from([(), ("png", "figures")]),
    environment=st.dictionaries(st.sampled_from(["OMP_NUM_THREADS", "GLIBC_TUNABLES"]), st.sampled_from(["", "1"])),
)
histories = st.lists(st.floats(0.01, 2), min_size=1, max_size=12).map(make_epochs)
runs = st.none() | st.builds(
    change,
    st.just(RUN),
    folds=st.lists(histories, min_size=1, max_size=4).map(lambda each: make_folds(*each)),
    config=st.sampled_from([case[4].config for case in CASES if case[4] is not None]),
    scores=st.none()
    | st.builds(
        change,
        st.just(SCORES),
        headline=st.floats(0, 1),
        in_sample=st.floats(0, 1),
        low=st.none() | st.floats(0, 0.5),
        folds=st.lists(st.floats(0, 1), max_size=5).map(tuple),
    ),
    searched=st.sampled_from(["near", "exact", "nothing"]),
    kind=st.sampled_from(["network", "baseline", "ensemble"]),
    is_sealed=st.booleans(),
)


@settings(max_examples=30, deadline=None)
@given(machine=machines, store=stores, run=runs)
def test_whatever_the_facts_at_most_ten_findings_are_shown_in_lines_of_a_screen(
    machine: MachineFacts, store: StoreFacts | None, run: RunFacts | None
) -> None:
    findings = judge(machine, store, run)
    check_findings(findings)
    diagnosis = Diagnosis(machine=machine, store=store, run=run, findings=findings, seconds=1.0)
    lines = describe_diagnosis(diagnosis).splitlines()
    facts = lines[: lines.index("")]
    assert sum(not line.startswith(" ") for line in facts) <= 12
    assert len([line for line in lines if re.match(r" ?\d+\. ", line)]) == min(len(findings), MAX_SHOWN)
    commands = {f"    {finding.command}" for finding in findings}
    assert all(len(line) <= WIDTH for line in lines if line not in commands)


def test_the_bound_of_damage_is_three_of_those_that_were_read() -> None:
    assert bound_damage(PART) == 0.015
    assert bound_damage(change(PART, n_checked=1000)) == 0
    assert bound_damage(change(PART, n_checked=0)) == 1
    # Of 1.5 % damaged, 200 samples miss all in one case of twenty.
    assert pytest.approx(0.05, abs=0.003) == 0.985**200


@pytest.mark.parametrize(("n", "exact"), [(1, 6.635), (2, 9.210), (4, 13.277), (9, 21.666)])
def test_the_quantile_is_that_of_tables(n: int, exact: float) -> None:
    assert chi2_quantile(0.99, n) == pytest.approx(exact, rel=0.03)
