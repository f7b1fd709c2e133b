"""Recipes, names, images, archives and tables that somebody made to do harm: one line each (`make test-slow`)."""

import io
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.slow.contents import digest_folder
from tests.slow.faults import Bench
from tests.slow.scenes import ATTACKS, CONVERT, DATASET, TRAIN, bench_with_store
from tests.slow.test_crafted_stores import judge

pytestmark = pytest.mark.slow

COUNTS, RATES = ("epochs", "folds", "batch_size"), ("learning_rate", "momentum", "l2")
RECIPES = (
    *(
        f"{name} = {value}"
        for name in ("epochs", "folds", "batch_size")
        for value in (0, -1, 10**30, "nan", "'3'", "[]")
    ),
    *(
        f"{name} = {value}"
        for name in ("learning_rate", "momentum", "l2")
        for value in ("inf", "nan", -1, "true", "{}")
    ),
    *(f"image_size = {value}" for value in (-1, 10**9, "[1]", "[0, 5]", "[1, 2, 3]", "'big'")),
    *("model = '../../etc/passwd'", "model = 7", "loss = '__import__(\"os\")'", "parts = ['../x']", "parts = []"),
    *("unknown = 1", "[options]\n__class__ = 1", "[options]\ndropout = 5", "epochs = 1\nepochs = 2", "= ="),
    *("\x00", "\ufeff=", "a." * 3000 + "b = 1", "x = " + "[" * 3000, "'''", "epochs = 1e400"),
)
"""One per line of `hpa train --recipe`."""

ESCAPE = "\x1b]0;owned\x07\x1b[2J"
IDS = (
    *(
        "..",
        "-rf",
        "--help",
        "=cmd|'calc'!A1",
        "@SUM(1)",
        "+1",
        "a'b",
        'a"b',
        "a,b",
        "a;b",
        " a",
        "a ",
        "a\nb",
        "a\rb",
    ),
    *(ESCAPE, "<script>alert(1)<script>", "a\u202eb"),
)
"""Ids of samples, as names of files can be."""

CLASSES = ("<script>alert(1)</script>", ESCAPE, "=1+1", "a\u202eb", "{{ 7 * 7 }} & \"'")


