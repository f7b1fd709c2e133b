"""The exit status of every command, as the README lists them."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import cli
from hpa_model.commands import app
from tests.builders import HPA, Hpa

README = (Path(__file__).parents[1] / "README.md").read_text()
COMMANDS = [(name,) for commands in app.PANELS.values() for name in commands] + [("bench", name) for name in app.BENCH]
# Of each command, words that it refuses.
REFUSED = {
    "datasets": "nowhere",
    "synth": "{file}",
    "convert": "nowhere a.zarr",
    "verify": "nowhere",
    "preview": "nowhere --out a.png",
    "stats": "nowhere",
    "augment": "nowhere",
    "folds": "nowhere",
    "cache": "nowhere",
    "recipes": "nothing",
    "train": "nowhere --out run",
    "pretrain": "nowhere --out run",
    "finetune": "nowhere",
    "sweep": "nowhere --vary l2=0,0.1 --out run",
    "baseline": "nowhere --out run",
    "ensemble": "nowhere elsewhere --out run",
    "evaluate": "nowhere",
    "compare": "nowhere",
    "predict": "nowhere nowhere",
    "embed": "nowhere nowhere --out a.npz",
    "map": "nowhere.npz",
    "similar": "nowhere nowhere.npz --id a",
    "export": "nowhere --format onnx --out model",
    "browse": "nowhere",
    "doctor": "nowhere",
    "explain": "nowhere nowhere --out maps",
    "io": "nowhere",
    "step": "nowhere",
}


def replace_commands(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let each command end with an error that no command should end with."""

    def fail() -> None:
        raise error

    for group in (app.app, app.bench):
        for command in group.registered_commands:
            monkeypatch.setattr(command, "callback", fail)


def test_the_readme_and_the_help_list_the_statuses(hpa: Hpa) -> None:
    listed = [int(status) for status in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)]
    assert listed == [0, 1, 2, 70, 130, 141, 143]
    assert [int(number) for number in re.findall(r"\b\d+(?= )", app.STATUSES)] == listed
    text = " ".join(hpa("--help").out.split())
    assert app.STATUSES in text


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_is_done_and_a_mistyped_option_is_refused(words: tuple[str, ...], hpa: Hpa) -> None:
    assert hpa(*words, "--help").status == 0
    assert hpa(*words, "--nothing").status == 2


# `models` takes nothing that it could refuse, and `demo` first loads what trains.
@pytest.mark.parametrize("words", [words for words in COMMANDS if words[0] not in {"models", "demo"}], ids=" ".join)
def test_a_command_that_is_refused_ends_with_2_and_one_line_and_leaves_nothing(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hpa: Hpa
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    ended = hpa(*words, *REFUSED[words[-1]].format(file=tmp_path / "file").split())
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.count("\n") == 1
    assert re.match(r"Error: .+\. .+\.\n$", ended.err)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_an_unexpected_fault_ends_every_command_with_70(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hpa: Hpa
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    replace_commands(monkeypatch, RuntimeError("a mistake"))
    ended = hpa(*words)
    (file,) = tmp_path.iterdir()
    assert ended.status == 70
    assert ended.err.count("\n") == 1
    assert f"The traceback is in {file}" in ended.err
    assert "RuntimeError: a mistake" in file.read_text()
    debugged = hpa("--debug", *words)
    assert debugged.status == 70
    assert debugged.err.endswith("RuntimeError: a mistake\n\n")
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("number", "word"),
    [
        (signal.SIGINT, "Interrupted."),
        pytest.param(signal.SIGTERM, "Terminated.", marks=pytest.mark.slow),  # the same code with another number
    ],
)
def test_a_signal_ends_every_command_with_its_status(number: signal.Signals, word: str) -> None:
    code = (
        "import os, signal, sys; from hpa_model.commands import app; import cli\n"
        "os.environ['GLIBC_TUNABLES'] = ''\n"
        f"def stop(): signal.raise_signal({int(number)}); raise SystemExit(3)\n"
        "for group in (app.app, app.bench):\n"
        "    for command in group.registered_commands: command.callback = stop\n"
        f"for words in {COMMANDS}:\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        sys.argv = ['hpa', *words]\n"
        "        cli.main()\n"
        "    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(128 + number)] * len(COMMANDS)
    assert done.stderr.split() == [word] * len(COMMANDS)


@pytest.mark.parametrize("words", ["--help", "datasets", "datasets hpa2021", "models"])
def test_a_closed_output_ends_quietly(words: str) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([HPA, *words.split()], stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def test_an_output_that_is_full_is_named() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([HPA, "datasets"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: Cannot write the standard output: no space is left on its disk.")


def test_what_is_closed_is_not_taken_by_the_next_file(tmp_path: Path) -> None:
    command = f"'{HPA}' datasets hpa2018 0<&- 1>&- 2>&-; echo $? > '{tmp_path / 'status'}'"
    subprocess.run(command, shell=True, check=True)
    assert (tmp_path / "status").read_text() == "0\n"


def run_code(code: str, **environment: str) -> tuple[int, str]:
    """Run a program of a few lines that runs the command; return its exit status, and what it writes to stderr."""
    start = "import os, signal, sys, cli; from hpa_model.commands import app\nsys.argv = ['hpa', 'stats', 'nowhere']\n"
    done = subprocess.run(
        [sys.executable, "-c", start + code],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"GLIBC_TUNABLES": ""} | environment,
    )
    return done.returncode, done.stderr


def test_a_signal_that_arrived_while_the_program_started_again_is_not_lost() -> None:
    code = (
        "signal.pthread_sigmask(signal.SIG_BLOCK, cli.SIGNALS)  # as before the second start\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        "cli.main()\n"
    )
    assert run_code(code, GLIBC_TUNABLES=cli.TUNABLES) == (130, "Interrupted.\n")


@pytest.mark.parametrize(
    "swallowed",
    ["raise ImportError('numpy failed to load')", "raise SystemError('no attribute')", "sys.exit(0)"],
)
def test_an_interrupt_that_a_library_swallows_while_it_is_imported_is_not_lost(swallowed: str) -> None:
    code = (
        "from hpa_data.commands.console import quiet\n"
        "def stop():\n"
        "    with quiet():\n"
        "        try: signal.raise_signal(signal.SIGINT)\n"
        f"        except BaseException: {swallowed if 'raise' in swallowed else 'pass'}\n"
        "    sys.exit(0)\n"
        "for command in app.app.registered_commands: command.callback = stop\n"
        "sys.argv = ['hpa', 'stats']\n"
        "cli.main()\n"
    )
    assert run_code(code) == (130, "Interrupted.\n")


def test_a_background_process_ignores_interrupts_as_its_shell_wants() -> None:
    code = (
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "def go(): signal.raise_signal(signal.SIGINT); print('done', file=sys.stderr)\n"
        "for command in app.app.registered_commands: command.callback = go\n"
        "sys.argv = ['hpa', 'stats']\n"
        "cli.main()\n"
    )
    assert run_code(code) == (0, "done\n")
