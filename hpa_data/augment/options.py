"""The choices that `hpa augment` offers. Imports nothing heavy, so that the command line can list them at once."""

from typing import Literal

Order = Literal["index", "rarest"]
Policy = Literal["paper", "strong"]
