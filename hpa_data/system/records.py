"""Frozen dataclasses to and from JSON, so that files of every earlier version can be read.

A missing key means what its absence meant to the version that wrote the file: ``metadata={"absent": value}`` of the
field, or else its default. A field with ``absent`` is written only where it differs from that, so that a new setting
changes no file that does not use it. An unknown key is an error: a newer version wrote it, and to ignore it could
silently be wrong.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import msgspec

from hpa_data.errors import InputError

Record = TypeVar("Record")


def list_absent(kind: Any) -> dict[str, Any]:
    """List, by field of a dataclass, what a missing key means: the values of ``metadata={"absent": value}``."""
    return {field.name: field.metadata["absent"] for field in dataclasses.fields(kind) if "absent" in field.metadata}


def encode_record(record: Any) -> dict[str, Any]:
    """Return a dataclass as JSON values, its keys in the order of the fields; `decode_record` is the inverse."""
    return dict(json.loads(json.dumps(_encode(record))))


def _encode(value: Any) -> Any:
    """Replace dataclasses by dictionaries, at any depth, without the fields that mean what their absence does."""
    if dataclasses.is_dataclass(value):
        absent = list_absent(value)
        values = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {name: _encode(v) for name, v in values.items() if name not in absent or v != absent[name]}
    if isinstance(value, list | tuple):
        return [_encode(item) for item in value]
    return value


def decode_record(
    kind: type[Record],
    raw: Any,
    *,
    name: str,
    version: str = "",
    text: bool = False,
    remedy: str = "Make it again.",
) -> Record:
    """Read a dataclass from JSON values, or from text.

    Parameters
    ----------
    kind : a dataclass
    raw : mapping of str to JSON values
    name : str
        What is read, for messages.
    version : str
        The version of hpa that wrote it, where that is known.
    text : bool
        Whether numbers may stand as text, as in a CSV file.
    remedy : str
        What to do about a value that cannot be used, one sentence.

    Raises
    ------
    InputError
        If a key is unknown, a key without a default is missing, or a value is of another type. Its cause is the
        InputError of the dataclass's own check, where that refused the values.
    """
    if not isinstance(raw, Mapping):
        raise InputError(f"Cannot read {name}: it is not a table of settings. {remedy}")
    try:
        record = msgspec.convert(_fill_absent(kind, raw), kind, strict=not text)
    except (msgspec.ValidationError, InputError) as error:
        rule = error if isinstance(error, InputError) else error.__cause__
        if isinstance(rule, InputError):  # of the dataclass itself, with its own remedy
            raise InputError(f"Cannot read {name}: {rule}") from rule
        raise InputError(f"Cannot read {name}: {_explain(error)}. {remedy}") from error
    unknown = sorted(_list_unknown(record, raw))
    if unknown:
        writer = f"hpa {version}" if version else "a newer version of hpa"
        raise InputError(
            f"Cannot read {name}: it has {', '.join(map(repr, unknown[:3]))}, which this version does not know. It was "
            f"written by {writer}. Install that version or a newer one."
        )
    return record


def _fill_absent(kind: Any, raw: Any) -> Any:
    """Add to JSON values of a type what their missing keys mean, in dataclasses at any depth."""
    arguments = get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(raw, Mapping):
        types = {field.name: field.type for field in dataclasses.fields(kind)}
        return list_absent(kind) | {key: _fill_absent(types.get(key), value) for key, value in raw.items()}
    if get_origin(kind) in {tuple, list} and isinstance(raw, list | tuple) and arguments:
        return [_fill_absent(arguments[0], item) for item in raw]  # dataclasses are only in lists of one type
    if get_origin(kind) in {Union, UnionType}:
        filled = (_fill_absent(argument, raw) for argument in arguments)
        return next((value for value in filled if value is not raw), raw)
    return raw


def _explain(error: Exception) -> str:
    """Name the key that is wrong, then the reason; msgspec gives them in the other order and in its notation."""
    reason, _, path = str(error).partition(" - at `$")
    key = path.strip("`.")
    return f"{key}: {reason[:1].lower()}{reason[1:]}" if key else reason


def _list_unknown(value: Any, raw: Any) -> Iterator[str]:
    """List the keys of JSON values that the dataclass read from them, or one inside it, has no field for."""
    if dataclasses.is_dataclass(value) and isinstance(raw, Mapping):
        known = {field.name for field in dataclasses.fields(value)}
        for key in raw:
            if key not in known:
                yield str(key)
            else:
                yield from _list_unknown(getattr(value, key), raw[key])
    elif isinstance(value, list | tuple) and isinstance(raw, list | tuple):
        for part, raw_part in zip(value, raw, strict=True):
            yield from _list_unknown(part, raw_part)
