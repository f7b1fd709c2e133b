"""`hpa export`: what is written, what it says, and what is refused."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import imageio.v3 as imageio
import keras
import numpy as np
import pytest

from hpa_data.errors import InputError
from hpa_data.sources.options import ImportOptions
from hpa_data.store.store import Store
from hpa_model.predict.chosen import ChosenModels, choose_models
from hpa_model.predict.export import ExportedModel, export_run
from hpa_model.predict.export.check import compare, run_script
from hpa_model.predict.export.folder import check_folder, write_folder
from hpa_model.predict.export.formats import WRITERS, check_bytes
from hpa_model.predict.export.metadata import describe_models
from hpa_model.predict.export.samples import choose_images
from hpa_model.predict.export.scripts import make_script
from hpa_model.predict.models import load_models, predict_probs
from hpa_model.training.baseline import train_baseline
from hpa_model.training.ensemble import join_runs
from tests.builders import Hpa, assert_refused
from tests.model.stopping import CONFIG

needs_tensorflow = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="converters take its graphs")


@pytest.fixture(scope="module")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> ExportedModel:
    if keras.backend.backend() != "tensorflow":
        pytest.skip("converters take TensorFlow's graphs")
    return export_run(run, "onnx", tmp_path_factory.mktemp("exports") / "onnx", n_checked=3)


def read_about(folder: Path) -> dict:
    return json.loads((folder / "hpa.json").read_text("utf-8"))


def describe(models: ChosenModels) -> dict:
    return describe_models(models, file="model", kind="onnx", input_name="images", output_name="probs", batch=None)


def test_the_model_gives_the_probabilities_of_the_run(exported: ExportedModel, run: Path, store: Store) -> None:
    models = choose_models(run)
    with store.reader(["test"]) as reader:
        rows = np.arange(len(reader))
        networks = load_models(run, models.description, models.folds)
        expected = predict_probs(networks, reader, rows, 2, temperatures=models.temperatures)
        images = np.stack([reader.read([row])[0] for row in rows])
    np.testing.assert_allclose(run_script(exported.out, images, "onnx"), expected, atol=1e-4)
    assert exported.max_difference <= exported.tolerance == 1e-4
    assert (exported.n_checked, exported.checked_on, exported.folds) == (3, "samples of part train", (0, 1))


def test_it_says_what_the_run_knows_beside_the_model_and_inside(exported: ExportedModel, run: Path) -> None:
    import onnx

    about = read_about(exported.out)
    check = about.pop("check")
    inside = {each.key: each.value for each in onnx.load(exported.out / exported.file).metadata_props}
    assert json.loads(inside["hpa"]) == about
    models = choose_models(run)
    assert [each["threshold"] for each in about["classes"]] == models.decision.thresholds.tolist()
    assert [each["name"] for each in about["classes"]] == list(models.description.classes)
    assert [each["name"] for each in about["channels"]] == ["red", "green", "blue", "yellow"]
    assert about["temperatures"] == models.temperatures.tolist()
    assert (about["thresholds"], about["fill_empty"]) == ("fitted", models.decision.fill)
    assert about["input"]["shape"] == [None, *models.description.image_shape]
    assert about["reading"]["train"]["intensity"] == "full"
    assert about["reading"]["train"].keys() == {field.name for field in fields(ImportOptions)}
    assert about["reading"]["train"]["fit"] is None
    assert check["max_difference"] == exported.max_difference


def test_its_script_predicts_files_as_the_run_does(exported: ExportedModel, kaggle: Path, tmp_path: Path) -> None:
    planes = sorted((kaggle / "test").glob("*_red.png"))[0]
    files = [str(planes).replace("_red", f"_{name}") for name in ("red", "green", "blue", "yellow")]
    command = [sys.executable, exported.out / "predict.py", *files]
    lines = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.splitlines()
    image = np.stack([imageio.imread(file) for file in files], axis=-1)
    probs = run_script(exported.out, image[None], "onnx")[0].astype(float)
    about = read_about(exported.out)
    chosen = probs > [each["threshold"] for each in about["classes"]]
    if not chosen.any() and about["fill_empty"]:
        allowed = [each["threshold"] < 1 for each in about["classes"]]
        chosen[np.where(allowed, probs, -1).argmax()] = True
    assert lines == [
        f"{prob:.6f} {'*' if is_chosen else ' '} {each['name']}"
        for each, prob, is_chosen in zip(about["classes"], probs, chosen, strict=True)
    ]


def test_its_script_compares_with_thresholds_exactly(tmp_path: Path) -> None:
    script = make_script("onnx", "model.onnx").replace("import onnxruntime\n", "").replace("session = ", "# ")
    script = script.replace('session.run(["probs"], {"images": images})[0]', "np.float32([[0.1, 0.05]])")
    (tmp_path / "predict.py").write_text(script)
    classes = [{"name": "one", "threshold": 0.1}, {"name": "two", "threshold": 0.06}]
    about = {"input": {"shape": [None, 4, 4, 1]}, "classes": classes, "fill_empty": False}
    (tmp_path / "hpa.json").write_text(json.dumps(about))
    imageio.imwrite(tmp_path / "plane.png", np.zeros((4, 4), np.uint8))
    command = [sys.executable, str(tmp_path / "predict.py"), str(tmp_path / "plane.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["0.100000 * one", "0.050000   two"]  # float32 of 0.1 is above it


def test_the_page_on_exports_shows_the_script_as_it_is() -> None:
    page = (Path(__file__).parents[3] / "docs/export.md").read_text()
    assert f"```python\n{make_script('onnx', 'model.onnx')}```\n" in page
    for kind, writer in WRITERS.items():
        assert set(make_script(kind, writer.file).splitlines()) <= set(page.splitlines())


def find_ended() -> int:
    """Return the number of a process that has ended."""
    with subprocess.Popen(["true"]) as process:
        pass
    return process.pid


def test_folders_beside_it_that_are_no_temporary_ones_of_ended_processes_stay(tmp_path: Path) -> None:
    names = {".out.mine.part", f".out.mine.{find_ended()}-2.part", f".out.{os.getpid()}-2.part"}
    for name in names:  # the last one is of a running process, which has not locked it yet
        (tmp_path / name).mkdir()
    with write_folder(tmp_path / "out", overwrite=False):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"out", *names}


def test_what_a_killed_export_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / f".out.{find_ended()}-2.part"
    left.mkdir()
    (left / "model.onnx").touch()
    with write_folder(tmp_path / "out", overwrite=False) as held:
        with write_folder(tmp_path / "out", overwrite=False) as folder:  # of another process: that one stays
            assert held.is_dir()
            (folder / "hpa.json").write_text('{"format": "hpa-export"}')
        shutil.rmtree(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_is_replaced_only_if_it_is_an_export_and_that_is_asked_for(
    exported: ExportedModel, run: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="an export. Pass --overwrite"):
        export_run(run, "onnx", exported.out)
    (tmp_path / "mine.txt").touch()
    with pytest.raises(InputError, match="which holds other files. Pass another path."):
        export_run(run, "onnx", tmp_path, overwrite=True)
    other = tmp_path / "other"
    other.mkdir()
    (other / "hpa.json").write_text('{"format": "hpa-export"}')
    with write_folder(other, overwrite=True) as folder:
        (folder / "predict.py").touch()
    assert [path.name for path in other.iterdir()] == ["predict.py"]
    assert {path.name for path in tmp_path.iterdir()} == {"mine.txt", "other"}


@pytest.mark.parametrize("name", ["notes.txt", "mine/model.onnx", "model/variables/more/variables.index"])
def test_an_export_with_files_of_others_is_not_replaced(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    (tmp_path / "hpa.json").write_text('{"format": "hpa-export"}')
    with pytest.raises(InputError, match=f"which holds {name}. Move it away"):
        check_folder(tmp_path, overwrite=True)


def test_an_export_that_was_used_is_replaced(exported: ExportedModel) -> None:
    check_folder(exported.out, overwrite=True)
    subprocess.run([sys.executable, "-c", "import predict"], cwd=exported.out, check=True)
    check_folder(exported.out, overwrite=True)


# The command is killed in the place of this rename, or that fails.
REPLACE = """
import os, pathlib, signal, sys
from hpa_model.predict.export.folder import write_folder
n_done, rename = 0, pathlib.Path.rename
def stop(path, target):
    global n_done
    if n_done == int(sys.argv[2]):
        if sys.argv[3] == "fail":
            n_done += 1
            raise OSError(5, "Input/output error")
        os.kill(os.getpid(), signal.SIGKILL)
    n_done += 1
    return rename(path, target)
