"""The commands of `hpa` that run a network, score one, or measure what it is fed."""

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import cli_text
from cli_show import (
    STORE,
    Json,
    Overwrite,
    Threads,
    late_progress,
    progress,
    quiet,
    report_training,
    show,
)
from hpa_data.errors import InputError

if TYPE_CHECKING:
    from hpa_data.store import Store

Cache = Annotated[str, typer.Option(help="ram keeps decoded samples in memory; or none.")]
CacheGib = Annotated[
    float | None, typer.Option(help="What the cache may hold at most.  [default: half of the free memory]")
]
Checkpoint = Annotated[
    float, typer.Option("--checkpoint-minutes", min=0, help="Between checkpoints; one comes after each epoch, too.")
]
Tensorboard = Annotated[bool, typer.Option("--tensorboard", help="Log each epoch's figures for TensorBoard.")]


def train(
    store: Annotated[str, typer.Argument(help=STORE + " with labels.")],
    out: Annotated[Path, typer.Option(help="The run folder to make, or to go on with.")],
    recipe: Annotated[Path | None, typer.Option(help="A TOML file of settings; options on the line win.")] = None,
    model: Annotated[str | None, typer.Option(help="The network, see hpa models.  [default: gapnet]")] = None,
    part: Annotated[list[str] | None, typer.Option(help="May be given several times.  [default: train]")] = None,
    folds: Annotated[int | None, typer.Option(help="[default: 3]")] = None,
    fold_method: Annotated[
        str | None, typer.Option(help="stratified, contiguous or grouped-stratified.  [default: stratified]")
    ] = None,
    legacy_leak: Annotated[
        bool | None,
        typer.Option("--legacy-leak", help="Validate copies, train on copies of what validates: scores flatter."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="[default: 50]")] = None,
    batch_size: Annotated[int | None, typer.Option(help="[default: 20]")] = None,
    loss: Annotated[str | None, typer.Option(help="bce, f1 (soft macro-F1) or focal.  [default: bce]")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="[default: 0.001]")] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Train smaller, for trials.  [default: the network's own, mostly the store's]")
    ] = None,
    bn_momentum: Annotated[
        float | None, typer.Option(help="Lower it when an epoch has few steps.  [default: 0.99]")
    ] = None,
    symmetries: Annotated[
        bool | None, typer.Option("--symmetries", help="Mirror and rotate training images, anew in each epoch.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="float32, mixed_bfloat16 or mixed_float16.  [default: float32]")
    ] = None,
    xla: Annotated[bool | None, typer.Option("--xla", help="Compile with XLA; for GPUs.")] = None,
    devices: Annotated[int | None, typer.Option(help="GPUs that share each batch.  [default: 1]")] = None,
    deterministic: Annotated[
        bool | None, typer.Option("--deterministic", help="The same weights each time, at some cost.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="[default: 0]")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any setting of a recipe: optimizer=sgd, options.stride=1."),
    ] = None,
    cache: Cache = "none",
    cache_gib: CacheGib = None,
    checkpoint_minutes: Checkpoint = 10,
    tensorboard: Tensorboard = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Train one model a fold and write a run folder; the same command again goes on where it was stopped."""
    from hpa_data.store import open_store
    from hpa_model.config import make_config, merge_settings, parse_setting, read_recipe

    given = {
        "model": model,
        "parts": part or None,
        "folds": folds,
        "fold_method": fold_method,
        "legacy_leak": legacy_leak,
        "epochs": epochs,
        "batch_size": batch_size,
        "loss": loss,
        "learning_rate": learning_rate,
        "image_size": image_size,
        "bn_momentum": bn_momentum,
        "symmetries": symmetries,
        "precision": precision,
        "xla": xla,
        "devices": devices,
        "deterministic": deterministic,
        "seed": seed,
    }
    settings = read_recipe(recipe) if recipe is not None else {}
    for text in setting or []:
        settings = merge_settings(settings, parse_setting(text))
    config = make_config(merge_settings(settings, {name: value for name, value in given.items() if value is not None}))
    opened = open_store(store)

    with quiet():
        from hpa_model.finetune import train_and_finetune
        from hpa_model.fit import Care

    with contextlib.suppress(InputError):  # a server that speaks HTTP alone lists nothing
        for name in opened.parts():
            if name not in config.parts and opened.part(name).copies is not None:
                asked = " ".join(f"--part {part}" for part in (*config.parts, name))
                print(f"The store also has augmented copies; to train on them, too: {asked}", file=sys.stderr)
    if (out / "config.json").exists() and not overwrite:
        print(f"Going on with {out}; what is done is not done again", file=sys.stderr)
    cache_bytes = _choose_cache(opened, config.parts, cache, cache_gib)
    with _going_on(out, overwrite), late_progress("images") as (plan, advance):
        done = train_and_finetune(
            opened,
            config,
            out,
            overwrite=overwrite,
            recipe=recipe,
            cache_bytes=cache_bytes,
            progress=report_training(plan, advance),
            care=Care(checkpoint_s=60 * checkpoint_minutes, tensorboard=tensorboard),
        )
    lines = []
    for trained in done:
        lines += _tell_run(trained.run, trained.scores, opened)
    show(done[-1].scores, as_json, "\n".join(lines))


def finetune(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    loss: Annotated[str, typer.Option(help="bce, f1 (soft macro-F1) or focal.")] = "bce",
    epochs: Annotated[int, typer.Option(min=1, help="At most; the best by validation loss is kept.")] = 14,
    folds: Annotated[str, typer.Option(help="best: only the fold that scores best, as in the paper; or all.")] = "best",
    learning_rate: Annotated[float | None, typer.Option(help="[default: as in the run]")] = None,
    store: Annotated[str | None, typer.Option(help="The store, if it was moved.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder to make.  [default: RUN-finetuned-LOSS]")] = None,
    cache: Cache = "none",
    cache_gib: CacheGib = None,
    checkpoint_minutes: Checkpoint = 10,
    tensorboard: Tensorboard = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Train the dense net of a run's models further, over a frozen chain of convolutions, into a run of its own."""
    from hpa_data.store import open_store
    from hpa_model.config import check_finetuning
    from hpa_model.runs import read_run

    check_finetuning(loss, folds)
    description = read_run(run)
    try:
        opened = open_store(store or description.store)
    except InputError as error:
        raise InputError(f"{error} If the store was moved, pass --store.") from error
    with quiet():
        from hpa_model.finetune import finetune as finetune_run
        from hpa_model.finetune import name_finetuned
        from hpa_model.fit import Care

    cache_bytes = _choose_cache(opened, description.config.parts, cache, cache_gib)
    out = out or name_finetuned(run, loss)
    with _going_on(out, overwrite), late_progress("images") as (plan, advance):
        done = finetune_run(
            run,
            loss=loss,  # type: ignore[arg-type]
            epochs=epochs,
            folds=folds,  # type: ignore[arg-type]
            learning_rate=learning_rate,
            store=opened,
            out=out,
            overwrite=overwrite,
            cache_bytes=cache_bytes,
            progress=report_training(plan, advance),
            care=Care(checkpoint_s=60 * checkpoint_minutes, tensorboard=tensorboard),
        )
    show(done.scores, as_json, "\n".join(_tell_run(done.run, done.scores, opened)))


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    store: Annotated[str | None, typer.Option(help="For the pictures of the page, if the store was moved.")] = None,
    as_json: Json = False,
) -> None:
    """Score the out-of-fold predictions of a run, three ways and per class, and write its page."""
    from hpa_data.store import open_store
    from hpa_model.evaluate import score_run

    scores = score_run(run)
    opened = None if store is None else open_store(store)
    lines = [cli_text.describe_classes(scores), "", cli_text.describe_confusions(scores)]
    lines += ["", cli_text.describe_scores(scores), "", _write_page(run, opened)]
    show(scores, as_json, "\n".join(lines))


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    table: Annotated[Path | None, typer.Option("--csv", help="The CSV file to make.")] = None,
    figure: Annotated[Path | None, typer.Option(help="The PNG file to make.")] = None,
    as_json: Json = False,
) -> None:
    """Put runs side by side, as the paper's table 4.1 has its networks."""
    from hpa_data.whole import write_whole
    from hpa_model.compare import compare_runs, write_comparison

    if table is not None and table.is_dir():
        raise InputError(f"csv must be a file. Received: {table}, a folder. Pass {table / 'runs.csv'}.")
    if figure is not None and figure.suffix.lower() != ".png":
        raise InputError(f"figure must be a PNG file. Received: {figure}. Name it {figure.with_suffix('.png')}.")
    done = compare_runs(runs)
    if table is not None:
        write_comparison(done, table)
    if figure is not None:
        from hpa_model.figures import draw_comparison, render_png

        write_whole(figure, render_png(draw_comparison(done)))
    show(done, as_json, cli_text.describe_comparison(done))


