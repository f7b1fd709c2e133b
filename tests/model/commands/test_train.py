"""`hpa train` and `hpa finetune`: their settings, what they print and what they refuse."""

import dataclasses
import inspect
import json
import re
import shutil
import typing
from pathlib import Path

import pytest

from hpa_data.store.store import Store
from hpa_model.augment.options import PolicyName
from hpa_model.commands.train import train
from hpa_model.commands.trained import describe_finetuned
from hpa_model.config import TrainConfig
from hpa_model.runs.folder import read_run
from tests.builders import Ended, Hpa, assert_refused

ROOT = Path(__file__).parents[3]


def list_lines(text: str) -> list[str]:
    """List lines without those of the progress, which slow machines get."""
    return [line for line in text.splitlines() if not re.search(r"(^|: )[\d,]+/[\d,]+ \w+", line)]


def test_a_training_prints_its_epochs_scores_and_paths(trained: tuple[Path, Ended]) -> None:
    run, ended = trained
    assert ended.status == 0, ended.err
    assert "fold 1  epoch   1  loss " in ended.err
    assert "images/s  kept\n" in ended.err
    lines = list_lines(ended.err)
    assert lines.pop(0).startswith("Leak check: ")
    assert lines[0].startswith("Device: CPU, ")
    assert lines[1] == (
        "Data: 12 samples of train; 2 folds, 6 images to train on, 6 to validate on; 1 steps per epoch; "
        "classes without samples: 24 of 28 (Nuclear speckles, Nuclear bodies, Endoplasmic reticulum and 21 more)"
    )
    assert lines[2].startswith("Network: gapnet, 597,388 parameters, 595,268 of them trained; input 76 x 76 x 4")
    assert lines[3].startswith("fold 0  epoch   1")
    assert "honest: thresholds fitted on the other folds" in ended.out
    assert "Run folder: run\nReport: run/report.html" in ended.out
    assert (run / "report.html").exists()
    origin = read_run(run).origin
    assert origin is not None
    assert origin.command.startswith("hpa train ")
    assert origin.device.startswith("CPU, ")


@pytest.mark.slow  # tests/slow/test_kill_training.py resumes by the command, too; the functions are tested in training/
def test_the_same_command_resumes_a_training(store: Store, run: Path, tmp_path: Path, hpa: Hpa) -> None:
    again = tmp_path / "run"
    shutil.copytree(run, again)
    options = ("--folds", 2, "--epochs", 1, "--image-size", 76, "--batch-size", 6, "--out", again)
    ended = hpa("train", store.path, *options)
    assert ended.status == 0, ended.err
    assert list_lines(ended.err)[1:] == [
        f"Nothing to train: all folds of {again} are finished."
    ]  # after the leak check
    (again / "fold1" / "probs.npz").unlink()
    ended = hpa("train", store.path, *options)
    assert list_lines(ended.err)[1] == f"Resuming {again} at the predictions of fold 1"
    assert "2 folds, 1 to train, 6 images" in ended.err


@pytest.mark.slow  # a training and two reports; training/test_finetune.py tests the function
def test_finetuning_makes_a_run_beside_the_first(run: Path, tmp_path: Path, hpa: Hpa) -> None:
    shutil.copytree(run, tmp_path / "run")
    words = ("finetune", tmp_path / "run", "--epochs", 1, "--loss", "f1", "--folds", "best")
    ended = hpa(*words)
    assert ended.status == 0, ended.err
    assert f"Run folder: {tmp_path / 'run'}-finetuned-f1" in ended.out
    assert "Fine-tuned: fold " in ended.out
    assert "; the models of other folds are those of " in ended.out
    result = json.loads(hpa(*words, "--json").out)
    (before,) = result["earlier"]
    assert (before["run"], result["run"]) == (str(tmp_path / "run"), f"{tmp_path / 'run'}-finetuned-f1")
    assert result["report"] == f"{result['run']}/report.html"
    assert before["n_samples"] == result["n_samples"] == 12


