"""What `--vary` may say."""

from typing import Any

import pytest

from hpa_data.errors import InputError
from hpa_model.sweep.space import Varied, count_points, format_value, merge_varied, parse_space


def parse(*texts: str, **settings: Any) -> tuple[Varied, ...]:
    return parse_space(texts, settings)


@pytest.mark.parametrize(
    ("text", "name", "values"),
    [
        ("learning_rate=1e-4, .001,0.01", "learning_rate", (1e-4, 0.001, 0.01)),
        ("weight_decay=0,0.01", "weight_decay", (0.0, 0.01)),
        ("epochs=5,10", "epochs", (5, 10)),
        ("warmup_epochs=0,2", "warmup_epochs", (0.0, 2.0)),
        ("optimizer=adam,sgd", "optimizer", ("adam", "sgd")),
        ("symmetries=false,True", "symmetries", (False, True)),
        ("dropout=0,0.4", "options.dropout", (0.0, 0.4)),
        ("options.stride=1,2", "options.stride", (1, 2)),
        ("padding=same,valid", "options.padding", ("same", "valid")),
        ("image_size=64,96x128,[32, 64]", "image_size", (64, [96, 128], [32, 64])),
        ('channels=green,["green", "blue"]', "channels", (["green"], ["green", "blue"])),
        ("model=gapnet,gapnet-pl", "model", ("gapnet", "gapnet-pl")),
        ("seed=1", "seed", (1,)),
        ("augment=none,strong", "augment", ("none", "strong")),
        ("augment.policy=symmetries,paper", "augment.policy", ("symmetries", "paper")),
        ("augment.mixup.alpha=0.2,1", "augment.mixup.alpha", (0.2, 1.0)),
        ("augment.blur.sigma=[0, 1],2", "augment.blur.sigma", ([0.0, 1.0], 2.0)),
        ("augment.mirror.axis=x,y", "augment.mirror.axis", ("x", "y")),
        ("augment.noise.per_channel=true,false", "augment.noise.per_channel", (True, False)),
        ("mix.train=1,3", "mix.train", (1.0, 3.0)),
    ],
)
def test_a_list_has_the_type_of_its_setting_and_is_read_back_as_it_is_written(
    text: str, name: str, values: tuple[Any, ...]
) -> None:
    (varied,) = parse(text)
    assert varied == Varied(name=name, values=values)
    assert [type(value) for value in varied.values] == [type(value) for value in values]
    assert parse(varied.describe()) == (varied,)


