"""Opening a run for training: everything is checked, then its folder is created or opened, and locked."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import keras

from hpa_data.dataset import is_readable
from hpa_data.errors import Notice
from hpa_data.folds.options import DuplicateSearch
from hpa_data.folds.plan import FoldPlan, plan_training
from hpa_data.reader.reader import Reader
from hpa_data.store.store import Store
from hpa_data.system.atomic import write_atomic
from hpa_data.system.files import MAX_TEXT_BYTES, read_regular
from hpa_data.system.outputs import check_output_folder
from hpa_data.system.progress import SILENT, Progress
from hpa_model.backend import check_devices, describe_device, list_overridden, make_deterministic, settle_keras
from hpa_model.baseline.settings import BaselineSettings
from hpa_model.config import TrainConfig, compare_environments, read_environment
from hpa_model.runs.folder import FOLDS_FILE, RECIPE_FILE, RunDescription, read_run
from hpa_model.runs.hold import release
from hpa_model.runs.origin import read_origin, read_versions
from hpa_model.runs.seal import unseal_files
from hpa_model.training.balance import check_mix, check_strata
from hpa_model.training.base import BaseRun
from hpa_model.training.claims import check_chosen, claim_folds
from hpa_model.training.data import summarize_data
from hpa_model.training.fold_table import check_folds, encode_folds
from hpa_model.training.job import check_accumulation
from hpa_model.training.network import build_network
from hpa_model.training.pretrained import EncoderWeights, describe_seen_unlabeled
from hpa_model.training.resuming import check_run_folder, hold_run, keep_older_settings, record_length, repeat_search
from hpa_model.training.start import Start
from hpa_model.training.weights import describe_seen


@dataclass(frozen=True, kw_only=True)
class OpenRun:
    """A run of which this process holds locks, with the data that it is trained on."""

    folder: Path
    description: RunDescription
    plan: FoldPlan
    reader: Reader

    is_new: bool
    """Whether the folder was created, not opened to resume."""

    held: dict[int, ExitStack] = field(default_factory=dict)
    """The folds that this process trains: what releases the lock of each. One that is finished is taken out."""

    locks: ExitStack = field(default_factory=ExitStack)
    """Releases all locks."""


def prepare_backend(config: TrainConfig) -> None:
    """Set up Keras, devices and determinism, before anything is computed; InputError if that is not possible."""
    settle_keras()
    check_devices(config.devices)
    if config.deterministic:
        make_deterministic()


@contextmanager
def open_run(
    store: Store,
    config: TrainConfig,
    out: Path,
    *,
    overwrite: bool,
    cache_bytes: int,
    folds: Sequence[int] | None = None,
    base: BaseRun | None = None,
    weights: Start | None = None,
    baseline: BaselineSettings | None = None,
    recipe: bytes | None = None,
    allow_unlabeled: bool = False,
    progress: Progress = SILENT,
) -> Iterator[OpenRun]:
    """Check data, settings and folder of a run, then create its folder or open it to resume, and lock it.

    A baseline is locked as a whole. Of a training, folds are: `folds`, or those that no other process trains.

    Raises
    ------
    InputError
        If the store or the settings cannot be used, or `out` is of another run; nothing is written then. If another
        process trains what is to be trained.
    """
    check_chosen(folds, config)
    with store.reader(config.parts, cache_bytes=cache_bytes, channels=config.channels or None) as reader:
        description = replace(describe_run(store, config, reader), baseline=baseline)
        if base is not None:
            description = base.extend(description, store)
        elif weights is not None:
            description = weights.extend(description)
        elif baseline is None:
            build_network(description, fold=0)
        if not overwrite:
            description = keep_older_settings(out, description)
        opened = None
        while opened is None:
            checked = _check(
                store,
                description,
                out,
                overwrite,
                reader=reader,
                base=base,
                weights=weights,
                allow_unlabeled=allow_unlabeled,
                progress=progress,
            )
            with ExitStack() as lock:
                is_new = lock.enter_context(hold_run(out, checked.description, overwrite=overwrite, progress=progress))
                if checked.is_new and not is_new:  # another process has created it meanwhile, and says what is in it
                    continue
                opened = _begin(checked, folds, recipe)
                if baseline is not None:
                    opened.locks.enter_context(lock.pop_all())
        with opened.locks:
            yield opened


def _check(
    store: Store,
    description: RunDescription,
    out: Path,
    overwrite: bool,
    *,
    reader: Reader,
    base: BaseRun | None,
    weights: Start | None,
    allow_unlabeled: bool,
    progress: Progress,
) -> OpenRun:
    """Check the folder of a run and assign its samples to folds; tell what should be known of both."""
    config = description.config
    is_new = check_run_folder(out, description, overwrite=overwrite)
    check_output_folder(out)  # before every image is read to find duplicates
    before = base.description if base is not None else None if is_new else read_run(out)
    duplicates = config.duplicates if before is None else repeat_search(before)
    check_mix(config, reader)
    plan = _plan(store, config, reader, duplicates, progress)
    check_strata(config, reader, plan)
    check_accumulation(config, plan)
    description = replace(description, leak_check=plan.leak_check if before is None else before.leak_check)
    if is_new and base is None and not allow_unlabeled:  # earlier versions trained on such parts
        summarize_data(store, config.parts).refuse_empty_parts()
    if base is not None:
        check_folds(base.folder, plan, reader)
    begun = None if is_new else read_run(out).environment
    for notice in [] if description.baseline is not None else list_surroundings(begun, description.environment):
        progress.note(str(notice))
    if config.folds:
        progress.note(description.known_leak_check.describe())
    if before is None and config.folds and config.duplicates == "auto":
        for notice in plan.leak_check.list_notices():
            progress.note(str(notice))
    if weights is not None:
        description = _tell_start(weights, description, store, plan, reader, progress)
    elif base is not None:
        seen = base.description.n_seen, base.description.n_seen_unlabeled
        description = replace(description, n_seen=seen[0], n_seen_unlabeled=seen[1])
    return OpenRun(folder=out, description=description, plan=plan, reader=reader, is_new=is_new)


def _begin(run: OpenRun, folds: Sequence[int] | None, recipe: bytes | None) -> OpenRun:
    """Write what the folds of a run have in common, and lock the folds to train; under the lock of the run."""
    out = run.folder
    if (out / FOLDS_FILE).exists():
        check_folds(out, run.plan, run.reader)
    else:
        write_atomic(out / FOLDS_FILE, encode_folds(run.plan, run.reader))
    record_length(out, run.description.config)
    if recipe is not None and not (
        (out / RECIPE_FILE).is_file() and read_regular(out / RECIPE_FILE, max_bytes=MAX_TEXT_BYTES) == recipe
    ):
        unseal_files(out, [RECIPE_FILE])
        write_atomic(out / RECIPE_FILE, recipe)
    if run.description.baseline is not None:
        return run
    held = claim_folds(out, run.description, folds)
    run.locks.callback(release, held)
    return replace(run, held=held)


def _tell_start(  # noqa: PLR0917 - one call, with names beside it
    weights: Start,
    description: RunDescription,
    store: Store,
    plan: FoldPlan,
    reader: Reader,
    progress: Progress,
) -> RunDescription:
    """Tell what a run starts from; record how many validated samples it was trained on, and tell of them, too."""
    for line in weights.describe(description):
        progress.note(line)
    seen = weights.find_seen(store, plan, reader)
    if seen:
        progress.note(str(describe_seen(seen, description.weights)))
    unlabeled = weights.find_seen_unlabeled(store, plan, reader) if isinstance(weights, EncoderWeights) else []
    if unlabeled:
        progress.note(str(describe_seen_unlabeled(unlabeled, description.weights)))
    return replace(description, n_seen=len(seen), n_seen_unlabeled=len(unlabeled))


def _plan(
    store: Store, config: TrainConfig, reader: Reader, duplicates: DuplicateSearch, progress: Progress
) -> FoldPlan:
    """Assign the samples to folds, whichever channels are trained on: duplicates are alike in all of them."""
    with store.reader(config.parts) if config.channels else nullcontext(reader) as whole:
        return plan_training(
            store,
            config.parts,
            whole,
            config.folds,
            method=config.fold_method,
            seed=config.seed,
            legacy_leak=config.legacy_leak,
            duplicates=duplicates,
            validation=config.validation,
            progress=progress,
        )


def list_surroundings(begun: dict[str, str] | None, wanted: dict[str, str] | None) -> list[Notice]:
    """Tell what of the user's surroundings is not used, and what differs from when a run was begun."""
    changed = compare_environments(begun, wanted or {})
    return list_overridden() + ([] if changed is None else [changed])


def describe_run(store: Store, config: TrainConfig, reader: Reader) -> RunDescription:
    """Gather what `config.json` records."""
    manifests = {name: store.part(name).manifest for name in config.parts}
    first = manifests[config.parts[0]]
    imports = {name: manifest.import_settings for name, manifest in manifests.items()}
    location = store.location
    return RunDescription(
        config=config,
        store=str(location.absolute()) if isinstance(location, Path) else location,
        channels=reader.dataset.channel_names,
        classes=first.classes,
        image_shape=reader.image_shape,
        n_left_out=int((~is_readable(reader.status)).sum()),
        fingerprints={name: manifest.fingerprint for name, manifest in manifests.items()},
        versions=read_versions() | {"backend": str(keras.backend.backend())},
        dataset=reader.dataset,
        store_dataset=first.dataset if config.channels else None,
        origin=read_origin(describe_device(config.devices)),
        environment=read_environment(),
        imports={name: settings for name, settings in imports.items() if settings is not None},
    )
