"""What each recipe reaches as it is shipped, but for the size of the images, the folds and the parts.

    python -m benchmarks.recipes STORE OUT [--folds 2] [--image-size N] [--size RECIPE=N …] [--only RECIPE …]

Trains every recipe of the project on part train of STORE into OUT/RECIPE, resuming what is there, and prints one row
per run. Macro-F1 is the first score of `hpa evaluate`; `band` is the upper end of the band that holds 95 % of the
scores of such probabilities in a random order.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from hpa_data.store.store import open_store
from hpa_model.config import format_image_size, load_recipe, make_config, merge_settings, parse_image_size
from hpa_model.evaluation.records import HEADLINE
from hpa_model.evaluation.scores import score_run
from hpa_model.runs.folder import read_run
from hpa_model.runs.history import read_history
from hpa_model.runs.out_of_fold import read_out_of_fold
from hpa_model.training.finetune import train_and_finetune

RECIPES = Path(__file__).parents[1] / "recipes"
HEAD = (
    f"{'run':<24}{'pixels':>8}{'images seen':>13}{'AUC':>7}{'mAP':>7}{'macro-F1':>10}{'95 %':>16}{'band':>8}"
    f"{'seconds':>9}"
)


def tabulate_runs(runs: Sequence[Path]) -> str:
    """Return one row per run: its image size, images seen over all folds, scores without skill beside, and seconds."""
    return "\n".join([HEAD, *map(_describe_run, runs)])


def _describe_run(run: Path) -> str:
    description, scores = read_run(run), score_run(run)
    folds = read_out_of_fold(run).folds
    histories = read_history(run, description.config.folds)
    trained = [(fold, histories[fold]) for fold in description.trained_folds]
    n_seen = sum(len(history) * int((folds != fold).sum()) for fold, history in trained)
    seconds = sum(record.seconds for _, history in trained for record in history)
    name = f"macro_f1_{HEADLINE.name}"
    interval = scores.intervals[name]
    return (
        f"{run.name:<24}{format_image_size(description.config.image_size):>8}{n_seen:>13,}"
        f"{scores.macro_roc_auc or 0:>7.3f}{scores.macro_average_precision or 0:>7.3f}{scores.headline:>10.3f}"
        f"{f'{interval.low:.3f} to {interval.high:.3f}':>16}{scores.no_skill[name].high:>8.3f}{seconds:>9.0f}"
    )


def main() -> None:
    """Train the recipes and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("out", type=Path)
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--image-size", default="128")
    parser.add_argument("--size", action="append", default=[], metavar="RECIPE=N")
    parser.add_argument("--only", action="append", default=[], metavar="RECIPE")
    arguments = parser.parse_args()
    store, sizes = open_store(arguments.store), dict(text.split("=", 1) for text in arguments.size)
    runs = []
    for path in sorted(RECIPES.glob("*.toml")):
        if arguments.only and path.stem not in arguments.only:
            continue
        size = parse_image_size(sizes.get(path.stem, arguments.image_size))
        small = {"folds": arguments.folds, "image_size": size, "parts": ["train"]}
        config = make_config(merge_settings(load_recipe(path), small))
        done = train_and_finetune(store, config, arguments.out / path.stem, recipe=path, cache_bytes=2**31)
        runs += [trained.run for trained in done]
    print(tabulate_runs(runs))


if __name__ == "__main__":
    main()
