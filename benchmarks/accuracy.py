"""What each idea adds to one network, at equal numbers of images seen, on synthetic samples.

    python -m benchmarks.accuracy OUT [--weights FILE|imagenet] [--samples 1000] [--epochs 20] [--only ROW …]

Draws labeled samples, as many unlabeled ones and as many of an external set into OUT, and converts them at 128 pixels.
Then runs the commands of every row, each into OUT/NAME, and prints them and one table. Run again to resume: a finished
step is not repeated. Macro-F1 is the first score of `hpa evaluate`, of predictions out of fold; `difference` is that to
`gapnet` by a paired bootstrap, as in `hpa compare`; `band` is the upper end of the band that holds 95 % of the scores
without skill. Images seen are those of all folds, members and pre-training together.
"""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hpa_model.evaluation.difference import compare_rows
from hpa_model.evaluation.records import HEADLINE
from hpa_model.evaluation.scores import score_run
from hpa_model.runs.folder import read_run
from hpa_model.runs.history import read_history, read_reconstruction_epochs
from hpa_model.runs.out_of_fold import read_out_of_fold
from hpa_model.runs.pretraining import ENCODER_FILE, TRAINING, is_pretraining, read_samples

REFERENCE = "gapnet"
STORE, EXTERNAL = "hpa.zarr", "external.zarr"
CHANNELS = ("red", "green", "blue", "yellow")
# Training as in the recipe `trial`, for every network.
COMMON = "--folds 2 --image-size 128 --batch-size 16 --symmetries --cache ram --set schedule=cosine --set keep=last"
# An epoch has 32 steps: the moving averages must not lag behind by more.
COMMON += " --set bn_momentum=0.9"
GAPNET = f"--model gapnet {COMMON} --set clip_norm=1 --set options.dropout=0.1"
INCEPTION = f"--recipe inceptionv3 {COMMON} --set clip_norm=1"


@dataclass(frozen=True)
class Step:
    """A command of `hpa`, without its ``--out``, which is `name`."""

    name: str
    command: str
    needs: tuple[str, ...] = ()
    """Names of the steps whose folders it reads."""


@dataclass(frozen=True)
class Row:
    """A line of the table: what was tried, and the step whose scores it shows."""

    title: str
    step: str


def list_steps(epochs: int, weights: str | None) -> list[Step]:
    """List the steps of a comparison in which `gapnet` is trained for `epochs` (a multiple of 4)."""
    half, quarter = epochs // 2, epochs // 4
    train = f"train {STORE} {GAPNET}"
    other = train.replace("--model gapnet", "--model gapnet-pl")
    steps = [
        Step("baseline", f"baseline {STORE} --folds 2"),
        Step(REFERENCE, f"{train} --epochs {epochs}"),
        Step(
            "encoder",
            f"pretrain {STORE} --part train --part test --model gapnet --image-size 128 --batch-size 16 --symmetries "
            f"--cache ram --epochs {quarter} --mask 0.2 --mask-patch 8 --set schedule=cosine --set keep=last "
            "--set bn_momentum=0.9 --set options.dropout=0",
        ),
        Step("pretrained-half", f"{train} --epochs {half} --weights encoder", ("encoder",)),
        Step("pretrained", f"{train} --epochs {epochs} --weights encoder", ("encoder",)),
        Step("half", f"{train} --epochs {half}"),
        Step("pl-half", f"{other} --epochs {half}"),
        Step("pl", f"{other} --epochs {epochs}"),
        *(Step(f"{name}-quarter", f"{train} --channels {name} --epochs {quarter}") for name in CHANNELS),
        Step("external-half", f"train {EXTERNAL} {GAPNET} --epochs {half}"),
        Step("transferred", f"{train} --epochs {half} --weights external-half", ("external-half",)),
    ]
    quarters = tuple(f"{name}-quarter" for name in CHANNELS)
    for method in ("mean", "weighted", "stacked"):
        steps += [
            _join(f"channels-{method}", quarters, method),
            _join(f"both-half-{method}", ("half", "pl-half"), method),
        ]
    steps += [
        _join("both", (REFERENCE, "pl"), "mean"),
        _join("with-baseline-stacked", (REFERENCE, "baseline"), "stacked"),
        _join("with-baseline", (REFERENCE, "baseline"), "weighted"),
    ]
    if weights is not None:
        path = shlex.quote(weights)
        inception = f"train {STORE} {INCEPTION} --epochs {epochs}"
        steps += [
            Step("inceptionv3-weights", f"{inception} --set head_epochs={quarter} --weights {path}"),
            Step("inceptionv3", inception),
            Step(
                "inceptionv3-one-stage",
                f"{inception} --set head_epochs=0 --set backbone_rate_factor=1 --weights {path}",
            ),
        ]
    steps += [Step(name, f"{train} --channels {name} --epochs {epochs}") for name in CHANNELS]
    return [*steps, _join("channels-full", CHANNELS, "weighted")]


def _join(name: str, members: tuple[str, ...], method: str) -> Step:
    return Step(name, f"ensemble {' '.join(members)} --method {method}", members)


