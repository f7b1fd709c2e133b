"""Settings and recipes."""

import dataclasses
from pathlib import Path

import pytest

from hpa_data.errors import InputError
from hpa_data.system.records import decode_record, encode_record
from hpa_model.config import (
    TrainConfig,
    find_recipe,
    format_mix,
    load_recipe,
    make_config,
    merge_settings,
    parse_mix,
    parse_setting,
    read_recipe,
    recipes,
)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epoch": 3}, "must be one of model, .* Received: 'epoch'"),
        ({"epochs": "3"}, "epochs: expected `int`, got `(str|bool)`"),
        ({"epochs": True}, "epochs: expected `int`, got `(str|bool)`"),
        ({"epochs": 0}, "epochs must be from 1 to"),
        ({"clip_norm": float("inf")}, "clip_norm must be from 0 to 1000000000"),
        ({"fold_method": "random"}, "must be one of stratified, contiguous"),
        ({"schedule": "linear"}, "schedule must be one of constant, plateau, cosine"),
        ({"schedule": "cosine", "plateau_epochs": 3}, "plateau_epochs must be 0 with schedule=cosine.*=0, or"),
        ({"learning_rate": -1}, "between 0 and 1"),
        ({"bn_momentum": 1.0}, "at least 0 and below 1"),
        ({"learning_rate": float("nan")}, "between 0 and 1"),
        ({"parts": []}, "parts must be different names"),
        ({"seed": 2**32}, "to 4294967295"),
        ({"parts": ["train", "train"]}, "Name each part once"),
        ({"finetune_loss": "mse"}, "finetune_loss must be one of bce, f1, focal"),
        ({"finetune_loss": ["bce", "mse"], "finetune_epochs": [1, 1]}, "finetune_loss must be one of bce, f1, focal"),
        ({"finetune_epochs": [14, -1], "finetune_loss": ["bce", "f1"]}, "finetune_epochs must be from 0 to"),
        ({"finetune_epochs": [14, 5]}, "Give each fine-tuning a loss and its epochs"),
        ({"finetune_epochs": [14, 5], "finetune_loss": ["f1", "f1"]}, "must be different losses"),
    ],
)
def test_invalid_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_config(settings)


def test_a_recipe_holds_the_differences_from_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('parts = ["train", "external"]\nepochs = 4\nlearning_rate = 1e-2\n')
    config = make_config(read_recipe(tmp_path / "a.toml"))
    assert config == TrainConfig(parts=("train", "external"), epochs=4, learning_rate=0.01)
    (tmp_path / "a.toml").write_text("epochs =")
    with pytest.raises(InputError, match=r"Cannot read recipe .*a\.toml"):
        read_recipe(tmp_path / "a.toml")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LaterConfig(TrainConfig):
    """The settings of a version with one more, whose default is not what earlier versions did."""

    warmup_epochs: int = dataclasses.field(default=3, metadata={"absent": 0})


def test_a_setting_added_later_has_its_default_in_recipes_and_its_absence_in_older_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recipes, "TrainConfig", LaterConfig)
    monkeypatch.setattr(recipes, "DEFAULTS", LaterConfig())
    assert make_config({"epochs": 4}) == LaterConfig(epochs=4, warmup_epochs=3)
    older = decode_record(LaterConfig, encode_record(TrainConfig()), name="config.json")
    assert older.warmup_epochs == 0
    assert encode_record(older) == encode_record(TrainConfig())


def test_every_recipe_of_the_project_is_valid() -> None:
    recipes = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))
    assert recipes
    for path in recipes:
        make_config(load_recipe(path))


def test_one_fine_tuning_or_several_follow_a_training() -> None:
    assert make_config({}).finetunings == ()
    assert make_config({"finetune_epochs": 14}).finetunings == (("bce", 14),)
    several = make_config({"finetune_epochs": [14, 5], "finetune_loss": ["bce", "f1"]})
    assert several.finetunings == (("bce", 14), ("f1", 5))
    assert decode_record(TrainConfig, encode_record(several), name="config.json") == several


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("loss=f1", {"loss": "f1"}),
        ("fold_method = grouped-stratified", {"fold_method": "grouped-stratified"}),
        ("precision=mixed_bfloat16", {"precision": "mixed_bfloat16"}),
        ("epochs=3", {"epochs": 3}),
        ("bn_momentum=.9", {"bn_momentum": 0.9}),
        ("clip_norm=+1.", {"clip_norm": 1.0}),
        ("weight_decay=.5e-3", {"weight_decay": 5e-4}),
        ("symmetries=true", {"symmetries": True}),
        ("options.dropout = 0.2", {"options": {"dropout": 0.2}}),
        ('parts=["train", "external"]', {"parts": ["train", "external"]}),
    ],
)
def test_a_setting_is_a_line_of_a_recipe(text: str, setting: dict[str, object]) -> None:
    assert parse_setting(text) == setting


