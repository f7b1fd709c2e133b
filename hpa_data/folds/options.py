"""What a user may choose about folds. Imports nothing heavy, so that the command line can offer it."""

from typing import Literal

FoldMethod = Literal["stratified", "contiguous", "grouped-stratified"]