@pytest.mark.slow
def test_the_recipe_of_the_paper_fine_tunes_with_both_losses_and_compares_the_runs(
    store: Store, run: Path, tmp_path: Path, hpa: Hpa
) -> None:
    shutil.copytree(run, tmp_path / "run")  # of the same settings, but for the recipe's folds and parts
    small = ("--folds", 2, "--fold-method", "stratified", "--part", "train", "--epochs", 1, "--image-size", 76)
    recipe = ("--recipe", ROOT / "recipes" / "paper.toml", "--set", "finetune_epochs=[1, 1]", "--batch-size", 6)
    ended = hpa("train", store.path, *recipe, *small, "--out", tmp_path / "run")
    assert ended.status == 0, ended.err
    names = [line.split()[0] for line in ended.out.partition("\nrun ")[2].splitlines()[1:4]]
    losses = {name: read_run(tmp_path / name).config.loss for name in names}
    assert losses == {"run": "bce", "run-finetuned-bce": "bce", "run-finetuned-f1": "f1"}
    assert [path.name for path in sorted(tmp_path.iterdir())] == sorted(names)


@pytest.mark.slow  # two trainings; tests/data/folds has the rule
def test_training_keeps_copies_with_their_parents_and_leaks_only_if_asked_to(
    kaggle: Path, tmp_path: Path, hpa: Hpa
) -> None:
    store = tmp_path / "hpa.zarr"
    hpa("convert", kaggle / "train", store, "--labels", kaggle / "train.csv")
    hpa("augment", store, "--min-count", 9)
    sizes = {}
    for name, options in {"kept": (), "leaky": ("--legacy-leak",)}.items():
        words = ("train", store, "--part", "train", "--part", "augmented", "--folds", 2, "--epochs", 1)
        ended = hpa(*words, "--image-size", 80, "--out", tmp_path / name, "--json", *options)
        assert ended.status == 0, ended.err
        sizes[name] = json.loads(ended.out)["n_samples"]
    assert sizes == {"kept": 12, "leaky": 27}
    alone = hpa("train", store, "--part", "augmented", "--out", tmp_path / "alone")
    assert_refused(alone, "copies without the part of their parents")


def test_the_options_of_settings_are_those_of_the_recipe_with_their_defaults_and_choices() -> None:
    options = inspect.signature(train).parameters
    types, choices = typing.get_type_hints(train), typing.get_type_hints(TrainConfig)
    shared = [field.name for field in dataclasses.fields(TrainConfig) if field.name in options]
    assert {"model", "folds", "epochs", "batch_size", "parts", "loss", "seed"} <= set(shared)
    # A size is written as one number or as ROWSxCOLUMNS, and a recipe has a number or a list.
    shared.remove("image_size")
    assert (types["image_size"], options["image_size"].default) == (str, str(TrainConfig().image_size))
    # Weights of parts are written as PART=WEIGHT, and a recipe has a table.
    shared.remove("mix")
    assert (types["mix"], options["mix"].default) == (list[str], [])
    # Augmentation is chosen by a word, and a recipe may have a table.
    shared.remove("augment")
    assert (types["augment"], options["augment"].default) == (PolicyName, TrainConfig().augment)
    for name in shared:
        default = getattr(TrainConfig(), name)
        is_tuple = isinstance(default, tuple)
        assert options[name].default == (list(default) if is_tuple else default)
        assert types[name] == (list[str] if is_tuple else choices[name])


