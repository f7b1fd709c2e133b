"""The command as a user meets it: in a process of its own."""

import importlib.metadata
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import cli
from hpa_data.store.store import open_store
from tests.builders import HPA, Hpa, hpa_process


def test_help_names_every_command_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, cli; sys.argv = ['hpa', '--help']\n"
        "try: cli.main()\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "heavy = {'numpy', 'zarr', 'dask', 'tensorflow', 'keras', 'cv2', 'rich.progress'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for command in [name for commands in cli.PANELS.values() for name in commands]:
        assert f"│ {command} " in done.stdout


@pytest.mark.parametrize("module", ["hpa_data", "hpa_data.convert", "hpa_data.store", "hpa_data.synth", "hpa_model"])
def test_importing_the_data_half_never_loads_tensorflow(module: str) -> None:
    code = f"import sys, {module}; assert not {{'tensorflow', 'keras'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_public_face_is_there_under_its_names() -> None:
    code = (
        "import hpa_data, hpa_model\n"
        "hpa_data.open_store, hpa_data.dataset.HPA_2018, hpa_model.pipeline.dataset, hpa_model.nets.build\n"
        "hpa_model.thresholds.search_thresholds, hpa_model.metrics.macro_f1\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"})


def test_all_commands_that_run_a_network_begin_with_the_settings_of_the_c_library() -> None:
    others = {"models", "recipes", "baseline", "ensemble", "evaluate", "compare", "map", "similar", "browse"}
    of_networks = {name for panel in ("Training", "Results") for name in cli.PANELS[panel]} - others
    assert set(cli.TRAINERS) == of_networks | {"bench"}


def test_version_is_printed() -> None:
    assert hpa_process("--version") == (0, f"hpa {importlib.metadata.version('hpa')}\n", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("convert --loud", "No such option"),
        ("convert a b --codek raw", "--codec"),
        ("trian a", "Did you mean 'train', 'pretrain'?"),
        ("convert a b --codec gzip", "'gzip' is not one of 'lz4hc', 'lz4', 'zstd', 'raw'"),
        ("convert a b --naming cagle", "'cagle' is not one of 'kaggle', 'hpav18', 'stack'"),
        ("convert a b --on-error stop", "'stop' is not one of 'skip', 'fail'"),
        ("train a --precision half --out run", "'half' is not one of 'float32', 'mixed_bfloat16', 'mixed_float16'"),
        ("finetune a --loss l2", "'l2' is not one of 'bce', 'f1', 'focal'"),
        ("train a --out run --cache disk", "'disk' is not one of 'none', 'ram'"),
        ("train a --out run --cache disk:", "'disk:' is not one of 'none', 'ram', 'disk:PATH'"),
        ("bench io a --cache ram", "'ram' is not one of 'none', 'disk:PATH'"),
    ],
)
def test_a_mistyped_command_line_gets_the_usage_a_hint_and_status_2(words: str, message: str, hpa: Hpa) -> None:
    ended = hpa(*words.split())
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("Usage: ")
    assert message in " ".join(ended.err.replace("│", "").split())
    assert "Value error" not in ended.err


@pytest.mark.parametrize(("number", "word"), [(signal.SIGINT, "Interrupted."), (signal.SIGTERM, "Terminated.")])
def test_a_signal_ends_a_conversion_with_its_status_and_running_it_again_finishes(
    number: signal.Signals, word: str, kaggle: Path, tmp_path: Path
) -> None:
    """Interrupt the process as a terminal or a batch system does, while it writes; finished work is kept."""
    source, store = tmp_path / "many", tmp_path / "a.zarr"
    source.mkdir()
    for path in (kaggle / "train").iterdir():  # 240 samples, which take longer than the signal
        for copy in range(20):
            (source / f"{copy}-{path.name}").symlink_to(path)
    # A test suite in the background ignores interrupts, and what it starts would, too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen([HPA, "convert", source, store], stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, before)
    while process.poll() is None and not (store / "train" / "class").exists():
        time.sleep(0.002)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert err.endswith(f"Run the same command to resume.\n{word}\n")
    assert "Traceback" not in err
    assert hpa_process("convert", source, store).status == 0
    assert open_store(store).part("train").count_readable() == 240


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("hpa tra", {"train"}),
        ("hpa train s --lo", {"--log", "--loss"}),
        ("hpa train s --loss ", {"bce", "f1", "focal", "asymmetric"}),
        ("hpa convert a b --codec l", {"lz4hc", "lz4"}),
        ("hpa convert a b --sou", set()),
        ("hpa bench ", {"io", "step"}),
    ],
)
def test_shells_complete_commands_options_and_choices(line: str, offered: set[str]) -> None:
    words = line.split(" ")
    environment = {"_HPA_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    done = subprocess.run([HPA], env=os.environ | environment, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == offered


def test_help_fits_80_columns_with_one_line_per_command(hpa: Hpa, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = hpa("--help").out.splitlines()
    assert max(map(len, lines)) <= 80
    for panel, commands in cli.PANELS.items():
        start = next(i for i, line in enumerate(lines) if line.startswith(f"╭─ {panel} ─"))
        shown = [line.strip("│ ") for line in lines[start + 1 : start + 1 + len(commands)]]
        assert [line.split()[0] for line in shown] == list(commands)
        assert all(line.endswith(".") for line in shown)


def test_every_option_has_a_help_text(hpa: Hpa, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    names = [[name] for commands in cli.PANELS.values() for name in commands] + [["bench", name] for name in cli.BENCH]
    for words in names:
        for line in hpa(*words, "--help").out.splitlines():
            if " --" in line[:12]:
                assert line.rstrip("│ ").endswith((".", "]")), line
