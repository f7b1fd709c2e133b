"""Logs of a training, for the tools that draw them: one seam, whatever the tool."""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from hpa_data.errors import InputError, Notice, first_line
from hpa_data.system.atomic import write_atomic
from hpa_data.system.progress import SILENT, Progress
from hpa_data.system.records import decode_record, encode_record
from hpa_model.augment import describe_setting
from hpa_model.config import TrainConfig, format_image_size, format_mix
from hpa_model.config.logs import LOGS, Log
from hpa_model.runs.checkpoint import TrainingState
from hpa_model.runs.folder import RunDescription, fold_folder
from hpa_model.training.loggers import OPENERS, FoldWriter, LoggedRun, Setting

# In the folder of a fold: what of it has been logged, and where.
LOGGED_FILE = "logged.json"


class EpochLogger(Protocol):
    """Log the epochs of a fold that are not logged yet: its number, and its state after an epoch."""

    def __call__(self, fold: int, state: TrainingState, /) -> None:
        """Log them."""


def no_log(_fold: int, _state: TrainingState, /) -> None:
    """Do nothing."""


@dataclass(frozen=True, kw_only=True)
class Logged:
    """What of a fold has been logged with a tool."""

    key: str
    """By which the tool finds the logs of the fold."""

    epochs: int
    """How many epochs."""


@contextmanager
def open_logs(
    names: Sequence[Log], run: Path, description: RunDescription, progress: Progress = SILENT
) -> Iterator[EpochLogger]:
    """Open the logs of a run, which are created at the first epoch that is logged.

    A resumed run goes on in the logs that it has. A tool that fails, such as one whose server is away, is left out from
    then on, with a warning: no training ends for it.

    Parameters
    ----------
    names : sequence of str
        Of `LOGS`.
    run : Path
    description : RunDescription
    progress : Progress
        Told where it is logged to, and what fails.

    Raises
    ------
    InputError
        If the package of a tool is not installed.
    """
    names = tuple(dict.fromkeys(names))
    for kind in (LOGS[name] for name in names):
        if find_spec(kind.package) is None:
            raise InputError(
                f"Cannot log with {kind.title}: {kind.package} is not installed. Run: pip install '.[{kind.extra}]'."
            )
    logged = LoggedRun(
        folder=run,
        started="" if description.origin is None else description.origin.started,
        settings=flatten_settings(description.config),
        note=progress.note,
    )
    logs = [_RunLog(name, logged, description.classes, progress) for name in names]

    def log(fold: int, state: TrainingState) -> None:
        for each in logs:
            each.log(fold, state, is_over=state.is_over(description.config))

    try:
        yield log
    finally:
        for each in logs:
            each.close()


class _RunLog:
    """The logs of a run with one tool."""

    def __init__(self, name: str, run: LoggedRun, classes: tuple[str, ...], progress: Progress) -> None:
        self._name = name
        self._run = run
        self._classes = classes
        self._progress = progress
        self._writers: dict[int, FoldWriter] = {}
        self._works = True

    def log(self, fold: int, state: TrainingState, *, is_over: bool) -> None:
        """Log the epochs of a fold that are not logged yet."""
        if not self._works:
            return
        try:
            self._log(fold, state)
            if is_over and fold in self._writers:
                self._writers.pop(fold).close(is_whole=True)
        except Exception as error:  # tools raise whatever theirs do
            self._give_up(error)

    def _log(self, fold: int, state: TrainingState) -> None:
        path = fold_folder(self._run.folder, fold) / LOGGED_FILE
        known = _read_logged(path)
        mine = known.get(self._name, Logged(key="", epochs=0))
        for record, class_f1 in tuple(zip(state.records, state.class_f1, strict=True))[mine.epochs :]:
            if fold not in self._writers:
                self._writers[fold] = OPENERS[self._name](self._run, fold, mine.key)
            values = {name: value for name, value in asdict(record).items() if name != "epoch"}
            if class_f1:
                values |= {f"f1/{name}": value for name, value in zip(self._classes, class_f1, strict=True)}
            values = {name: value for name, value in values.items() if not math.isnan(value)}  # without validation
            self._writers[fold].write(record.epoch, values)
            mine = replace(mine, key=self._writers[fold].key, epochs=record.epoch)
            known[self._name] = mine
            content = {name: encode_record(each) for name, each in known.items()}
            write_atomic(path, (json.dumps(content, indent=2) + "\n").encode())

    def close(self) -> None:
        """Close the logs of folds whose training was stopped."""
        for writer in self._writers.values():
            try:
                writer.close(is_whole=False)
            except Exception as error:
                if self._works:
                    self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        """Leave the tool out from now on, and warn of that."""
        self._works = False
        notice = Notice(
            what=f"{LOGS[self._name].title} fails, and the training goes on without it ({first_line(error)[:200]})",
            n=1,
            unit="log",
            remedy=f"Run the same command again with --log {self._name} to log the epochs that are missing.",
        )
        self._progress.note(str(notice))


def _read_logged(path: Path) -> dict[str, Logged]:
    """Read what of a fold has been logged, by the name of the tool; nothing, if that is not known."""
    try:
        raw = json.loads(path.read_bytes())
        return {name: decode_record(Logged, each, name=str(path)) for name, each in raw.items()}
    except (OSError, ValueError, AttributeError, InputError):
        return {}


def flatten_settings(config: TrainConfig) -> dict[str, Setting]:
    """Return settings as the scalars and words that tools can list."""
    settings = asdict(config) | {"parts": ",".join(config.parts), "image_size": format_image_size(config.image_size)}
    settings["mix"] = format_mix(config.mix)
    if config.augment != "none":
        settings["augment"] = describe_setting(config.augment)
    options = {f"options.{name}": value for name, value in settings.pop("options").items()}
    return {name: value for name, value in (settings | options).items() if isinstance(value, bool | int | float | str)}