@pytest.mark.parametrize("text", ["loss", "=f1", "loss=", "a=1\nb=2", "epochs=3 4"])
def test_a_setting_without_name_or_value_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="NAME=VALUE"):
        parse_setting(text)


@pytest.mark.parametrize(
    ("texts", "mix"),
    [(["train=1,external=0.5"], {"train": 1.0, "external": 0.5}), (["a=1", " b = 2 "], {"a": 1.0, "b": 2.0})],
)
def test_weights_of_parts_are_words_of_the_command_line(texts: list[str], mix: dict[str, float]) -> None:
    assert parse_mix(texts) == mix
    assert parse_mix([format_mix(mix)]) == mix
    assert decode_record(TrainConfig, encode_record(make_config({"mix": mix})), name="it").mix == mix


@pytest.mark.parametrize("text", ["", "train", "train=", "=1", "train=one", "train:1", "train=1,"])
def test_a_weight_without_part_or_number_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"mix must be PART=WEIGHT, separated by commas\. Received"):
        parse_mix([text])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mix": {"train": 0}}, r"mix must give each part a weight above 0, up to 1e\+09\. Received: train=0"),
        ({"mix": {"train": -1}}, "Received: train=-1"),
        ({"mix": {"train": float("nan")}}, "Received: train=nan"),
        ({"mix": {"train": float("inf")}}, "Received: train=inf"),
        ({"mix": {"train": True}}, r"mix must be a table of parts and weights\. Received: mix=\{.train.: True\}"),
        ({"mix": {"train": "1"}}, r"mix must be a table of parts and weights\. Received: mix=\{.train.: .1.\}"),
        (
            {"mix": "train=1"},
            "mix must be a table of parts and weights. Received: mix='train=1'. Write mix = {train = 1",
        ),
        ({"sampling": "cubic"}, "sampling must be one of none, sqrt, balanced"),
        ({"sampler": "sqrt"}, "Did you mean 'sampling'"),
    ],
)
def test_what_is_no_balance_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_config(settings)


def test_a_part_named_twice_in_a_mix_is_refused() -> None:
    with pytest.raises(InputError, match="mix must name each part once. Received: 'a' twice"):
        parse_mix(["a=1", "a=2"])


def test_a_run_without_sampling_records_neither_sampling_nor_mix() -> None:
    assert not {"sampling", "mix"} & encode_record(TrainConfig()).keys()


def test_options_are_merged_one_by_one() -> None:
    merged = merge_settings({"epochs": 1, "options": {"dropout": 0.1, "stride": 1}}, {"options": {"dropout": 0.2}})
    assert merged == {"epochs": 1, "options": {"dropout": 0.2, "stride": 1}}


def test_a_recipe_extends_one_of_the_package_or_a_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text('extends = "trial"\nepochs = 3\noptions = {stride = 1}\n')
    (tmp_path / "mine.toml").write_text('extends = "base.toml"\nbatch_size = 7\noptions = {dropout = 0.2}\n')
    found, trial = load_recipe(tmp_path / "mine.toml"), load_recipe(find_recipe(Path("trial")))
    assert found == trial | {"epochs": 3, "batch_size": 7, "options": trial["options"] | {"stride": 1, "dropout": 0.2}}
    assert trial["epochs"] == 60


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('extends = "a.toml"', r"extends must name another recipe. Received: 'a.toml'"),
        (
            'extends = "b.toml"',
            r"Received: 'a.toml' in .*b.toml, which extends itself. Name another one.",
        ),
        ("extends = 3", "extends must be the name of a recipe, or of a file beside this one. Received: 3"),
        ('extends = "gapnt"', "recipe must be a file, or one of .*gapnet"),
        ('extends = "../../etc/passwd"', "extends must be the name of a recipe, or of a file beside"),
    ],
)
def test_a_recipe_that_extends_itself_or_nothing_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(text)
    (tmp_path / "b.toml").write_text('extends = "a.toml"')
    with pytest.raises(InputError, match=message):
        load_recipe(tmp_path / "a.toml")
