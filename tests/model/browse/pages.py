"""A store, a run and features to browse, and requests to the application, as raw as an attacker sends them."""

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from hpa_data.dataset import Channel, Dataset, Sample
from hpa_data.errors import InputError
from hpa_data.format.manifest import Provenance
from hpa_data.reader.reader import Reader
from hpa_data.store.build import build_part
from hpa_data.store.create import PartPlan
from hpa_data.store.store import Store, open_store
from hpa_model.browse.app import make_app
from hpa_model.browse.catalog import Catalog
from hpa_model.browse.opening import choose_parts, open_reader, read_catalog
from hpa_model.browse.pictures import Pictures
from hpa_model.config import TrainConfig
from hpa_model.predict.embeddings import Embeddings, write_embeddings
from hpa_model.runs.decision import Decision, write_decision
from hpa_model.runs.folder import RunDescription
from hpa_model.runs.out_of_fold import OutOfFold, write_out_of_fold

HOST = "127.0.0.1:8000"
SIDE = 32
CLASSES = ("Nucleus & co", "<script>alert(1)</script>", "Cytosol", "Never $seen$")
HOSTILE_IDS = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "../../../../etc/passwd",
    "..\\..\\windows",
    "'\"`${alert(1)}",
    "a\u202eexe.b\u2028c",
    "long-" + "x" * 300,
    "%2e%2e%2f",
)
DATASET = Dataset(
    name="pages",
    channels=(
        Channel(name="red", color="#ff0000"),
        Channel(name="green", color="#00ff00", role="signal"),
        Channel(name="blue", color="#0000ff"),
    ),
    classes=CLASSES,
    height=SIDE,
    width=SIDE,
)


@dataclass(frozen=True, kw_only=True)
class Pages:
    """What a page can show, as files."""

    store: Path
    run: Path
    embeddings: Path


def draw_images(n: int, seed: int, dataset: Dataset = DATASET) -> list[npt.NDArray[np.uint8]]:
    """Draw smooth images."""
    coarse = np.random.default_rng(seed).integers(0, 180, (n, 4, 4, len(dataset.channels)), np.uint8)
    size = (dataset.width, dataset.height)
    return [
        np.stack([cv2.resize(image[..., c], size) for c in range(image.shape[2])], axis=-1).astype(np.uint8)
        for image in coarse
    ]


def write_part(
    path: Path,
    name: str,
    ids: Sequence[str],
    labels: npt.NDArray[np.uint8] | None,
    *,
    dataset: Dataset = DATASET,
    copies: Provenance | None = None,
    settings: Mapping[str, Any] | None = None,
    broken: int | None = None,
) -> Store:
    """Write a part; of one sample, reading can fail."""
    plan = PartPlan(
        path=path,
        name=name,
        ids=tuple(ids),
        labels=labels,
        settings=dict(settings or {}),
        dataset=dataset,
        copies=copies,
    )
    images = draw_images(len(ids), len(name), dataset)

    def read(index: int) -> Sample:
        if index == broken:
            raise InputError("Cannot read it: a file is <b>damaged</b>. Get it again.")
        return Sample(image=images[index])

    build_part(plan, range(len(ids)), read, expected_bytes=lambda n: n)
    return open_store(path)


