"""Other weights to start from, one network per channel, and ensembles, each beside `gapnet` from random weights."""

import shlex

from benchmarks.accuracy.steps import EXTERNAL, STORE, Comparison, Row, Step

REFERENCE = "gapnet"
# Of `gapnet`: a multiple of 4.
EPOCHS, N_SAMPLES = 20, 1000
CHANNELS = ("red", "green", "blue", "yellow")
# Training as in the recipe `trial`, for every network.
COMMON = "--folds 2 --image-size 128 --batch-size 16 --symmetries --cache ram --set schedule=cosine --set keep=last"
# An epoch has 32 steps: the moving averages must not lag behind by more.
COMMON += " --set bn_momentum=0.9"
GAPNET = f"--model gapnet {COMMON} --set clip_norm=1 --set options.dropout=0.1"
INCEPTION = f"--recipe inceptionv3 {COMMON} --set clip_norm=1"


def compare(weights: str | None) -> Comparison:
    """Return the comparison; rows with `weights`, a file or ``imagenet``, are left out if it is None."""
    steps = tuple(_list_steps(EPOCHS, weights))
    names = {step.name for step in steps}
    return Comparison(
        steps=steps,
        rows=tuple(Row(title, step, REFERENCE) for title, step in ROWS if step in names),
        n_samples=N_SAMPLES,
        n_test=N_SAMPLES,
        scores_test=False,
    )


def _list_steps(epochs: int, weights: str | None) -> list[Step]:
    """List the steps of a comparison in which `gapnet` is trained for `epochs` (a multiple of 4)."""
    half, quarter = epochs // 2, epochs // 4
    train = f"train {STORE} {GAPNET}"
    other = train.replace("--model gapnet", "--model gapnet-pl")
    steps = [
        Step("baseline", f"baseline {STORE} --folds 2"),
        Step(REFERENCE, f"{train} --epochs {epochs}"),
        Step(
            "encoder",
            f"pretrain {STORE} --part train --part test --model gapnet --image-size 128 --batch-size 16 --symmetries "
            f"--cache ram --epochs {quarter} --mask 0.2 --mask-patch 8 --set schedule=cosine --set keep=last "
            "--set bn_momentum=0.9 --set options.dropout=0",
        ),
        Step("pretrained-half", f"{train} --epochs {half} --weights encoder", ("encoder",)),
        Step("pretrained", f"{train} --epochs {epochs} --weights encoder", ("encoder",)),
        Step("half", f"{train} --epochs {half}"),
        Step("pl-half", f"{other} --epochs {half}"),
        Step("pl", f"{other} --epochs {epochs}"),
        *(Step(f"{name}-quarter", f"{train} --channels {name} --epochs {quarter}") for name in CHANNELS),
        Step("external-half", f"train {EXTERNAL} {GAPNET} --epochs {half}"),
        Step("transferred", f"{train} --epochs {half} --weights external-half", ("external-half",)),
    ]
    quarters = tuple(f"{name}-quarter" for name in CHANNELS)
    for method in ("mean", "weighted", "stacked"):
        steps += [
            _join(f"channels-{method}", quarters, method),
            _join(f"both-half-{method}", ("half", "pl-half"), method),
        ]
    steps += [
        _join("both", (REFERENCE, "pl"), "mean"),
        _join("with-baseline-stacked", (REFERENCE, "baseline"), "stacked"),
        _join("with-baseline", (REFERENCE, "baseline"), "weighted"),
    ]
    if weights is not None:
        path = shlex.quote(weights)
        inception = f"train {STORE} {INCEPTION} --epochs {epochs}"
        steps += [
            Step("inceptionv3-weights", f"{inception} --set head_epochs={quarter} --weights {path}"),
            Step("inceptionv3", inception),
            Step(
                "inceptionv3-one-stage",
                f"{inception} --set head_epochs=0 --set backbone_rate_factor=1 --weights {path}",
            ),
        ]
    steps += [Step(name, f"{train} --channels {name} --epochs {epochs}") for name in CHANNELS]
    return [*steps, _join("channels-full", CHANNELS, "weighted")]


def _join(name: str, members: tuple[str, ...], method: str) -> Step:
    return Step(name, f"ensemble {' '.join(members)} --method {method}", members)


ROWS = (
    ("baseline (features and trees)", "baseline"),
    ("`gapnet` from random weights", REFERENCE),
    ("`gapnet` from a pre-trained encoder, half the epochs", "pretrained-half"),
    ("`gapnet` from a pre-trained encoder, all epochs", "pretrained"),
    ("`gapnet` from a run on another set, half the epochs on each", "transferred"),
    ("`gapnet` per channel, a quarter of the epochs each: mean", "channels-mean"),
    ("the same: weighted", "channels-weighted"),
    ("the same: stacked", "channels-stacked"),
    ("`gapnet` on the green channel alone", "green"),
    ("`gapnet` per channel, all epochs each: weighted", "channels-full"),
    ("`gapnet-pl` from random weights", "pl"),
    ("`gapnet` and `gapnet-pl`, half the epochs each: mean", "both-half-mean"),
    ("the same: weighted", "both-half-weighted"),
    ("the same: stacked", "both-half-stacked"),
    ("`gapnet` and `gapnet-pl`, all epochs each: mean", "both"),
    ("`gapnet` and the baseline: weighted", "with-baseline"),
    ("the same: stacked", "with-baseline-stacked"),
    ("`inceptionv3` from random weights", "inceptionv3"),
    ("`inceptionv3` from weights of photographs, in two stages", "inceptionv3-weights"),
    ("the same, in one stage, all layers at the whole rate", "inceptionv3-one-stage"),
)
