"""What a user may choose of folds. Imports nothing, so that the command line can offer it at once."""

from typing import Literal

FoldMethod = Literal["stratified", "contiguous", "grouped-stratified"]
