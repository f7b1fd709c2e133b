"""The report of a run: what it holds, and how a browser opens it."""

import dataclasses
import html.parser
import re
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from hpa_data.store.store import Store
from hpa_model.evaluation.report import pick_examples, write_report
from hpa_model.runs.folder import RunDescription, read_run
from hpa_model.runs.out_of_fold import OutOfFold, read_out_of_fold
from hpa_model.thresholds import predict_cross_fitted
from tests.builders import RUN_CLASSES, make_rows, make_run

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def test_examples_are_the_most_confident_correct_rows_and_the_largest_losses() -> None:
    rows = make_rows(400)
    correct, wrong = pick_examples(rows)
    predicted = predict_cross_fitted(rows.labels, rows.probs, rows.folds)
    exact = (predicted == rows.labels).all(axis=1)
    assert exact[correct].all()
    assert not exact[wrong].any()
    assert len(set(correct)) == len(correct) == len(set(wrong)) == 6
    right = np.where(rows.labels, rows.probs, 1 - rows.probs)
    losses = -np.log(right.clip(1e-7)).sum(axis=1)
    assert losses[wrong].tolist() == sorted(losses[~exact], reverse=True)[:6]


class Page(html.parser.HTMLParser):
    """The elements of a page, and everything that it would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href"}]


@pytest.fixture(scope="module")
def report(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold the report of a run over the twelve samples of the store, with images."""
    part = store.part("train")
    rng = np.random.default_rng(0)
    labels = part.labels[:, : len(RUN_CLASSES)]  # type: ignore[index]
    probs = (0.6 * labels + 0.3 * rng.random(labels.shape)).astype(np.float32)
    probs[:3] = 0.9 - probs[:3]  # three that are wrong
    rows = OutOfFold(ids=part.ids, labels=labels, probs=probs, folds=np.arange(len(labels)) % 3)
    run = make_run(tmp_path_factory.mktemp("report") / "<b>run & co", rows, str(store.path))
    described = read_run(run)
    RunDescription(
        **{
            **{name: getattr(described, name) for name in described.__dataclass_fields__},
            "fingerprints": {"train": part.manifest.fingerprint},
        }
    ).write(run)
    done = write_report(run)
    assert done.missing_images_reason == ""
    return done.path


def test_the_report_holds_everything_itself(report: Path) -> None:
    text = report.read_text()
    seen = Page(text)
    assert seen.tags.count("svg") == 4
    assert seen.tags.count("img") == sum(map(len, pick_examples(read_out_of_fold(report.parent)))) >= 6
    for word in ("true-positive", "false-negative", "false-positive"):
        assert f'<div class="{word}">' in text
    assert "script" not in seen.tags
    assert all(source.startswith(("data:", "#")) for source in seen.sources)
    assert not re.search(r"url\((?!#)", text)
    assert "&lt;script&gt;alert(1)" in text
    assert "&lt;b&gt;run &amp; co" in text
    assert "{{" not in text
    assert "Never $seen$" in text


def test_a_report_without_its_store_says_so(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_rows())
    text = write_report(run).path.read_text()
    assert "No images. " in text
    assert "nowhere.zarr" in text
    assert "<img" not in text


def test_a_report_does_not_show_images_of_another_store(store: Store, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_rows(), str(store.path))
    text = write_report(run).path.read_text()
    assert "its part train is not the one that the run was trained on" in text


def test_the_same_run_gives_the_same_report(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_rows())
    assert write_report(run).path.read_bytes() == write_report(run).path.read_bytes()


@pytest.mark.skipif(not any(map(shutil.which, BROWSERS)), reason="no Chromium")
def test_the_report_opens_in_a_browser_without_an_error(report: Path, tmp_path: Path) -> None:
    browser = next(path for path in map(shutil.which, BROWSERS) if path)
    common = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    logging = ["--enable-logging=stderr", "--v=0"]
    shot = tmp_path / "report.png"
    done = subprocess.run(
        [*common, *logging, f"--screenshot={shot}", "--window-size=1200,6000", report.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in done.stderr
    image = cv2.imread(str(shot), cv2.IMREAD_COLOR_RGB)
    assert image.shape[:2] == (6000, 1200)
    assert (image[:600] == (0, 114, 178)).all(axis=-1).any()  # the frame of the main score
    dom = subprocess.run(
        [*common, "--dump-dom", report.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    assert Page(dom.stdout).tags.count("svg") == 4


def test_the_reason_for_a_report_without_images_names_its_remedy_once(store: Store, tmp_path: Path) -> None:
    gone = make_run(tmp_path / "gone", make_rows(), str(tmp_path / "nowhere.zarr"))
    assert write_report(gone).missing_images_reason.count("--store") == 1
    other = make_run(tmp_path / "other", make_rows(), str(store.path))  # its samples are not those of the run
    assert write_report(other).missing_images_reason.count("--store") == 1
    assert write_report(other, store).missing_images_reason.count("--store") == 1


def test_a_report_of_many_classes_shows_forty_of_them_says_so_and_stays_small(tmp_path: Path) -> None:
    classes = tuple(f"class {k} with a name that is too long for a figure" for k in range(1108))
    rows = make_rows()
    labels, probs = (np.zeros((90, 1108), dtype) for dtype in (np.uint8, np.float32))
    labels[np.arange(90), np.arange(90) % 45] = 1
    run = make_run(tmp_path / "run", dataclasses.replace(rows, labels=labels, probs=probs + 0.9 * labels))
    dataclasses.replace(read_run(run), classes=classes).write(run)
    text = write_report(run).path.read_text()
    assert "Of 1,108 classes, 45 occur; shown are the 20 most frequent and the 20 rarest of them. scores.json" in text
    assert "and 1,043 more.</p>" in text
    assert sum(f"<tr><td>{k} " in text for k in range(1108)) == 40
    assert len(text) < 1_000_000
