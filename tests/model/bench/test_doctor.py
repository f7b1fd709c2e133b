"""`hpa doctor`: findings follow from facts, their commands can be run, and what is wrong is found in real files."""

import dataclasses
import json
import re
import shlex
import shutil
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main
from hypothesis import given, settings
from hypothesis import strategies as st

from hpa_data.dataset import Channel, Dataset
from hpa_data.errors import InputError
from hpa_data.format.codecs import decode_shard_index
from hpa_data.store.store import Store, open_store
from hpa_model.bench.doctor.command_lines import quote, resume, write_settings
from hpa_model.bench.doctor.diagnosis import MAX_SHOWN, Diagnosis, diagnose, judge
from hpa_model.bench.doctor.disk import _list_blocks, measure_cached, measure_disk
from hpa_model.bench.doctor.facts import (
    ClassFacts,
    Finding,
    FoldFacts,
    MachineFacts,
    PartFacts,
    RunFacts,
    ScoreFacts,
    Severity,
    StoreFacts,
)
from hpa_model.bench.doctor.machine import EXTRAS, parse_gpus
from hpa_model.bench.doctor.run import examine_run
from hpa_model.bench.doctor.score_rules import chi2_quantile
from hpa_model.bench.doctor.store import _list_shards, examine_store
from hpa_model.bench.doctor.store_rules import bound_damage
from hpa_model.commands import app
from hpa_model.commands.doctor import WIDTH, describe_diagnosis
from hpa_model.commands.settings import merge_options
from hpa_model.config import TrainConfig, make_config
from hpa_model.runs.history import EpochRecord
from tests.builders import Hpa, begin, build_store, convert_unreadable, list_files

VERSIONS = {"hpa": "0.9.0", "keras": "3.10", "tensorflow": "2.19", "jax": "0.5", "zarr": "3.1"}
MACHINE = MachineFacts(
    system="Linux 6",
    python="3.12.1",
    versions=VERSIONS,
    backend="tensorflow",
    n_cores=8,
    usable_cores=8,
    load=0.1,
    memory_bytes=64 * 10**9,
    free_bytes=32 * 10**9,
    is_memory_limited=False,
    gpus=(),
    has_gpu_packages=True,
    environment={},
    missing_extras=(),
)
PART = PartFacts(
    name="train",
    codec="lz4hc",
    image_shape=(512, 512, 4),
    n_samples=1000,
    n_bytes=450_000_000,
    channels=("red", "green"),
    means=(20.0, 8.0),
    classes=("a", "b", "c"),
    class_counts=(500, 400, 300),
    n_checked=200,
)
STORE = StoreFacts(
    location="my store.zarr",
    parts=(PART,),
    disk_free_bytes=10**12,
    disk_bytes_per_s=1e9,
    cached_fraction=1.0,
    samples_per_s=4000.0,
)


def make_epochs(
    loss: list[float], val_loss: list[float] | None = None, f1: list[float] | None = None, speed: float = 300.0
) -> tuple[EpochRecord, ...]:
    val_loss = val_loss or loss
    f1 = f1 or [0.1 + 0.01 * epoch for epoch in range(len(loss))]
    return tuple(
        EpochRecord(
            epoch=epoch,
            loss=one,
            val_loss=other,
            val_macro_f1=score,
            val_macro_f1_best=score,
            val_accuracy=0.9,
            learning_rate=1e-3,
            images_per_s=speed,
            seconds=1.0,
        )
        for epoch, (one, other, score) in enumerate(zip(loss, val_loss, f1, strict=True), start=1)
    )


FALLING = [1 / (1 + epoch) for epoch in range(20)]
FLAT_END = [*FALLING[:15], *[FALLING[14] + 0.0003 * n for n in range(5)]]
RISING_END = [*FALLING[:10], *[FALLING[9] * (1 + 0.02 * n) for n in range(1, 11)]]
CLASSES = tuple(ClassFacts(name=name, support=300, threshold=0.4, f1=0.5) for name in PART.classes)
SCORES = ScoreFacts(
    n_samples=1000,
    headline=0.5,
    low=0.47,
    high=0.53,
    in_sample=0.55,
    no_skill_high=0.1,
    folds=(0.49, 0.5, 0.51),
    classes=CLASSES,
)