@pytest.fixture(scope="module")
def bench(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Make a bench on which training can be called, whose template holds the files and a store."""
    with bench_with_store(tmp_path_factory.mktemp("hostile"), library, *ATTACKS["train"].modules) as bench:
        bench.run(*TRAIN, learn=True)
        yield bench


def test_recipes_that_are_wrong_end_in_one_line(bench: Bench) -> None:
    wrong = []
    for recipe in RECIPES:
        bench.reset(bench.folder.parent / "template")
        (bench.folder / "a.toml").write_text(recipe)
        ended = bench.run("train", "hpa.zarr", "--out", "run", "--recipe", "a.toml")
        if ended.status != 2 or judge(ended) or (bench.folder / "run").exists():
            wrong.append(f"{recipe[:60]!r}: status {ended.status}, {ended.err[-500:]!r}")
    print(f"{len(RECIPES)} recipes")
    assert not wrong, "\n".join(wrong)


def test_hostile_ids_reach_no_terminal_and_no_other_file(bench: Bench) -> None:
    wrong = []
    for number, name in enumerate(IDS):
        bench.reset(bench.folder.parent / "template")
        for channel in ("dna", "rna"):
            file = bench.folder / "source" / f"{name}_{channel}.png"
            shutil.copy(bench.folder / "source" / f"s00_{channel}.png", file)
            if number % 2 and channel == "rna":
                file.write_bytes(b"not an image")
        shutil.rmtree(bench.folder / "hpa.zarr")
        outside = digest_folder(bench.folder / "source")
        commands = (
            (*CONVERT[:3], "--dataset", "two.toml"),
            ("preview", "hpa.zarr", "--out", "a.png"),
            ("preview", "hpa.zarr", "--out", "b.png", "--id", name),
            ("verify", "hpa.zarr"),
            ("stats", "hpa.zarr"),
        )
        for command in commands:
            ended = bench.run(*command)
            shown = ended.out + ended.err
            if problem := judge(ended):
                wrong.append(f"{name!r}, {command[0]}: {problem}")
            if any(letter in shown for letter in ("\x1b", "\x07", "\u202e", "\r")):
                wrong.append(f"{name!r}, {command[0]}: shows {shown!r}")
        assert digest_folder(bench.folder / "source") == outside
        assert {path.name for path in bench.folder.iterdir()} <= {
            *("source", "hpa.zarr", "two.toml", "labels.csv", "a.png", "b.png")
        }
    assert not wrong, "\n".join(wrong)


def test_hostile_class_names_are_text_in_the_terminal_and_in_the_page(bench: Bench) -> None:
    bench.reset(bench.folder.parent / "template")
    shutil.rmtree(bench.folder / "hpa.zarr")
    (bench.folder / "classes.txt").write_text("\n".join(CLASSES))
    rows = "\n".join(f"s{row:02},{row % len(CLASSES)}" for row in range(70))
    (bench.folder / "labels.csv").write_text(f"Id,Target\n{rows}\n")
    convert = (*CONVERT, "--classes", "classes.txt", "--numbering", "two")
    ended = bench.run(*convert)
    shown = ended.out + ended.err
    if ended.status == 0:
        for command in (TRAIN, ("evaluate", "run"), ("stats", "hpa.zarr"), ("folds", "hpa.zarr"), ("compare", "run")):
            ended = bench.run(*command)
            assert judge(ended) == ""
            assert ended.status == 0, ended.err
            shown += ended.out + ended.err
        page = (bench.folder / "run" / "report.html").read_text()
        assert "<script>alert" not in page
        assert "\x1b" not in page
        assert "{{ 7 * 7 }}" in page
    else:  # refused: a name may not hold what acts on a terminal
        assert judge(ended) == ""
    assert not any(letter in shown for letter in ("\x1b", "\x07", "\u202e"))


def png(width: int, height: int, *, rows: int = 1) -> bytes:
    """Encode a gray PNG that states a size and holds a few rows of zeros."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    pixels = zlib.compress(bytes((width + 1) * rows))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def zip_of(members: dict[str, bytes]) -> bytes:
    """Make a ZIP file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def tar_of(name: str, *, link: str = "") -> bytes:
    """Make a TAR file of one member."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo(name)
        if link:
            member.type, member.linkname = tarfile.SYMTYPE, link
            archive.addfile(member)
        else:
            member.size = 4
            archive.addfile(member, io.BytesIO(b"harm"))
    return file.getvalue()


GOOD = png(24, 24, rows=24)
# Files to put into the folder `source`, and what to convert.
FILES: dict[str, tuple[dict[str, bytes], str]] = {
    "a PNG of 60,000 x 60,000": ({"a_dna.png": png(60_000, 60_000), "a_rna.png": GOOD}, "source"),
    "a PNG of 2^31 - 1 rows": ({"a_dna.png": png(1, 2**31 - 1), "a_rna.png": GOOD}, "source"),
    "a PNG of no rows": ({"a_dna.png": png(24, 0), "a_rna.png": GOOD}, "source"),
    "a PNG with a large text": (
        {"a_dna.png": GOOD[:33] + struct.pack(">I", 2**31 - 1) + b"zTXt" + GOOD[33:], "a_rna.png": GOOD},
        "source",
    ),
    "a ZIP of zeros": ({"a.zip": zip_of({"a_dna.png": bytes(300_000_000), "a_rna.png": GOOD})}, "source/a.zip"),
    "a ZIP of 20,000 names": ({"a.zip": zip_of({f"{n}_dna.png": b"" for n in range(20_000)})}, "source/a.zip"),
    "a ZIP that leads outside": ({"a.zip": zip_of({"../../harm_dna.png": GOOD, "../a_rna.png": GOOD})}, "source/a.zip"),
    "a ZIP with absolute names": ({"a.zip": zip_of({"/tmp/harm_dna.png": GOOD, "a_rna.png": GOOD})}, "source/a.zip"),
    "a ZIP in a ZIP": ({"a.zip": zip_of({"a.zip": zip_of({"a_dna.png": GOOD})})}, "source/a.zip"),
    "a TAR that leads outside": ({"a.tar": tar_of("../../harm_dna.png")}, "source/a.tar"),
    "a TAR with an absolute name": ({"a.tar": tar_of("/tmp/harm_dna.png")}, "source/a.tar"),
    "a TAR with a link": ({"a.tar": tar_of("a_dna.png", link="/etc/passwd")}, "source/a.tar"),
    "a cut TAR": ({"a.tar": tar_of("a_dna.png")[:700]}, "source/a.tar"),
}
TABLES: dict[str, bytes] = {
    "empty": b"",
    "only a header": b"Id,Target\n",
    "a byte 0": b"Id,Target\ns00,0\x00\n",
    "UTF-16": "Id,Target\ns00,nucleus\n".encode("utf-16"),
    "a quote without an end": b'Id,Target\n"s00,nucleus\n',
    "a field of 20 MB": b"Id,Target\ns00," + b"x" * 20_000_000,
    "100,000 columns": b",".join(b"c%d" % n for n in range(100_000)) + b"\n",
    "a class of 10^30": b"Id,Target\ns00,1000000000000000000000000000000\n",
    "a negative class": b"Id,Target\ns00,-1\n",
    "an XLSX of zeros": zip_of({"xl/workbook.xml": bytes(300_000_000), "[Content_Types].xml": b"<a/>"}),
    "an XLSX with entities": zip_of(
        {
            "[Content_Types].xml": b"<a/>",
            "xl/workbook.xml": b'<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb"><!ENTITY c "&b;&b;&b;">]><a>&c;</a>',
        }
    ),
    "a Parquet of noise": b"PAR1" + bytes(range(256)) * 4 + b"PAR1",
}


def test_bombs_and_odd_tables_end_in_one_line(bench: Bench) -> None:
    wrong = []
    cases: list[tuple[str, Callable[[Path], None], tuple[str, ...]]] = []
    for case, (files, source) in FILES.items():

        def write(folder: Path, files: dict[str, bytes] = files) -> None:
            shutil.rmtree(folder / "source")
            (folder / "source").mkdir()
            for name, content in files.items():
                (folder / "source" / name).write_bytes(content)

        cases.append((case, write, ("convert", source, "new.zarr", "--dataset", "two.toml")))
    for case, content in TABLES.items():
        ending = ".xlsx" if "XLSX" in case else ".parquet" if "Parquet" in case else ".csv"

        def write_table(folder: Path, content: bytes = content, ending: str = ending) -> None:
            (folder / f"odd{ending}").write_bytes(content)

        words = ("convert", "source", "new.zarr", "--dataset", "two.toml", "--labels", f"odd{ending}")
        cases.append((f"a table: {case}", write_table, words))
    for case, prepare, words in cases:
        bench.reset(bench.folder.parent / "template")
        prepare(bench.folder)
        ended = bench.run(*words)
        if problem := judge(ended):
            wrong.append(f"{case}: {problem}")
        if ended.status == 0 and case not in {"a PNG with a large text", "a table: UTF-16"}:
            wrong.append(f"{case}: status 0, {ended.out[-500:]}")
        assert not list(bench.folder.parent.rglob("harm*"))
        assert not list(Path("/tmp").glob("harm*"))
    print(f"{len(cases)} bombs and odd tables")
    assert DATASET
    assert not wrong, "\n".join(wrong)
