"""What a search can be asked for, in words. Imports nothing heavy."""

from typing import Literal, get_args

# How the settings of a trial are chosen; `auto` is one of the others.
Method = Literal["grid", "random", "tpe"]
MethodChoice = Literal["auto", "grid", "random", "tpe"]
# What ends a trial before its last epoch.
Prune = Literal["none", "median"]
# What trials are compared by: a column of `history.csv`, or the headline of the scored run.
Metric = Literal["val_macro_f1_best", "val_macro_f1", "val_accuracy", "val_loss", "macro_f1"]

# The macro-F1 with thresholds of the other folds, which is known at the end of a run alone.
HEADLINE_METRIC = "macro_f1"
# Metrics of which the lowest is the best.
MINIMIZED = ("val_loss",)
METRICS: tuple[str, ...] = get_args(Metric)
# Trials of a search over endlessly many settings.
DEFAULT_TRIALS = 20
MAX_TRIALS = 100_000
