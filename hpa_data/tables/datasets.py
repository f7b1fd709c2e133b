"""Data sets by name, from TOML files and from lists of classes."""

import json
import re
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpa_data.dataset import MAX_CLASSES, PRESETS, Dataset, fold_name
from hpa_data.errors import InputError
from hpa_data.system.files import read_regular
from hpa_data.tables.cells import split_cell
from hpa_data.tables.columns import explain_missing, find_label_column, read_cells
from hpa_data.tables.read import open_table

# Of a file that describes a data set: 65,536 classes with long names.
MAX_BYTES = 16 * 2**20
# Heads of a column of classes.
_CLASS_COLUMNS = ("class", "class_name", "class name", "classes", "name", "label")


def find_dataset(name: str) -> Dataset:
    """Return a data set by its name, or read one from a TOML file.

    Raises
    ------
    InputError
        If there is no data set of this name, or the file does not describe one.
    """
    if name in PRESETS:
        return PRESETS[name]
    path = Path(name)
    if not path.is_file():
        raise InputError(
            f"dataset must be {', '.join(PRESETS)} or a TOML file. Received: dataset={name!r}. Choose one, or begin a "
            "file with `hpa datasets hpa2018`."
        )
    dataset = Dataset.decode({"name": path.stem} | _parse_toml(path), name=f"data set {path}")
    if dataset.name in PRESETS and dataset.classes != PRESETS[dataset.name].classes:
        raise InputError(
            f"name of a data set with other classes than {dataset.name} must be another one. Received: "
            f"name={dataset.name!r} in {path}. Change the name."
        )
    return dataset


def _read(path: Path) -> str:
    try:
        return read_regular(path, max_bytes=MAX_BYTES).decode("utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"Cannot read {path}: there is no such file. Check the path.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"Cannot read {path}: it is not text in UTF-8 ({error}). Save it as UTF-8.") from error
    except ValueError as error:
        raise InputError(f"Cannot read {path}: {error}. Pass another file.") from error


def _parse_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_read(path))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"Cannot read {path}: it is not TOML ({error}). Begin with `hpa datasets hpa2018`.") from error


def encode_toml(dataset: Dataset) -> str:
    """Return a data set as text of a TOML file with comments; `find_dataset` reads it back."""
    lines = [
        "# A data set. Remove what does not apply; only the name, the channels and the classes are needed.",
        f"name = {_quote(dataset.name)}",
        "# Rows and columns of the images in a store.",
        f"height = {dataset.height}",
        f"width = {dataset.width}",
        "",
        "# In the order of class numbers, from 0.",
        "classes = [",
        *(f"    {_quote(name)},  # {number}" for number, name in enumerate(dataset.classes)),
        "]",
    ]
    for channel in dataset.channels:
        lines += [
            *("", "[[channels]]", f"name = {_quote(channel.name)}"),
            f"role = {_quote(channel.role)}  # signal: what the labels describe; reference: what helps to find it",
            f"color = {_quote(channel.color)}  # in previews",
        ]
    if dataset.numbering is not None:
        columns = ", ".join(map(_quote, dataset.numbering.columns))
        lines += [
            *("", "# How label tables write class numbers: names of the columns, and what is between two numbers."),
            *("[numbering]", f"columns = [{columns}]", f"separator = {_quote(dataset.numbering.separator)}"),
        ]
    if dataset.synonyms:
        lines += ["", "# Other names in label tables, and their classes; empty for what is no class.", "[synonyms]"]
        lines += [f"{_quote(word)} = {_quote(name)}" for word, name in dataset.synonyms.items()]
    return "\n".join(lines) + "\n"


def _quote(text: str) -> str:
    """Return a TOML string; JSON escapes the same characters but one."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def with_classes(dataset: Dataset, classes: Sequence[str], name: str) -> Dataset:
    """Return a data set with other classes, without synonyms and numbering."""
    return replace(dataset, name=name, classes=tuple(classes), synonyms={}, numbering=None)


def read_classes(path: Path) -> tuple[str, ...]:
    """Read a list of classes: one name a line, perhaps numbered from 0; a table with a column ``class``; JSON or TOML.

    Raises
    ------
    InputError
        If it is no such list.
    """
    if path.suffix.casefold() == ".toml":
        return _check_names(_parse_toml(path).get("classes"), path)
    text = _read(path)
    if text.lstrip().startswith(("[", "{")):
        try:
            raw = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"Cannot read {path}: it is not JSON ({error}). Write one class a line.") from error
        return _check_names(raw.get("classes") if isinstance(raw, dict) else raw, path)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    head = [fold_name(cell.strip('"')) for cell in re.split(r"[,;\t]", lines[0])] if lines else []
    column = next((name for name in _CLASS_COLUMNS if name in head), None)
    if column is not None and (len(head) > 1 or column in _CLASS_COLUMNS[:4]):
        with open_table(path, _CLASS_COLUMNS) as table:
            index = [fold_name(cell) for cell in table.header].index(column)
            return _check_names([cells[index] for _, cells in read_cells(table, [index])], path)
    numbered = [re.fullmatch(r"([0-9]+)[\s,;:.|]+(.*\S)", line) for line in lines]
    if all(match and int(match.group(1)[:9]) == number for number, match in enumerate(numbered)):
        lines = [match.group(2) for match in numbered if match]
    return _check_names([line.strip('"') for line in lines], path)


def _check_names(names: Any, path: Path) -> tuple[str, ...]:
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise InputError(
            f"Cannot read {path}: it has no list of class names. Write one name a line, or a table with a column class."
        )
    return tuple(" ".join(name.split()) for name in names)


class _Numbers:
    """Contains every number, so that numbers are taken for names, with their leading zeros."""

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.isascii() and name.isdigit()


def infer_classes(path: Path, label_column: str | None = None) -> tuple[str, ...]:
    """List the names in the label column of a table, sorted: as numbers if all are, else as text.

    Parameters
    ----------
    path : Path
        A label table. Numbers, too, are taken for names; see `cells.split_cell` for how cells are split.
    label_column : str, optional
        See `columns.find_label_column`.

    Raises
    ------
    InputError
        If it has no label column, or no label.
    """
    found: dict[str, str] = {}
    with open_table(path, ("target", "label", *([label_column] if label_column else []))) as table:
        index = find_label_column(table, label_column)
        if index is None:
            raise InputError(explain_missing(table, "Target or Label to infer classes from", "--label-column"))
        for text in dict.fromkeys(cells[index] for _, cells in read_cells(table, [index])):
            for name in split_cell(text, _Numbers()).names:
                found.setdefault(fold_name(name), name)
    if not 1 <= len(found) <= MAX_CLASSES:
        raise InputError(
            f"Cannot infer classes from {path}: it has {len(found)} different labels, not 1 to {MAX_CLASSES}. Pass "
            "another table or column, or a file of classes."
        )
    if all(name.isdigit() for name in found):
        return tuple(sorted(found.values(), key=lambda name: (int(name), name)))
    return tuple(found[name] for name in sorted(found))
