"""Microscopy files to a Zarr store, and random batches out of it at the speed of memory."""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpa_data.store import open_store as open_store

_MODULES = (
    "augment",
    "batches",
    "begin",
    "buffers",
    "cache",
    "convert",
    "copies",
    "copying",
    "duplicates",
    "errors",
    "files",
    "folds",
    "forecast",
    "images",
    "layout",
    "leaks",
    "limits",
    "lock",
    "manifest",
    "mapped",
    "operations",
    "parts",
    "pictures",
    "plan",
    "plots",
    "policies",
    "preview",
    "reader",
    "remote",
    "samples",
    "schedule",
    "schema",
    "shards",
    "sources",
    "stats",
    "store",
    "synth",
    "tables",
    "tensors",
    "threads",
    "timing",
    "verify",
    "whole",
    "writer",
)


def __getattr__(name: str) -> ModuleType | Any:
    """Import on first use, so that `import hpa_data` costs nothing."""
    if name == "open_store":
        return importlib.import_module("hpa_data.store").open_store
    if name in _MODULES:
        return importlib.import_module(f"hpa_data.{name}")
    raise AttributeError(f"module 'hpa_data' has no attribute {name!r}")
