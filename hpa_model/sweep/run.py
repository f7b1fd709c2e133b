"""Running a search: each trial is a run like any other, trained here, and pruned if it is hopeless."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path
from statistics import fmean

import keras

from hpa_data.errors import InputError, list_causes
from hpa_data.folds.options import DuplicateSearch
from hpa_data.folds.plan import plan_folds
from hpa_data.folds.relations import search_near
from hpa_data.store.store import Store
from hpa_data.system.lock import LockedError
from hpa_data.system.progress import SILENT, Progress
from hpa_model.config import TrainConfig, make_config
from hpa_model.evaluation.records import HEADLINE, Scores
from hpa_model.runs.folder import CONFIG_FILE, fold_folder, read_run
from hpa_model.runs.history import EpochRecord, find_kept, read_epochs, read_history
from hpa_model.sweep.options import HEADLINE_METRIC
from hpa_model.sweep.plan import configure_data
from hpa_model.sweep.sampling import choose_settings, should_prune
from hpa_model.sweep.sharing import open_study, record_trial, take_trial
from hpa_model.sweep.study import Study, Trial, is_sweep, read_study, trial_folder
from hpa_model.sweep.table import write_best
from hpa_model.training.data import summarize_data
from hpa_model.training.job import Checkpointing
from hpa_model.training.objective import REMEDY
from hpa_model.training.train import train_run


class _PrunedError(Exception):
    """A trial is hopeless; raised out of its training."""


@dataclass(frozen=True, kw_only=True)
class TrialOptions:
    """What each training is called with, apart from its settings; see `training.train`."""

    allow_unlabeled: bool = False
    cache_bytes: int = 0
    checkpointing: Checkpointing = field(default_factory=Checkpointing)
    progress: Progress = SILENT


def _ignore_trial(study: Study, trial: Trial) -> None:
    pass


def run_sweep(
    store: Store,
    wanted: Study,
    out: Path,
    *,
    options: TrialOptions | None = None,
    retries_failed: bool = False,
    given_up: Sequence[int] = (),
    on_begin: Callable[[Study, Trial], None] = _ignore_trial,
    on_end: Callable[[Study, Trial], None] = _ignore_trial,
) -> Study:
    """Run the trials of a study until none is left to begin; the same call resumes, and several processes may share it.

    Parameters
    ----------
    store : Store
    wanted : Study
        What is searched, without trials.
    out : Path
        The folder to make, or to go on in.
    options : TrialOptions, optional
    retries_failed, given_up
        See `sharing.open_study`.
    on_begin, on_end : function of (Study, Trial), optional
        Called before and after each trial of this process.

    Returns
    -------
    Study
        Trials that other processes work on are still `running`.

    Raises
    ------
    InputError
        If `out` is of something else or of a study that differs, or a trial that was begun before cannot be resumed.
        One that cannot be trained with its settings fails, and the search goes on.
    """
    options = options or TrialOptions()
    _check_data(store, configure_data(wanted.settings), options)
    if not is_sweep(out):
        wanted = replace(wanted, duplicates=_settle_duplicates(store, configure_data(wanted.settings), options))
    open_study(out, wanted, retries_failed=retries_failed, given_up=given_up)
    while True:
        with contextlib.ExitStack() as held:
            taken = take_trial(out, held, choose_settings)
            if taken is None:
                break
            on_begin(*taken)
            ended = _Worker(store=store, out=out, study=taken[0], trial=taken[1], options=options).run()
            study = record_trial(out, ended)
            write_best(out, study)
        on_end(study, ended)
        keras.utils.clear_session()  # what Keras keeps of models would add up
        options = replace(options, progress=replace(options.progress, note=SILENT.note))  # the same for all
    return read_study(out)


def _check_data(store: Store, config: TrainConfig, options: TrialOptions) -> None:
    """Refuse samples that no trial could be trained on, which is not for each trial to find; tell what is notable."""
    data = summarize_data(store, config.parts)
    if not options.allow_unlabeled:
        data.refuse_empty_parts()
    with store.reader(config.parts, channels=config.channels or None) as reader:
        plan_folds(
            reader,
            config.folds,
            method=config.fold_method,
            seed=config.seed,
            legacy_leak=config.legacy_leak,
            validation=config.validation,
        )
    for notice in data.list_notices(legacy_leak=config.legacy_leak):
        options.progress.note(str(notice))


def _settle_duplicates(store: Store, config: TrainConfig, options: TrialOptions) -> DuplicateSearch:
    """Decide which duplicates are looked for, as each trial would on its own."""
    if config.duplicates != "auto" or config.legacy_leak:
        return config.duplicates
    with store.reader(config.parts) as reader:
        return "near" if search_near(reader, "auto", config.fold_method, options.progress) else "exact"


@dataclass(kw_only=True)
class _Worker:
    """The training of one trial."""

    store: Store
    out: Path
    study: Study
    trial: Trial
    options: TrialOptions
    has_advanced: bool = False

    @property
    def folder(self) -> Path:
        return trial_folder(self.out, self.trial.number)

    def run(self) -> Trial:
        """Train to the end, and return how the trial ended."""
        is_resumed = (self.folder / CONFIG_FILE).exists()
        try:
            config = make_config(self.study.merge_settings(self.trial))
            if is_resumed:
                self._prune_resumed(config)
            scores = self._train(config)
            score, no_skill = measure_run(self.folder, self.study.metric, scores)
            return replace(self._count(), state="finished", score=score, no_skill=no_skill)
        except _PrunedError as pruned:
            return replace(self._count(), state="pruned", score=self._measure_pruned(config), reason=str(pruned))
        except InputError as error:
            if any(isinstance(cause, OSError | LockedError) for cause in list_causes(error)):
                raise  # the disk, or a lock: not the settings
            if is_resumed and not self.has_advanced:  # what it was trained on before has changed
                number = self.trial.number
                raise InputError(
                    f"Cannot resume trial {number}: {error} To go on without that trial, pass --give-up {number}."
                ) from error
            reason = str(error).removesuffix(REMEDY).rstrip()  # which is one of `hpa train`
            return replace(self._count(), state="failed", reason=reason)

    def _train(self, config: TrainConfig) -> Scores:
        progress = self.options.progress
        name = f"trial {self.trial.number}"

        def advance(n: int) -> None:
            self.has_advanced = True
            progress.advance(n)

        trained = train_run(
            self.store,
            config,
            self.folder,
            allow_unlabeled=self.options.allow_unlabeled,
            weights=self.study.weights or None,
            cache_bytes=self.options.cache_bytes,
            progress=replace(progress, advance=advance, stage=lambda text: progress.stage(f"{name}, {text}")),
            on_epoch=lambda fold, record, is_best: self._prune_hopeless(config, fold),
            checkpointing=self.options.checkpointing,
        )
        if trained.scores is None:  # somebody else trains folds of it
            raise LockedError(
                f"Cannot finish trial {self.trial.number}: another process trains folds of its run. Wait for it, or "
                "stop it, and run the same command again.",
                holder="",
            )
        return trained.scores

    def _prune_resumed(self, config: TrainConfig) -> None:
        """End a trial that was hopeless when it was stopped."""
        begun = [fold for fold, history in enumerate(self._read_histories()) if history]
        if begun:
            self._prune_hopeless(config, begun[-1])

    def _prune_hopeless(self, config: TrainConfig, fold: int) -> None:
        """End a trial that is worse than most others after the same epoch of the same fold."""
        metric = self.study.metric
        if self.study.prune == "none":
            return
        study = read_study(self.out)  # others may have finished
        values = _read_metric(self.folder, fold, metric)
        others = [_read_metric(trial_folder(self.out, each.number), fold, metric) for each in study.list_finished()]
        if len(values) < config.epochs and should_prune(
            others, values, n_epochs=config.epochs, minimizes=study.minimizes
        ):
            raise _PrunedError(
                f"worse than the median of {len(others)} trials after epoch {len(values)} of fold {fold}"
            )

    def _read_histories(self) -> list[list[EpochRecord]]:
        if not (self.folder / CONFIG_FILE).exists():
            return []
        return read_history(self.folder, read_run(self.folder).config.folds)

    def _count(self) -> Trial:
        """Return the trial with the epochs that it was trained, and their time."""
        records = [record for history in self._read_histories() for record in history]
        return replace(self.trial, epochs=len(records), seconds=round(sum(record.seconds for record in records), 1))

    def _measure_pruned(self, config: TrainConfig) -> float:
        histories = [history for history in self._read_histories() if history]
        return fmean(getattr(find_kept(history, config.keep), self.study.metric) for history in histories)


def measure_run(run: Path, metric: str, scores: Scores) -> tuple[float, float | None]:
    """Return the metric of a finished run, and up to where such scores show no skill.

    Both are of the kept epoch of each fold, the mean over the folds; or of the whole run for its headline.
    """
    if metric == HEADLINE_METRIC:
        band = scores.no_skill.get(f"macro_f1_{HEADLINE.name}")
        return scores.headline, None if band is None else band.high
    config = read_run(run).config
    kept = [find_kept(history, config.keep) for history in read_history(run, config.folds)]
    score = fmean(getattr(record, metric) for record in kept)
    # The mean of the ends lies above the end of the band of the mean.
    no_skill = fmean(record.val_macro_f1_no_skill_high for record in kept)
    return score, no_skill if metric == "val_macro_f1_best" and isfinite(no_skill) else None


def _read_metric(run: Path, fold: int, metric: str) -> list[float]:
    return [float(getattr(record, metric)) for record in read_epochs(fold_folder(run, fold))]
