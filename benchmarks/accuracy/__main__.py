"""Run a comparison of ideas, and print its table.

    python -m benchmarks.accuracy OUT [--about training|starts] [--only ROW …] [--weights FILE|imagenet]

`training`: schedules, averages, balance, augmentation and shipped recipes, on 2,000 labeled samples, tested on 1,000.
`starts`: other weights to start from, one network per channel and ensembles, on 1,000 labeled samples.

Draws the samples into OUT and converts them at 128 pixels. Then runs the commands of every row, each into OUT/NAME, and
prints them and one table. Run again to resume: a finished step is not repeated. Macro-F1 is the first score of
`hpa evaluate`, of predictions out of fold; `difference` is that to the first network of the same kind by a paired
bootstrap, as in `hpa compare`; `test` is macro-F1 of the submission for held-out samples; `band` is the upper end of
the band that holds 95 % of the scores without skill. Images seen are those of all folds, members and pre-training
together; seconds are those of all processors in training and scoring.
"""

import argparse
from pathlib import Path

from benchmarks.accuracy import starts, training
from benchmarks.accuracy.run import prepare, run_steps
from benchmarks.accuracy.table import tabulate_rows


def main() -> None:
    """Run the steps and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--about", choices=("training", "starts"), default="training")
    parser.add_argument("--weights", help="for inceptionv3, with --about starts; without, it is left out")
    parser.add_argument("--only", nargs="+", default=[], metavar="ROW", help="the step whose scores the row shows")
    arguments = parser.parse_args()
    weights = arguments.weights
    if weights not in {None, "imagenet"}:
        weights = str(Path(weights).resolve())
    comparison = training.compare() if arguments.about == "training" else starts.compare(weights)
    arguments.out.mkdir(parents=True, exist_ok=True)
    prepare(arguments.out, comparison)
    rows = [row for row in comparison.rows if not arguments.only or row.step in arguments.only]
    run_steps(arguments.out, comparison, rows)
    print(tabulate_rows(arguments.out, comparison, rows))


if __name__ == "__main__":
    main()
