"""What is to be known of an exported model: in the file beside it, and in the model itself."""

import json
from importlib.metadata import version
from typing import Any

from hpa_data.system.files import MAX_TEXT_BYTES
from hpa_data.system.records import list_absent
from hpa_model.predict.chosen import ChosenModels
from hpa_model.predict.reading import recall_imports
from hpa_model.runs.folder import SCORES_FILE, refuse_damage
from hpa_model.runs.seal import read_file

ABOUT_FILE = "hpa.json"
# Of the JSON: raised when a reader of an older one would misunderstand it.
FORMAT, FORMAT_VERSION = "hpa-export", 1


def describe_models(
    models: ChosenModels, *, file: str, kind: str, input_name: str, output_name: str, batch: int | None
) -> dict[str, Any]:
    """Describe the models of a run as one exported model; only what JSON has.

    Parameters
    ----------
    models : ChosenModels
    file : str
        The model, beside the file that holds this.
    kind : str
        The format.
    input_name, output_name : str
        In the model.
    batch : int or None
        Images that it takes at a time; None for any number.
    """
    run = models.description
    dataset = run.full_dataset
    thresholds = models.decision.thresholds.tolist()
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "hpa": version("hpa"),
        "model": {"format": kind, "file": file},
        "run": models.run.resolve().name,
        "network": run.config.model,
        "folds": list(models.folds),
        "temperatures": models.temperatures.tolist(),
        "input": {
            "name": input_name,
            "dtype": "uint8",
            "axes": ["batch", "y", "x", "channel"],
            "shape": [batch, *run.image_shape],
            "range": [0, 255],
        },
        "output": {
            "name": output_name,
            "dtype": "float32",
            "axes": ["batch", "class"],
            "shape": [batch, len(run.classes)],
            "range": [0, 1],
        },
        "channels": [{"name": each.name, "role": each.role, "color": each.color} for each in dataset.channels],
        "classes": [
            {"index": index, "name": name, "threshold": threshold}
            for index, (name, threshold) in enumerate(zip(run.classes, thresholds, strict=True))
        ],
        "thresholds": "fitted" if models.rows is not None or run.config.folds else "0.5",
        "fill_empty": models.decision.fill,
        # With all defaults, for programs that do not know them.
        "reading": {name: list_absent(options) | options.encode() for name, options in recall_imports(run).items()},
        "scores": _read_scores(models),
    }


def _read_scores(models: ChosenModels) -> dict[str, float | int] | None:
    """Read the macro-F1 of all folds, with thresholds of the other folds; None if there is none, or of some folds."""
    path = models.run / SCORES_FILE
    n_folds = models.description.config.folds
    if not n_folds or len(models.folds) < n_folds or not path.is_file():
        return None
    with refuse_damage(path, f"Run `hpa evaluate {models.run}`."):
        saved = json.loads(read_file(path, max_bytes=MAX_TEXT_BYTES))
        found = saved.get("macro_f1_cross_fitted")  # earlier versions have other names
        return None if found is None else {"macro_f1": float(found), "n_samples": int(saved["n_samples"])}


def encode(about: dict[str, Any]) -> str:
    """Encode a description as JSON, for people and programs."""
    return json.dumps(about, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
