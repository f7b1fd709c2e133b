"""Facts of a machine, a store and a run in which all is well, and what changes them."""

import dataclasses
import shlex
from typing import Any

import typer.main

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
from hpa_model.commands import app
from hpa_model.config import TrainConfig
from hpa_model.runs.history import EpochRecord

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
