"""Stores and models that somebody made to do harm: one line each, nothing executed, nothing written outside."""

import io
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.builders import Ended
from tests.slow.contents import digest_folder
from tests.slow.faults import Bench
from tests.slow.scenes import ATTACKS, CONVERT, TRAIN, bench_with_store, write_source

pytestmark = pytest.mark.slow

HUGE = 3 * 10**8
DEEP: Any = []
for _ in range(400):
    DEEP = [DEEP]
ARRAY, PART = "train/status/zarr.json", "train/zarr.json"
IMAGES, IDS, LABELS = "train/images/zarr.json", "train/id/zarr.json", "train/labels/zarr.json"
PICKLE = {"name": "numcodecs.pickle", "configuration": {}}

# File, the way to a value in it, and what stands there instead.
CHANGES: tuple[tuple[str, tuple[str | int, ...], Any], ...] = (
    *((IMAGES, ("shape", 0), value) for value in (HUGE, 0, -1, 1.5, "70", 2**63, None)),
    *((ARRAY, ("shape", 0), value) for value in (HUGE, 0, -1, 69)),
    *((IDS, ("shape", 0), value) for value in (HUGE, 1)),
    *((LABELS, ("shape", 1), value) for value in (HUGE, 0, 1)),
    *((IMAGES, ("data_type",), value) for value in ("float64", "object", "uint16", DEEP)),
    *((ARRAY, ("data_type",), value) for value in ("float64", "string", "int64", "bool")),
    *((IDS, ("data_type",), value) for value in ("uint8", "object", {"name": "object", "configuration": {}})),
    *((name, ("codecs",), value) for name in (IMAGES, ARRAY, IDS) for value in ([], [PICKLE], DEEP, "blosc")),
    *((name, ("chunk_grid", "configuration", "chunk_shape"), [0]) for name in (ARRAY, IDS)),
    *((name, ("chunk_grid", "configuration", "chunk_shape"), [2**62]) for name in (ARRAY, IDS)),
    (ARRAY, ("chunk_key_encoding", "configuration", "separator"), "/../../"),
    *((name, ("node_type",), value) for name in (ARRAY, PART) for value in ("group", "array", 7)),
    *((name, ("zarr_format",), value) for name in (ARRAY, PART) for value in (2, 4, "3")),
    *((PART, ("attributes",), value) for value in ({}, [], DEEP, "x")),
)


