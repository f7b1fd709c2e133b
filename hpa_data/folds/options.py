"""What a user may choose of folds. Imports nothing, so that the command line can offer it at once."""

from typing import Literal

Method = Literal["stratified", "contiguous", "grouped-stratified"]
