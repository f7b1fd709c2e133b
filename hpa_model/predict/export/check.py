"""The comparison of an exported model with its run: loaded from its files by the script beside it, in a new process."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_model.metrics import find_wrong_row
from hpa_model.predict.export.options import Format
from hpa_model.predict.export.samples import BATCH
from hpa_model.predict.export.scripts import SCRIPT_FILE

Probs = npt.NDArray[np.float32]

# A single image first, so that batches of several sizes are tried.
_CODE = """\
import runpy, sys
import numpy as np
predict = runpy.run_path(sys.argv[1])["predict"]
images = np.load(sys.argv[2])
starts = [0, *range(1, len(images), int(sys.argv[4])), len(images)]
np.save(sys.argv[3], np.concatenate([predict(images[a:b]) for a, b in zip(starts, starts[1:])]))
"""
# Sums on a GPU are not those of float32, and what it does is not what is compared.
_ENVIRONMENT = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}


def run_script(folder: Path, images: npt.NDArray[np.uint8], kind: Format) -> Probs:
    """Predict images, (N, Y, X, C), by the script in a folder: float (N, K).

    Raises
    ------
    InputError
        If the model cannot be loaded, or gives anything but one row of probabilities for each image.
    """
    with tempfile.TemporaryDirectory(prefix="hpa-export-") as place:
        given, answer = Path(place, "images.npy"), Path(place, "probs.npy")
        np.save(given, images)
        command = [
            sys.executable,
            "-c",
            _CODE,
            str(folder.resolve() / SCRIPT_FILE),
            str(given),
            str(answer),
            str(BATCH),
        ]
        environment = os.environ | _ENVIRONMENT
        done = subprocess.run(
            command, check=False, cwd=place, env=environment, capture_output=True, text=True, errors="replace"
        )
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line.strip()]
            reason = said[-1].strip().rstrip(".") if said else f"its process ended with status {done.returncode}"
            raise InputError(f"Cannot load the model as {kind}: {reason}. Choose another format.")
        probs = np.load(answer)
    if probs.ndim != 2 or len(probs) != len(images):
        raise InputError(
            f"Cannot use the model as {kind}: for {len(images)} images it gives an array of the shape {probs.shape}. "
            "Choose another format."
        )
    wrong = find_wrong_row(probs)
    if wrong is not None:
        raise InputError(f"Cannot use the model as {kind}: it gives {wrong}. Choose another format.")
    return np.asarray(probs, np.float32)


def compare(probs: Probs, expected: Probs, *, tolerance: float, kind: Format) -> float:
    """Return the largest difference of probabilities, (N, K); InputError if it is above a tolerance."""
    if probs.shape != expected.shape:
        raise InputError(
            f"Cannot use the model as {kind}: it gives {probs.shape[1]} probabilities, the run {expected.shape[1]}. "
            "Choose another format."
        )
    difference = measure(probs, expected)
    if not difference <= tolerance:
        raise InputError(
            f"Cannot export to {kind}: its probabilities differ from those of the run by up to {difference:.1e}, more "
            f"than {tolerance:.0e}. Nothing is kept. Choose another format."
        )
    return difference


def measure(probs: Probs, expected: Probs) -> float:
    """Return the largest difference of probabilities, (N, K)."""
    return float(np.abs(probs.astype(np.float64) - expected).max())
