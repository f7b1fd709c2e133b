"""The folder of a run: one writer, the same settings, the same folds, replaced only when asked."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from hpa_data.errors import InputError
from hpa_data.store.store import Store, open_store
from hpa_data.system.progress import SILENT, Progress
from hpa_data.verify.check import verify_store
from hpa_model.config import TrainConfig
from hpa_model.evaluation.scores import score_run
from hpa_model.predict import predict_submission
from hpa_model.runs.folder import read_run
from hpa_model.training.run import open_run
from hpa_model.training.train import train
from tests.builders import begin, convert, unseal_run
from tests.model.stopping import CONFIG, TINY, Killed, stop_at


def test_a_run_has_one_writer(run: Path, store: Store, tmp_path: Path) -> None:
    errors: list[str] = []

    def train_too(_: int) -> None:
        try:
            train(store, TINY, tmp_path / "run")
        except InputError as error:
            errors.append(str(error))
        raise Killed

    with pytest.raises(Killed):
        train(store, TINY, tmp_path / "run", progress=Progress(advance=train_too))
    assert len(errors) == 1
    assert "Cannot write to the run" in errors[0]
    assert not (run / ".lock").exists()


def test_a_run_whose_samples_changed_their_folds_is_not_resumed(kaggle: Path, tmp_path: Path) -> None:
    shutil.copytree(kaggle / "train", tmp_path / "train")
    (tmp_path / "train" / "sample-05_red.png").write_bytes(b"")
    convert(tmp_path / "train", tmp_path / "a.zarr", labels=kaggle / "train.csv")
    with pytest.raises(Killed):
        train(open_store(tmp_path / "a.zarr"), TINY, tmp_path / "run", progress=stop_at(1))
    shutil.copy(kaggle / "train" / "sample-05_red.png", tmp_path / "train")
    assert verify_store(tmp_path / "a.zarr", parts=["train"], source=tmp_path / "train", repair=True).n_repaired == 1
    with pytest.raises(InputError, match=r"Cannot use run .* in other folds now than in folds\.csv"):
        train(open_store(tmp_path / "a.zarr"), TINY, tmp_path / "run")


def test_a_run_can_be_replaced_after_a_replacement_was_killed(
    run: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    shutil.copytree(run, out)
    (out / "recipe.toml").write_text("seed = 7")

    def stop(*_: object) -> None:
        raise Killed

    monkeypatch.setattr("shutil.rmtree", stop)
    with pytest.raises(Killed):
        train(store, CONFIG, out, overwrite=True)
    monkeypatch.undo()
    (out / "recipe.toml").write_text("seed = 7")
    with pytest.raises(Killed):
        train(store, CONFIG, out, overwrite=True, recipe=out / "recipe.toml", progress=stop_at(1))
    assert (out / "recipe.toml").read_text() == "seed = 7"
    assert not (out / "out_of_fold.npz").exists()
    assert not (out / "fold1" / "probs.npz").exists()


def test_an_existing_run_with_other_settings_is_refused(run: Path, store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Cannot resume .*epochs \(2 there, 4 here\), seed \(7 there.*--overwrite"):
        train(store, dataclasses.replace(CONFIG, epochs=4, seed=8), run)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").touch()
    (tmp_path / "thesis" / "config.json").write_text('{"mine": 1}')
    with pytest.raises(InputError, match=r"Cannot read .*config\.json: "):
        train(store, CONFIG, tmp_path / "thesis", overwrite=True)
    assert (tmp_path / "thesis" / "chapter.txt").exists()


def test_a_run_with_a_linked_fold_is_refused_before_anything_of_it_is_deleted(
    run: Path, store: Store, tmp_path: Path
) -> None:
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "fold1").rename(tmp_path / "elsewhere")
    (tmp_path / "run" / "fold1").symlink_to(tmp_path / "elsewhere")
    before = sorted(path.name for path in tmp_path.glob("*/**/*"))
    for overwrite in (True, False):
        with pytest.raises(InputError, match=r"Cannot write to .*/fold1: it is a link to another folder.*Remove the"):
            train(store, CONFIG, tmp_path / "run", overwrite=overwrite)
    assert sorted(path.name for path in tmp_path.glob("*/**/*")) == before


def test_a_training_whose_weights_would_never_change_is_refused(store: Store, tmp_path: Path) -> None:
    never = dataclasses.replace(TINY, epochs=1, accumulate_batches=1000)
    with pytest.raises(InputError, match=r"accumulate_batches must be at most \d+, .* never change\. .* Lower it, or"):
        train(store, never, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_setting_without_effect_is_no_difference(store: Store, tmp_path: Path) -> None:
    for momentum in (0.5, 0.9):
        with pytest.raises(Killed):
            train(store, dataclasses.replace(TINY, momentum=momentum), tmp_path / "run", progress=stop_at(1))
    with pytest.raises(InputError, match=r"differs in optimizer \(adam there, sgd here\), momentum \(0.5 there"):
        train(store, dataclasses.replace(TINY, optimizer="sgd"), tmp_path / "run")


def test_a_leaky_run_resumes_whatever_method_was_recorded_since_it_has_no_effect(store: Store, tmp_path: Path) -> None:
    leaky = dataclasses.replace(TINY, legacy_leak=True)
    with pytest.raises(Killed):
        train(store, dataclasses.replace(leaky, fold_method="contiguous"), tmp_path / "run", progress=stop_at(1))
    with pytest.raises(Killed):
        train(store, leaky, tmp_path / "run", progress=stop_at(1))
    with pytest.raises(InputError, match=r"fold_method \(contiguous there, .*legacy_leak \(True there"):
        train(store, TINY, tmp_path / "run")


def test_data_and_settings_that_cannot_be_used_are_refused_before_anything_is_written(
    store: Store, tmp_path: Path
) -> None:
    begin(tmp_path / "a.zarr", "ab", labels=np.ones((2, 28), np.uint8))
    for source, config, message in (
        (store, TrainConfig(parts=("test",)), "converted without a label table"),
        (store, TrainConfig(model="gepnet"), "model must be one of gapnet"),
        (store, TrainConfig(image_size=64), "at least 76"),
        (store, TrainConfig(folds=13), "from 2 to the number of samples, 12"),
        (open_store(tmp_path / "a.zarr"), TrainConfig(), "2 of them are still pending"),
    ):
        with pytest.raises(InputError, match=message):
            train(source, config, tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_a_folder_without_a_run_and_a_damaged_run_are_refused(run: Path, store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Cannot read run .* has no config.json"):
        read_run(tmp_path)
    unseal_run(Path(shutil.copytree(run, tmp_path / "run")))
    (tmp_path / "run" / "fold1" / "best.keras").write_bytes(b"PK\x03\x04 no model")
    with pytest.raises(InputError, match=r"Cannot read model .*fold1"):
        predict_submission(tmp_path / "run", store.path, tmp_path / "out.csv")
    (tmp_path / "run" / "thresholds.json").write_text((run / "thresholds.json").read_text().replace("1.0", "NaN"))
    with pytest.raises(InputError, match=r"a threshold is outside 0\.\.1"):
        predict_submission(tmp_path / "run", store.path, tmp_path / "out.csv")
    (tmp_path / "run" / "config.json").write_text("{}")
    with pytest.raises(InputError, match="missing required field `config`"):
        read_run(tmp_path / "run")
    (tmp_path / "run" / "out_of_fold.npz").write_bytes((run / "out_of_fold.npz").read_bytes()[:300])
    (tmp_path / "run" / "config.json").write_text((run / "config.json").read_text())
    with pytest.raises(InputError, match=r"Cannot read .*out_of_fold\.npz"):
        score_run(tmp_path / "run")


def test_a_run_of_a_version_that_lacked_a_setting_goes_on_as_it_began(run: Path, store: Store, tmp_path: Path) -> None:
    older = unseal_run(Path(shutil.copytree(run, tmp_path / "run")))
    description = json.loads((older / "config.json").read_text())
    assert description["config"].pop("weight_decay_of") == "kernels"
    (older / "config.json").write_text(json.dumps(description))
    options = {"overwrite": False, "cache_bytes": 0}
    with open_run(store, CONFIG, older, **options) as opened:
        assert opened.description.config.weight_decay_of == "all"
    with (
        pytest.raises(InputError, match="differs in loss_over_classes"),
        open_run(store, dataclasses.replace(CONFIG, loss_over_classes="sum"), older, **options),
    ):
        pass


def test_a_folder_that_cannot_be_made_is_known_before_duplicates_are_looked_for(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    started: list[int] = []
    with (
        pytest.raises(InputError, match="out must be a folder. Received: .*file/run; .*file is a file. Pass another"),
        open_run(
            store,
            CONFIG,
            tmp_path / "file" / "run",
            overwrite=False,
            cache_bytes=0,
            progress=dataclasses.replace(SILENT, start=started.append),
        ),
    ):
        pass
    assert started == []
