"""Commands to disturb: what each starts from, and what it ends with undisturbed."""

import contextlib
import json
import os
import re
import shutil
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from hpa_data.system.lock import LOCK_NAME
from hpa_model.runs.folder import REPORT_FILE
from tests.builders import Ended, write_table
from tests.slow.contents import digest_folder
from tests.slow.faults import Bench, Mode, Site

N_SAMPLES = 70
"""Of which one cannot be read: two shards."""

SIDE = 24

NAMES = re.compile(r"/\S+")

OF_FILE = sys.maxsize if os.environ.get("HPA_ALL_SITES") else 3
"""Of more calls that open one file to read it, or that write it piece by piece, so many are disturbed, from the first
to the last. HPA_ALL_SITES=1 disturbs all, which takes hours."""

ATTEMPTS = 20
"""Two threads make a folder: which finds that it exists differs from run to run, and with it some sites."""

DATASET = """\
name = "two"
classes = ["nucleus", "rim"]
height = 24
width = 24
[[channels]]
name = "dna"
[[channels]]
name = "rna"
"""


DATA_MODULES = ("hpa_data.convert.execute", "hpa_data.augment.execute", "hpa_data.verify.check")
MODEL_MODULES = ("hpa_model.training.finetune", "hpa_model.evaluation.report", "tensorflow")


@dataclass(frozen=True, kw_only=True)
class Attack:
    """A command to disturb."""

    words: tuple[str, ...]

    watch: tuple[str, ...] = ("hpa.zarr",)
    """The folders whose files its sites are about."""

    status: int = 0
    """With which it ends undisturbed."""

    before: tuple[tuple[str, ...], ...] = ()
    """The commands that make what it starts from."""

    damages: bool = False
    """Whether something of that is damaged then, and all files can be read; if not, one of them cannot."""

    modules: tuple[str, ...] = DATA_MODULES
    """What the command imports."""


CONVERT = (
    *("convert", "source", "hpa.zarr", "--dataset", "two.toml", "--labels", "labels.csv"),
    *("--codec", "lz4", "--threads", "2"),
)
TRAIN = (
    *("train", "hpa.zarr", "--out", "run", "--folds", "2", "--epochs", "2", "--batch-size", "35"),
    *("--model", "gapnet-pl", "--set", "deterministic=true"),
)
PRETRAIN = (
    *("pretrain", "hpa.zarr", "--out", "encoder", "--epochs", "2", "--batch-size", "35", "--model", "gapnet-pl"),
    *("--set", "deterministic=true"),
)
FLOOR = ("baseline", "hpa.zarr", "--out", "floor", "--folds", "2", "--fold-method", "stratified", "--image-size", "24")
TRAINED = {"before": (CONVERT, TRAIN), "modules": MODEL_MODULES, "watch": ("hpa.zarr", "run", "tuned", "out")}

ATTACKS = {
    "convert": Attack(words=CONVERT, status=1),
    "convert --overwrite": Attack(words=(*CONVERT, "--overwrite"), status=1, before=(CONVERT,)),
    "augment": Attack(words=("augment", "hpa.zarr", "--min-count", "60"), before=(CONVERT,)),
    "verify --repair": Attack(
        words=("verify", "hpa.zarr", "--source", "source", "--repair"), before=(CONVERT,), damages=True
    ),
    "train": Attack(words=TRAIN, watch=("hpa.zarr", "run"), before=(CONVERT,), modules=MODEL_MODULES),
    "pretrain": Attack(words=PRETRAIN, watch=("hpa.zarr", "encoder"), before=(CONVERT,), modules=MODEL_MODULES),
    "ensemble": Attack(
        words=("ensemble", "run", "floor", "--out", "joined", "--method", "stacked"),
        watch=("hpa.zarr", "run", "floor", "joined"),
        before=(CONVERT, TRAIN, FLOOR),
        modules=MODEL_MODULES,
    ),
    "finetune": Attack(words=("finetune", "run", "--epochs", "2", "--out", "tuned"), **TRAINED),  # type: ignore[arg-type]
    "evaluate": Attack(words=("evaluate", "run"), **TRAINED),  # type: ignore[arg-type]
    "predict": Attack(
        words=("predict", "run", "hpa.zarr", "--part", "train", "--out", "out/a.csv", "--probs", "out/a.npz"),
        status=1,
        **TRAINED,  # type: ignore[arg-type]
    ),
    "preview": Attack(words=("preview", "hpa.zarr", "--out", "out/a.png"), before=(CONVERT,), watch=("out",)),
    "compare": Attack(
        words=("compare", "run", "--out-csv", "out/a.csv", "--out-figure", "out/a.svg"),
        **TRAINED,  # type: ignore[arg-type]
    ),
}
WITH_SITES = ("convert", "convert --overwrite", "augment", "verify --repair", "train", "pretrain", "ensemble")
"""Those of which every call is disturbed."""


