"""The report of a run: what it holds, and how a browser opens it."""

import html.parser
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from hpa_data.store.store import Store
from hpa_model.baseline.settings import CLASSIFIERS, BaselineSettings
from hpa_model.config import CHOICES, TrainConfig
from hpa_model.evaluation.example_maps import add_maps, pick_classes
from hpa_model.evaluation.figures import KEPT
from hpa_model.evaluation.images import N_EXAMPLES, pick_examples, pick_gallery, read_images
from hpa_model.evaluation.report import list_settings, write_report
from hpa_model.evaluation.results import Classifiers, read_results
from hpa_model.evaluation.scores import predict_headline
from hpa_model.runs.folder import RunDescription, read_run
from hpa_model.runs.out_of_fold import OutOfFold
from tests.builders import RUN_CLASSES, make_rows, make_run, unseal_run

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def test_examples_are_the_most_confident_correct_rows_and_the_largest_losses() -> None:
    rows = make_rows(400)
    predicted = predict_headline(rows)
    correct, wrong = pick_examples(rows, predicted)
    exact = (predicted == rows.labels).all(axis=1)
    assert exact[correct].all()
    assert not exact[wrong].any()
    assert len(set(correct)) == len(correct) == len(set(wrong)) == 6
    right = np.where(rows.labels, rows.probs, 1 - rows.probs)
    losses = -np.log(right.clip(1e-7)).sum(axis=1)
    assert losses[wrong].tolist() == sorted(losses[~exact], reverse=True)[:6]


def test_the_gallery_of_a_class_has_what_was_found_missed_and_wrong() -> None:
    rows = make_rows(400)
    predicted = predict_headline(rows)
    picked = pick_gallery(rows, predicted, 0)
    assert [kind for kind, _ in picked] == ["found", "found", "missed", "wrong"]
    assert rows.probs[picked[0][1], 0] >= rows.probs[picked[1][1], 0]
    assert [rows.labels[index, 0] for _, index in picked] == [1, 1, 1, 0]
    assert [predicted[index, 0] for _, index in picked] == [1, 1, 0, 1]


def test_settings_say_which_differ_from_the_defaults_and_which_do_nothing() -> None:
    settings = {each.name: each for each in list_settings(TrainConfig(epochs=7, options={"dropout": 0.1}))}
    assert (settings["epochs"].value, settings["epochs"].default) == ("7", "50")
    assert [name for name, each in settings.items() if not each.is_default] == ["options", "epochs"]
    assert settings["options"].value == "dropout = 0.1"
    assert not settings["momentum"].is_used
    table = {"policy": "paper", "blur": {"sigma": [0, 2], "p": 0.5}, "mirror": {"axis": "x"}}
    (augment,) = [each for each in list_settings(TrainConfig(augment=table)) if each.name == "augment"]
    assert augment.value == "policy = paper, blur = {sigma = [0, 2], p = 0.5}, mirror = {axis = x}"
    for name, config in (
        ("momentum", TrainConfig(optimizer="sgd")),
        ("momentum", TrainConfig(optimizer="muon")),
        ("plateau_factor", TrainConfig(schedule="plateau")),
        ("plateau_factor", TrainConfig(plateau_epochs=3)),
    ):
        assert {each.name: each for each in list_settings(config)}[name].is_used
    for has_weights in (False, True):
        staged = list_settings(TrainConfig(head_epochs=2), has_weights=has_weights)
        assert {each.name: each for each in staged}["head_epochs"].is_used == has_weights


@pytest.mark.parametrize(
    ("keep", "kept", "bias"),
    [
        ("lowest_loss", "that of the lowest validation loss", "chosen by the loss on the fold that is scored: a small"),
        ("highest_macro_f1", "that of the highest macro-F1", "chosen by macro-F1 at the best thresholds on the fold"),
        ("last", "the last one", ""),
    ],
)
@pytest.mark.slow
def test_the_report_says_how_the_epoch_of_each_model_was_chosen(
    tmp_path: Path, keep: str, kept: str, bias: str
) -> None:
    page = write_report(make_run(tmp_path / "run", make_rows(), keep=keep), files=False).path.read_text()
    assert f"the epoch that is kept, {kept}" in page.replace("\n", " ")
    assert bias in page
    assert ("The epoch of each model was chosen" in page) == bool(bias)


def test_there_are_words_for_each_way_to_choose_an_epoch() -> None:
    assert set(KEPT) == set(CHOICES["keep"])