FALLING_F1 = [0.5 - 0.01 * n for n in range(20)]


def make_folds(*histories: tuple[EpochRecord, ...], finished: bool = True) -> tuple[FoldFacts, ...]:
    return tuple(FoldFacts(number=n, is_finished=finished, epochs=epochs) for n, epochs in enumerate(histories))


RUN = RunFacts(
    path="my run",
    config=TrainConfig(epochs=20),
    store="my store.zarr",
    image_pixels=512 * 512,
    hpa_version="0.9.0",
    backend="tensorflow",
    device="CPU, 8 threads, tensorflow 2.19",
    folds=make_folds(*[make_epochs(FALLING, FLAT_END)] * 3),
    scores=SCORES,
)


def change(facts: Any, **values: Any) -> Any:
    return dataclasses.replace(facts, **values)


def with_part(**values: Any) -> StoreFacts:
    return change(STORE, parts=(change(PART, **values),))


def learned(loss: list[float], val_loss: list[float] | None = None, speed: float = 300.0, **settings: Any) -> RunFacts:
    f1 = settings.pop("f1", None)
    folds = make_folds(*[make_epochs(loss, val_loss, f1, speed)] * 3)
    return change(RUN, folds=folds, config=change(RUN.config, **settings))


def scored(**values: Any) -> RunFacts:
    return change(RUN, scores=change(SCORES, **values))


def set_variable(name: str, value: str, **values: Any) -> MachineFacts:
    return change(MACHINE, environment={name: value}, **values)


SOME_CLASSES = CLASSES[1:]
GPU = {"gpus": ("NVIDIA H200",)}
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
    ("store-changed", Severity.PROBLEM, MACHINE, STORE, change(RUN, changed_parts=("train",))),
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


COMMAND: Any = typer.main.get_command(app.app)


def parse(words: list[str]) -> typer.Context:
    """Parse a command line as `hpa` does, and run nothing."""
    command = COMMAND
    context = command.make_context("hpa", list(words), resilient_parsing=True)
    while hasattr(command, "resolve_command"):
        name, command, words = command.resolve_command(context, words)
        assert command is not None, name
        context = command.make_context(name, list(words), parent=context)
    return context


def check_findings(findings: tuple[Finding, ...]) -> None:
    """Check what holds for all findings: the form of their texts, and that their commands can be run."""
    assert [finding.severity for finding in findings] == sorted(
        (finding.severity for finding in findings), key=list(Severity).index
    )
    for finding in findings:
        assert finding.text.endswith("."), finding
        assert "\n" not in finding.text + finding.command
        program, *words = shlex.split(finding.command)
        if program == "hpa":
            parse(words)
        else:
            assert program in {"pip", "export", "unset", "df", "top"}, finding


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


@pytest.mark.parametrize(
    "command",
    [
        "hpa train a; touch b",
        "hpa train $(touch b)",
        "hpa train a\ntouch b",
        "hpa train 'a\ntouch b'",
        "hpa nothing; touch b",
        "hpa train 'a",
        "hpa",
        "hpas train a",
        "",
    ],
)
def test_the_command_of_a_run_of_a_stranger_runs_nothing_but_hpa(command: str) -> None:
    shown = resume(change(RUN, command=command))
    assert "\n" not in shown
    lexer = shlex.shlex(shown, posix=True, punctuation_chars=True)  # as a shell: ';' and '(' end words
    lexer.whitespace_split = True
    words = list(lexer)
    assert words == shlex.split(shown)
    assert words[:2] == ["hpa", "train"]
    assert "$(touch" not in shown or "'$(touch'" in shown


