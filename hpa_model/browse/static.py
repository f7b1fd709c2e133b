"""A page of some samples that opens from a disk: the same scripts and styles, with data and pictures as files."""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpa_data.dataset import is_readable
from hpa_data.errors import InputError
from hpa_data.reader.reader import Reader
from hpa_data.system.atomic import open_folder, sync_folder
from hpa_data.system.os_errors import naming_file
from hpa_data.system.outputs import check_output_folder
from hpa_data.system.progress import SILENT, Progress
from hpa_model.browse.catalog import Catalog
from hpa_model.browse.describe import describe_catalog, describe_sample
from hpa_model.browse.files import INDEX, read_page
from hpa_model.browse.maps import read_picture
from hpa_model.browse.pictures import View, draw, encode

# Scripts in an order in which each needs those before it.
SCRIPTS = ("dom.js", "state.js", "local.js", "source.js", "grid.js", "sample.js", "filters.js", "help.js", "main.js")
STYLES = ("browse.css", "icon.svg")
# Pixels of the longer side of pictures, in the grid and of a sample, and their quality: 100 samples can be mailed.
SMALL, LARGE, QUALITY = 256, 384, 80
# About what a sample takes with four channels, for the space on the disk.
SAMPLE_BYTES = 150_000
# From a disk, browsers take every file for another site, or all for one: the scheme is named beside 'self'.
POLICY = (
    "default-src 'none'; script-src 'self' file:; style-src 'self' file:; img-src 'self' file: data:; base-uri 'none'; "
    "form-action 'none'"
)


@dataclass(frozen=True, kw_only=True)
class StaticPage:
    """A page that was written."""

    out: Path
    n_samples: int
    n_unreadable: int
    """Of them, samples without pictures."""

    n_bytes: int


def check_static(out: Path, n_samples: int) -> None:
    """Refuse a folder that is not new or empty, or cannot be written: InputError."""
    if out.is_dir() and any(out.iterdir()):
        raise InputError(f"static must be a new or an empty folder. Received: {out}. Pass another, or remove it.")
    check_output_folder(_follow(out), option="static", n_bytes=n_samples * SAMPLE_BYTES)


def write_static(
    catalog: Catalog, reader: Reader, samples: Sequence[int], out: Path, *, progress: Progress = SILENT
) -> StaticPage:
    """Write a page of some samples into a folder, all at once.

    Parameters
    ----------
    catalog : Catalog
    reader : Reader
        Of its samples.
    samples : sequence of int
        Their indices.
    out : Path
        A new or an empty folder; missing ones above it are made.
    progress : Progress, optional
        Of samples.

    Raises
    ------
    InputError
        If the folder is not new or empty, or cannot be written.
    OSError
        For example if the disk is full; the folder is then not there.
    """
    check_static(out, len(samples))
    progress.start(len(samples))
    n_unreadable = 0
    target = _follow(out)
    target.parent.mkdir(parents=True, exist_ok=True)
    with naming_file(str(out)), open_folder(target, is_ours=_is_unfinished) as folder:
        page = read_page()
        (folder / "page").mkdir()
        (folder / "images").mkdir()
        for name in STYLES:
            (folder / "page" / name).write_bytes(page[name])
        described = []
        for index in samples:
            sample = describe_sample(catalog, index)
            sample["loss"], sample["family"] = float(catalog.losses[index]), int(catalog.families[index])
            described.append(sample)
            try:
                if sample["map"]:
                    (folder / "images" / f"{index}-map.png").write_bytes(read_picture(catalog.maps[index]))
                if is_readable(catalog.status[index]):
                    _write_pictures(reader, index, folder / "images")
            except InputError:  # one that is damaged is no reason to have no page; the message would name our folders
                sample["status"], sample["note"] = "damaged", "Its image, or its class maps, cannot be read."
            n_unreadable += sample["status"] not in {"ok", "filled"}
            progress.advance(1)
        data = {"catalog": describe_catalog(catalog, samples), "samples": described}
        (folder / "page" / "data.js").write_text(f"globalThis.hpaBrowse = {_to_script(data)};\n", encoding="ascii")
        (folder / "page" / "browse.js").write_text(join_scripts(page), encoding="utf-8")
        (folder / INDEX).write_text(make_index(page[INDEX].decode()), encoding="utf-8")
        n_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        sync_folder(folder)
        folder.replace(target)  # an empty folder is replaced
    return StaticPage(out=out, n_samples=len(samples), n_unreadable=n_unreadable, n_bytes=n_bytes)


def _write_pictures(reader: Reader, index: int, folder: Path) -> None:
    """Write the composite of a sample in two sizes, and its planes in gray."""
    image = reader.read_one(index)
    channels = tuple(range(image.shape[2]))
    views = {
        "small": View(channels=channels, size=SMALL),
        "large": View(channels=channels, size=LARGE),
        **{str(c): View(channels=(c,), size=LARGE, gray=True) for c in channels},
    }
    for name, view in views.items():
        (folder / f"{index}-{name}.jpg").write_bytes(
            encode(draw(image, reader, view), lossless=False, quality=QUALITY)[0]
        )


def _follow(out: Path) -> Path:
    """Return the folder that a path leads to, so that a link to an empty folder stays one."""
    return Path(os.path.realpath(out))


def _is_unfinished(folder: Path) -> bool:
    """Return whether a folder holds nothing but what a page consists of."""
    return {each.name for each in folder.iterdir()} <= {"page", "images", INDEX}


def join_scripts(page: dict[str, bytes]) -> str:
    """Join the modules of the page to one script: from a disk, browsers load no modules."""
    texts = []
    for name in SCRIPTS:
        text = re.sub(r'^import \{[^}]*\} from "\./\w+\.js";\n', "", page[name].decode(), flags=re.MULTILINE)
        texts.append(re.sub(r"^export (?=async function|function|const)", "", text, flags=re.MULTILINE))
    return '"use strict";\n(() => {\n' + "\n".join(texts) + "})();\n"


def make_index(text: str) -> str:
    """Let the page load that script and the data, and nothing from anywhere else."""
    module = '<script type="module" src="page/main.js"></script>'
    policy = '<meta name="color-scheme"'
    assert text.count(module) == text.count(policy) == 1
    scripts = '<script defer src="page/data.js"></script>\n<script defer src="page/browse.js"></script>'
    meta = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n{policy}'
    return text.replace(module, scripts).replace(policy, meta)


def _to_script(value: Any) -> str:
    """Write a value as JSON in ASCII, which is a script, too."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=True).replace("<", "\\u003c")