@pytest.mark.slow
def test_the_report_says_what_a_training_started_from(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_rows())
    for models, line in (
        (("a", "b", "c"), "Started from the models of x."),
        (("a",), "Started from the weights of x."),
    ):
        replace(read_run(run), weights="x", weights_models=models).write(run)
        assert line in write_report(run, files=False).path.read_text()


def test_a_baseline_shows_its_own_settings_its_classifiers_and_the_features_that_matter(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_rows())
    settings = BaselineSettings(n_trees=50)
    replace(read_run(run), baseline=settings).write(run)
    assert read_results(run).classifiers == Classifiers(scores={}, features=())  # without their files
    alone = {name: {"cross_fitted": 0.5} for name in CLASSIFIERS}
    (run / "classifiers.json").write_text(json.dumps(alone))
    (run / "importances.csv").write_text("feature,importance\ngreen: mean,0.25\n")
    found = read_results(run).classifiers
    assert found is not None
    assert found.scores == {"extra trees": 0.5, "logistic regression": 0.5, "the mean of both": 0.5}
    assert found.features == (("green: mean", 0.25),)
    listed = {each.name: each for each in list_settings(TrainConfig(model="baseline"), settings)}
    assert "learning_rate" not in listed
    assert [name for name, each in listed.items() if not each.is_default] == ["n_trees"]


