"""Exported models of every network, in every format, compared with the run that they are of."""

import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from hpa_data.store.store import Store, open_store
from hpa_model.config import TrainConfig
from hpa_model.nets import NETS
from hpa_model.predict.export import export_run
from hpa_model.predict.export.check import measure, run_script
from hpa_model.predict.export.folder import check_folder
from hpa_model.predict.export.formats import WRITERS, write_model
from hpa_model.predict.export.graph import join_networks, to_float32
from hpa_model.predict.export.options import TOLERANCE
from hpa_model.predict.export.samples import make_images, predict_images
from hpa_model.predict.export.scripts import SCRIPT_FILE, make_script
from hpa_model.training.train import train
from tests.builders import Hpa, convert
from tests.model.export.calibrated import build_calibrated
from tests.model.stopping import CONFIG

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="converters take TensorFlow's graphs"),
]
FORMATS = ["saved-model", "onnx", "litert", "openvino"]
SHAPE = (160, 144, 4)
TEMPERATURES = np.array([1.3, 1 / 1.3])


@pytest.fixture(scope="module")
def run(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    train(store, replace(CONFIG, model="gapnet-pl", image_size=32, precision="mixed_bfloat16"), out)
    return out


@pytest.mark.parametrize("name", NETS)
def test_a_network_gives_the_same_probabilities_in_all_formats(name: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    images = make_images(SHAPE, 10)
    temperatures = TEMPERATURES if name in {"gapnet", "gapnet-pl"} else TEMPERATURES[:1]  # others take minutes
    networks = [build_calibrated(name, images, 28, image_size=128) for _ in temperatures]
    expected = predict_images(networks, temperatures, images)
    assert expected.std(axis=0).max() > 0.01  # they see something
    joined = join_networks([to_float32(network) for network in networks], temperatures)
    for kind in FORMATS:
        folder, file = tmp_path / kind, WRITERS[kind].file
        folder.mkdir()
        write_model(joined, kind, folder / file, "{}")
        (folder / "hpa.json").write_text("{}")
        (folder / SCRIPT_FILE).write_text(make_script(kind, file))
        assert measure(run_script(folder, images, kind), expected) <= TOLERANCE, kind


@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_known_of_a_model_is_in_every_format(kind: str, run: Path, tmp_path: Path, hpa: Hpa) -> None:
    ended = hpa("export", run, "--format", kind, "--fold", 1, "--check-samples", 4, "--out", tmp_path / "out", "--json")
    report = json.loads(ended.out)
    assert report["max_difference"] <= TOLERANCE
    assert "computes in mixed_bfloat16" in report["notices"][-1]["what"]
    about = json.loads((tmp_path / "out" / "hpa.json").read_text())
    about.pop("check")
    check_folder(tmp_path / "out", overwrite=True)
    model = tmp_path / "out" / report["file"]
    if kind == "saved-model":
        assert not list_devices(model)
        text = (model / "assets.extra" / "hpa.json").read_text()
    elif kind == "litert":
        text = zipfile.ZipFile(model).read("hpa.json").decode()
    elif kind == "onnx":
        import onnx

        (entry,) = onnx.load(model).metadata_props
        text = entry.value
    else:
        import openvino

        text = openvino.Core().read_model(model).get_rt_info(["hpa"]).astype(str)
    assert json.loads(text) == about
    assert (about["folds"], about["temperatures"]) == ([1], [1.0])


def list_devices(model: Path) -> set[str]:
    """List the devices that the operations of a SavedModel are bound to, but for those that read and write weights."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    (graph,) = SavedModel.FromString((model / "saved_model.pb").read_bytes()).meta_graphs
    functions = [each for each in graph.graph_def.library.function if "__inference__traced" not in each.signature.name]
    assert functions
    return {node.device for function in functions for node in function.node_def} - {""}


def test_a_package_is_valid_to_the_library_of_bioimageio(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("bioimageio.core")
    from bioimageio.core import test_model

    report = export_run(run, "bioimageio", tmp_path / "out", n_checked=4)
    assert report.max_difference <= TOLERANCE
    assert test_model(tmp_path / "out" / "rdf.yaml").status == "passed"
    check_folder(tmp_path / "out", overwrite=True)


@pytest.mark.realdata
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_the_real_samples_get_the_same_probabilities(backend: str, real_data: Path, tmp_path: Path) -> None:
    convert(real_data / "kaggle/train", tmp_path / "hpa.zarr", labels=real_data / "kaggle/train.csv")
    config = TrainConfig(model="gapnet-pl", folds=2, epochs=2, image_size=128, batch_size=8)
    train(open_store(tmp_path / "hpa.zarr"), config, tmp_path / "run")
    code = (
        "from pathlib import Path; from hpa_model.predict.export import export_run\n"
        "report = export_run(Path('run'), 'saved-model', Path('out'), n_checked=60)\n"
        "print(report.n_checked, report.max_difference <= report.tolerance)\n"
    )
    environment = {"KERAS_BACKEND": backend}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | environment | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["60", "True"]
