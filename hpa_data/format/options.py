"""Choices that concern the format of a store. Imports nothing, so that the command line can offer them at once."""

from typing import Final, Literal

CodecName = Literal["lz4hc", "lz4", "zstd", "raw"]
"""A name in `codecs.CODECS`."""

DEFAULT_CODEC: Final = "lz4hc"

ARRAY_SETTINGS: Final = ("codec", "shard_samples", "image_size", "dataset")
"""The settings of a part that describe its arrays, whatever its samples were made from."""
