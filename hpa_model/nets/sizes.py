"""The recorded sizes of the networks, so that listing them builds none. Imports nothing heavy."""

import json
from dataclasses import dataclass
from pathlib import Path

# Written by `python -m hpa_model.nets.summary`.
SIZES_FILE = Path(__file__).with_name("sizes.json")


@dataclass(frozen=True, kw_only=True)
class NetSummary:
    """The size of a network, and its options."""

    name: str
    summary: str

    image_size: int
    """Rows and columns that it sees."""

    min_size: int
    """The fewest rows and columns that it can take, with its default options."""

    n_parameters: int

    n_frozen: int
    """Of these, those that are not trained: moving averages."""

    n_macs: int
    """Multiply-adds of the convolutions and dense layers per image."""

    options: dict[str, float | int | str]
    """The options and their defaults."""

    has_imagenet: bool
    """Whether a training can start from weights for ImageNet."""

    has_encoder: bool
    """Whether it can be pre-trained without labels."""


def read_sizes() -> list[NetSummary]:
    """Return the sizes of all networks on images of `HPA_2018` with 28 classes, as `list_nets` counts them."""
    return [NetSummary(**each) for each in json.loads(SIZES_FILE.read_text(encoding="utf-8"))]
