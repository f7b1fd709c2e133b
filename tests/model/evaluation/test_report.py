"""What is said of runs: scores and confusions, tables of several runs, figures, and the page in a browser."""

import csv
import html.parser
import re
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from hpa_data.errors import InputError
from hpa_data.store.store import Store
from hpa_model.evaluation import figures
from hpa_model.evaluation.compare import compare_runs, write_comparison
from hpa_model.evaluation.report import pick_examples, write_report
from hpa_model.evaluation.scores import find_confusion, score_rows
from hpa_model.metrics import f1_per_class, predict_classes
from hpa_model.runs.folder import RunDescription, read_run
from hpa_model.runs.out_of_fold import OutOfFold, read_out_of_fold
from hpa_model.thresholds import predict_cross_fitted, search_thresholds
from tests.builders import RUN_CLASSES, make_rows, make_run

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def test_a_report_counts_as_scikit_learn_does() -> None:
    rows = make_rows()
    scores = score_rows(rows, RUN_CLASSES)
    honest = predict_cross_fitted(rows.labels, rows.probs, rows.folds)
    precision, recall, f1, support = precision_recall_fscore_support(rows.labels, honest, zero_division=0)
    for k, score in enumerate(scores.classes):
        assert (score.precision, score.recall, score.f1_cross_fitted) == pytest.approx((precision[k], recall[k], f1[k]))
        assert score.support == support[k]
    assert scores.absent == ("Never $seen$",)


def test_each_fold_is_scored_on_its_own_rows() -> None:
    rows = make_rows()
    scores = score_rows(rows, RUN_CLASSES)
    assert [fold.n_samples for fold in scores.folds] == [30, 30, 30]
    for fold in scores.folds:
        own = rows.folds == fold.fold
        labels, probs = rows.labels[own], rows.probs[own]
        best = f1_per_class(labels, predict_classes(probs, search_thresholds(labels, probs))).mean()
        assert fold.macro_f1_in_sample == pytest.approx(best)
        assert fold.macro_f1_at_half <= best
        assert fold.macro_f1_cross_fitted <= best


def test_confusions_name_what_a_class_is_taken_for() -> None:
    labels = np.array([[1, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1]], np.uint8)
    guess = np.array([[0, 1, 0], [0, 1, 1], [1, 1, 0], [1, 0, 0], [1, 0, 1]], np.uint8)
    confusion = find_confusion(labels, guess, 0, ("a", "b", "c"))
    assert (confusion.n_false_negatives, confusion.predicted_instead) == (2, (("b", 2), ("c", 1)))
    assert (confusion.n_false_positives, confusion.was_actually) == (2, (("b", 1),))


def test_examples_are_the_surest_hits_and_the_largest_losses() -> None:
    rows = make_rows(400)
    hits, misses = pick_examples(rows)
    guess = predict_cross_fitted(rows.labels, rows.probs, rows.folds)
    exact = (guess == rows.labels).all(axis=1)
    assert exact[hits].all()
    assert not exact[misses].any()
    assert len(set(hits)) == len(hits) == len(set(misses)) == 6
    right = np.where(rows.labels, rows.probs, 1 - rows.probs)
    losses = -np.log(right.clip(1e-7)).sum(axis=1)
    assert losses[misses].tolist() == sorted(losses[~exact], reverse=True)[:6]


def test_runs_are_compared_best_first(tmp_path: Path) -> None:
    good = make_run(tmp_path / "good", make_rows())
    rng = np.random.default_rng(1)
    rows = make_rows()
    blind = OutOfFold(ids=rows.ids, labels=rows.labels, probs=rng.random(rows.probs.shape), folds=rows.folds)
    bad = make_run(tmp_path / "bad", blind, model="mcnn", legacy_leak=True)
    done = compare_runs([bad, good])
    assert [row.run for row in done.rows] == ["good", "bad"]
    assert [row.paper for row in done.rows] == [0.433, 0.235]
    assert [row.legacy_leak for row in done.rows] == [False, True]
    assert done.same_data
    assert done.rows[0].images_per_s == 11
    write_comparison(done, tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["run"] for row in table] == ["good", "bad"]
    assert float(table[0]["macro_f1_cross_fitted"]) == pytest.approx(done.rows[0].macro_f1_cross_fitted)
    picture = cv2.imdecode(np.frombuffer(figures.render_png(figures.draw_comparison(done)), np.uint8), 1)
    assert picture.std() > 5
    with pytest.raises(InputError, match="at least one"):
        compare_runs([])
    with pytest.raises(InputError, match="Pass a folder that `hpa train` wrote"):
        compare_runs([good, tmp_path])


class Page(html.parser.HTMLParser):
    """What a page has: its elements, and everything that it would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href"}]


@pytest.fixture(scope="module")
def page(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold the page of a run over the twelve samples of the store, with pictures."""
    part = store.part("train")
    rng = np.random.default_rng(0)
    labels = part.labels[:, : len(RUN_CLASSES)]  # type: ignore[index]
    probs = (0.6 * labels + 0.3 * rng.random(labels.shape)).astype(np.float32)
    probs[:3] = 0.9 - probs[:3]  # three that are wrong
    rows = OutOfFold(ids=part.ids, labels=labels, probs=probs, folds=np.arange(len(labels)) % 3)
    run = make_run(tmp_path_factory.mktemp("page") / "<b>run & co", rows, str(store.path))
    described = read_run(run)
    RunDescription(
        **{
            **{name: getattr(described, name) for name in described.__dataclass_fields__},
            "fingerprints": {"train": part.manifest.fingerprint},
        }
    ).write(run)
    done = write_report(run)
    assert done.missing_images_reason == ""
    return done.page


def test_the_page_holds_everything_itself(page: Path) -> None:
    text = page.read_text()
    seen = Page(text)
    assert seen.tags.count("svg") == 4
    assert seen.tags.count("img") == sum(map(len, pick_examples(read_out_of_fold(page.parent)))) >= 6
    for word in ("hit", "missed", "false"):
        assert f'<div class="{word}">' in text
    assert "script" not in seen.tags
    assert all(source.startswith(("data:", "#")) for source in seen.sources)
    assert not re.search(r"url\((?!#)", text)
    assert "&lt;script&gt;alert(1)" in text
    assert "&lt;b&gt;run &amp; co" in text
    assert "{{" not in text
    assert "Never $seen$" in text


def test_a_page_without_its_store_says_so(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_rows())
    text = write_report(run).page.read_text()
    assert "No pictures: " in text
    assert "nowhere.zarr" in text
    assert "<img" not in text


def test_a_page_does_not_show_pictures_of_another_store(store: Store, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_rows(), str(store.path))
    text = write_report(run).page.read_text()
    assert "whose part train is another one" in text.replace("\n", " ")


def test_the_same_run_gives_the_same_page(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_rows())
    assert write_report(run).page.read_bytes() == write_report(run).page.read_bytes()


@pytest.mark.skipif(not any(map(shutil.which, BROWSERS)), reason="no Chromium")
def test_the_page_opens_in_a_browser_without_a_complaint(page: Path, tmp_path: Path) -> None:
    browser = next(path for path in map(shutil.which, BROWSERS) if path)
    common = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    logging = ["--enable-logging=stderr", "--v=0"]
    shot = tmp_path / "page.png"
    done = subprocess.run(
        [*common, *logging, f"--screenshot={shot}", "--window-size=1200,6000", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in done.stderr
    picture = cv2.imread(str(shot))
    assert picture.shape[:2] == (6000, 1200)
    assert picture[:600].std() > 10
    dom = subprocess.run(
        [*common, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    assert Page(dom.stdout).tags.count("svg") == 4