@pytest.mark.slow
def test_options_win_over_settings_and_those_over_the_recipe(store: Store, tmp_path: Path, hpa: Hpa) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('loss = "focal"\nepochs = 9\nfolds = 2\nbatch_size = 6\nimage_size = 76\n')
    words = ("--recipe", recipe, "--set", "loss=f1", "--epochs", 1, "--bn-momentum", 0.9, "--out", tmp_path / "run")
    ended = hpa("train", store.path, *words)
    assert ended.status == 0, ended.err
    config = read_run(tmp_path / "run").config
    assert (config.loss, config.epochs, config.folds, config.bn_momentum) == ("f1", 1, 2, 0.9)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train {store} --model gepnet --out run", "efficientnetv2-b0. Received: model='gepnet'"),
        ("train {store} --epochs 0 --out run", "epochs must be from 1 to"),
        ("train {store} --set epochs --out run", "A setting must be NAME=VALUE"),
        ("train {store} --set loss=l2 --out run", "loss must be one of bce, f1, focal"),
        ("train {store} --set out=a --out run", "A setting must be one of model, "),
        ("train {store} --set lr=0.1 --out run", "Received: 'lr'. Did you mean 'learning_rate'?"),
        ("train {store} --set dropout=0.1 --out run", "Received: 'dropout'. Did you mean 'options.dropout'?"),
        ("train {store} --set epochz=3 --out run", "Received: 'epochz'. Did you mean 'epochs'?"),
        ("train {store} --parts train,extra --out run", "part must be in the store"),
        ("train {store} --set options.depth=3 --out run", "must be one of: dropout, dropout_place, stride, padding"),
        ("train {store} --devices 3 --out run", "batch_size must be a multiple of devices"),
        ("train {store} --devices 64 --batch-size 64 --out run", "devices must be at most"),
        ("train {store} --part extra --out run", "part must be in the store"),
        ("train {store} --mix train --out run", "mix must be PART=WEIGHT, separated by commas. Received: 'train'."),
        ("train {store} --set mix.train=1 --set mix.trian=2 --out run", "Received: mix=train=1,trian=2. Did you mean"),
        ("train {store} --set mix=2 --out run", "mix must be a table of parts and weights. Received: mix=2."),
        (
            "train {store} --set sampling=sqrt --sampling sqrt --out run",
            "Cannot use --sampling: it has no effect beside",
        ),
        (
            "train {store} --set momentum=0.9 --out run",
            "=0.9: it has no effect with optimizer=adam. Leave",
        ),
        ("train {store} --validation 0.1 --out run", "Cannot use --validation: it has no effect without --folds 1."),
        ("train {store} --legacy-leak --set duplicates=exact --out run", "it has no effect with --legacy-leak."),
        (  # what a recipe says may be replaced, though it has no effect: the refusal is of something else
            "train {store} --recipe paper --part absent --folds 0 --set keep=last --set finetune_epochs=0 --set "
            "finetune_loss=bce --out run",
            "part must be in the store. Received: part='absent'",
        ),
        ("train {store} --weights {store} --set stem=mean --out run", "no effect where a training starts from a run"),
        ("train {store} --set stem=mean --out run", "Cannot use --set stem=mean: it has no effect without --weights."),
        (
            "sweep {store} --vary epochs=1,2 --seed 3 --out run",
            "--seed: it has no effect with a grid, in which nothing",
        ),
        ("sweep {store} --vary epochs=1,2 --set plateau_factor=0.2 --out run", "no effect without schedule=plateau."),
        ("train {kaggle} --out run", "it is not a folder written by `hpa convert`"),
        ("train {store} --out run --cache ram --cache-gib nan", "cache-gib must be a size above 0"),
        ("train {store} --out run --cache ram --cache-gib inf", "cache-gib must be a size above 0"),
        ("train ftp://host/a.zarr --out run", "A URL must begin with one of s3://"),
        ("train {store} --recipe {kaggle}/train.csv --out run", "Cannot read recipe {kaggle}/train.csv: "),
        ("train {store} --out run --hosts 2", "coordinator must be given for a training over hosts. Received: host_"),
        (
            "train {store} --out run --coordinator a:1 --host-index 0 --hosts 2",
            "Cannot train over hosts on TensorFlow: Keras 3 fails in fit with its strategy for that",
        ),
        ("finetune {kaggle}", "Pass a folder that `hpa train` wrote."),
    ],
)
def test_what_cannot_be_trained_gets_one_line_and_status_2(  # noqa: PLR0917 - fixtures
    words: str, message: str, kaggle: Path, store: Store, tmp_path: Path, hpa: Hpa, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = {"kaggle": kaggle, "store": store.path}
    assert_refused(hpa(*words.format(**paths).split()), message.format(**paths))
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("folds", "n_models", "line"),
    [
        ([1], 3, "Fine-tuned: fold 1; the models of other folds are those of run"),
        ([0, 1, 2], 3, "Fine-tuned: the models of all folds, of run"),
        ([0], 1, "Fine-tuned: the only model, of run"),
    ],
)
def test_the_line_of_a_finetuned_run_speaks_of_other_folds_only_if_there_are_some(
    folds: list[int], n_models: int, line: str
) -> None:
    assert describe_finetuned(folds, n_models, "run") == line
