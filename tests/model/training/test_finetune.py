"""Fine-tuning."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from hpa_data.errors import InputError
from hpa_data.store.store import Store, open_store
from hpa_model.runs.folder import read_run
from hpa_model.runs.models import load_model
from hpa_model.runs.out_of_fold import read_out_of_fold
from hpa_model.runs.seal import begin_seal, hash_file
from hpa_model.training.base import open_base
from hpa_model.training.finetune import finetune, name_finetuned, train_and_finetune
from hpa_model.training.job import Checkpointing
from hpa_model.training.network import check_model
from hpa_model.training.weights import open_weights
from tests.builders import convert, unseal_run
from tests.model.stopping import CONFIG, Killed, stop_at


@pytest.fixture(scope="module")
def finetuned(run: Path, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fine-tune all models of a run. Tests must not change it."""
    out = tmp_path_factory.mktemp("finetuned") / "run"
    finetune(run, loss="f1", epochs=2, folds="all", learning_rate=0.01, out=out)
    return out


def test_fine_tuning_changes_no_variable_of_the_backbone(run: Path, finetuned: Path) -> None:
    for fold in range(2):
        before = load_model(run / f"fold{fold}" / "best.keras")
        after = load_model(finetuned / f"fold{fold}" / "last.keras")
        n_frozen = n_trained = 0
        for one, other in zip(before.layers, after.layers, strict=True):
            assert one.name.startswith("head_") == other.name.startswith("head_")
            for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
                if one.name.startswith("head_"):
                    n_trained += int((a != b).any())
                else:
                    n_frozen += 1
                    assert (a == b).all(), one.name
        assert n_frozen > 40  # moving averages included
        assert n_trained >= 10


def test_a_fine_tuned_run_records_its_base_and_has_predictions_of_its_own(
    run: Path, finetuned: Path, store: Store
) -> None:
    description = read_run(finetuned)
    assert description.finetuned_from == str(run)
    assert description.finetuned_folds == (0, 1)
    assert description.leak_check == read_run(run).leak_check is not None
    assert (description.config.loss, description.config.epochs) == ("f1", 2)
    rows = read_out_of_fold(finetuned)
    assert rows.ids == read_out_of_fold(run).ids
    assert (rows.folds == read_out_of_fold(run).folds).all()
    assert (rows.probs != read_out_of_fold(run).probs).any()


def test_by_default_only_the_best_fold_is_fine_tuned(run: Path, store: Store, tmp_path: Path) -> None:
    source = tmp_path / "run"
    shutil.copytree(run, source)
    done = finetune(source, epochs=1)
    assert done.run == name_finetuned(source, "bce") == tmp_path / "run-finetuned-bce"
    (best,) = read_run(done.run).finetuned_folds
    rows, before = read_out_of_fold(done.run), read_out_of_fold(source)
    other = rows.folds != best
    assert (rows.probs[other] == before.probs[other]).all()
    assert (rows.probs[~other] != before.probs[~other]).any()
    scores = {fold.fold: fold.macro_f1_in_sample for fold in done.scores.folds}
    assert scores[1 - best] == pytest.approx(max(fold for number, fold in scores.items() if number != best))


def test_fine_tuning_needs_the_store_of_the_run_and_another_folder(run: Path, kaggle: Path, tmp_path: Path) -> None:
    convert(kaggle / "train", tmp_path / "a.zarr", labels=kaggle / "train.csv", codec="raw")
    with pytest.raises(InputError, match=r"Cannot fine-tune .* on .*a\.zarr: .*--store"):
        finetune(run, store=open_store(tmp_path / "a.zarr"), out=tmp_path / "out")
    with pytest.raises(InputError, match="another folder than the run"):
        finetune(run, out=run)
    assert not (tmp_path / "out").exists()


