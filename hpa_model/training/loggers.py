"""How the logs of a fold are opened and written: for TensorBoard, Weights & Biases and MLflow."""

import contextlib
import os
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

Setting = bool | float | str
# The metrics that TensorBoard lists beside the settings of a run.
LISTED = ("val_loss", "val_macro_f1_best")
# What runs are filed under where the user's variables do not name it: a project, or an experiment.
PROJECT = "hpa"
# The most metrics that MLflow takes at once.
MAX_METRICS = 1000
# Seconds to wait for a server before a training goes on, or ends, without it.
PATIENCE_S = 30
# How often MLflow tries again, and how long it waits, where the user's variables do not say so: its own numbers would
# hold up a training for minutes. And it would send statistics of its use, and print lines of its own.
MLFLOW_VARIABLES = {
    **{"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": str(PATIENCE_S // 3)},
    **{"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "WARNING"},
}


@dataclass(frozen=True, kw_only=True)
class LoggedRun:
    """What logs say of a run."""

    folder: Path

    started: str
    """When it was begun, in UTC: what tells it from others of its name."""

    settings: Mapping[str, Setting]

    note: Callable[[str], None]
    """Called with a line about where it is logged to."""

    said: set[str] = field(default_factory=set)
    """The lines that have been said: once for all folds is enough."""

    @property
    def title(self) -> str:
        """What it is called where runs of several folders meet."""
        return f"{self.folder.absolute().name} {self.started}"

    def say(self, line: str) -> None:
        """Say a line, unless it has been said."""
        if line not in self.said:
            self.said.add(line)
            self.note(line)


class FoldWriter(Protocol):
    """Writes what is measured of a fold."""

    key: str
    """By which the tool finds the logs of this fold again; empty if it need not."""

    def write(self, epoch: int, values: Mapping[str, float]) -> None:
        """Write the metrics of an epoch, which counts from 1."""

    def close(self, *, is_whole: bool) -> None:
        """End; `is_whole` says whether the training came to its end, and was not stopped."""


class TensorboardWriter:
    """Writes event files, into one folder a fold, so that TensorBoard draws the folds over each other."""

    def __init__(self, run: LoggedRun, fold: int, key: str) -> None:
        from tensorboardX import SummaryWriter, summary

        self.key = key
        # A writer that is opened within the same second would otherwise replace the file of the one before. TensorBoard
        # reads the files in the order of their names.
        suffix = f".{time.time_ns()}"
        self._writer = SummaryWriter(str(run.folder / "tensorboard" / f"fold{fold}"), filename_suffix=suffix)
        for each in summary.hparams(dict(run.settings), dict.fromkeys(LISTED, 0.0)):
            self._writer.file_writer.add_summary(each)

    def write(self, epoch: int, values: Mapping[str, float]) -> None:
        """Write the metrics of an epoch."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def close(self, *, is_whole: bool) -> None:
        """Close the file."""
        self._writer.close()


class WandbWriter:
    """Writes to Weights & Biases: a run for each fold, in a group for the run; offline unless there is a key."""

    def __init__(self, run: LoggedRun, fold: int, key: str) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        self.key = key or secrets.token_hex(4)
        chosen = os.environ.get("WANDB_MODE", "")
        # Without a key, W&B would ask for one, or fail.
        has_key = chosen in {"offline", "disabled", "dryrun"} or wandb.login(prompt=False, verify=False)
        settings: dict[str, Any] = {
            **{"dir": str(run.folder), "id": self.key, "resume": "allow", "reinit": "create_new"},
            **{"project": os.environ.get("WANDB_PROJECT") or PROJECT, "group": run.title, "name": f"fold {fold}"},
            "config": dict(run.settings) | {"fold": fold},
            # Neither the code nor the output of this process.
            "settings": wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                save_code=False,
                init_timeout=PATIENCE_S,
                finish_timeout=PATIENCE_S,
            ),
        }
        self._run = wandb.init(**settings, mode=None if has_key else "offline")
        if self._run.offline:
            run.say(f"W&B: logging offline. To upload it: wandb sync {run.folder / 'wandb'}/offline-run-*")

    def write(self, epoch: int, values: Mapping[str, float]) -> None:
        """Write the metrics of an epoch."""
        self._run.log(dict(values), step=epoch, commit=True)  # or they wait for the next epoch or the end

    def close(self, *, is_whole: bool) -> None:
        """End, and wait a little for what has not been uploaded."""
        self._run.finish(exit_code=0 if is_whole else 1)


class MlflowWriter:
    """Writes to MLflow: a run for each fold, below one for the run; into the run folder if no server is named."""

    def __init__(self, run: LoggedRun, fold: int, key: str) -> None:
        for name, value in MLFLOW_VARIABLES.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        address = os.environ.get("MLFLOW_TRACKING_URI") or _name_database(run)
        self._client = MlflowClient(tracking_uri=address)
        self._parent = self._find_parent(run)
        tags = {"mlflow.parentRunId": self._parent, "hpa.fold": str(fold)}
        self.key = key or self._create(run, f"fold {fold}", tags)
        for each in (self._parent, self.key):
            self._client.update_run(each, "RUNNING")

    def _find_parent(self, run: LoggedRun) -> str:
        """Find the run of all folds, or create it; the first one, if another process does so, too."""
        if not self._list_parents(run):
            self._create(run, run.folder.absolute().name, {"hpa.run": run.title})
        return self._list_parents(run)[0]

    def _list_parents(self, run: LoggedRun) -> list[str]:
        quoted = run.title.replace("'", "''")
        found = self._client.search_runs(
            [self._find_experiment(run)], f"tags.`hpa.run` = '{quoted}'", order_by=["attributes.start_time ASC"]
        )
        return [each.info.run_id for each in found]

    def _find_experiment(self, run: LoggedRun) -> str:
        """Find the experiment of that name, or create it."""
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT
        found = self._client.get_experiment_by_name(name)
        if found is None:
            from mlflow.exceptions import MlflowException

            with contextlib.suppress(MlflowException):  # another process may have created it
                return str(self._client.create_experiment(name))
            found = self._client.get_experiment_by_name(name)
        return str(found.experiment_id)

    def _create(self, run: LoggedRun, name: str, tags: Mapping[str, str]) -> str:
        from mlflow.entities import Param

        created = self._client.create_run(self._find_experiment(run), run_name=name, tags=tags).info.run_id
        self._client.log_batch(created, params=[Param(name, str(value)) for name, value in run.settings.items()])
        return str(created)

    def write(self, epoch: int, values: Mapping[str, float]) -> None:
        """Write the metrics of an epoch."""
        from mlflow.entities import Metric

        now = round(time.time() * 1000)
        # Other characters are not allowed.
        metrics = [Metric(re.sub(r"[^\w\-. /:]", "_", name), value, now, epoch) for name, value in values.items()]
        for first in range(0, len(metrics), MAX_METRICS):
            self._client.log_batch(self.key, metrics=metrics[first : first + MAX_METRICS])

    def close(self, *, is_whole: bool) -> None:
        """End."""
        for each in (self.key, self._parent):
            self._client.set_terminated(each, "FINISHED" if is_whole else "KILLED")


def _name_database(run: LoggedRun) -> str:
    """Name a database in the run folder, and say how to look at it."""
    folder = run.folder.absolute() / "mlflow"
    folder.mkdir(exist_ok=True)
    address = f"sqlite:///{folder / 'mlflow.db'}"
    run.say(f"MLflow: logging to {folder}. To look at it: mlflow ui --backend-store-uri {address}")
    return address


# From a run, the number of a fold, and what its logs were found by before, if it is resumed. By the names of `LOGS`.
OPENERS: Mapping[str, Callable[[LoggedRun, int, str], FoldWriter]] = {
    "tensorboard": TensorboardWriter,
    "wandb": WandbWriter,
    "mlflow": MlflowWriter,
}