def models(as_json: Json = False) -> None:
    """List the networks: input, parameters, arithmetic an image, options."""
    with quiet():
        from hpa_model.nets.arithmetic import list_nets

        done = list_nets()
    show(done, as_json, cli_text.describe_nets(done))


def predict(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    source: Annotated[str, typer.Argument(help=STORE + ", or a folder of image files.")],
    out: Annotated[Path, typer.Option(help="The CSV file to make, or to replace.")] = Path("submission.csv"),
    part: Annotated[str, typer.Option(help="The part of the store.")] = "test",
    sample_submission: Annotated[Path | None, typer.Option(help="A CSV table whose Id column sets the order.")] = None,
    allow_empty: Annotated[bool, typer.Option("--allow-empty", help="Keep rows without a class.")] = False,
    tta: Annotated[
        bool, typer.Option("--tta", help="Average over mirrors and right-angle turns of each image.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Predict a test part or folder with all folds and write a submission."""
    with quiet():
        from hpa_model.predict import predict_submission

    with late_progress("images") as (plan, advance):
        done = predict_submission(
            run,
            source,
            out,
            part=part,
            sample_submission=sample_submission,
            allow_empty=allow_empty,
            tta=tta,
            on_plan=plan,
            on_batch=advance,
        )
    lines = [f"{out}: {done.n_rows} rows, {done.n_labels / max(done.n_rows, 1):.2f} classes a row"]
    lines += [f"Not predicted, row left empty: {name}" for name in done.unpredicted]
    if done.n_unasked:
        lines.append(f"Not asked for by the sample submission: {done.n_unasked} samples")
    show(done, as_json, "\n".join(lines))
    if done.unpredicted:
        raise typer.Exit(1)


def bench_io(
    store: Annotated[str, typer.Argument(help=STORE + ".")],
    part: Annotated[list[str] | None, typer.Option(help="May be given several times.  [default: train]")] = None,
    png: Annotated[Path | None, typer.Option(help="A folder of PNG planes, to be read beside it.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Samples to read over and over.")] = 256,
    batch_size: Annotated[int, typer.Option(min=1)] = 20,
    rounds: Annotated[int, typer.Option(min=1, help="How often each row is timed.")] = 3,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Tell what bounds the reading of a store here, what another codec would give, how fast a trainer can be fed."""
    from hpa_data.store import open_store

    with quiet():
        from hpa_model.bench import measure_io

    opened = open_store(store)
    with quiet(), progress("rounds", rounds + 1) as advance:
        done = measure_io(
            opened,
            tuple(part or ["train"]),
            png=png,
            n_samples=samples,
            batch_size=batch_size,
            threads=threads,
            rounds=rounds,
            on_round=lambda: advance(1),
        )
    show(done, as_json, cli_text.describe_io(done))


def bench_step(
    store: Annotated[str, typer.Argument(help=STORE + " with labels.")],
    part: Annotated[list[str] | None, typer.Option(help="May be given several times.  [default: train]")] = None,
    model: Annotated[str, typer.Option(help="The network.")] = "gapnet",
    image_size: Annotated[int | None, typer.Option(min=1, help="[default: as in the store]")] = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 20,
    steps: Annotated[int, typer.Option(min=1, help="Of each kind.")] = 10,
    precision: Annotated[
        str | None, typer.Option(help="float32 or mixed_bfloat16.  [default: mixed_bfloat16 on a GPU]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Tell whether training waits for data: steps fed from a store, and on one batch that lies on the device."""
    from hpa_data.store import open_store

    if precision not in {None, "float32", "mixed_bfloat16"}:
        raise InputError(
            f"precision must be float32 or mixed_bfloat16. Received: precision={precision!r}. Choose one of them."
        )
    with quiet():
        from hpa_model.bench import measure_step

    opened = open_store(store)
    with progress("steps", 2 * (steps + 2)) as advance:
        done = measure_step(
            opened,
            tuple(part or ["train"]),
            model=model,
            image_size=image_size,
            batch_size=batch_size,
            n_steps=steps,
            precision=precision,
            on_step=advance,
        )
    show(done, as_json, cli_text.describe_step(done))


def demo(
    folder: Annotated[Path, typer.Argument(help="The folder to make.")] = Path("demo"),
    seed: Annotated[int, typer.Option(min=0)] = 0,
    as_json: Json = False,
) -> None:
    """Do the whole job on made-up samples, in some minutes: synth, convert, train, evaluate, predict."""
    with quiet():
        from hpa_model.demo import Watcher, run_demo

    with late_progress("samples") as (plan, advance):
        watcher = Watcher(
            on_step=lambda name: print(name, file=sys.stderr),
            on_plan=plan,
            on_done=advance,
            training=report_training(plan, advance),
        )
        done = run_demo(folder, seed=seed, watcher=watcher)
    lines = [f"{step.name:<9}{step.seconds:>6.0f} s   {step.made}" for step in done.steps]
    lines += ["", cli_text.describe_scores(done.scores), ""]
    lines.append(
        f"Submission against the truth that made-up samples have: macro-F1 {done.test_macro_f1:.3f}; "
        f"guessing would score {done.test_guessing:.3f}"
    )
    lines.append(f"Next: hpa evaluate {done.run}")
    show(done, as_json, "\n".join(lines))


@contextlib.contextmanager
def _going_on(out: Path, overwrite: bool) -> Any:
    """Say, where a training is interrupted, how it goes on."""
    try:
        yield
    except KeyboardInterrupt:
        again = "the same command without --overwrite" if overwrite else "the same command"
        if any(out.glob("fold*/checkpoint.npz")) or any(out.glob("fold*/probs.npz")):
            print(f"What is done is kept; {again} goes on from there.", file=sys.stderr)
        raise


def _tell_run(run: Path, scores: Any, store: "Store") -> list[str]:
    """Say how a run scored, write its page, and say where both are."""
    from hpa_model.runs import read_run

    lines = [cli_text.describe_scores(scores), f"Run folder: {run}"]
    description = read_run(run)
    if description.finetuned_from:
        folds = ", ".join(map(str, description.finetuned_folds))
        lines.append(f"Fine-tuned: fold {folds}; any other model is that of {description.finetuned_from}")
    n_left_out = description.n_left_out
    if n_left_out:
        lines.append(f"Left out, could not be converted: {n_left_out} samples")
    return [*lines, _write_page(run, store)]


def _write_page(run: Path, store: "Store | None") -> str:
    """Write a run's page, where what draws it is installed; say where it is."""
    try:
        from hpa_model.report import write_report
    except ImportError as error:
        return f"No page: {error.name} is missing. Run: pip install '.[figures]', then: hpa evaluate {run}"
    done = write_report(run, store)
    return f"Page: {done.page}" + (f", without pictures. {done.no_pictures}" if done.no_pictures else "")


def _choose_cache(store: "Store", parts: tuple[str, ...], kind: str, gib: float | None) -> int:
    """Decide how many bytes of decoded samples may be kept, and say how many samples that is."""
    from hpa_data.cache import choose_cache_bytes

    if kind not in {"none", "ram"} or (kind == "none" and gib is not None) or (gib is not None and not 0 < gib < 2**20):
        raise InputError(
            f"cache must be none, or ram with a size above 0. Received: --cache {kind}, --cache-gib {gib}. Pass "
            "--cache ram, or neither."
        )
    if kind == "none":
        return 0
    layouts = [store.part(name).layout for name in parts]
    image_bytes = layouts[0].image_bytes
    n_samples = sum(layout.n_samples for layout in layouts)
    n_bytes = choose_cache_bytes(None if gib is None else int(gib * 2**30), n_samples * image_bytes)
    print(f"Kept in memory: up to {min(n_bytes // image_bytes, n_samples)} of {n_samples} samples", file=sys.stderr)
    return n_bytes