with write_folder(pathlib.Path(sys.argv[1]), overwrite=True) as folder:
    (folder / "hpa.json").write_text('{"format": "hpa-export"}')
    (folder / "README.md").write_text("new")
    pathlib.Path.rename = stop
"""


@pytest.mark.parametrize(
    ("n_renamed", "left", "how"), [(1, "old", "kill"), (1, "old", "fail"), (2, "new", "kill"), (3, "new", "kill")]
)
def test_an_export_is_there_whenever_the_command_that_replaces_it_ends(
    n_renamed: int, left: str, how: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "hpa.json").write_text('{"format": "hpa-export"}')
    (out / "README.md").write_text("old")
    command = [sys.executable, "-c", REPLACE, str(out), str(n_renamed), how]
    subprocess.run(command, check=False, cwd=Path(__file__).parents[3], capture_output=True)
    if how == "kill":
        with pytest.raises(InputError, match="Pass --overwrite"), write_folder(out, overwrite=False):
            pass
    assert (out / "README.md").read_text() == left
    with write_folder(out, overwrite=True) as folder:
        (folder / "hpa.json").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_of_the_user_is_not_taken_for_a_replaced_one(tmp_path: Path) -> None:
    (tmp_path / ".out.before" / "mine").mkdir(parents=True)
    with pytest.raises(InputError, match="Move that away"), write_folder(tmp_path / "out", overwrite=True):
        pass
    assert (tmp_path / ".out.before" / "mine").exists()


def test_a_model_that_differs_leaves_nothing(tmp_path: Path) -> None:
    probs = np.full((2, 3), 0.5, np.float32)
    with (
        pytest.raises(InputError, match=r"differ from those of the run by up to 2.0e-04, more than 1e-04"),
        write_folder(tmp_path / "out", overwrite=False),
    ):
        compare(probs + np.float32(2e-4), probs, tolerance=1e-4, kind="onnx")
    assert not list(tmp_path.iterdir())


def test_without_the_store_images_are_made_up_and_it_says_so(run: Path, tmp_path: Path) -> None:
    description = replace(choose_models(run).description, store=str(tmp_path / "gone.zarr"))
    chosen = choose_images(description, 4, None)
    assert chosen.images.shape == (4, *description.image_shape)
    assert [each.min() == each.max() for each in chosen.images] == [True, True, False, False]
    assert "made-up images" in str(chosen.notices[0])
    with pytest.raises(InputError, match=r"gone.zarr"):
        choose_images(description, 4, tmp_path / "gone.zarr")


def test_without_folds_the_thresholds_are_said_not_to_be_fitted(run: Path) -> None:
    models = choose_models(run)
    config = replace(models.description.config, folds=0, keep="last", plateau_epochs=0)
    final = replace(models, description=replace(models.description, config=config), folds=(0,), rows=None)
    about = describe(final)
    assert (about["thresholds"], about["scores"]) == ("0.5", None)


@needs_tensorflow
def test_scores_are_those_of_all_folds_and_of_no_fold_alone(run: Path) -> None:
    from hpa_model.predict.export.package import make_readme

    saved = json.loads((run / "scores.json").read_text())
    models = choose_models(run)
    checked = {"check": {"n_images": 1, "max_difference": 0.0}}
    whole = describe(models)
    assert whole["scores"] == {"macro_f1": saved["macro_f1_cross_fitted"], "n_samples": saved["n_samples"]}
    assert "Macro-F1 of the run's folds" in make_readme(whole | checked)
    one = describe(replace(models, folds=(1,)))
    assert one["scores"] is None
    assert "There is no score of this model." in make_readme(one | checked)


@needs_tensorflow
def test_what_a_format_cannot_do_is_one_line(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"the weights have 3.0 GB, it holds 2 GB. Pass --fold K"):
        check_bytes("onnx", 3 * 10**9)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"onnxruntime is not installed. Run: pip install '.\[export\]'."):
        export_run(run, "onnx", tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="of another backend")
def test_another_backend_is_told_which_one_it_takes(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Set KERAS_BACKEND=tensorflow"):
        export_run(run, "litert", tmp_path / "out")


def test_runs_that_are_no_network_are_refused(run: Path, store: Store, tmp_path: Path, hpa: Hpa) -> None:
    train_baseline(store, CONFIG, tmp_path / "baseline")
    assert_refused(hpa("export", tmp_path / "baseline", "--format", "onnx", "--out", tmp_path / "out"), "a baseline")
    join_runs([run, tmp_path / "baseline"], tmp_path / "joined")
    assert_refused(hpa("export", tmp_path / "joined", "--format", "onnx", "--out", tmp_path / "out"), "an ensemble")


@pytest.mark.parametrize(("fold", "message"), [("two", "a number from 0, or ensemble"), ("2", "from 0 to 1")])
def test_a_fold_that_there_is_not_is_refused(fold: str, message: str, run: Path, tmp_path: Path, hpa: Hpa) -> None:
    assert_refused(hpa("export", run, "--format", "onnx", "--fold", fold, "--out", tmp_path / "out"), message)
    assert not list(tmp_path.iterdir())