def test_the_command_that_began_a_run_is_shown_with_its_words() -> None:
    command = "hpa train 'my store.zarr' --loss focal --out 'my run'"
    assert resume(change(RUN, command=command)) == command


@pytest.mark.parametrize("scheme", ["https://", "https:/", "s3://"])
def test_secrets_of_a_url_are_not_shown(scheme: str) -> None:
    url = f"{scheme}me:pass@word@host/a.zarr?token=secret#part"
    facts = examine_store(url)
    resumed = resume(change(RUN, command=quote("hpa", "train", url, f"--weights={url}", "--out", "me@home?")))
    assert facts.location == f"{scheme}host/a.zarr"
    assert resumed == f"hpa train {scheme}host/a.zarr --weights={scheme}host/a.zarr --out 'me@home?'"
    with pytest.raises(InputError, match="two stores, https://host/a and https://host/b") as refused:
        diagnose(["https://me:word@host/a", "https://host/b?token=1"])
    assert "word" not in str(refused.value)


def test_a_validation_loss_of_zero_is_judged() -> None:
    findings = judge(MACHINE, run=learned(FALLING, [*[0.0] * 19, 0.5]))
    check_findings(findings)
    assert "kept-too-early" in {finding.name for finding in findings}


def test_files_that_are_larger_than_any_shard_are_not_measured(store: Store, tmp_path: Path) -> None:
    sparse = tmp_path / "sparse"
    with sparse.open("wb") as file:
        file.truncate(2**43)
    assert len(list(islice(_list_blocks([sparse, tmp_path / "missing"]), 64))) == 64
    copied = open_store(shutil.copytree(store.path, tmp_path / "copy.zarr"))
    part = copied.part("train")
    n_shards = len(_list_shards(part))
    with part.shard_path(0).open("r+b") as file:
        file.truncate(2**43)
    assert len(_list_shards(part)) == n_shards - 1


def test_extras_of_commands_are_known_by_modules_of_theirs() -> None:
    assert {"browse", "export", "bioimageio"} <= set(EXTRAS)


def test_settings_in_a_command_keep_all_their_digits() -> None:
    words = write_settings(TrainConfig(learning_rate=0.00123456789), RUN)
    assert words[words.index("--learning-rate") + 1] == "0.00123456789"


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


@pytest.mark.parametrize(
    "config",
    [
        TrainConfig(),
        TrainConfig(model="gapnet-pl", options={"dropout": 0.1}, image_size=(256, 384), parts=("train", "more")),
        TrainConfig(folds=5, channels=("red", "blue"), augment={"policy": "symmetries", "mixup": {"alpha": 0.2}}),
        TrainConfig(schedule="cosine", keep="last", clip_norm=1.0, symmetries=True, learning_rate=3e-5, xla=True),
        TrainConfig(mix={"train": 1.0}, sampling="sqrt", l2=1e-5, loss="f1", ema=0.99),
    ],
)
def test_the_options_of_a_command_make_the_settings_of_the_run(config: TrainConfig) -> None:
    words = write_settings(config, RUN)
    context = parse(["train", "store", *words, "--out", "run"])
    from hpa_model.config import find_recipe

    recipe = context.params["recipe"]
    merged = merge_options(context, None if recipe is None else find_recipe(recipe), context.params["setting"] or [])
    assert make_config(merged) == config


def test_the_bound_of_damage_is_three_of_those_that_were_read() -> None:
    assert bound_damage(PART) == 0.015
    assert bound_damage(change(PART, n_checked=1000)) == 0
    assert bound_damage(change(PART, n_checked=0)) == 1
    # Of 1.5 % damaged, 200 samples miss all in one case of twenty.
    assert pytest.approx(0.05, abs=0.003) == 0.985**200


def test_a_command_that_hpa_does_not_have_would_be_noticed() -> None:
    for words in (["verify", "store", "--nothing"], ["train", "store"]):
        with pytest.raises(app.UsageError):
            parse(words)


