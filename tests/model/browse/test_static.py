"""The page that opens from a disk: what is in its folder, and that it is there as a whole or not at all."""

import fcntl
import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import pytest

from hpa_data.errors import InputError
from hpa_data.reader.reader import Reader
from hpa_data.system.progress import Progress
from hpa_model.browse.catalog import Catalog
from hpa_model.browse.files import read_page
from hpa_model.browse.static import SCRIPTS, StaticPage, join_scripts, write_static
from tests.builders import Hpa, assert_refused
from tests.model.browse.pages import CLASSES, HOSTILE_IDS, Browser, Pages, open_pages


@pytest.fixture(scope="module")
def written(catalog: Catalog, reader: Reader, tmp_path_factory: pytest.TempPathFactory) -> StaticPage:
    return write_static(catalog, reader, [*range(10), 59, 60, 63], tmp_path_factory.mktemp("static") / "to" / "page")


def read_data(page: StaticPage) -> Any:
    text = (page.out / "page" / "data.js").read_text("ascii")
    assert "<" not in text  # whatever reads it as markup finds none
    head, _, rest = text.partition(" = ")
    assert head == "globalThis.hpaBrowse"
    return json.loads(rest.removesuffix(";\n"))


def test_the_folder_holds_all_that_the_page_needs(written: StaticPage) -> None:
    assert (written.n_samples, written.n_unreadable) == (13, 1)
    files = {path.relative_to(written.out).as_posix(): path for path in written.out.rglob("*") if path.is_file()}
    assert written.n_bytes == sum(path.stat().st_size for path in files.values())
    pictures = {f"images/{i}-{kind}.jpg" for i in (*range(10), 60, 63) for kind in ("small", "large", 0, 1, 2)}
    assert set(files) == pictures | {
        "index.html",
        *(f"page/{n}" for n in ("browse.css", "browse.js", "data.js", "icon.svg")),
    }
    assert cv2.imread(str(files["images/0-small.jpg"])).shape == (32, 32, 3)
    assert oct(written.out.stat().st_mode & 0o777) == oct(0o777 & ~current_mask())


def current_mask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_the_data_are_those_of_the_server_and_of_these_samples_alone(written: StaticPage, catalog: Catalog) -> None:
    data = read_data(written)
    assert data["catalog"]["static"] is True
    assert data["catalog"]["classes"] == list(CLASSES)
    assert data["catalog"]["n"] == 13
    assert data["catalog"]["counts"] == catalog.labels[[*range(10), 59, 60, 63]].sum(axis=0).tolist()
    assert [sample["id"] for sample in data["samples"][:8]] == list(HOSTILE_IDS)
    assert data["samples"][-1]["parent"]["i"] == 9


def test_metadata_of_samples_that_are_not_on_the_page_are_not_in_its_folder(
    catalog: Catalog, reader: Reader, tmp_path: Path
) -> None:
    values = ["shown" if index == 3 else "secret" for index in range(len(catalog))]
    columns = {"patient": values, "site": ["" if value == "shown" else value for value in values]}
    page = write_static(replace(catalog, columns=columns), reader, [3], tmp_path / "page")
    assert read_data(page)["catalog"]["columns"] == {"patient": ["shown"]}
    assert "secret" not in (page.out / "page" / "data.js").read_text()


def test_the_page_allows_no_network_and_no_script_in_its_text(written: StaticPage) -> None:
    text = (written.out / "index.html").read_text()
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]+)">', text)
    assert policy.startswith("default-src 'none'; script-src 'self' file:;")
    assert "connect-src" not in policy
    assert not re.search(r"<script(?![^>]*\bsrc=)|https?:|type=\"module\"", text)
    assert text.index("data.js") < text.index("browse.js")


def test_the_scripts_join_to_one_without_modules_and_without_a_name_twice() -> None:
    page = read_page()
    assert set(SCRIPTS) == {name for name in page if name.endswith(".js")}
    joined = join_scripts(page)
    assert not re.search(r"^(import|export)\b", joined, re.MULTILINE)
    names = re.findall(r"^(?:async )?(?:function|const|let) (\w+)", joined, re.MULTILINE)
    assert len(names) == len(set(names))


def test_a_folder_with_something_in_it_is_refused_and_left_as_it_is(
    catalog: Catalog, reader: Reader, tmp_path: Path
) -> None:
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "mine").write_text("mine")
    with pytest.raises(InputError, match="static must be a new or an empty folder"):
        write_static(catalog, reader, [0], tmp_path / "page")
    with pytest.raises(InputError, match="static must be a folder"):
        write_static(catalog, reader, [0], tmp_path / "page" / "mine")
    assert [path.name for path in (tmp_path / "page").iterdir()] == ["mine"]
    (tmp_path / "page" / "mine").unlink()
    assert write_static(catalog, reader, [0], tmp_path / "page").n_samples == 1


