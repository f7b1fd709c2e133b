"""What a run holds, and in what state it is. Nothing is written, and no framework is imported."""

import contextlib
import json
import time
from pathlib import Path
from typing import Any

from hpa_data.errors import InputError, first_line
from hpa_data.reader.kvstore import find_url
from hpa_data.store.store import open_store
from hpa_data.system.files import MAX_TEXT_BYTES
from hpa_model.bench.doctor.command_lines import hide_secrets
from hpa_model.bench.doctor.facts import ClassFacts, FoldFacts, RunFacts, ScoreFacts
from hpa_model.bench.doctor.store import is_store_there
from hpa_model.config import DEFAULTS, load_recipe, make_config
from hpa_model.runs.folder import (
    RECIPE_FILE,
    REPORT_FILE,
    SCORES_FILE,
    RunDescription,
    collect_findings,
    find_last_file,
    fold_folder,
    read_run,
    refuse_damage,
)
from hpa_model.runs.history import EpochRecord, read_epochs
from hpa_model.runs.seal import REMEDIES, SealError, hash_file, read_file, read_seal

# For the seal of a run: small files first, so that what is left out are the models of large networks.
SEAL_S = 2.0
# A file that alone would take longer than all of that.
MAX_HASHED_BYTES = 2**29


def examine_run(run: Path) -> RunFacts:
    """Measure a run, in a second or two. What cannot be read is in the facts, and no error."""
    try:
        description = read_run(run)
    except (InputError, OSError) as error:
        return RunFacts(path=str(run), error=first_line(error))
    config, damaged = description.config, list[str]()
    kind = "baseline" if description.baseline else "ensemble" if description.ensemble else "network"
    folds = tuple(_describe_fold(run, description, number, damaged) for number in range(config.n_models))
    scores = None
    with collect_findings(damaged, run / SCORES_FILE):
        scores = _read_scores(run, description)
    of_recipe = None
    with contextlib.suppress(InputError, OSError):  # without it, commands are longer
        of_recipe = make_config(load_recipe(run / RECIPE_FILE))
    n_compared, n_sealed = _compare_seal(run, damaged)
    y, x, _ = description.image_shape
    return RunFacts(
        path=str(run),
        kind=kind,
        config=config,
        store=hide_secrets(description.store),
        is_store_there=is_store_there(description.store),
        changed_parts=_find_changed(description),
        image_pixels=y * x,
        hpa_version=description.versions.get("hpa", ""),
        backend=description.versions.get("backend", ""),
        device=description.origin.device if description.origin else "",
        command=description.origin.command if description.origin else "",
        recipe=str(run / RECIPE_FILE) if of_recipe else "",
        of_recipe=of_recipe or DEFAULTS,
        weights=description.weights,
        is_finetuned=bool(description.finetuned_from),
        n_seen=description.n_seen,
        searched=description.known_leak_check.searched,
        folds=folds,
        scores=scores,
        has_report=(run / REPORT_FILE).is_file(),
        n_compared=n_compared,
        n_not_compared=max((n_sealed or 0) - n_compared, 0),
        is_sealed=n_sealed is not None,
        damaged=tuple(dict.fromkeys(text.partition("\n")[0] for text in damaged)),
    )


def _describe_fold(run: Path, description: RunDescription, number: int, damaged: list[str]) -> FoldFacts:
    folder, epochs = fold_folder(run, number), list[EpochRecord]()
    with collect_findings(damaged, folder):
        if number in description.trained_folds:
            epochs = read_epochs(folder)
    is_finished = (folder / find_last_file(description.config)).is_file()
    return FoldFacts(number=number, is_finished=is_finished, epochs=tuple(epochs))


def _read_scores(run: Path, description: RunDescription) -> ScoreFacts | None:
    """Read the scores of a run; None if it has none, InputError if they are damaged."""
    path = run / SCORES_FILE
    with refuse_damage(path, REMEDIES[SCORES_FILE]):
        try:
            raw = json.loads(read_file(path, max_bytes=MAX_TEXT_BYTES))
        except FileNotFoundError:
            return None
        interval, band = (raw.get(name, {}).get("macro_f1_cross_fitted") for name in ("intervals", "no_skill"))
        scores = ScoreFacts(
            n_samples=int(raw["n_samples"]),
            headline=float(raw["macro_f1_cross_fitted"]),
            low=None if interval is None else float(interval["low"]),
            high=None if interval is None else float(interval["high"]),
            in_sample=float(raw["macro_f1_in_sample"]),
            no_skill_high=None if band is None else float(band["high"]),
            folds=tuple(float(fold["macro_f1_cross_fitted"]) for fold in raw["folds"]),
            classes=tuple(map(_read_class, raw["classes"])),
        )
        if len(scores.classes) != len(description.classes):
            raise ValueError(f"it has scores of {len(scores.classes)} classes, not {len(description.classes)}")
        return scores


def _read_class(raw: dict[str, Any]) -> ClassFacts:
    return ClassFacts(
        name=str(raw["name"]),
        support=int(raw["support"]),
        threshold=float(raw["threshold"]),
        f1=float(raw["f1_cross_fitted"]),
    )


def _compare_seal(run: Path, damaged: list[str]) -> tuple[int, int | None]:
    """Compare files of a run with its seal, as many as fit into a time; return how many, and how many are sealed."""
    try:
        files = read_seal(run)
    except SealError as error:
        damaged.append(str(error))
        return 0, 0
    if files is None:
        return 0, None
    ends_at, n_compared = time.perf_counter() + SEAL_S, 0
    sizes = {}
    for name in files:
        path = run / name
        with collect_findings(damaged, path):
            if path.is_file():
                sizes[name] = path.stat().st_size
            else:
                damaged.append(f"{name} is missing.")
    for name in sorted(sizes, key=sizes.__getitem__):
        if sizes[name] > MAX_HASHED_BYTES or time.perf_counter() > ends_at:
            break
        n_compared += 1
        with collect_findings(damaged, run / name):
            if hash_file(run / name) != files[name]:
                damaged.append(f"{name} is not as it was sealed.")
    return n_compared, len(files)


def _find_changed(description: RunDescription) -> tuple[str, ...]:
    """List the parts of the store that are not those that the run was trained on; what cannot be opened is not said."""
    if find_url(Path(description.store)) or not is_store_there(description.store):
        return ()
    changed = []
    with contextlib.suppress(InputError, OSError):
        store = open_store(description.store)
        names = store.parts()
        for name, fingerprint in description.fingerprints.items():
            with contextlib.suppress(InputError, OSError):
                if name not in names or store.part(name).manifest.fingerprint != fingerprint:
                    changed.append(name)
    return tuple(changed)
