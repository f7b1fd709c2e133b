"""The script beside an exported model, which shows how it is loaded without `hpa`. The check runs it, too."""

from hpa_model.predict.export.options import Format

# What it is called.
SCRIPT_FILE = "predict.py"

_START = '''\
"""Predict an image: python predict.py PLANE..., an 8-bit file for each channel, in the order of hpa.json."""

import json, sys
from pathlib import Path
import numpy as np
{imports}
from PIL import Image

folder = Path(__file__).resolve().parent
about = json.loads((folder / "hpa.json").read_text("utf-8"))
{load}


def predict(images):  # uint8 (B, Y, X, C) -> float32 (B, K)
    {predict}


if __name__ == "__main__":
    image = np.stack([np.array(Image.open(path)) for path in sys.argv[1:]], axis=-1)
    assert [image.dtype, *image.shape] == ["uint8", *about["input"]["shape"][1:]], (image.dtype, image.shape)
    probs, thresholds = predict(image[None])[0].astype(float), [each["threshold"] for each in about["classes"]]
    likeliest = np.argmax([prob if threshold < 1 else -1 for prob, threshold in zip(probs, thresholds)])
    fills = about["fill_empty"] and min(thresholds) < 1 and not (probs > thresholds).any()
    for number, (each, prob) in enumerate(zip(about["classes"], probs)):
        is_chosen = prob > each["threshold"] or (fills and number == likeliest)
        print(f"{{prob:.6f}}", "*" if is_chosen else " ", each["name"])
'''

_ONNX = {
    "imports": "import onnxruntime",
    "load": 'session = onnxruntime.InferenceSession(folder / "{file}", providers=["CPUExecutionProvider"])',
    "predict": 'return session.run(["probs"], {"images": images})[0]',
}
_PARTS = {
    "saved-model": {
        "imports": "import tensorflow",
        "load": 'model = tensorflow.saved_model.load(folder / "{file}")',
        "predict": "return model.serve(tensorflow.constant(images)).numpy()",
    },
    "onnx": _ONNX,
    "litert": {
        "imports": "from ai_edge_litert.interpreter import Interpreter",
        "load": 'run = Interpreter(str(folder / "{file}")).get_signature_runner("serving_default")',
        "predict": 'return np.concatenate([run(images=image[None])["output_0"] for image in images])',
    },
    "openvino": {
        "imports": "import openvino",
        "load": 'model = openvino.compile_model(folder / "{file}", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})',
        "predict": 'return model(images)["probs"]',
    },
    "bioimageio": _ONNX,
}


def make_script(kind: Format, file: str) -> str:
    """Return the text of the script for a format, whose model is in this file or folder beside it."""
    parts = {name: text.replace("{file}", file) for name, text in _PARTS[kind].items()}
    return _START.format(**parts)