@pytest.mark.parametrize(
    ("text", "wanted", "n"),
    [
        ("dropout=0.2..0.6", Varied(name="options.dropout", low=0.2, high=0.6), None),
        ("lr=1", None, None),
        ("learning_rate=log:1e-4..1e-2", Varied(name="learning_rate", low=1e-4, high=1e-2, is_log=True), None),
        ("augment.cutmix.p=0..0.5", Varied(name="augment.cutmix.p", low=0, high=0.5), None),
        ("batch_size=8..32", Varied(name="batch_size", low=8, high=32, is_integer=True), 25),
        ("batch_size=log:8 .. 64", Varied(name="batch_size", low=8, high=64, is_log=True, is_integer=True), 57),
        ("image_size=64..128", Varied(name="image_size", low=64, high=128, is_integer=True), 65),
    ],
)
def test_a_range_is_read_back_as_it_is_written(text: str, wanted: Varied | None, n: int | None) -> None:
    if wanted is None:
        with pytest.raises(InputError, match="Did you mean 'learning_rate'?"):
            parse(text)
        return
    (varied,) = parse(text)
    assert (varied, count_points([varied])) == (wanted, n)
    assert parse(varied.describe()) == (varied,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "vary must be NAME=VALUES. Received: ''."),
        ("dropout", "vary must be NAME=VALUES. Received: 'dropout'."),
        ("dropout=", "vary must be NAME=VALUES. Received: 'dropout='."),
        ("dropout=,", "vary must be NAME=VALUES. Received: 'dropout=,'."),
        ("=1,2", "vary must be NAME=VALUES. Received: '=1,2'."),
        ("dropout=0.1,,0.2", "options.dropout must have a value between two commas."),
        ("dropout=0.2,0.2", "options.dropout must have different values."),
        (
            "droput=0.2,0.4",
            "gapnet: dropout, dropout_place, stride, padding. Received: 'droput'. Did you mean 'dropout'?",
        ),
        ("learning-rate=0.1,0.2", "Did you mean 'learning_rate'?"),
        ("wd=0,0.1", "Did you mean 'weight_decay'?"),
        ("xyzzy=1,2", "Received: 'xyzzy'. Correct its name; `hpa models` lists options of networks."),
        ("options=1", "vary must name a setting of a recipe"),
        ("dropout=0.6..0.2", "A range must begin below its end. Received: options.dropout=0.6..0.2."),
        ("dropout=0.2..0.2", "A range must begin below its end."),
        ("learning_rate=log:0..0.1", "A range of logarithms must begin above 0."),
        ("learning_rate=log:0.1", "A range must be LOW..HIGH or log:LOW..HIGH. Received: learning_rate=log:0.1."),
        ("learning_rate=1e-4..1e999", "A range must begin below its end."),
        ("learning_rate=0.1...0.2", "A range must be LOW..HIGH"),
        ("learning_rate=log:1e-3..10", "learning_rate must lie between 0 and 1. Received: learning_rate=10.0."),
        ("dropout=0.5,1.5", "Option dropout of gapnet must be at least 0 and below 1. Received: 1.5."),
        ("dropout=0.5..1", "Option dropout of gapnet must be at least 0 and below 1. Received: 1.0."),
        ("batch_size=1.5..3", "batch_size must be whole numbers."),
        ("batch_size=0,8", "batch_size must be from 1 to 100000. Received: batch_size=0."),
        ("epochs=five", "Cannot read the settings: epochs: expected `int`, got `str`."),
        ("optimizer=adm,sgd", "optimizer must be one of adam, "),
        ("optimizer=0..1", "optimizer must have a list of values, since it is no number."),
        ("symmetries=yes,no", "Cannot read the settings: symmetries: expected `bool`, got `str`."),
        ("symmetries=0..1", "symmetries must have a list of values, since it is no number."),
        ("image_size=big", "image_size must be a number of pixels, or ROWSxCOLUMNS."),
        ("model=gapnt", "model must be one of gapnet, "),
        ("augment=strong,strng", "augment must be one of none, "),
        ("augment.mixpu.alpha=1,2", "An operation of augment must be one of symmetry, "),
        ("augment.mixup.alpa=1,2", "A parameter of augment.mixup must be one of p, alpha. Received: 'alpa'."),
        ("augment.mixup.p=0.5,2", "augment.mixup.p must be from 0 to 1. Received: 2.0."),
        ("augment.mixup.p=0.5..2", "augment.mixup.p must be from 0 to 1. Received: 2.0."),
        ("augment.policy=papr", "augment must be one of none, "),
        (
            "augment.mixup=1,2",
            "vary must name a parameter of an operation. Received: 'augment.mixup'. Write augm",
        ),
        ("mix.train=0,1", "mix must give each part a weight above 0"),
        ("mix.train=a,b", "mix must be a table of parts and weights."),
        ("folds=2,3", "folds must be the same in all trials"),
        ("parts=train,test", "parts must be the same in all trials"),
        ("legacy_leak=true,false", "legacy_leak must be the same in all trials"),
        ("finetune_epochs=1,2", "finetune_epochs must not be varied: trials are not fine-tuned."),
    ],
)
def test_what_cannot_be_varied_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(InputError) as refusal:
        parse(text)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("texts", [("dropout=0.1,0.2", "dropout=0.3"), ("dropout=0.1", "options.dropout=0.2")])
def test_a_setting_is_varied_once(texts: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="vary must name each setting once."):
        parse(*texts)


def test_an_option_must_be_one_of_each_network_that_is_tried() -> None:
    assert parse("model=gapnet,deepyeast", "dropout=0.1,0.2")[1].name == "options.dropout"
    with pytest.raises(InputError, match="an option of gapnet and mcnn: none. Received: 'dropout'."):
        parse("model=gapnet,mcnn", "dropout=0.1,0.2")
    with pytest.raises(InputError, match="an option of mcnn: scaling. Received: 'dropout'."):
        parse("dropout=0.1,0.2", model="mcnn")


def test_values_that_only_some_combinations_can_have_are_left_to_their_trials() -> None:
    space = parse("optimizer=adam,adamw", "weight_decay=0,0.01")  # adamw needs a weight decay
    assert count_points(space) == 4


def test_a_value_is_short_where_people_read_it() -> None:
    assert format_value(0.00020000000000000001) == "0.0002"


def test_an_entry_of_a_table_is_varied_beside_its_other_entries() -> None:
    recipe = {"augment": {"policy": "paper", "mixup": {"p": 0.5}}, "mix": {"train": 1, "external": 1}, "epochs": 1}
    assert merge_varied(recipe, {"augment.mixup.alpha": 0.4, "mix.train": 3.0, "options.stride": 1}) == {
        "augment": {"policy": "paper", "mixup": {"p": 0.5, "alpha": 0.4}},
        "mix": {"train": 3.0, "external": 1},
        "epochs": 1,
        "options": {"stride": 1},
    }
    assert merge_varied({"symmetries": True}, {"augment.mixup.alpha": 0.4}) == {
        "augment": {"policy": "symmetries", "mixup": {"alpha": 0.4}}
    }


def test_a_table_is_varied_as_a_whole_or_by_its_entries() -> None:
    with pytest.raises(InputError, match="Received: augment and augment.mixup.alpha. Leave one out."):
        parse("augment=paper,strong", "augment.mixup.alpha=0.2,0.4")
