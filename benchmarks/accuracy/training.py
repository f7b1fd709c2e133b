"""Schedules, averages, balance, augmentation and the shipped recipes, at equal numbers of images seen.

The rows of `gapnet` and of every recipe see 20,000 images, in two folds together; those of `trial`, whose network is
several times as fast, 120,000; the recipe `best`, which combines what helped, 240,000.
"""

from benchmarks.accuracy.steps import STORE, Comparison, Row, Step

N_SAMPLES, N_TEST = 2000, 1000
EPOCHS, TRIAL_EPOCHS, BEST_EPOCHS = 10, 60, 120
# Copies of rare classes: as many as there are samples, so that half the epochs see as many images.
MIN_COUNT, COPIED = 180, 2
COMMON = "--folds 2 --image-size 128 --cache ram"
GAPNET = f"{COMMON} --recipe gapnet --batch-size 16 --set keep=last --set bn_momentum=0.9"
TRIAL = f"{COMMON} --recipe trial --set bn_momentum=0.9"
RECIPES = (
    *("gapnet-pl", "mcnn", "deepyeast", "densenet121", "densenet121-imagenet", "inceptionv3", "resnet50v2"),
    *("efficientnetv2-b0", "convnext-tiny"),
)
# What is added to the training of `gapnet`, which has a constant learning rate and no augmentation.
GAPNET_IDEAS = {
    "cosine": ("cosine schedule", "--set schedule=cosine"),
    "warmup": ("the same with half an epoch of warm-up", "--set schedule=cosine --set warmup_epochs=0.5"),
    "ema": ("averaged weights, momentum 0.99", "--set ema=0.99"),
    "symmetries": ("flips and rotations on the device", "--augment symmetries"),
    "paper": ("the paper's operations on the device", "--augment paper"),
    "strong": ("more of them, `strong`, on the device", "--augment strong"),
    "mixup": ("MixUp, alpha 0.2", "--set augment.mixup.alpha=0.2"),
    "cutmix": ("CutMix, alpha 1", "--set augment.cutmix.alpha=1"),
    "sampling": ("balanced sampling", "--sampling balanced"),
    "weights": ("class weights, balanced", "--set class_weights=balanced"),
    "smoothing": ("label smoothing 0.1", "--set label_smoothing=0.1"),
    "asymmetric": ("asymmetric loss", "--loss asymmetric"),
    "adamw": ("AdamW, weight decay 0.05", "--set optimizer=adamw --set weight_decay=0.05"),
    "muon": ("Muon", "--set optimizer=muon"),
    "accumulate": ("gradients of 4 batches averaged", "--set accumulate_batches=4"),
    "macro-f1": ("kept by macro-F1", "--set keep=highest_macro_f1"),
}
# The same for `trial`, which has a cosine schedule, and flips and rotations.
TRIAL_IDEAS = {
    "constant": ("constant learning rate", "--set schedule=constant"),
    "none": ("no augmentation", "--augment none"),
    "paper": ("the paper's operations on the device, too", "--set augment.policy=paper --set augment.symmetry.p=1"),
    "strong": ("`strong` in place of flips and rotations", "--augment strong"),
    "mixup": ("MixUp, alpha 0.2, too", "--set augment.mixup.alpha=0.2"),
    "cutmix": ("CutMix, alpha 1, too", "--set augment.cutmix.alpha=1"),
    "sampling": ("balanced sampling", "--sampling balanced"),
    "warmup": ("two epochs of warm-up", "--set warmup_epochs=2"),
    "ema": ("averaged weights, momentum 0.99", "--set ema=0.99"),
    "weights": ("class weights, balanced", "--set class_weights=balanced"),
    "smoothing": ("label smoothing 0.1", "--set label_smoothing=0.1"),
    "asymmetric": ("asymmetric loss", "--loss asymmetric"),
    "adamw": ("AdamW, weight decay 0.05", "--set optimizer=adamw --set weight_decay=0.05"),
    "muon": ("Muon", "--set optimizer=muon"),
    "ema-mixup": ("averaged weights and MixUp", "--set ema=0.99 --set augment.mixup.alpha=0.2"),
}


