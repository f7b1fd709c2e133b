"""A URL where a command writes, or reads what must be local, is refused: `Path` makes the folder ``s3:`` of it."""

import inspect
import typing
from collections.abc import Callable
from pathlib import Path

import pytest

import cli
from hpa_data.commands.options import refuse_urls
from hpa_data.errors import InputError
from hpa_data.reader.limits import get_limits, set_limits
from hpa_data.store.storage import open_storage
from hpa_data.store.store import Store
from tests.builders import Hpa, assert_refused
from tests.web_server import web_server

# Those that read a store at a URL.
READERS = (
    "preview",
    "stats",
    "folds",
    "train",
    "pretrain",
    "finetune",
    "baseline",
    "evaluate",
    "predict",
    "io",
    "step",
)
COMMANDS = {name: command for panel in (*cli.PANELS.values(), cli.BENCH) for name, command in panel.items()}


def takes_path(annotation: object) -> bool:
    return annotation is Path or any(map(takes_path, typing.get_args(annotation)))


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("url", ["s3://bucket/x", "gs://bucket/x", "https://host/x", "file:///tmp/x"])
def test_every_path_of_every_command_refuses_a_url(name: str, url: str) -> None:
    command = COMMANDS[name]
    reached: list[dict[str, object]] = []
    checked: Callable[..., None] = refuse_urls(lambda **values: reached.append(values))
    parameters = inspect.signature(command, eval_str=True).parameters.values()
    for parameter in parameters:
        if takes_path(parameter.annotation):
            with pytest.raises(InputError, match=r"must be a local path\. Received: [a-z0-9]+://.*Pass a local path"):
                checked(**{parameter.name: Path(url)})
    checked(path=Path("/data/s3:/x"), text="s3://bucket/x")
    assert len(reached) == 1


@pytest.mark.parametrize(
    "words",
    [
        "convert {source} s3://bucket/x.zarr",
        "convert s3://bucket/source {tmp}/x.zarr",
        "synth gs://bucket/files",
        "demo https://host/demo",
        "train {store} --out s3://bucket/run",
        "pretrain {store} --out s3://bucket/encoder",
        "predict {tmp} {store} --out s3://bucket/submission.csv",
        "compare {tmp} --out-csv file:///tmp/a.csv",
        "preview {store} --out s3://bucket/p.png",
        "stats {store} --figure-dir s3://bucket/figures",
        "verify {store} --source s3://bucket/files",
        "verify s3://bucket/x.zarr --repair",
        "datasets s3://bucket/mine.toml",
    ],
)
def test_a_url_as_output_is_refused_in_one_line_and_makes_nothing(
    words: str, hpa: Hpa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, error = hpa(*words.format(source=tmp_path, store=tmp_path / "st", tmp=tmp_path).split())
    assert status == 2
    assert "://" in error
    assert len(error.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_store_whose_url_became_a_path_is_not_made() -> None:
    with pytest.raises(InputError, match="only stores in a folder can be written"):
        open_storage(Path("s3://bucket/x.zarr"))


@pytest.mark.parametrize("name", READERS)
def test_every_command_that_reads_at_a_url_has_the_option_how_long(name: str) -> None:
    assert "retry_minutes" in inspect.signature(COMMANDS[name]).parameters


def test_the_option_ends_the_attempts(store: Store, hpa: Hpa) -> None:
    before = get_limits()
    with web_server(store.path, lambda handler: handler.answer(503)) as (url, _):
        ended = hpa("stats", url, "--part", "train", "--retry-minutes", "0")
    set_limits(before)
    assert_refused(ended, "it is overloaded or out of order (503). Run the same command again later")
