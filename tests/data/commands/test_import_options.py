"""The options that say how files are read: defined once, taken by any command, and on top of other settings."""

import dataclasses
from typing import Any, get_args

import pytest
import typer
from typer.testing import CliRunner

from hpa_data.commands.expand import expand_options
from hpa_data.commands.import_options import LabelOptions, ReadingOptions
from hpa_data.dataset import HPA_2021
from hpa_data.errors import InputError
from hpa_data.sources.options import ImportOptions


def run(*words: str, default: str = "") -> tuple[str, list[Any]]:
    """Run a command of two groups of options; return what it printed and what it got."""
    got: list[Any] = []

    def command(ctx: typer.Context, source: str, files: ReadingOptions, tables: LabelOptions) -> None:
        got.extend([source, files, tables])

    app = typer.Typer()
    app.command()(expand_options(default=default)(command))
    ended = CliRunner().invoke(app, [*words], env={"COLUMNS": "200", "TERM": "dumb"})
    assert ended.exit_code == 0, ended.output
    return ended.output, got


def test_a_command_gets_one_value_with_what_was_given() -> None:
    _, (source, files, tables) = run("here", "--naming", "hpav18", "--labels", "a.csv")
    assert (source, files.naming, files.given) == ("here", "hpav18", {"naming"})
    assert (str(tables.labels), tables.given) == ("a.csv", {"labels"})


def test_options_on_the_command_line_win_over_other_settings_and_the_rest_stays() -> None:
    base = ImportOptions(source="stack", channels={"red": 1}, intensity="percentile")
    assert ReadingOptions().import_options(base) == base
    chosen = ReadingOptions(intensity=["full"], given=frozenset({"intensity"})).import_options(base)
    assert chosen == dataclasses.replace(base, intensity="full")
    chosen = ReadingOptions(naming="kaggle", given=frozenset({"naming"})).import_options(base)
    assert (chosen.source, chosen.channels, chosen.intensity) == ("kaggle", None, "percentile")
    chosen = ReadingOptions(channels="red=2", given=frozenset({"channels"})).import_options(base)
    assert chosen.channels == {"red": 2}
    assert ReadingOptions().dataset(HPA_2021) == HPA_2021


def test_a_scaling_of_all_channels_replaces_each_and_one_of_a_channel_only_that() -> None:
    windows = {"red": (0.0, 9.0), "blue": (1.0, 8.0)}
    base = ImportOptions(intensity="dataset-percentile", intensities={"green": "bits=12"}, windows=windows)
    one, all_ = (ReadingOptions(intensity=[text]).import_options(base) for text in ("blue=bits=8", "minmax"))
    assert one.intensities == {"green": "bits=12", "blue": "bits=8"}
    assert one.windows == {"red": (0.0, 9.0)}
    assert (all_.intensity, all_.intensities, all_.windows) == ("minmax", None, None)


@pytest.mark.parametrize(
    ("text", "shape"), [("64", (64, 64, 4)), ("256x384", (256, 384, 4)), ("native", (512, 512, 4))]
)
def test_an_image_size_is_rows_by_columns(text: str, shape: tuple[int, ...]) -> None:
    options = ReadingOptions(image_size=text)
    assert options.dataset().image_shape == shape
    assert options.import_options().native == (text == "native")


@pytest.mark.parametrize("text", ["", "0", "64x", "64x64x3", "1e3", "-5", "512 x 512", "99999"])
def test_another_image_size_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="image_size must be a number, two|height and width must be from 1 to"):
        ReadingOptions(image_size=text).dataset()


def test_without_other_settings_the_defaults_are_those_of_import_options() -> None:
    names = {field.name for field in dataclasses.fields(ReadingOptions)} - {"given"}
    assert ReadingOptions(given=frozenset(names)).import_options() == ImportOptions()


def test_a_mapping_that_no_file_could_use_is_refused() -> None:
    with pytest.raises(InputError, match="Cannot use --channels: it has no effect without --naming stack"):
        ReadingOptions(channels="red=2", given=frozenset({"channels"})).import_options()


def test_the_help_can_say_that_the_defaults_are_others() -> None:
    shown, _ = run("--help", default="as the run")
    assert shown.count("as the run") >= 3
    assert "default: kaggle" not in shown
    assert "default: kaggle" in run("--help")[0]


def test_each_option_is_in_a_panel() -> None:
    for group in (ReadingOptions, LabelOptions):
        for field in dataclasses.fields(group):
            if field.name != "given":
                assert get_args(field.type)[1].rich_help_panel in {"Files", "Images", "Labels"}
