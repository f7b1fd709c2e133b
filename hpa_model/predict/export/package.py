"""A model package of bioimage.io: the ONNX model with a description that its own library validates."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError, first_line
from hpa_model.predict.export.metadata import ABOUT_FILE
from hpa_model.predict.export.onnx_model import OPSET
from hpa_model.predict.export.scripts import SCRIPT_FILE

DESCRIPTION_FILE, README_FILE = "rdf.yaml", "README.md"
INPUT_FILE, OUTPUT_FILE = "test_input.npy", "test_output.npy"
# Of the description; newer libraries read it, too.
FORMAT_VERSION = "0.5.4"


def write_package(
    folder: Path, about: dict[str, Any], images: npt.NDArray[np.uint8], probs: npt.NDArray[np.float32]
) -> None:
    """Write what makes a package of a folder with an exported model, and let bioimageio.core validate and run it.

    Parameters
    ----------
    folder : Path
    about : dict
        What `metadata.describe_models` gives.
    images, probs : array
        An image, (1, Y, X, C), and its probabilities, (1, K), which others try the model with. They are in the package.

    Raises
    ------
    InputError
        If the package is not valid.
    """
    np.save(folder / INPUT_FILE, images)
    np.save(folder / OUTPUT_FILE, probs)
    (folder / README_FILE).write_text(make_readme(about), "utf-8")
    # JSON is YAML, and safe whatever a class is called.
    text = json.dumps(describe_package(about), indent=2, ensure_ascii=False) + "\n"
    (folder / DESCRIPTION_FILE).write_text(text, "utf-8")
    _validate(folder / DESCRIPTION_FILE)


def describe_package(about: dict[str, Any]) -> dict[str, Any]:
    """Make the content of `rdf.yaml`, without authors, citation and license, which only the user knows."""
    rows, columns = about["input"]["shape"][1:3]
    name = re.sub(r"[^A-Za-z0-9_ -]", "-", f"hpa {about['network']} {about['run']}")[:128]
    return {
        "format_version": FORMAT_VERSION,
        "type": "model",
        "name": name,
        "description": f"Probabilities of {len(about['classes'])} classes for images of {rows} x {columns} pixels.",
        "documentation": README_FILE,
        "tags": ["classification", "fluorescence-light-microscopy", "2d"],
        "inputs": [
            {
                "id": about["input"]["name"],
                "description": "Channels scaled to 8 bits.",
                "axes": [
                    {"type": "batch"},
                    {"type": "space", "id": "y", "size": rows},
                    {"type": "space", "id": "x", "size": columns},
                    {"type": "channel", "channel_names": [each["name"] for each in about["channels"]]},
                ],
                "data": {"type": "uint8", "range": [0, 255]},
                "test_tensor": {"source": INPUT_FILE},
            }
        ],
        "outputs": [
            {
                "id": about["output"]["name"],
                "description": "A probability for each class.",
                "axes": [
                    {"type": "batch"},
                    {"type": "channel", "channel_names": [each["name"] for each in about["classes"]]},
                ],
                "data": {"type": "float32", "range": [0, 1]},
                "test_tensor": {"source": OUTPUT_FILE},
            }
        ],
        "weights": {"onnx": {"source": about["model"]["file"], "opset_version": OPSET}},
        "attachments": [{"source": ABOUT_FILE}, {"source": SCRIPT_FILE}],
        "config": {"hpa": {name: value for name, value in about.items() if name != "reading"}},
    }


def make_readme(about: dict[str, Any]) -> str:
    """Make the text of the package for people."""
    scores, check = about["scores"], about["check"]
    scored = "There is no score of this model."
    if scores is not None:
        scored = (
            "This model was not scored as a whole. Macro-F1 of the run's folds, each on the samples that it was not "
            f"trained on, with thresholds of the other folds: {scores['macro_f1']:.3f} on {scores['n_samples']} "
            "samples."
        )
    channels = ", ".join(each["name"] for each in about["channels"])
    return (
        f"# {about['network']}, {len(about['classes'])} classes\n\n"
        f"From an image with the channels {channels} to a probability for each class. `{ABOUT_FILE}` has the threshold "
        f"of each class, and how image files were scaled to 8 bits; `{SCRIPT_FILE}` shows how the model is used.\n\n"
        f"## Validation\n\n{scored} Compared with the training program on {check['n_images']} images, probabilities "
        f"differ by at most {check['max_difference']:.1e}.\n"
    )


def _validate(path: Path) -> None:
    """Let bioimageio.core read a package, and compare what its model gives; InputError if it is not content."""
    try:
        from bioimageio.core import test_model
        from loguru import logger

        logger.disable("bioimageio")
        summary = test_model(path)
    except Exception as error:  # a library of many others
        raise InputError(
            f"Cannot export to bioimageio: bioimageio.core failed, {first_line(error).rstrip('.')}. Run: pip install "
            "'.[export,bioimageio]', or pass --format onnx."
        ) from error
    if summary.status != "passed":
        reasons = [first_line(ValueError(each.msg)) for detail in summary.details for each in detail.errors]
        reason = reasons[0].rstrip(".") if reasons else summary.status
        raise InputError(
            f"Cannot export to bioimageio: its validation failed, {reason}. Run: pip install '.[export,bioimageio]', "
            "or pass --format onnx."
        )
