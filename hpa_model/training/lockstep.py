"""Training over hosts: what the first process tells the others about each fold, and what those do.

All take the same steps, each on its share of every batch. The first one opens the run and writes its files. The others
need neither: they get the settings, the samples, the weights and the checkpoint of each fold from it.
"""

import io
import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.reader.strata import Strata
from hpa_data.store.store import Store
from hpa_data.system.hosts import Hosts
from hpa_data.system.records import decode_record, encode_record
from hpa_model.config import TrainConfig
from hpa_model.nets.catalog import find_net
from hpa_model.runs.folder import CHECKPOINT_FILE, RunDescription
from hpa_model.runs.origin import read_versions
from hpa_model.training.fit import fit_fold
from hpa_model.training.hosts import check_hosts, count_shares, joined_hosts
from hpa_model.training.job import Checkpointing, Fold, FoldJob
from hpa_model.training.network import build_network, choose_stages
from hpa_model.training.run import describe_run, prepare_backend


@dataclass(frozen=True, kw_only=True)
class _Task:
    """A fold that all processes train together."""

    facts: dict[str, Any]
    arrays: dict[str, npt.NDArray[Any]]

    def encode(self) -> bytes:
        file = io.BytesIO()
        facts = np.frombuffer(json.dumps(self.facts).encode(), np.uint8)
        np.savez(file, allow_pickle=False, facts=facts, **self.arrays)
        return file.getvalue()

    @classmethod
    def decode(cls, content: bytes) -> "_Task":
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = dict(file)
        return cls(facts=json.loads(arrays.pop("facts").tobytes()), arrays=arrays)


def agree_on_settings(hosts: Hosts, config: TrainConfig) -> None:
    """Check that all processes have the same settings and versions; InputError in those that differ from the first."""
    check_hosts(config.batch_size)
    if config.finetunings:
        raise InputError(
            "finetune must be empty in a training over hosts. Received: a recipe with fine-tuning. Leave it out, and "
            "run `hpa finetune` afterwards."
        )
    mine = {"settings": encode_record(config), "versions": read_versions()}
    theirs = json.loads(hosts.share(json.dumps(mine).encode() if hosts.is_first else None))
    for what, known in mine.items():
        differing = [key for key in {**known, **theirs[what]} if known.get(key) != theirs[what].get(key)]
        if differing:
            raise InputError(
                f"{what} must be the same on all hosts. Received: other {', '.join(differing)} than on the first host. "
                "Use the same command and the same packages everywhere."
            )
    hosts.meet()  # before the first one creates a run


def lead_fold(job: FoldJob, network: keras.Model, description: RunDescription) -> None:
    """Tell the other processes of a training over hosts, if it is one, to train a fold with this one."""
    hosts = joined_hosts()
    if hosts is None:
        return
    fold, strata = job.fold, job.strata
    arrays = {f"v{number}": _to_numpy(each) for number, each in enumerate(network.variables)}
    arrays |= {"training": fold.training, "validation": fold.validation}
    if strata is not None:
        arrays |= {"of": strata.of, "shares": strata.shares, "parts": strata.parts}
    checkpoint = fold.folder / CHECKPOINT_FILE
    if checkpoint.exists():
        arrays["checkpoint"] = np.frombuffer(checkpoint.read_bytes(), np.uint8)
    facts = {
        "fold": fold.number,
        "label": fold.label,
        "config": encode_record(description.config),
        "fingerprints": description.fingerprints,
        "weights": description.weights,
    }
    hosts.share(_Task(facts=facts, arrays=arrays).encode())


def end_folds(hosts: Hosts) -> None:
    """Tell the other processes that there is no further fold."""
    hosts.share(b"")


def describe_hosts(config: TrainConfig) -> list[str]:
    """Say among how many hosts and devices a batch is shared out, in a line; none for a single process."""
    hosts = joined_hosts()
    if hosts is None:
        return []
    n_shares = count_shares(config.devices)
    return [
        f"Training over {hosts.n_hosts} hosts with {n_shares} devices: {config.batch_size // n_shares} images of each "
        "batch per device"
    ]


def follow(store: Store, hosts: Hosts, *, cache_bytes: int = 0) -> None:
    """Train each fold that the first process trains, with it, until there is none any more. Nothing is written.

    Raises
    ------
    InputError
        If the store is another one than on the first host.
    """
    with ExitStack() as stack:
        readers: dict[tuple[Any, ...], Any] = {}
        while content := hosts.share(None):
            task = _Task.decode(content)
            config = decode_record(TrainConfig, task.facts["config"], name="the settings of the first host")
            key = (tuple(config.parts), tuple(config.channels))
            if key not in readers:
                reader = store.reader(config.parts, cache_bytes=cache_bytes, channels=config.channels or None)
                readers[key] = stack.enter_context(reader)
            _follow_fold(store, config, task, readers[key], hosts)


def _follow_fold(store: Store, config: TrainConfig, task: _Task, reader: Any, hosts: Hosts) -> None:
    """Train one fold with the first process."""
    prepare_backend(config)
    find_net(config.model)
    facts, arrays = task.facts, task.arrays
    description = replace(describe_run(store, config, reader), weights=facts["weights"])
    if description.fingerprints != facts["fingerprints"]:
        raise InputError(
            f"Cannot train over hosts: {store.location} is another store here than on the first host. Use the same "
            "store, or a copy of it."
        )
    network = build_network(description, fold=facts["fold"])
    for number, variable in enumerate(network.variables):
        variable.assign(arrays[f"v{number}"])
    with _own_folder(hosts) as folder:
        if "checkpoint" in arrays:
            (folder / CHECKPOINT_FILE).write_bytes(arrays["checkpoint"].tobytes())
        job = FoldJob(
            config=choose_stages(description),
            reader=reader,
            fold=Fold(
                number=facts["fold"],
                folder=folder,
                training=arrays["training"],
                validation=arrays["validation"],
                label=facts["label"],
            ),
            classes=description.classes,
            strata=Strata(of=arrays["of"], shares=arrays["shares"], parts=arrays["parts"]) if "of" in arrays else None,
            checkpointing=Checkpointing(checkpoint_s=float("inf")),
            writes=False,
        )
        fit_fold(network, job)


@contextmanager
def _own_folder(hosts: Hosts) -> Iterator[Path]:
    """Make a temporary folder, which is removed also if another process ends this one."""
    with tempfile.TemporaryDirectory(prefix="hpa-") as name:
        remove = partial(_remove, Path(name))
        hosts.before_exit.append(remove)
        try:
            yield Path(name)
        finally:
            hosts.before_exit.remove(remove)


def _remove(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def _to_numpy(variable: keras.Variable) -> npt.NDArray[Any]:
    return np.asarray(keras.ops.convert_to_numpy(variable))
