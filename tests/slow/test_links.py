"""``ln -s`` of every name that a command writes to a file, or a folder, of the user: it is unchanged in every case.

The names come from watching each command once: all that it creates, makes, renames to or removes in its stores and
runs. Two kinds of names are not attacked. Outputs that the user names (``--out``): to write to what they lead to
is wanted, see `test_files`. And temporary files: their names are drawn at random, and none that exists is opened.
"""

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.slow.faults import FOLDER, Bench
from tests.slow.fork_server import HANGS
from tests.slow.scenes import ATTACKS, CONVERT, MODEL_MODULES, TRAIN, Attack, damage, write_source

BASELINE = ("baseline", "hpa.zarr", "--out", "run", "--folds", "2", "--image-size", "24")
REPLACED = {"before": (CONVERT, TRAIN), "modules": MODEL_MODULES}

QUICK: dict[str, Attack] = {
    **{name: ATTACKS[name] for name in ("convert", "convert --overwrite", "augment", "verify --repair", "evaluate")},
    "convert again": replace(ATTACKS["convert"], before=(CONVERT,)),
    "augment --overwrite": Attack(
        words=(*ATTACKS["augment"].words, "--overwrite"), before=(CONVERT, ATTACKS["augment"].words)
    ),
    "stats": Attack(words=("stats", "hpa.zarr", "--figure-dir", "out"), before=(CONVERT,), watch=("out",)),
}
"""Each name alone."""

LONG: dict[str, Attack] = {
    "train": ATTACKS["train"],
    "train --overwrite": Attack(words=(*TRAIN, "--overwrite"), watch=("run",), **REPLACED),  # type: ignore[arg-type]
    "pretrain": ATTACKS["pretrain"],
    "ensemble": ATTACKS["ensemble"],
    "finetune": replace(ATTACKS["finetune"], watch=("tuned", "run", "hpa.zarr")),
    "baseline": Attack(words=BASELINE, watch=("run",), before=(CONVERT,), modules=MODEL_MODULES),
}
"""All names at once; then without those that the command has refused, until it refuses none."""

TEMPORARY = re.compile(r"\.part$|\.partial$")

SECRET = "a file of the user"


def set_up(name: str, attack: Attack, bench: Bench, template: Path) -> list[str]:
    """Make what a command starts from; return the names that it writes, relative to the folder."""
    write_source(template, all_good=attack.damages)
    bench.reset(template)
    for words in attack.before:
        assert bench.run(*words).status in {0, 1}
    if attack.damages:
        damage(bench.folder / "hpa.zarr")
    shutil.rmtree(template)
    shutil.copytree(bench.folder, template)
    ended = bench.run(*attack.words, watch=attack.watch, learn=True)
    assert ended.status in {0, 1}, ended.err
    sites = [site for site in bench.list_sites() if site.call != "open"]
    names = {os.path.normpath(site.path.removeprefix(f"{FOLDER}/")) for site in sites}
    found = sorted(path for path in names if path.startswith(tuple(f"{root}/" for root in attack.watch)))
    assert any(path.endswith(".lock") for path in found) or name in {"evaluate", "stats"}
    return [path for path in found if not TEMPORARY.search(path)]


class Victims:
    """Files and folders of the user, to which the names in a folder lead."""

    def __init__(self, folder: Path, place: Path) -> None:
        self._folder, self._place = folder, place
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        self._before: dict[str, tuple[object, ...]] = {}

    def link(self, name: str, *, as_folder: bool) -> None:
        """Put a link under a name: to what is there now, moved away, or to something new of the user's."""
        path, victim = self._folder / name, self._place / name.replace("/", "%")
        if os.path.lexists(path):
            path.rename(victim)
        elif as_folder:
            victim.mkdir()
            (victim / "0").write_text(SECRET)
        else:
            victim.write_text(SECRET)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(victim)
        self._before = self._look()

    def _look(self) -> dict[str, tuple[object, ...]]:
        found = {}
        for path in self._place.rglob("*"):
            status = path.lstat()
            content = path.read_bytes() if path.is_file() else b""
            found[str(path)] = (status.st_mode, status.st_mtime_ns, status.st_ino, content)
        return found

    def list_changed(self) -> list[str]:
        """List what is not as it was."""
        after = self._look()
        return sorted(name for name in self._before | after if self._before.get(name) != after.get(name))


@pytest.fixture
def bench(library: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Bench]:
    with Bench(tmp_path, library, *(QUICK | LONG)[request.param].modules) as opened:
        yield opened


def attack_alone(attack: Attack, bench: Bench, template: Path, name: str, *, as_folder: bool) -> str:
    """Run a command with one link; say what went wrong, or nothing."""
    bench.reset(template)
    if (bench.folder / name).is_dir() and not as_folder:
        return ""
    victims = Victims(bench.folder, template.with_name("victims"))
    victims.link(name, as_folder=as_folder)
    ended = bench.run(*attack.words)
    changed = victims.list_changed()
    if changed or ended.status not in {0, 1, 2}:
        return f"{name}: status {ended.status}, changed {changed}, {ended.err[-300:]}"
    return ""


@pytest.mark.slow
@pytest.mark.parametrize(("bench", "name"), [(name, name) for name in QUICK], indirect=["bench"])
def test_nothing_is_written_through_a_link_under_any_name(bench: Bench, name: str, tmp_path: Path) -> None:
    attack, template = QUICK[name], tmp_path / "template"
    names = set_up(name, attack, bench, template)
    attacks = [(each, as_folder) for each in names for as_folder in (False, True)]
    wrong = [attack_alone(attack, bench, template, each, as_folder=as_folder) for each, as_folder in attacks]
    print(f"{name}: {len(names)} names, {len(attacks)} links, {sum(map(bool, wrong))} wrong")
    assert not any(wrong), "\n".join(filter(None, wrong))


@pytest.mark.slow
@pytest.mark.parametrize("as_folder", [False, True])
@pytest.mark.parametrize(("bench", "name"), [(name, name) for name in LONG], indirect=["bench"])
def test_nothing_is_written_through_links_under_all_names(
    bench: Bench, name: str, tmp_path: Path, as_folder: bool
) -> None:
    attack, template = LONG[name], tmp_path / "template"
    names = set_up(name, attack, bench, template)
    left = [each for each in names if as_folder or not (template / each).is_dir()]
    if as_folder:  # a folder in a linked folder is that of the victim
        left = [each for each in left if (bench.folder / each).is_dir()]
    else:
        left = [each for each in left if not (bench.folder / each).is_dir()]
    n_links = n_refused = 0
    while left:
        bench.reset(template)
        victims = Victims(bench.folder, tmp_path / "victims")
        outer = [each for each in left if not any(each.startswith(f"{other}/") for other in left)]
        for each in outer:
            victims.link(each, as_folder=as_folder)
        n_links += len(outer)
        ended = bench.run(*attack.words)
        assert not victims.list_changed(), (ended.err, victims.list_changed())
        assert ended.status in {0, 1, 2}, ended.err
        assert ended.status != HANGS
        refused = [each for each in outer if re.search(rf"{re.escape(each)}\b", ended.err)]
        # Or a folder of files that is no run, and no pre-training.
        if ended.status != 2 or re.search(r"it has no (config|pretraining)\.json", ended.err):
            break
        assert refused, ended.err
        n_refused += len(refused)
        left = [each for each in left if each not in refused]
    print(f"{name}: {len(names)} names, {n_links} links, {n_refused} refused")