def test_fine_tuning_is_not_resumed_from_other_base_models(run: Path, store: Store, tmp_path: Path) -> None:
    source, out = tmp_path / "run", tmp_path / "finetuned"
    shutil.copytree(run, source)
    with pytest.raises(Killed):
        finetune(source, epochs=1, folds="all", out=out, progress=stop_at(1))
    shutil.move(source, tmp_path / "moved")  # the same models in another folder
    with pytest.raises(Killed):
        finetune(tmp_path / "moved", epochs=1, folds="all", out=out, progress=stop_at(1))
    shutil.copy(run / "fold1" / "last.keras", unseal_run(tmp_path / "moved") / "fold1" / "best.keras")
    with pytest.raises(InputError, match=r"differs in the models to fine-tune \(they were trained again"):
        finetune(tmp_path / "moved", epochs=1, folds="all", out=out)
    (tmp_path / "moved" / "fold0" / "probs.npz").unlink()
    with pytest.raises(InputError, match=r"Cannot fine-tune .*: fold 0 is not finished"):
        finetune(tmp_path / "moved", out=tmp_path / "other")


def test_a_training_is_followed_by_fine_tuning_if_the_settings_say_so(run: Path, store: Store, tmp_path: Path) -> None:
    source = tmp_path / "run"
    shutil.copytree(run, source)
    config = dataclasses.replace(CONFIG, finetune_epochs=(2, 1), finetune_loss=("focal", "f1"), finetune_folds="best")
    begun = (source / "fold0" / "checkpoint.npz").stat().st_mtime_ns
    # The finished run is logged, but not trained again, whatever follows it.
    done = train_and_finetune(store, config, source, checkpointing=Checkpointing(logs=("tensorboard",)))
    assert (source / "fold0" / "checkpoint.npz").stat().st_mtime_ns == begun
    assert all((each / "tensorboard").is_dir() for each in (source, done[1].run))
    assert [trained.run.name for trained in done] == ["run", "run-finetuned-focal", "run-finetuned-f1"]
    settings = [read_run(trained.run).config for trained in done[1:]]
    assert [(each.loss, each.epochs, each.finetunings) for each in settings] == [("focal", 2, ()), ("f1", 1, ())]
    assert [read_run(trained.run).finetuned_from for trained in done[1:]] == [str(source)] * 2


def test_a_base_that_is_exchanged_before_its_fold_is_tuned_or_copied_is_refused(run: Path, tmp_path: Path) -> None:
    """Its model of fold 1 is replaced by that of fold 0, as if it were trained again while fold 0 was tuned."""
    source = Path(shutil.copytree(run, tmp_path / "run"))
    base = open_base(source, (0, 1))
    base.load(1)
    shutil.copy(source / "fold0" / "best.keras", source / "fold1" / "best.keras")
    base.load(0)
    with pytest.raises(InputError, match=r"Cannot fine-tune .*fold1/best.keras: it is another file than when this run"):
        base.load(1)
    with pytest.raises(InputError, match=r"Cannot use .*fold1/best.keras: it is not as it was sealed in seal.json\."):
        finetune(source, out=tmp_path / "new", folds="all")


def test_a_model_that_is_copied_is_compared_as_it_was_read(run: Path) -> None:
    content = (run / "fold0" / "best.keras").read_bytes()
    sha256 = hash_file(run / "fold0" / "best.keras")
    check_model(run, 0, sha256, purpose="copy", content=content)
    with pytest.raises(InputError, match=r"Cannot copy .*fold0/best.keras: it is another file than when this run"):
        check_model(run, 0, sha256, purpose="copy", content=content[:-1])


@pytest.mark.slow
def test_a_base_that_is_exchanged_while_another_fold_is_tuned_ends_the_tuning(run: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(run, tmp_path / "run"))

    def exchange(fold: int, *_: object) -> None:
        if fold == 0:
            begin_seal(source)  # as a training that begins the run again
            shutil.copy(source / "fold0" / "best.keras", source / "fold1" / "best.keras")

    with pytest.raises(InputError, match=r"Cannot fine-tune .*fold1/best.keras: it is another file"):
        finetune(source, out=tmp_path / "new", folds="all", epochs=1, on_epoch=exchange)
    assert not (tmp_path / "new" / "fold1" / "best.keras").exists()


def test_a_run_to_start_from_that_is_exchanged_is_refused(run: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(run, tmp_path / "run"))
    weights = open_weights(source)
    begin_seal(source)
    shutil.copy(source / "fold0" / "best.keras", source / "fold1" / "best.keras")
    with pytest.raises(InputError, match=r"Cannot start from .*fold1/best.keras: it is another file"):
        weights.build(read_run(source), fold=1)