def write_source(folder: Path, *, all_good: bool) -> None:
    """Write the files of a data set of two channels, one of which is not an image unless all are good."""
    rng = np.random.default_rng(0)
    (folder / "source").mkdir(parents=True)
    (folder / "two.toml").write_text(DATASET)
    for row in range(N_SAMPLES):
        coarse = rng.integers(0, 250, (4, 4, 2), np.uint8)
        for c, channel in enumerate(("dna", "rna")):
            plane = cv2.resize(coarse[..., c], (SIDE, SIDE))
            assert cv2.imwrite(str(folder / "source" / f"s{row:02}_{channel}.png"), plane)
    if not all_good:
        (folder / "source" / "s66_rna.png").write_bytes(b"not an image")
    classes = ("nucleus", "nucleus", "rim")
    write_table(folder / "labels.csv", {f"s{row:02}": classes[row % 3] for row in range(N_SAMPLES)})


def damage(store: Path, *, lost: bool = True) -> None:
    """Change a byte of a shard; and remove another one, which is `lost`."""
    shards = store / "train" / "images" / "c"
    content = bytearray((shards / "0/0/0/0").read_bytes())
    content[300] ^= 1
    (shards / "0/0/0/0").unlink()  # who has mapped it keeps what was there
    (shards / "0/0/0/0").write_bytes(content)
    if lost:
        (shards / "1/0/0/0").unlink()


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A command on a bench, what it starts from and what it ends with undisturbed."""

    attack: Attack
    bench: Bench
    template: Path
    n_sites: int
    """All of them."""

    sites: tuple[Site, ...]
    """Those to disturb."""

    wanted: dict[str, str]

    messages: Counter[str] = field(default_factory=Counter)
    """How often each message was the last one, without names of files."""

    healed: set[str] = field(default_factory=set)
    """Contents of the folder from which the command was seen to reach what is wanted: it need not show that again."""

    @staticmethod
    def set(name: str, bench: Bench, folder: Path) -> "Scene":
        """Make what a command starts from, and run it undisturbed."""
        attack, template = ATTACKS[name], folder / "template"
        write_source(template, all_good=attack.damages)
        bench.reset(template)
        for words in attack.before:
            assert bench.run(*words).status in {0, 1}
        if attack.damages:
            damage(bench.folder / "hpa.zarr")
        if "out" in attack.watch:
            (bench.folder / "out").mkdir()
            for ending in ("csv", "npz", "png", "svg"):
                (bench.folder / "out" / f"a.{ending}").write_bytes(b"an older one")
        shutil.rmtree(template)
        shutil.copytree(bench.folder, template)
        bench.run(*attack.words, learn=True)
        bench.reset(template)
        ended = bench.run(*attack.words, watch=attack.watch)
        assert ended.status == attack.status, ended.err
        return Scene(
            attack=attack,
            bench=bench,
            template=template,
            n_sites=len(bench.list_sites()),
            sites=tuple(choose(bench.list_sites())),
            wanted=digest_folder(bench.folder),
        )

    def disturb(self, site: Site, mode: Mode) -> str:
        """Disturb the command at a site, then run it again; say what went wrong, or nothing."""
        for _ in range(ATTEMPTS):
            self.bench.reset(self.template)
            first = self.bench.run(*self.attack.words, watch=self.attack.watch, site=site, mode=mode)
            if site in self.bench.list_sites():
                break
        else:
            return "" if site.call == "mkdir" else f"{mode} at {site}: not reached"
        wrong = self.judge(first, mode) or self.finish()
        return f"{mode} at {site}: status {first.status}, {wrong}" if wrong else ""

    def finish(self) -> str:
        """Run the command again, as it was; say in what the folder differs then, or nothing."""
        left = json.dumps(digest_folder(self.bench.folder))
        if left in self.healed:
            return ""
        again = self.bench.run(*self.attack.words)
        if again.status not in {0, 1}:
            return f"the next run ends with {again.status}, {again.err[-2000:]!r}"
        different = compare(self.wanted, digest_folder(self.bench.folder))
        if different:
            return f"after the next run {different}"
        self.healed.add(left)
        return ""

    def judge(self, ended: Ended, mode: Mode) -> str:
        """Say what is wrong with how a disturbed command ended, if anything is."""
        if mode == "kill":
            return "" if ended.status == -9 else "not killed"
        if ended.status == self.attack.status:  # it went on: rightly?
            found = digest_folder(self.bench.folder)
            # A lock file that could not be removed is held by nobody.
            found = {name: value for name, value in found.items() if name.split("/")[-1] != LOCK_NAME}
            different = compare(self.wanted, found)
            # A report without images says so, and the next run writes it again.
            is_said = different == f"run/{REPORT_FILE}" and ", without images. Cannot " in ended.out
            return f"but {different}" if different and not is_said else ""
        last = ended.err.splitlines()[-1:]
        self.messages[f"{mode}: {NAMES.sub('/…', last[0] if last else '')}"] += 1
        if (
            self.attack.words[0] == "verify"
            and ended.status == 1
            and ("corrupt: " in ended.out or "unreadable: " in ended.out)
        ):
            return ""  # something is wrong, and said
        if ended.status == 1 and "Failed: " in ended.out:
            return ""  # samples that could not be read are listed, and are tried again
        if ended.status != 2 or not last or not last[0].startswith("Error: ") or "Traceback" in ended.err:
            return repr(ended.err[-2000:])
        return ""


def choose(sites: list[Site]) -> list[Site]:
    """Leave out most of the calls that open one file to read it, or write one, where they are more than `OF_FILE`."""
    of_file: dict[tuple[str, str], list[Site]] = defaultdict(list)
    for site in sites:
        of_file[site.call, site.path].append(site)
    chosen = set()
    for (call, _), found in of_file.items():
        n = min(OF_FILE, len(found)) if call in {"open", "write"} else len(found)
        chosen |= {found[round(i * (len(found) - 1) / max(n - 1, 1))] for i in range(n)}
    return [site for site in sites if site in chosen]


def compare(wanted: dict[str, str], found: dict[str, str]) -> str:
    """Name the first files that differ; an empty text if none does."""
    different = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    return ", ".join(different[:5])


@contextlib.contextmanager
def bench_with_store(folder: Path, library: Path, *modules: str) -> Iterator[Bench]:
    """Open a bench; the folder ``template`` beside it holds the files of a data set and a store of them."""
    template = folder / "template"
    with Bench(folder, library, *modules) as bench:
        write_source(template, all_good=True)
        bench.reset(template)
        assert bench.run(*CONVERT, learn=True).status == 0
        shutil.rmtree(template)
        shutil.copytree(bench.folder, template)
        yield bench
