"""One fold, whose model is validated on a share of the samples; and none: one model of all samples."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hpa_data.errors import InputError
from hpa_data.store.store import Store
from hpa_data.system.progress import Progress
from hpa_model.config import TrainConfig
from hpa_model.evaluation.compare import compare_runs
from hpa_model.evaluation.report import write_final_report, write_report
from hpa_model.evaluation.scores import score_run
from hpa_model.predict import embed_samples, predict_submission
from hpa_model.predict.chosen import choose_models
from hpa_model.runs.check import verify_run
from hpa_model.runs.folder import read_folds
from hpa_model.runs.out_of_fold import read_out_of_fold
from hpa_model.training.baseline import train_baseline
from hpa_model.training.ensemble import join_runs
from hpa_model.training.finetune import finetune
from hpa_model.training.train import train, train_run
from tests.model.stopping import TINY, Killed, read_weights, stop_at

ONE = replace(TINY, folds=1, validation=0.25, epochs=1)
NONE = replace(TINY, folds=0, keep="last", plateau_epochs=0)
NOTHING_SCORED = "Cannot use run .*: it was trained on all samples .*, so nothing was scored. Pass a run with folds"


@pytest.fixture(scope="module")
def one(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a run of one fold."""
    out = tmp_path_factory.mktemp("one") / "run"
    train(store, ONE, out)
    return out


