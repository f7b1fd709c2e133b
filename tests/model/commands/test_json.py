"""`--json`: what every command prints is JSON and nothing else, also where something was not measured."""

import json
from pathlib import Path
from typing import NoReturn

import pytest

from hpa_data.store.store import Store
from tests.builders import Hpa, make_rows, make_run

COMMANDS = (
    *("datasets", "datasets hpa2018", "recipes", "recipes gapnet", "models", "synth {new} --samples 1"),
    *("convert {kaggle}/train {new} --labels {kaggle}/train.csv --dry-run", "verify {store}"),
    *(
        "preview {store} --out {new}.png --samples 1",
        "stats {store} --no-intensities",
        "stats --labels {kaggle}/train.csv",
    ),
    *("augment {store} --min-count 9 --dry-run", "folds {store} --folds 2", "evaluate {made}", "compare {made} {bare}"),
    "predict {run} {store} --part test --out {new}.csv",
)


def refuse(word: str) -> NoReturn:
    raise AssertionError(f"{word} is not JSON")


@pytest.mark.parametrize("words", COMMANDS)
def test_json_is_valid_and_alone_on_stdout(  # noqa: PLR0917 - fixtures
    words: str, store: Store, kaggle: Path, run: Path, tmp_path: Path, hpa: Hpa
) -> None:
    made, bare = (make_run(tmp_path / name, make_rows()) for name in ("made", "bare"))
    for path in bare.glob("fold*/history.csv"):  # rates are unknown then
        path.unlink()
    paths = {"store": store.path, "kaggle": kaggle, "run": run, "made": made, "bare": bare, "new": tmp_path / "new"}
    ended = hpa(*words.format(**paths).split(), "--json")
    assert ended.status in {0, 1}, ended.err
    assert json.loads(ended.out, parse_constant=refuse)
