"""`hpa recipes`: the recipes that come with the package, and `--recipe` by their names."""

import json
import re
from pathlib import Path

import pytest

from hpa_data.store.store import Store
from hpa_model.config import find_recipe, list_recipes
from tests.builders import Hpa, assert_refused

FOLDER = Path(__file__).parents[3] / "recipes"


def test_the_recipes_of_the_repository_come_with_the_package_and_are_listed(hpa: Hpa) -> None:
    names = {path.stem for path in FOLDER.glob("*.toml")}
    assert {"gapnet", "paper", "trial"} <= names == {recipe.name for recipe in list_recipes()}
    ended = hpa("recipes")
    assert re.search("^gapnet +GapNet as in the paper, for each fold$", ended.out, re.MULTILINE)
    assert {recipe["name"] for recipe in json.loads(hpa("recipes", "--json").out)} == names
    for recipe in list_recipes():
        assert 10 < len(recipe.summary) <= 120, recipe


def test_a_recipe_is_printed_to_start_from(hpa: Hpa, tmp_path: Path) -> None:
    assert hpa("recipes", "trial").out == (FOLDER / "trial.toml").read_text()
    assert_refused(hpa("recipes", "tiral"), "name must be one of best, convnext-tiny, deepyeast, ")


def test_a_recipe_is_a_file_or_a_name(store: Store, hpa: Hpa, tmp_path: Path) -> None:
    assert find_recipe(Path("gapnet")).read_bytes() == (FOLDER / "gapnet.toml").read_bytes()
    assert find_recipe(FOLDER / "gapnet.toml") == FOLDER / "gapnet.toml"
    ended = hpa("train", store.path, "--recipe", "gapnett", "--out", tmp_path / "run")
    assert_refused(ended, "recipe must be a file, or one of best, convnext-tiny, deepyeast, ")
    ended = hpa("train", store.path, "--recipe", tmp_path / "gapnet", "--out", tmp_path / "run")
    assert_refused(ended, f"Received: {tmp_path / 'gapnet'}. See `hpa recipes`.")


def test_a_run_folder_with_the_name_of_a_recipe_does_not_hide_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("gapnet").mkdir()
    assert find_recipe(Path("gapnet")).read_bytes() == (FOLDER / "gapnet.toml").read_bytes()
    Path("gapnet").rmdir()
    Path("gapnet").write_text("epochs = 3")
    assert find_recipe(Path("gapnet")) == Path("gapnet")