ROWS = (
    Row("baseline (features and trees)", "baseline"),
    Row("`gapnet` from random weights", REFERENCE),
    Row("`gapnet` from a pre-trained encoder, half the epochs", "pretrained-half"),
    Row("`gapnet` from a pre-trained encoder, all epochs", "pretrained"),
    Row("`gapnet` from a run on another set, half the epochs on each", "transferred"),
    Row("`gapnet` per channel, a quarter of the epochs each: mean", "channels-mean"),
    Row("the same: weighted", "channels-weighted"),
    Row("the same: stacked", "channels-stacked"),
    Row("`gapnet` on the green channel alone", "green"),
    Row("`gapnet` per channel, all epochs each: weighted", "channels-full"),
    Row("`gapnet-pl` from random weights", "pl"),
    Row("`gapnet` and `gapnet-pl`, half the epochs each: mean", "both-half-mean"),
    Row("the same: weighted", "both-half-weighted"),
    Row("the same: stacked", "both-half-stacked"),
    Row("`gapnet` and `gapnet-pl`, all epochs each: mean", "both"),
    Row("`gapnet` and the baseline: weighted", "with-baseline"),
    Row("the same: stacked", "with-baseline-stacked"),
    Row("`inceptionv3` from random weights", "inceptionv3"),
    Row("`inceptionv3` from weights of photographs, in two stages", "inceptionv3-weights"),
    Row("the same, in one stage, all layers at the whole rate", "inceptionv3-one-stage"),
)


def prepare(out: Path, n_samples: int) -> None:
    """Draw and convert the samples, if they are not there."""
    for seed, (store, parts) in enumerate({STORE: ("train", "test"), EXTERNAL: ("train",)}.items(), start=1):
        folder = Path(f"drawn-{seed}")
        if not (out / store).exists():
            run_hpa(out, f"synth {folder} --samples {n_samples} --test {n_samples} --uniform --seed {seed}")
        for part in parts:
            labels = f" --labels {folder}/train.csv" if part == "train" else ""
            run_hpa(out, f"convert {folder}/{part} {store} --part {part} --image-size 128{labels}")


def run_hpa(out: Path, command: str) -> None:
    """Run a command of `hpa` in folder `out`; print it first."""
    print(f"hpa {command}", flush=True)
    subprocess.run([sys.executable, "-m", "cli", *shlex.split(command)], cwd=out, check=True, stdout=sys.stderr)


def count_images(folder: Path) -> int:
    """Count the images that a run or a pre-training was trained on, with repetitions, over all folds."""
    if is_pretraining(folder):
        n_training = sum(sample.use == TRAINING for sample in read_samples(folder))
        return n_training * len(read_reconstruction_epochs(folder))
    description, folds = read_run(folder), read_out_of_fold(folder).folds
    if description.baseline is not None or description.ensemble is not None:
        return 0
    histories = read_history(folder, description.config.folds)
    return sum(len(history) * int((folds != fold).sum()) for fold, history in enumerate(histories))


def tabulate_rows(out: Path, rows: Sequence[Row], steps: dict[str, Step]) -> str:
    """Return the table of the rows whose runs are finished, in Markdown."""
    reference = read_out_of_fold(out / REFERENCE)
    lines = [
        "| | images seen | macro-F1 (95 %) | difference (95 %) | band | AUC | mAP |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        run = out / row.step
        scores, name = score_run(run), f"macro_f1_{HEADLINE.name}"
        interval, images = scores.intervals[name], _sum_images(out, row.step, steps)
        found = compare_rows(row.step, read_out_of_fold(run), REFERENCE, reference)
        difference = "" if row.step == REFERENCE else f"{found.difference:+.3f} ({found.low:+.3f} to {found.high:+.3f})"
        lines.append(
            f"| {row.title} | {images:,} | {scores.headline:.3f} ({interval.low:.3f} to {interval.high:.3f}) "
            f"| {difference} | {scores.no_skill[name].high:.3f} | {scores.macro_roc_auc or 0:.3f} "
            f"| {scores.macro_average_precision or 0:.3f} |"
        )
    return "\n".join(lines)


def _sum_images(out: Path, name: str, steps: dict[str, Step]) -> int:
    return count_images(out / name) + sum(_sum_images(out, needed, steps) for needed in steps[name].needs)


def is_finished(folder: Path) -> bool:
    """Tell whether the folder of a step has the file that is written last."""
    return (folder / "report.html").exists() or (folder / ENCODER_FILE).exists()


def main() -> None:
    """Run the steps and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--weights", help="for inceptionv3; without, it is left out")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=20, help="of gapnet; a multiple of 4")
    parser.add_argument("--only", nargs="+", default=[], metavar="ROW", help="the step whose scores the row shows")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    weights = arguments.weights
    if weights not in (None, "imagenet"):
        weights = str(Path(weights).resolve())
    steps = {step.name: step for step in list_steps(arguments.epochs, weights)}
    rows = [row for row in ROWS if row.step in steps and (not arguments.only or row.step in arguments.only)]
    prepare(arguments.out, arguments.samples)
    for step in _select([row.step for row in rows], steps):
        if not is_finished(arguments.out / step.name):
            run_hpa(arguments.out, f"{step.command} --out {step.name}")
    print(tabulate_rows(arguments.out, rows, steps))


def _select(names: Sequence[str], steps: dict[str, Step]) -> list[Step]:
    """Return the steps of these names, and those that they need, in the order in which they run."""
    wanted = {REFERENCE, *names}
    while more := {needed for name in wanted for needed in steps[name].needs} - wanted:
        wanted |= more
    return [step for step in steps.values() if step.name in wanted]


if __name__ == "__main__":
    main()
