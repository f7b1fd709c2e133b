"""Whether calibrated probabilities are so on samples that no model has seen, and in which order to average them.

    python -m benchmarks.calibration RUN STORE LABELS [--part test]

LABELS is a label table of the part. Prints the expected calibration error over ten bins, all labels together and on
average over the classes, and the cross-entropy, for one model and for the mean over the folds: as predicted, with class
maps applied after the mean, and before it. RESULTS.md holds what was measured.
"""

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpa_data.store.store import open_store
from hpa_data.tables import read_label_table
from hpa_model.metrics import calibration_error
from hpa_model.predict import predict_probs
from hpa_model.predict.chosen import choose_models
from hpa_model.predict.models import average_calibrated, load_models
from hpa_model.thresholds import apply_calibrations, apply_temperatures

Probs = npt.NDArray[np.float64]


def measure(labels: npt.NDArray[np.uint8], probs: Probs) -> tuple[float, float, float]:
    """Return the calibration error of all labels, its mean over the classes, and the cross-entropy of a label."""
    of_classes = [calibration_error(labels[:, k], probs[:, k]) for k in range(labels.shape[1])]
    likelihood = np.where(labels != 0, probs, 1 - probs)
    loss = -np.log(np.clip(likelihood, 1e-7, 1)).mean()
    return calibration_error(labels, probs), float(np.mean(of_classes)), float(loss)


def main() -> None:
    """Predict with each fold's model, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("store")
    parser.add_argument("labels", type=Path)
    parser.add_argument("--part", default="test")
    args = parser.parse_args()
    models = choose_models(args.run, calibrated=True)
    description, maps = models.description, models.decision.calibrations
    assert maps is not None
    table = read_label_table(args.labels)
    rows = {name: row for row, name in enumerate(table.ids)}
    of_models = []
    with open_store(args.store).reader([args.part], channels=description.channels) as reader:
        labels = table.labels[[rows[name] for name in reader.ids]]
        for fold, temperature in zip(models.folds, models.temperatures, strict=True):
            networks = load_models(args.run, description, [fold])
            probs = predict_probs(networks, reader, np.arange(len(reader)), description.config.batch_size)
            of_models.append(apply_temperatures(probs, temperature))
    mean = np.mean(of_models, axis=0)
    shown = {
        "one model, as predicted": of_models[0],
        "one model, calibrated": apply_calibrations(maps, of_models[0]),
        "mean, as predicted": mean,
        "mean, calibrated after it": apply_calibrations(maps, mean),
        "mean, calibrated before it": average_calibrated(of_models, maps),
    }
    print(f"| {len(labels)} samples of {args.part} | error | mean over classes | cross-entropy |\n|---|---|---|---|")
    for name, probs in shown.items():
        print(f"| {name} | {' | '.join(f'{value:.4f}' for value in measure(labels, probs))} |")


if __name__ == "__main__":
    main()