@pytest.fixture(scope="module")
def bench(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Make a bench whose template holds a store."""
    with bench_with_store(tmp_path_factory.mktemp("crafted"), library, *ATTACKS["convert"].modules) as bench:
        yield bench


COMMANDS = (
    ("verify", "hpa.zarr"),
    ("stats", "hpa.zarr"),
    ("preview", "hpa.zarr", "--out", "a.png"),
    ("augment", "hpa.zarr", "--min-count", "60"),
    ("folds", "hpa.zarr"),
)


def judge(ended: Ended) -> str:
    """Say what is wrong with how a command ended that met a crafted file."""
    lines = ended.err.splitlines()
    if ended.status not in {0, 1, 2} or "Traceback" in ended.err + ended.out:
        return f"status {ended.status}, {ended.err[-1500:]!r}"
    if ended.status == 2 and (not lines or not lines[-1].startswith("Error: ") or len(lines[-1]) > 2000):
        return f"no line, {ended.err[-1500:]!r}"
    return ""


def change(path: Path, way: tuple[str | int, ...], value: Any) -> None:
    """Put a value into a JSON file."""
    content = json.loads(path.read_text())
    at = content
    for key in way[:-1]:
        at = at[key]
    at[way[-1]] = value
    path.write_text(json.dumps(content))


def test_crafted_stores_end_in_one_line(bench: Bench) -> None:
    wrong, statuses = [], []
    template = bench.folder.parent / "template"
    for number, (name, way, value) in enumerate(CHANGES):
        for command in COMMANDS:
            bench.reset(template)
            outside = digest_folder(bench.folder / "source")
            change(bench.folder / "hpa.zarr" / name, way, value)
            ended = bench.run(*command)
            statuses.append(ended.status)
            case = f"{command[0]}, {name} {way} {str(value)[:40]}"
            if problem := judge(ended):
                wrong.append(f"{case}: {problem}")
            assert digest_folder(bench.folder / "source") == outside, case
            known = {"source", "hpa.zarr", "two.toml", "labels.csv", "a.png"}
            assert {path.name for path in bench.folder.iterdir()} <= known, case
        del number
    print(f"{len(CHANGES)} stores, {len(COMMANDS)} commands: status 2 {statuses.count(2)} times, 1 {statuses.count(1)}")
    assert not wrong, "\n".join(wrong)


class Harm:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        """Make a file."""
        return open, ("harm", "w")


def craft_model(path: Path, number: int) -> str:
    """Replace a model by one that would do harm; say how."""
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    settings = json.loads(members["config.json"])
    layers = settings["config"]["layers"]
    lambda_layer = {
        "class_name": "__lambda__",
        "config": {"code": "4wAAAAA=\n", "defaults": None, "closure": None},
    }
    how = (
        "lambda",
        "module",
        "function",
        "outside",
        "no weights",
        "no settings",
        "bomb",
        "not a zip",
        "cut",
        "pickle",
        "deep",
        "other shapes",
    )[number]
    match how:
        case "lambda":
            layers[1] = {
                **layers[1],
                "module": "keras.layers",
                "class_name": "Lambda",
                "registered_name": None,
                "config": {"name": layers[1]["config"]["name"], "function": lambda_layer, "arguments": {}},
            }
        case "module":
            layers[1].update(module="os", class_name="system", registered_name="system")
        case "function":
            layers[1]["config"]["activation"] = {"module": "builtins", "class_name": "function", "config": "exec"}
        case "outside":
            members["../../../harm"] = b"harm"
            members["/tmp/harm-absolute"] = b"harm"
        case "no weights":
            del members["model.weights.h5"]
        case "bomb":
            members["config.json.bak"] = bytes(200_000_000)
        case "deep":
            settings["config"]["layers"] = DEEP
        case "other shapes":
            layers[0]["config"]["batch_shape"] = [None, 10**6, 10**6, 2]
    members["config.json"] = json.dumps(settings).encode()
    if how == "no settings":
        del members["config.json"]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    if how in {"not a zip", "pickle"}:
        path.write_bytes(b"no zip" if how == "not a zip" else pickle.dumps(Harm()))
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    return how


def craft_arrays(number: int) -> tuple[str, bytes]:
    """Return an archive of arrays that would do harm, and how."""
    file = io.BytesIO()
    header = b"\x93NUMPY\x01\x00\x76\x00{'descr': '%s', 'fortran_order': False, 'shape': (%d,), }"
    how = (
        "pickle",
        "object",
        "huge",
        "negative",
        "not a zip",
        "empty",
        "bomb",
        "text",
        "outside",
        "nan",
        "wide",
        "cut",
    )
    match how[number]:
        case "pickle":
            file.write(pickle.dumps(Harm()))
        case "object":
            np.savez(file, probs=np.array([Harm()], object), allow_pickle=True)  # type: ignore[call-overload]
        case "huge" | "negative":
            with zipfile.ZipFile(file, "w") as zipped:
                size = 10**15 if how[number] == "huge" else -5
                zipped.writestr("probs.npy", (header % (b"<f4", size)).ljust(128))
        case "not a zip":
            file.write(b"no zip")
        case "bomb":
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped:
                zipped.writestr("probs.npy", bytes(500_000_000))
        case "text":
            np.savez(file, probs=np.array(["a", "b"]))
        case "outside":
            with zipfile.ZipFile(file, "w") as zipped:
                zipped.writestr("../harm.npy", b"harm")
        case "nan":
            np.savez(file, probs=np.full((35, 2), np.nan, np.float32))
        case "wide":
            np.savez(file, probs=np.zeros((35, 5000), np.float32))
        case "cut":
            np.savez(file, probs=np.zeros((35, 2), np.float32))
            file.truncate(200)
    return how[number], file.getvalue()


def test_crafted_models_and_arrays_end_in_one_line(library: Path, tmp_path: Path) -> None:
    with Bench(tmp_path, library, *ATTACKS["train"].modules) as bench:
        write_source(tmp_path / "template", all_good=True)
        bench.reset(tmp_path / "template")
        assert bench.run(*CONVERT).status == 0
        assert bench.run(*TRAIN, learn=True).status == 0
        shutil.rmtree(tmp_path / "template")
        shutil.copytree(bench.folder, tmp_path / "template")
        wrong = []
        predict = ("predict", "run", "hpa.zarr", "--part", "train", "--out", "a.csv")
        for number in range(12):
            bench.reset(tmp_path / "template")
            how = craft_model(bench.folder / "run" / "fold0" / "best.keras", number)
            ended = bench.run(*predict)
            if how not in {"outside", "bomb"} and ended.status == 0:
                wrong.append(f"model, {how}: status 0")
            if problem := judge(ended):
                wrong.append(f"model, {how}: {problem}")
        for number in range(12):
            bench.reset(tmp_path / "template")
            how, content = craft_arrays(number)
            for name in ("fold0/probs.npz", "out_of_fold.npz"):
                (bench.folder / "run" / name).write_bytes(content)
            (bench.folder / "run" / "fold1" / "checkpoint.npz").write_bytes(content)
            for command in (("evaluate", "run"), TRAIN, ("compare", "run")):
                if problem := judge(bench.run(*command)):
                    wrong.append(f"arrays, {how}, {command[0]}: {problem}")
        assert not list(tmp_path.rglob("harm*"))
        assert not Path("/tmp/harm-absolute").exists()
        assert not wrong, "\n".join(wrong)