def make_pages(folder: Path, n: int = 60) -> Pages:
    """Write a store of labeled samples, unlabeled ones and copies, a run of the labeled ones, and features of all.

    The last labeled sample failed; the first have hostile ids.
    """
    rng = np.random.default_rng(3)
    labels = np.zeros((n, len(CLASSES)), np.uint8)
    labels[:, :3] = rng.random((n, 3)) < (0.5, 0.3, 0.4)
    labels[~labels.any(axis=1), 0] = 1
    ids = [*HOSTILE_IDS, *(f"sample-{row:04}" for row in range(len(HOSTILE_IDS), n))]
    path = folder / "a.zarr"
    store = write_part(path, "train", ids, labels, broken=n - 1)
    write_part(path, "test", ["new-0", "new-1", "sample-0009"], None)
    part = store.part("train")
    parents = (ids[9], ids[9], ids[12])
    copies = Provenance(
        parents=parents,
        parts=("train",) * 3,
        checksums=tuple(int(part.read_checksums()[ids.index(name)]) for name in parents),
        transforms=("[]",) * 3,
    )
    rows = [ids.index(name) for name in parents]
    write_part(
        path,
        "augmented",
        [f"copy-{row}" for row in range(3)],
        labels[rows],
        copies=copies,
        settings={"parents": {"train": part.manifest.fingerprint}},
    )
    readable = np.arange(n - 1)
    probs = (0.4 * labels + 0.6 * rng.random(labels.shape)).astype(np.float32)
    run = folder / "run"
    run.mkdir()
    RunDescription(
        config=TrainConfig(folds=3),
        store=str(path),
        channels=DATASET.channel_names,
        classes=CLASSES,
        image_shape=DATASET.image_shape,
        n_left_out=1,
        fingerprints={"train": part.manifest.fingerprint},
        versions={},
        dataset=DATASET,
    ).write(run)
    rows_of_run = OutOfFold(
        ids=[ids[row] for row in readable], labels=labels[readable], probs=probs[readable], folds=readable % 3
    )
    write_out_of_fold(run, rows_of_run)
    thresholds = np.array([0.5, 0.5, 0.6, 1.0])
    write_decision(run, Decision(thresholds=thresholds, temperatures=np.ones(3)), CLASSES)
    names = [("train", name) for name in ids[: n - 1]] + [("test", "new-0"), ("test", "new-1")]
    vectors = rng.normal(size=(len(names), 6)).astype(np.float32)
    vectors[1] = vectors[0] + 0.01
    write_embeddings(
        folder / "emb.npz",
        Embeddings(
            ids=tuple(name for _, name in names),
            parts=tuple(part for part, _ in names),
            vectors=vectors,
            classes=CLASSES,
            probs=np.full((len(names), len(CLASSES)), 0.7, np.float32),
            labels=None,
            is_labeled=np.zeros(len(names), bool),
            about={
                "run": "run",
                "folds": [0, 1, 2],
                "decision": hashlib.sha256((run / "thresholds.json").read_bytes()).hexdigest(),
            },
            metadata={"cell line": tuple(("HeLa", "U2OS")[row % 2] for row in range(len(names)))},
        ),
    )
    return Pages(store=path, run=run, embeddings=folder / "emb.npz")


def open_pages(
    pages: Pages, *parts: str, run: bool = True, embeddings: bool = True, explained: Path | None = None
) -> tuple[Catalog, Reader]:
    """Open the catalog of a store, and its reader."""
    store = open_store(pages.store)
    chosen = choose_parts(store, parts)
    reader = open_reader(store, chosen)
    catalog = read_catalog(
        store,
        chosen,
        reader,
        run=pages.run if run else None,
        embeddings=pages.embeddings if embeddings else None,
        explained=explained,
    )
    return catalog, reader


class Answer(NamedTuple):
    """What a server answers."""

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)


class Browser:
    """Asks an application, with the headers of a browser on its page."""

    def __init__(self, catalog: Catalog, reader: Reader, **settings: Any) -> None:
        self._app = make_app(catalog, Pictures(reader), hosts=(HOST, "localhost:8000"), **settings)

    def get(self, path: str, query: str = "", *, method: str = "GET", **headers: str) -> Answer:
        """Ask for a path, which is sent as it is."""
        sent = {"host": HOST, "sec-fetch-site": "same-origin"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        return self.ask(path, query, method, [(name, value) for name, value in sent.items() if value])

    def ask(self, path: str, query: str, method: str, headers: Sequence[tuple[str, str]]) -> Answer:
        """Send a request with exactly these headers."""
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(errors="surrogateescape"),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 8000),
        }
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        asyncio.run(self._app(scope, receive, send))  # type: ignore[arg-type]
        start, *rest = sent
        names = {name.decode(): value.decode() for name, value in start["headers"]}
        return Answer(start["status"], names, b"".join(message.get("body", b"") for message in rest))