@pytest.fixture(scope="module")
def final(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a run without folds."""
    out = tmp_path_factory.mktemp("final") / "run"
    trained = train_run(store, NONE, out)
    assert (trained.scores, trained.missing) == (None, ())
    return out


def test_the_model_of_one_fold_is_scored_on_its_validation_samples_alone(one: Path, store: Store) -> None:
    rows, samples, scores = read_out_of_fold(one), read_folds(one), score_run(one)
    assert sorted(fold for *_, fold in samples) == [-2] * 9 + [0] * 3
    assert [name for _, name, fold in samples if fold == 0] == rows.ids
    assert (scores.n_samples, scores.thresholdings[0].label) == (3, "other half")
    assert "the other half of the validation samples" in scores.thresholdings[0].description
    done = verify_run(one)
    assert (done.findings, done.unsealed) == ((), ())


@pytest.mark.slow
def test_the_report_of_one_fold_says_what_was_scored(one: Path) -> None:
    write_report(one, files=False)
    page = (one / "report.html").read_text()
    assert "Only the 3 samples that validated the model are scored" in page
    assert "F1, other half" in page


def test_what_the_model_of_one_fold_was_trained_on_is_told_when_it_is_predicted(
    one: Path, store: Store, tmp_path: Path
) -> None:
    done = predict_submission(one, store.path, tmp_path / "out.csv", parts=["train"])
    (told,) = (notice for notice in done.notices if "were trained on samples to predict" in notice.what)
    assert told.n == 9
    with pytest.raises(InputError, match=r"Cannot join .*: it has one fold, and what joins a fold is fitted on"):
        join_runs([one, Path(shutil.copytree(one, tmp_path / "copy"))], tmp_path / "joined")


@pytest.mark.slow
def test_a_run_without_folds_is_the_model_of_the_last_epoch_and_resumes_bit_for_bit(
    final: Path, store: Store, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with pytest.raises(Killed):
        train_run(store, NONE, out, progress=stop_at(8))
    with pytest.raises(
        InputError, match=r"last\.keras is missing\. Run the command that began it again to resume it\.$"
    ):
        choose_models(out)
    train_run(store, NONE, out)
    for name in ("last.keras", "best.keras"):
        weights = read_weights(final, 0, name), read_weights(out, 0, name), read_weights(final, 0)
        assert all((a == b).all() and (a == c).all() for a, b, c in zip(*weights, strict=True))
    assert {path.name for path in (out / "fold0").iterdir()} == {
        *("best.keras", "last.keras", "history.csv", "checkpoint.npz")
    }
    assert {fold for *_, fold in read_folds(out)} == {-2}
    done = verify_run(out)
    assert (done.findings, done.unsealed) == ((), ())
    train_run(store, replace(NONE, epochs=3), out)  # a finished one goes on
    assert "Nothing was scored" in write_final_report(out).read_text()
    assert len((out / "fold0" / "history.csv").read_text().splitlines()) == 4


def test_a_run_without_folds_predicts_with_thresholds_of_another_run_or_with_one_half(
    final: Path, one: Path, store: Store, tmp_path: Path
) -> None:
    half, (notice,) = choose_models(final), choose_models(final).notices
    assert (half.decision.thresholds == 0.5).all()
    assert "no thresholds" in str(notice)
    assert "--thresholds RUN" in notice.remedy
    models = choose_models(final, thresholds=one)
    assert (models.decision.thresholds == choose_models(one).decision.thresholds).all()
    assert models.temperatures.tolist() == [1.0]
    (notice,) = models.notices
    assert "epochs" in notice.examples  # of the other run
    done = predict_submission(final, store.path, tmp_path / "out.csv", parts=["train"], thresholds=one)
    assert done.n_rows == 12
    (told,) = (each for each in done.notices if "were trained on samples to predict" in each.what)
    assert told.n == 12
    embedded = embed_samples(final, store.path, tmp_path / "out.npz")  # features need no thresholds
    assert [each.what for each in embedded.notices] == [told.what]
    for wrong, message in (
        ({"run": one, "thresholds": final}, "thresholds must be left out for a run that has its own"),
        ({"run": final, "thresholds": final}, NOTHING_SCORED),
        ({"run": final, "folds": [0]}, "fold must be left out for a run without folds"),
    ):
        with pytest.raises(InputError, match=message):
            choose_models(**wrong)  # type: ignore[arg-type]


def test_commands_that_need_scores_refuse_a_run_without_folds_in_one_true_line(
    final: Path, one: Path, store: Store, tmp_path: Path
) -> None:
    for command in (
        lambda: score_run(final),
        lambda: compare_runs([one, final]),
        lambda: finetune(final, store=store, out=tmp_path / "tuned"),
        lambda: join_runs([final, one], tmp_path / "joined"),
    ):
        with pytest.raises(InputError, match=NOTHING_SCORED):
            command()
    with pytest.raises(InputError, match="folds must be at least 2 for a baseline"):
        train_baseline(store, NONE, tmp_path / "floor")
    with pytest.raises(InputError, match="fold must be left out with folds=0"):
        train_run(store, NONE, tmp_path / "run", folds=[0])
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_all_samples_of_a_run_without_folds_count_as_seen_by_what_starts_from_it(
    final: Path, store: Store, tmp_path: Path
) -> None:
    notes: list[str] = []
    with pytest.raises(Killed):
        train(
            store,
            replace(TINY, epochs=1),
            tmp_path / "run",
            weights=final,
            progress=Progress(note=notes.append, advance=stop_at(1).advance),
        )
    assert any("were trained on samples that are validated here" in line and "12 samples" in line for line in notes)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"folds": 0}, r"keep must be last with folds=0, which validates nothing\. Received: keep=lowest_loss"),
        ({"folds": 0, "keep": "last", "schedule": "plateau"}, "schedule must be left out with folds=0"),
        (
            {"folds": 0, "keep": "last", "plateau_epochs": 3},
            "Received: plateau_epochs=3. Pass --set plateau_epochs=0, or",
        ),
        ({"folds": 0, "keep": "last", "finetune_epochs": 3}, "finetune_epochs must be left out with folds=0"),
        (
            {"folds": 0, "keep": "last", "stop_epochs": 2},
            "Received: stop_epochs=2. Pass --set stop_epochs=0, or",
        ),
        (
            {"folds": 0, "keep": "last", "finetune_epochs": (3, 3), "finetune_loss": ("bce", "f1")},
            "finetune_epochs must .*Pass --set finetune_epochs=0 --set finetune_loss=bce, or --folds 1",
        ),
        ({"validation": 0.2}, "validation must be left out unless folds is 1"),
        ({"folds": 1, "validation": 1.0}, "validation must lie between 0 and 1"),
    ],
)
def test_settings_that_need_what_is_not_validated_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainConfig(**settings)  # type: ignore[arg-type]
    assert np.isclose(TrainConfig(folds=1).validation, 0.1)
