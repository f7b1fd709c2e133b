"""The command as a user meets it: in a process of its own."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import cli
from hpa_data.store.store import Store, open_store
from tests.builders import write_table

HPA = Path(sys.executable).with_name("hpa")


def hpa(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command and wait for it."""
    return subprocess.run(
        [HPA, *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=300,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def run_inside(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: object
) -> tuple[int, str, str]:
    """Run the command in this process, which saves its start; return status, stdout, stderr."""
    monkeypatch.setattr(sys, "argv", ["hpa", *map(str, words)])
    monkeypatch.setenv("GLIBC_TUNABLES", "")  # or the command would start itself again in place of the tests
    with pytest.raises(SystemExit) as end:
        cli.main()
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


def test_help_names_every_command_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, cli; sys.argv = ['hpa', '--help']\n"
        "try: cli.main()\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "heavy = {'numpy', 'zarr', 'dask', 'tensorflow', 'keras', 'cv2', 'rich.progress'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for command in (
        "synth",
        "convert",
        "augment",
        "folds",
        "stats",
        "verify",
        "preview",
        "train",
        "evaluate",
        "predict",
        "demo",
    ):
        assert f"│ {command} " in done.stdout


@pytest.mark.parametrize("module", ["hpa_data", "hpa_data.convert", "hpa_data.store", "hpa_data.synth", "hpa_model"])
def test_importing_the_data_half_never_loads_tensorflow(module: str) -> None:
    code = f"import sys, {module}; assert not {{'tensorflow', 'keras'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_public_face_is_there_under_its_names() -> None:
    code = (
        "import hpa_data, hpa_model\n"
        "hpa_data.open_store, hpa_data.dataset.CLASSES, hpa_model.pipeline.dataset, hpa_model.nets.build\n"
        "hpa_model.thresholds.search_thresholds, hpa_model.metrics.macro_f1\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"})


def test_version_is_printed() -> None:
    done = hpa("--version")
    assert (done.returncode, done.stdout) == (0, "hpa 0.1.0\n")


def test_converting_says_what_it_did_and_json_says_it_to_programs(kaggle: Path, tmp_path: Path) -> None:
    words = ("convert", kaggle / "train", tmp_path / "a.zarr", "--labels", kaggle / "train.csv")
    done = hpa(*words)
    assert done.returncode == 0, done.stderr
    assert "part train: 12 of 12 samples ok" in done.stdout
    told = json.loads(hpa(*words, "--overwrite", "--json").stdout)
    assert (told["n_samples"], told["n_ok"], told["failures"]) == (12, 12, [])


def test_a_failed_sample_makes_the_status_1(
    kaggle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "test"
    source.mkdir()
    for path in (kaggle / "test").iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    (source / "new-2_green.png").write_bytes(b"?")
    status, out, _ = run_inside(capsys, monkeypatch, "convert", source, tmp_path / "a.zarr")
    assert status == 1
    assert "2 of 3 samples ok" in out
    assert "Failed: new-2: Cannot decode new-2_" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("convert {kaggle}/nowhere new.zarr", "must be a folder of images"),
        ("convert {empty} new.zarr", "must hold files named"),
        ("convert {kaggle}/train new.zarr --labels {no_id}", "must have the columns Id, Target"),
        ("convert {kaggle}/train new.zarr --labels {class_28}", "from 0 to 27. Received: '28' in row 1"),
        ("convert {kaggle}/train new.zarr --labels {ghost}", "it has no files for 'ghost'"),
        ("convert {kaggle}/train new.zarr --labels {kaggle}/nowhere.csv", "must be a CSV file"),
        ("convert {kaggle}/train {store} --labels {kaggle}/train.csv --codec raw", "created with codec='lz4hc'"),
        (
            "convert {kaggle}/train new.zarr --channels red=0",
            "Cannot use --channels: it has no effect without --naming stack. Leave --channels out.",
        ),
        ("convert {kaggle}/train new.zarr --workers 2 --scheduler tcp://x:1", "Pass --workers or --scheduler"),
        ("convert {kaggle}/train new.zarr --scheduler nonsense", "scheduler must be the address of a Dask cluster"),
        ("verify {store} --repair", "A repair must have a source"),
        ("verify {store} --source {kaggle}/train", "A source must be that of one part"),
        ("convert {kaggle}/train new.zarr --part a/b", "part must be up to 50 letters"),
        (
            "train {store} --model gepnet --out run",
            "densenet121. Received: model='gepnet'",
        ),
        ("train {store} --epochs 0 --out run", "epochs must be from 1 to"),
        ("train {store} --set epochs --out run", "A setting must be NAME=VALUE"),
        ("train {store} --set loss=l2 --out run", "loss must be one of bce, f1, focal"),
        (
            "train {store} --set epochs=3 --epochs 4 --out run",
            "Cannot use --epochs: it has no effect beside --set epochs=3",
        ),
        ("train {store} --set options.depth=3 --out run", "must be one of: dropout, stride, padding"),
        ("train {store} --devices 3 --out run", "batch_size must be a multiple of devices"),
        ("train {store} --devices 64 --batch-size 64 --out run", "devices must be at most"),
        ("finetune {kaggle}", "Pass a folder that `hpa train` wrote."),
        ("compare {kaggle}", "Pass a folder that `hpa train` wrote."),
        ("train {store} --part extra --out run", "part must be in the store"),
        ("train {kaggle} --out run", "it is not a folder written by `hpa convert`"),
        ("train {store} --out run --cache ram --cache-gib nan", "cache-gib must be a size above 0"),
        ("train {store} --out run --cache ram --cache-gib inf", "cache-gib must be a size above 0"),
        ("train {store} --out run --cache-gib 1", "Cannot use --cache-gib: it has no effect without --cache ram"),
        ("train ftp://host/a.zarr --out run", "A URL must begin with one of s3://"),
        ("augment s3:// --min-count 5", "A URL must name a bucket or host"),
        ("bench io {kaggle}", "it is not a folder written by `hpa convert`"),
        ("bench io {store} --part extra", "part must be in the store"),
        ("bench io {store} --images {empty}", "must hold files named"),
        ("train {store} --recipe {no_id} --out run", "Cannot read recipe {no_id}: Expected '='"),
        ("evaluate {kaggle}", "Pass a folder that `hpa train` wrote."),
        ("predict {kaggle} {store}", "Pass a folder that `hpa train` wrote."),
        ("synth {kaggle}", "must be"),
    ],
)
def test_what_cannot_be_done_gets_one_line_and_status_2(  # noqa: PLR0917 - fixtures
    words: str,
    message: str,
    kaggle: Path,
    store: Store,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    places = {
        "kaggle": kaggle,
        "store": store.path,
        "empty": tmp_path / "empty",
        "no_id": tmp_path / "no_id.csv",
        "class_28": write_table(tmp_path / "28.csv", {"sample-01": "28"}),
        "ghost": write_table(tmp_path / "ghost.csv", {"ghost": "1"}),
    }
    places["empty"].mkdir()
    places["no_id"].write_text("Name,Target\na,1\n")
    monkeypatch.chdir(tmp_path)
    status, out, err = run_inside(capsys, monkeypatch, *words.format(**places).split())
    assert status == 2
    assert out == ""
    assert err.startswith("Error: ")
    assert message.format(**places) in err
    assert err.count("\n") == 1
    assert not Path("new.zarr").exists()
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("convert --loud", "No such option: --loud"),
        ("convert a b --codek raw", "Possible options: --codec"),
        ("trian a", "Did you mean 'train'?"),
        ("convert a b --codec gzip", "'gzip' is not one of 'lz4hc', 'lz4', 'zstd', 'raw'"),
        ("convert a b --naming cagle", "'cagle' is not one of 'kaggle', 'hpav18', 'stack'"),
        ("convert a b --on-error stop", "'stop' is not one of 'skip', 'fail'"),
        ("train a --precision half --out run", "'half' is not one of 'float32', 'mixed_bfloat16', 'mixed_float16'"),
        ("finetune a --loss l2", "'l2' is not one of 'bce', 'f1', 'focal'"),
        ("train a --out run --cache disk", "'disk' is not one of 'none', 'ram'"),
    ],
)
def test_a_mistyped_command_line_gets_the_usage_a_hint_and_status_2(
    words: str, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status, out, err = run_inside(capsys, monkeypatch, *words.split())
    assert (status, out) == (2, "")
    assert err.startswith("Usage: ")
    assert message in " ".join(err.replace("│", "").split())


def test_a_folder_that_may_not_be_written_is_told_in_one_line(
    kaggle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    status, _, err = run_inside(capsys, monkeypatch, "convert", kaggle / "test", tmp_path / "file" / "a.zarr")
    assert status == 2
    assert err.startswith("Error: Cannot read or write a file: ")
    assert err.count("\n") == 1


def test_training_evaluating_and_predicting_end_in_a_submission(
    store: Store,
    kaggle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = ("--folds", 2, "--epochs", 1, "--image-size", 76, "--batch-size", 6, "--out", "run")
    done = hpa("train", store.path, "--model", "gapnet", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "fold 1  epoch   1  loss " in done.stderr
    assert "thresholds fitted on the other folds (honest)" in done.stdout
    done = hpa("evaluate", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert " 8 Peroxisomes                        0      never" in done.stdout
    assert "The worst classes, at honest thresholds:" in done.stdout
    assert "Report: run/report.html" in done.stdout
    assert (tmp_path / "run" / "report.html").stat().st_size > 50_000
    sample = kaggle / "sample_submission.csv"
    done = hpa("predict", "run", store.path, "--sample-submission", sample, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "submission.csv: 3 rows" in done.stdout
    lines = (tmp_path / "submission.csv").read_text().splitlines()
    assert [line.partition(",")[0] for line in lines] == ["Id", "new-2", "new-0", "new-1"]
    run = tmp_path / "run"
    status, out, err = run_inside(capsys, monkeypatch, "finetune", run, "--epochs", 1, "--loss", "f1")
    assert (status, f"Run folder: {run}-finetuned-f1" in out) == (0, True), err
    table, figure = tmp_path / "a.csv", tmp_path / "a.png"
    words = ("compare", run, f"{run}-finetuned-f1", "--out-csv", table, "--out-figure", figure)
    status, out, err = run_inside(capsys, monkeypatch, *words)
    assert status == 0, err
    assert {line.split()[0] for line in out.splitlines()[2:4]} == {"run", "run-finetuned-f1"}
    assert table.exists()
    assert figure.exists()


def test_the_networks_are_listed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    status, out, _ = run_inside(capsys, monkeypatch, "models")
    assert status == 0
    assert "gapnet           512      597,388          2,120        2.91" in out
    assert "deepyeast        192   78,110,876" in out


def test_ctrl_c_ends_a_conversion_with_status_130_and_running_it_again_finishes(kaggle: Path, tmp_path: Path) -> None:
    """Interrupt the process as a terminal does, once it has begun to write; whatever it had done is kept."""
    words = [HPA, "convert", kaggle / "train", tmp_path / "a.zarr"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not (tmp_path / "a.zarr" / "train" / "class").exists():
        time.sleep(0.002)
    process.send_signal(2)
    _, err = process.communicate(timeout=60)
    assert process.returncode in {0, 130}  # 0 if it was faster than the signal
    if process.returncode == 130:
        assert err.endswith("Run the same command to resume.\nInterrupted.\n")
        assert "Traceback" not in err
        assert hpa(*words[1:]).returncode == 0
    assert open_store(tmp_path / "a.zarr").part("train").count_readable() == 12


def test_copies_are_planned_made_and_shown_by_the_command(
    kaggle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "hpa.zarr"
    run_inside(capsys, monkeypatch, "convert", kaggle / "train", store, "--labels", kaggle / "train.csv")
    status, out, _ = run_inside(capsys, monkeypatch, "augment", store, "--min-count", 9, "--dry-run")
    assert status == 0
    assert " 0 Nucleoplasm                           4       5         9\n" in out
    assert "15 copies of 12 samples, at most 2 of one" in out
    assert "Below 9 even so, no sample that can be copied: Nuclear speckles, " in out
    assert not (store / "augmented").exists()
    status, out, _ = run_inside(capsys, monkeypatch, "augment", store, "--min-count", 9, "--json")
    assert status == 0
    assert json.loads(out)["n_ok"] == 15
    status, _, err = run_inside(capsys, monkeypatch, "augment", store, "--min-count", 9, "--seed", 1)
    assert status == 2
    assert "was created with seed=0, and this command has seed=1" in err
    status, out, _ = run_inside(
        capsys, monkeypatch, "folds", store, "--part", "train", "--part", "augmented", "--folds", 2
    )
    assert status == 0
    assert "with a copy or parent in training " in out
    assert run_inside(capsys, monkeypatch, "folds", "--labels", kaggle / "train.csv", "--json")[0] == 0
    for words in ((), (store, "--labels", kaggle / "train.csv"), (store, "--min-count", 3)):
        status, _, err = run_inside(capsys, monkeypatch, "folds", *words)
        assert (status, err.count("\n")) == (2, 1)


def test_training_keeps_copies_with_their_parents_and_leaks_only_if_told_to(kaggle: Path, tmp_path: Path) -> None:
    store = tmp_path / "hpa.zarr"
    hpa("convert", kaggle / "train", store, "--labels", kaggle / "train.csv")
    hpa("augment", store, "--min-count", 9)
    sizes = {}
    for name, options in {"kept": (), "leaky": ("--legacy-leak",)}.items():
        words = ("train", store, "--part", "train", "--part", "augmented", "--folds", 2, "--epochs", 1)
        done = hpa(*words, "--image-size", 80, "--out", tmp_path / name, "--json", *options)
        assert done.returncode == 0, done.stderr
        sizes[name] = json.loads(done.stdout)["n_samples"]
    assert sizes == {"kept": 12, "leaky": 27}
    alone = hpa("train", store, "--part", "augmented", "--out", tmp_path / "alone")
    assert alone.returncode == 2
    assert "Copies must be read with their parents" in alone.stderr
