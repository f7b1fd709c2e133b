"""What a user may choose about folds. Imports nothing heavy, so that the command line can offer it."""

from typing import Literal

FoldMethod = Literal["stratified", "contiguous", "grouped-stratified"]

# What is looked for before samples are assigned to folds, to be kept in one fold. `near` includes `exact`; `auto` is
# `near` where that is quick, else `exact`; `ignore` looks for nothing, but with `grouped-stratified` for `near`.
DuplicateSearch = Literal["auto", "near", "exact", "ignore"]
