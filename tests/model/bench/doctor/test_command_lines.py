"""The command lines that `hpa doctor` shows: of the run, safe to paste, without secrets."""

import shlex
from pathlib import Path

import pytest

from hpa_data.errors import InputError
from hpa_model.bench.doctor.command_lines import quote, resume, train_recipe, write_settings
from hpa_model.bench.doctor.diagnosis import diagnose, judge
from hpa_model.bench.doctor.store import examine_store
from hpa_model.commands import app
from hpa_model.commands.settings import merge_options
from hpa_model.config import TrainConfig, find_recipe, make_config, read_recipe
from tests.model.bench.doctor.facts import MACHINE, RUN, change, parse


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


def test_what_a_recipe_adds_leaves_the_other_settings_of_a_run() -> None:
    config = make_config(read_recipe(find_recipe(Path("trial"))))
    run = change(RUN, config=change(config, image_size=256, seed=3), weights="other")
    words = shlex.split(train_recipe(run, "best", "trial", suffix="-best"))
    assert words[words.index("--recipe") + 1] == "best"
    assert {"--image-size=256", "256"} & set(words)
    assert words[words.index("--weights") + 1] == "other"
    assert "--seed" in words


@pytest.mark.parametrize("kind", ["network", "baseline", "ensemble"])
def test_a_run_of_any_kind_is_made_again_by_its_own_command(kind: str) -> None:
    run = change(RUN, kind=kind, config=change(RUN.config, legacy_leak=True, parts=("external",)))
    (found,) = (each for each in judge(MACHINE, run=run) if each.name == "legacy-leak")
    words = shlex.split(found.command)
    assert words[1] == {"network": "train", "baseline": "baseline", "ensemble": "ensemble"}[kind]
    assert kind == "ensemble" or words[words.index("--part") + 1] == "external"
    assert "--legacy-leak" not in words
    parse(words[1:])


def test_what_measures_or_compares_reads_the_parts_of_the_run() -> None:
    scores = change(RUN.scores, headline=0.05)
    run = change(RUN, device="CPU, 8 threads", scores=scores, config=change(RUN.config, parts=("external",)))
    found = {each.name: each.command for each in judge(change(MACHINE, gpus=("NVIDIA H200",)), run=run)}
    assert "--part external" in found["no-skill"]
    assert "--part external" in found["trained-on-cpu"]
    joined = judge(change(MACHINE, gpus=("NVIDIA H200",)), run=change(run, kind="ensemble"))
    assert "trained-on-cpu" not in {each.name for each in joined}


def test_a_recipe_does_not_shorten_a_run() -> None:
    config = make_config(read_recipe(find_recipe(Path("trial"))) | {"epochs": 300})
    words = shlex.split(train_recipe(change(RUN, config=config), "best", "trial", suffix="-best"))
    assert words[words.index("--epochs") + 1] == "300"


def test_settings_in_a_command_keep_all_their_digits() -> None:
    words = write_settings(TrainConfig(learning_rate=0.00123456789), RUN)
    assert words[words.index("--learning-rate") + 1] == "0.00123456789"


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
    recipe = context.params["recipe"]
    merged = merge_options(context, None if recipe is None else find_recipe(recipe), context.params["setting"] or [])
    assert make_config(merged) == config


def test_a_command_that_hpa_does_not_have_would_be_noticed() -> None:
    for words in (["verify", "store", "--nothing"], ["train", "store"]):
        with pytest.raises(app.UsageError):
            parse(words)