class Page(html.parser.HTMLParser):
    """The elements of a page, everything that it would fetch, and where its links lead."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.labels: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = dict(attrs)
        self.ids += [values["id"] or ""] if "id" in values else []
        if tag == "a":
            self.links.append(values["href"] or "")
        else:
            self.sources += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href"}]
        if tag in {"svg", "img"}:
            self.labels.append(values.get("aria-label") or values.get("alt") or "")


@pytest.fixture(scope="module")
def report(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold the report of a run over the twelve samples of the store, with images."""
    part = store.part("train")
    rng = np.random.default_rng(0)
    labels = part.labels[:, : len(RUN_CLASSES)]  # type: ignore[index]
    probs = (0.6 * labels + 0.3 * rng.random(labels.shape)).astype(np.float32)
    probs[::5] = 0.9 - probs[::5]  # one of each fold that is wrong
    probs[0] = 0.01  # too low for most thresholds
    rows = OutOfFold(ids=part.ids, labels=labels, probs=probs, folds=np.arange(len(labels)) // 4)
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
    n_examples = len(re.findall('class="sample"', text))
    assert N_EXAMPLES <= n_examples <= 2 * N_EXAMPLES
    assert seen.tags.count("details") == n_examples + 2  # galleries and settings
    assert seen.tags.count("img") > 2 * n_examples  # all channels, the signal alone; and the galleries
    for word in ("true-positive", "false-negative", "false-positive"):
        assert f'<div class="{word}">' in text
    assert re.search(r"missed [\w &;]+ \(p&nbsp;0\.\d\d\)", text)
    assert "script" not in seen.tags
    assert all(source.startswith(("data:", "#")) for source in seen.sources)
    assert not re.search(r"url\((?!#)", text)
    assert "&lt;script&gt;alert(1)" in text
    assert "&lt;b&gt;run &amp; co" in text
    assert "{{" not in text
    assert "Never $seen$" in text


def test_the_report_names_numbers_and_explains_its_figures_and_its_links_lead_somewhere(report: Path) -> None:
    text = report.read_text()
    seen = Page(text)
    numbers = [int(number) for number in re.findall(r"<figcaption><b>Figure (\d+)\.</b> \w", text)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert seen.tags.count("svg") == 2 * len(numbers) - 1  # the map of confusions is drawn once
    assert all(seen.labels)
    assert len(set(seen.ids)) == len(seen.ids)
    assert {link.removeprefix("#") for link in seen.links if link.startswith("#")} <= set(seen.ids)
    files = [report.parent / link for link in seen.links if not link.startswith("#")]
    assert len(files) == 2 * len(numbers)
    assert {path.read_bytes()[:5] for path in files} == {b"<?xml", b"%PDF-"}


def test_a_fine_tuned_run_and_its_base_link_each_other(tmp_path: Path) -> None:
    base, run = (make_run(tmp_path / name, make_rows()) for name in ("base & co", "tuned"))
    write_report(base, files=False)
    replace(read_run(run), finetuned_from=str(base), finetuned_folds=(1,), base_models=("a", "b", "c")).write(run)
    write_report(run, files=False)
    assert '<a href="../base &amp; co/report.html">base &amp; co</a>' in (run / "report.html").read_text()
    page = (base / "report.html").read_text()
    assert page.count('Fine-tuned from this run: <a href="../tuned/report.html">tuned</a>.') == 1
    write_report(base, files=False)
    assert (base / "report.html").read_text() == page


def test_a_report_of_a_run_without_skill_or_store_says_so_and_is_always_the_same(tmp_path: Path) -> None:
    rows = make_rows()
    blind = np.random.default_rng(1).random(rows.probs.shape, np.float32)
    run = make_run(tmp_path / "run", replace(rows, probs=blind))
    text = write_report(run, files=False).path.read_text()
    assert "No images. " in text
    assert "nowhere.zarr" in text
    assert "<img" not in text
    assert "inside the band: no skill shown" in text
    assert "&nbsp;†" in text
    assert "Leak check: duplicates were not looked for" in text
    assert write_report(run, files=False).path.read_text() == text
    assert not (run / "figures").exists()


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
    assert Page(dom.stdout).tags.count("svg") == Page(report.read_text()).tags.count("svg")


def test_images_of_another_store_are_not_shown_and_the_reason_names_its_remedy_once(
    store: Store, tmp_path: Path
) -> None:
    gone = read_results(make_run(tmp_path / "gone", make_rows(), str(tmp_path / "nowhere.zarr")))
    other = read_results(make_run(tmp_path / "other", make_rows(), str(store.path)))  # its samples are not those
    reasons = [read_images(*each).missing_reason for each in ((None, gone), (None, other), (store, other))]
    assert [reason.count("--store") for reason in reasons] == [1, 1, 1]
    assert "its part train is not the one that the run was trained on" in reasons[1]


def test_the_report_shows_class_maps_and_without_models_or_keras_there_are_none(
    run: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    report = write_report(folder, store, files=False)
    page = report.path.read_text()
    results = read_results(folder)
    images = read_images(store, results)
    examples = (*images.correct, *images.wrong)
    wanted = [pick_classes(example, results.description.classes) for example in examples]
    assert page.count(", class map of ") == sum(map(len, wanted)) >= len(wanted) > 0
    assert "<code>hpa explain</code> draws them" in page
    assert (report.missing_maps_reason, report.missing_images_reason) == ("", "")
    assert len(page) < 3_000_000
    with monkeypatch.context() as patch:
        patch.setattr("hpa_model.evaluation.class_maps.MAX_BYTES", None)  # an error that nobody foresaw
        failed = add_maps(images, store, results)
    assert failed.correct == images.correct
    assert failed.missing_maps_reason.startswith("Cannot compute them: TypeError: ")
    assert "\n" not in failed.missing_maps_reason
    (unseal_run(folder) / "fold1" / "best.keras").unlink()
    gone = add_maps(images, store, results)
    monkeypatch.setitem(sys.modules, "hpa_model.evaluation.class_maps", None)  # as where Keras is not installed
    without = add_maps(images, store, results)
    assert gone.correct == without.correct == images.correct
    assert "best.keras: it is missing or incomplete. Train the run again." in gone.missing_maps_reason
    assert without.missing_maps_reason.startswith("Keras cannot be loaded")


def test_a_report_is_written_without_keras() -> None:
    script = "import sys; sys.modules['keras'] = None; import hpa_model.evaluation.report"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=100)


@pytest.mark.slow
def test_a_report_without_class_maps_says_so(run: Path, store: Store, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    report = write_report(folder, store, files=False, class_maps=False)
    assert report.missing_maps_reason == "they were switched off."
    page = report.path.read_text()
    assert "No class maps: they were switched off." in page
    assert "class map of" not in page
    assert '<details class="sample">' in page


@pytest.mark.slow  # tests/data/stats/test_labels.py has the choice of the classes
def test_a_report_of_many_classes_shows_forty_of_them_says_so_and_stays_small(tmp_path: Path) -> None:
    classes = tuple(f"class {k} with a name that is too long for a figure" for k in range(208))
    rows = make_rows()
    labels, probs = (np.zeros((90, 208), dtype) for dtype in (np.uint8, np.float32))
    labels[np.arange(90), np.arange(90) % 45] = 1
    run = make_run(tmp_path / "run", replace(rows, labels=labels, probs=probs + 0.9 * labels))
    replace(read_run(run), classes=classes).write(run)
    text = write_report(run, files=False).path.read_text()
    assert "Of 208 classes, 45 occur; shown are the 20 most frequent and the 20 rarest of them. scores.json" in text
    assert "and 143 more.</p>" in text
    assert sum(f'<tr><th scope="row">{k} ' in text for k in range(208)) == 40
    assert len(text) < 1_000_000