def test_a_page_that_is_interrupted_leaves_nothing(catalog: Catalog, reader: Reader, tmp_path: Path) -> None:
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    progress = Progress(start=lambda _: None, advance=stop, stage=lambda _: None, note=lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        write_static(catalog, reader, [0, 1], tmp_path / "page", progress=progress)
    assert not list(tmp_path.iterdir())


def test_a_page_is_written_to_the_empty_folder_that_a_link_leads_to(
    catalog: Catalog, reader: Reader, tmp_path: Path
) -> None:
    (tmp_path / "disk" / "empty").mkdir(parents=True)
    (tmp_path / "page").symlink_to(tmp_path / "disk" / "empty")
    (tmp_path / "later").symlink_to(tmp_path / "disk" / "new")
    for name, to in (("page", "empty"), ("later", "new")):
        assert write_static(catalog, reader, [0], tmp_path / name).out == tmp_path / name
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / "disk" / to / "index.html").is_file()
    assert sorted(path.name for path in (tmp_path / "disk").iterdir()) == ["empty", "new"]


def test_what_killed_processes_left_of_a_page_is_removed_and_nothing_else(
    catalog: Catalog, reader: Reader, tmp_path: Path
) -> None:
    with subprocess.Popen(["true"]) as ended:
        pass
    ours = tmp_path / f".page.{ended.pid}-1.part"
    kept = [".page.mine.part", f".page.{os.getpid()}-1.part", f".other.{ended.pid}-1.part", f".page.{ended.pid}-2.part"]
    for path in (ours, *(tmp_path / name for name in kept)):
        path.mkdir()
        (path / "index.html").touch()
    kept.append(f".page.{ended.pid}-4.part")  # perhaps of another machine, which has not locked it yet
    (tmp_path / kept[-1]).mkdir()
    (tmp_path / f".page.{ended.pid}-3.part").symlink_to(tmp_path / kept[0])
    locked = os.open(tmp_path / kept[-2], os.O_RDONLY)  # by a process of another machine
    try:
        fcntl.flock(locked, fcntl.LOCK_EX)
        write_static(catalog, reader, [0], tmp_path / "page")
    finally:
        os.close(locked)
    assert not ours.exists()
    assert all((tmp_path / name / "index.html").exists() for name in kept[:-1])
    assert {path.name for path in tmp_path.iterdir()} == {*kept, "page", f".page.{ended.pid}-3.part"}


def test_a_damaged_sample_has_no_pictures_and_names_no_folder_of_ours(pages: Pages, tmp_path: Path) -> None:
    shutil.copytree(pages.store, tmp_path / "secret" / "a.zarr")
    (shard,) = [path for path in (tmp_path / "secret/a.zarr/test/images/c").rglob("*") if path.is_file()]
    with shard.open("r+b") as file:
        file.seek(100)
        file.write(b"damage" * 20)
    catalog, reader = open_pages(
        replace(pages, store=tmp_path / "secret" / "a.zarr"), "test", run=False, embeddings=False
    )
    with reader:
        browser = Browser(catalog, reader)
        assert browser.get("/image/0").status == 400
        told = browser.get("/api/sample/0")  # what is known of it does not hang on its image
        assert (told.status, told.json["id"], told.json["gains"]) == (200, catalog.ids[0], [])
        written = write_static(catalog, reader, range(3), tmp_path / "page")
    assert written.n_unreadable >= 1
    data = (written.out / "page" / "data.js").read_text()
    assert "cannot be read" in data
    assert "secret" not in data


def test_the_command_writes_the_samples_that_are_asked_for(pages: Pages, tmp_path: Path, hpa: Hpa) -> None:
    words = ("browse", pages.store, "--run", pages.run, "--json", "--static")
    every = hpa(*words, tmp_path / "all", "--n", 20)
    assert (every.status, json.loads(every.out)["n_samples"]) == (0, 20)
    some = hpa(*words, tmp_path / "some", "--id", HOSTILE_IDS[2], "--id", "new-1")
    assert json.loads(some.out)["n_samples"] == 2
    wrong = hpa(*words, tmp_path / "wrong", "--wrong", "--class", "nucleus & CO")
    data = read_data(StaticPage(out=tmp_path / "wrong", n_samples=0, n_unreadable=0, n_bytes=0))
    assert wrong.status == 0
    assert data["samples"]
    assert all(each["right"] is False and 0 in each["labels"] for each in data["samples"])
    fold = hpa(*words, tmp_path / "fold", "--fold", 1)
    assert json.loads(fold.out)["n_samples"] == 20


def test_what_the_command_cannot_write_is_refused_in_a_line(pages: Pages, tmp_path: Path, hpa: Hpa) -> None:
    words = ("browse", pages.store, "--static", tmp_path / "page")
    assert_refused(hpa(*words, "--id", "nobody"), "id must be in the parts. Received: 'nobody'")
    assert_refused(hpa(*words, "--class", "nothing"), "class must be one of the data set. Received: 'nothing'")
    assert_refused(hpa(*words, "--class", "never $seen$"), "no sample is like this")
    assert_refused(hpa(*words, "--wrong"), "without --run")
    assert_refused(hpa(*words, "--port", 8000), "with --static")
    assert_refused(hpa(*words, "--id", "new-1", "--n", 3), "with --id")
    assert_refused(hpa("browse", pages.store, "--class", "cytosol"), "without --static")
    assert_refused(hpa("browse", pages.store, "--static", pages.run), "static must be a new or an empty folder")
    assert_refused(hpa("browse", pages.store, "--run", tmp_path), "Cannot read run")
    assert_refused(hpa("browse", pages.store, "--embeddings", tmp_path / "no.npz"), "no.npz")
    assert_refused(hpa("browse", pages.store, "--part", "other"), "part must be in the store")
    assert not list(tmp_path.iterdir())