def compare() -> Comparison:
    """Return the comparison."""
    steps = [Step("baseline", f"baseline {STORE} --folds 2")]
    rows = [Row("baseline (features and trees)", "baseline", "gapnet")]
    for name, epochs, options, ideas in (
        ("gapnet", EPOCHS, GAPNET, GAPNET_IDEAS),
        ("trial", TRIAL_EPOCHS, TRIAL, TRIAL_IDEAS),
    ):
        train = f"train {STORE} {options}"
        steps.append(Step(name, f"{train} --epochs {epochs}"))
        rows += [
            Row(f"`{name}`", name, name),
            Row("one of its two models", name, name, "--fold 0"),
            Row("both, over flips and rotations of each image", name, name, "--tta"),
        ]
        for idea, (title, more) in ideas.items():
            steps.append(Step(f"{name}-{idea}", f"{train} --epochs {epochs} {more}"))
            rows.append(Row(f"`{name}`: {title}", f"{name}-{idea}", name))
        steps.append(Step(f"{name}-copies", f"{train} --part train --part augmented --epochs {epochs // COPIED}"))
        rows.append(Row(f"`{name}`: precomputed copies", f"{name}-copies", name))
    steps += [
        Step(
            "encoder",
            f"pretrain {STORE} --part train --part test --model gapnet --image-size 128 --batch-size 16 --symmetries "
            f"--cache ram --epochs {EPOCHS // 2} --mask 0.2 --mask-patch 8 --set schedule=cosine --set keep=last "
            "--set bn_momentum=0.9 --set options.dropout=0",
        ),
        Step("gapnet-encoder", f"train {STORE} {GAPNET} --epochs {EPOCHS} --weights encoder", ("encoder",)),
    ]
    rows.append(Row("`gapnet`: from a pre-trained encoder, all epochs after it", "gapnet-encoder", "gapnet"))
    for recipe in RECIPES:
        name = f"recipe-{recipe}"
        steps.append(Step(name, f"train {STORE} {COMMON} --recipe {recipe} --epochs {EPOCHS}"))
        rows.append(Row(f"recipe `{recipe}`", name, "gapnet"))
    paper = f"train {STORE} {COMMON} --recipe paper --epochs {EPOCHS // COPIED} --set finetune_epochs=0"
    steps += [
        Step("recipe-paper", f"{paper} --set finetune_loss=bce"),
        Step("recipe-paper-bce", "finetune recipe-paper --loss bce --epochs 14", ("recipe-paper",)),
        Step("recipe-paper-f1", "finetune recipe-paper --loss f1 --epochs 5", ("recipe-paper",)),
    ]
    rows += [
        Row("recipe `paper`, before fine-tuning", "recipe-paper", "gapnet"),
        Row("the same, its head fine-tuned with BCE", "recipe-paper-bce", "gapnet"),
        Row("the same, its head fine-tuned with soft F1", "recipe-paper-f1", "gapnet"),
    ]
    best = f"train {STORE} {COMMON} --recipe best --epochs {BEST_EPOCHS}"
    steps += [
        Step("trial-long", f"train {STORE} {TRIAL} --epochs {BEST_EPOCHS}"),
        Step("recipe-best", best),
        Step("recipe-best-joined", "ensemble recipe-best baseline --method weighted", ("recipe-best", "baseline")),
    ]
    rows += [
        Row("`trial`: twice the epochs", "trial-long", "trial"),
        Row("recipe `best`", "recipe-best", "trial"),
        Row("recipe `best`: one of its two models", "recipe-best", "trial", "--fold 0"),
        Row("recipe `best`: both, over flips and rotations of each image", "recipe-best", "trial", "--tta"),
        Row("recipe `best` and the baseline, joined (weighted)", "recipe-best-joined", "trial"),
    ]
    return Comparison(
        steps=tuple(steps),
        rows=tuple(rows),
        n_samples=N_SAMPLES,
        n_test=N_TEST,
        scores_test=True,
        preparations=(f"augment {STORE} --min-count {MIN_COUNT}",),
    )