def test_gpus_are_read_from_what_the_driver_lists() -> None:
    listed = "GPU 0: NVIDIA H200 (UUID: GPU-1)\n  MIG 1g.18gb Device 0: (UUID: MIG-2)\nGPU 1: Tesla T4 (UUID: GPU-3)\n"
    assert parse_gpus(listed) == ("NVIDIA H200", "Tesla T4")


@pytest.mark.parametrize(("n", "exact"), [(1, 6.635), (2, 9.210), (4, 13.277), (9, 21.666)])
def test_the_quantile_is_that_of_tables(n: int, exact: float) -> None:
    assert chi2_quantile(0.99, n) == pytest.approx(exact, rel=0.03)


SMALL = Dataset(
    name="small",
    channels=(Channel(name="signal", role="signal"), Channel(name="other")),
    classes=("a", "b", "c"),
    height=32,
    width=32,
)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Hold 40 samples, of which one is black, and two are equal with other labels. Not to be changed."""
    rng = np.random.default_rng(0)
    images = [rng.integers(1, 200, (32, 32, 2), np.uint8) for _ in range(40)]
    images[3] = np.zeros_like(images[3])
    images[20] = images[10]
    labels = np.eye(3, dtype=np.uint8)[np.arange(40) % 3]
    return build_store(tmp_path_factory.mktemp("small") / "a.zarr", SMALL, labels, images=images)


@pytest.fixture
def copied(small: Store, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small.path, tmp_path / "a.zarr"))


def name_findings(diagnosis: Diagnosis) -> dict[str, Finding]:
    check_findings(diagnosis.findings)
    return {finding.name: finding for finding in diagnosis.findings}


def flip_byte(path: Path, rows: list[int]) -> None:
    """Change one byte in the chunks of some samples."""
    shard = next(file for file in (path / "train" / "images" / "c").rglob("*") if file.is_file())
    content = bytearray(shard.read_bytes())
    bounds = decode_shard_index(np.frombuffer(content, np.uint8), shard_samples=64)
    for row in rows:
        content[int(bounds[row, 0]) + 40] ^= 0x55
    shard.write_bytes(content)


def test_black_and_equal_samples_are_found(small: Store) -> None:
    before = list_files(small.path)
    diagnosis = diagnose([str(small.path)])
    found = name_findings(diagnosis)
    assert found["black-samples"].evidence["n_black"] == 1
    assert "s-003" in found["black-samples"].command
    assert "s-010 and s-020" in found["contradicting-labels"].text
    assert diagnosis.store is not None
    (part,) = diagnosis.store.parts
    assert (part.n_checked, part.n_damaged, part.class_counts) == (40, 0, (14, 13, 13))
    assert not diagnosis.is_broken
    assert list_files(small.path) == before  # not even a lock


def test_a_damaged_chunk_is_found_and_ends_with_1(copied: Path, hpa: Hpa) -> None:
    flip_byte(copied, [5, 7])
    ended = hpa("doctor", copied)
    assert ended.status == 1
    assert "BROKEN: Part train: of 40 samples that were read, 2 are damaged." in " ".join(ended.out.split())
    assert f"hpa verify {copied} --part train --source SOURCE --repair" in ended.out


@pytest.mark.parametrize(
    ("damage", "name"),
    [
        (lambda path: (path / "train" / "zarr.json").write_bytes(b"{"), "unreadable-part"),
        (lambda path: shutil.rmtree(path / "train" / "id" / "c"), "unreadable-part"),
        (lambda path: shutil.rmtree(path / "train" / "images" / "c"), "unreadable-part"),
        (lambda path: (path / "train" / "status" / "seal.json").write_bytes(b"{"), "unreadable-part"),
        (lambda path: (path / "zarr.json").write_bytes(b"{"), "no-store"),
        (lambda path: shutil.rmtree(path / "train"), "empty-store"),
        (lambda path: (path / "train" / "status" / "seal.json").unlink(), "no-seal"),
    ],
)
def test_whatever_is_lost_or_cut_of_a_store_is_a_finding(
    damage: Callable[[Path], Any], name: str, copied: Path
) -> None:
    damage(copied)
    assert name in name_findings(diagnose([str(copied)]))


def test_samples_that_failed_and_a_conversion_that_was_interrupted_are_found(tmp_path: Path) -> None:
    failed = diagnose([str(convert_unreadable(tmp_path / "failed").path)])
    assert "failed-samples" in name_findings(failed)
    begin(tmp_path / "b.zarr", ["one", "two"])
    pending = diagnose([str(tmp_path / "b.zarr")])
    assert "2 of 2 samples are not yet written" in name_findings(pending)["unfinished-part"].text
    assert failed.is_broken
    assert pending.is_broken
    assert pending.store is not None
    assert pending.store.samples_per_s is None


def test_a_finished_run_and_its_store_are_examined_in_either_order(run: Path, store: Store, hpa: Hpa) -> None:
    before = list_files(run)
    diagnosis = diagnose([str(run)])
    assert diagnosis.run is not None
    assert diagnosis.store is not None
    assert (diagnosis.run.error, diagnosis.run.damaged, diagnosis.run.is_finished) == ("", (), True)
    assert diagnosis.run.n_compared > 5
    assert [len(fold.epochs) for fold in diagnosis.run.folds] == [2, 2]
    assert {"rare-classes", "absent-classes"} <= set(name_findings(diagnosis))
    assert list_files(run) == before
    ended = hpa("doctor", run, store.path, "--json")
    assert ended.status == 0
    told = json.loads(ended.out)
    assert told["run"]["scores"]["headline"] == diagnosis.run.scores.headline  # type: ignore[union-attr]
    assert {part["name"] for part in told["store"]["parts"]} == {"train", "test"}


@pytest.mark.parametrize(
    ("damage", "name"),
    [
        (lambda run: (run / "fold0" / "best.keras").write_bytes(b""), "damaged-run"),
        (lambda run: (run / "scores.json").write_text("{}"), "damaged-run"),
        (lambda run: (run / "fold1" / "history.csv").write_text("epoch\n1\n"), "damaged-run"),
        (lambda run: (run / "fold1" / "probs.npz").unlink(), "unfinished-run"),
        (lambda run: (run / "seal.json").unlink(), "unsealed-run"),
        (lambda run: (run / "config.json").write_text("{"), "no-run"),
    ],
)
def test_whatever_is_lost_or_cut_of_a_run_is_a_finding(
    damage: Callable[[Path], Any], name: str, run: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    damage(copy)
    findings = judge(MACHINE, run=examine_run(copy))
    check_findings(findings)
    assert name in {finding.name for finding in findings}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "neither a store .* nor a run"),
        (["{store}", "{store}"], "Received: two stores"),
    ],
)
def test_what_is_neither_or_twice_is_refused(words: list[str], message: str, small: Store, hpa: Hpa) -> None:
    ended = hpa("doctor", *[word.format(store=small.path) for word in words])
    assert ended.status == 2
    assert re.search(message, ended.err)


def test_a_store_at_a_url_is_not_asked_for_anything(hpa: Hpa) -> None:
    ended = hpa("doctor", "https://nowhere.invalid/a.zarr")
    assert ended.status == 0
    assert "hpa bench io https://nowhere.invalid/a.zarr" in ended.out


def test_the_disk_is_read_or_said_to_be_unreadable(store: Store, tmp_path: Path) -> None:
    part = store.part("train")
    rate, cached = measure_disk([part.shard_path(0)]), measure_cached([part.shard_path(0)])
    assert rate is None or rate > 0
    assert cached is None or 0 <= cached <= 1
    assert (measure_disk([]), measure_cached([])) == (None, None)
    assert measure_disk([tmp_path / "missing"]) is None
