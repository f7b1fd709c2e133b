"""Convert microscopy files to a Zarr store, and read random batches from it."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from hpa_data.reader import jax as jax
    from hpa_data.reader import torch as torch
    from hpa_data.store import open_store as open_store

# On first use, so that `import hpa_data` costs nothing.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=(
        *(
            "augment",
            "commands",
            "convert",
            "dataset",
            "errors",
            "folds",
            "format",
            "preview",
            "reader",
            "sources",
            "stats",
        ),
        *("store", "synth", "system", "tables", "verify"),
    ),
    submod_attrs={"reader": ["jax", "torch"], "store": ["open_store"]},
)
