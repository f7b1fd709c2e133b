"""What a conversion understood: the same in the dry run, in its result and in the manifest, and true of the store."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpa_data.convert.estimate import estimate_conversion
from hpa_data.convert.execute import convert_files
from hpa_data.convert.plan import plan_conversion
from hpa_data.dataset import Channel, Dataset
from hpa_data.format.understood import Understanding
from hpa_data.sources.options import ImportOptions
from hpa_data.store.store import open_store
from tests.builders import assert_same_bytes, draw_image, write_sample, write_table


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three samples, two of which lack yellow, beside other files, and a table; not to be changed."""
    folder = tmp_path_factory.mktemp("source")
    for number, name in enumerate("abc"):
        write_sample(folder / "train", name, draw_image(number))
    for name in "bc":
        (folder / "train" / f"{name}_yellow.png").unlink()
    (folder / "train" / "notes.txt").write_text("x")
    (folder / "train" / ".hidden").mkdir()
    write_table(folder / "t.csv", {"a": "Cytosol", "b": "Vesicles"})
    return folder


def _understand(source: Path, store: Path, part: str = "train") -> Understanding:
    options = ImportOptions(missing="fill")
    plan = plan_conversion(source / "train", store, labels=source / "t.csv", part=part, settings=options, codec="raw")
    planned = estimate_conversion(plan).understood
    understood = convert_files(plan).understood
    assert planned == understood
    return understood


def test_dry_run_result_and_manifest_agree_and_are_true(source: Path, tmp_path: Path) -> None:
    understood = _understand(source, tmp_path / "a.zarr")
    assert open_store(tmp_path / "a.zarr").part("train").manifest.understood == understood
    assert (understood.n_samples, understood.n_read) == (2, 2)
    assert [(channel.name, channel.n_filled) for channel in understood.channels] == [
        *[("red", 0), ("green", 0), ("blue", 0), ("yellow", 1)]
    ]
    assert {tally.what: tally.n for tally in understood.files} == {"PNG 512 x 512, 8 bit": 2}
    assert {tally.examples[0]: tally.n for tally in understood.passed_over} == {".hidden/": 1, "notes.txt": 1}
    assert [(tally.n, tally.examples) for tally in understood.left_out] == [(1, ("c",))]
    assert understood.labels is not None
    assert (understood.labels.least, understood.labels.most, understood.labels.mean) == (0, 1, 0.5)
    assert [(tally.what, tally.n) for tally in understood.labels.dropped] == [("Vesicles", 1)]


def test_a_part_does_not_depend_on_the_other_parts_of_its_store(source: Path, tmp_path: Path) -> None:
    for store in ("alone", "both"):
        _understand(source, tmp_path / store)
    again = _understand(source, tmp_path / "both", "full")
    assert "ids that part 'train' of the store has, too" in [notice.what for notice in again.notices]
    _understand(source, tmp_path / "both")
    assert_same_bytes(tmp_path / "alone" / "train", tmp_path / "both" / "train")


PIXELS = {"uint8": (np.uint8, (8,)), "uint16": (np.uint16, (10, 12, 16)), "float32": (np.float32, (0,))}


@st.composite
def descriptions(draw: st.DrawFn) -> dict[str, object]:
    """Draw a data set, how its files are named, and what their pixels are."""
    n_channels = draw(st.integers(1, 8))
    dtype = draw(st.sampled_from(sorted(PIXELS)))
    kind = draw(st.sampled_from(["planes", "pattern", "numbers", "names"]))
    return {
        "names": [f"ch{number}" for number in range(n_channels)],
        "classes": [f"class {number}" for number in range(draw(st.integers(1, 50)))],
        "size": (draw(st.integers(32, 300)), draw(st.integers(32, 300))),
        "dtype": dtype,
        "bits": draw(st.sampled_from(PIXELS[dtype][1])),
        "kind": kind,
        "order": draw(st.permutations(range(n_channels))),
        "n_samples": draw(st.integers(1, 3)),
        "seed": draw(st.integers(0, 2**16)),
    }


def _draw(case: dict[str, object], rng: np.random.Generator) -> npt.NDArray[np.generic]:
    """Draw a sample, (C, Y, X), that uses all of its bits."""
    dtype, bits = PIXELS[str(case["dtype"])][0], int(case["bits"])  # type: ignore[call-overload]
    shape = (len(case["names"]), *case["size"])  # type: ignore[arg-type, misc]
    values = rng.random(shape)
    values[:, 0, 0] = 1
    return (values if bits == 0 else np.rint(values * (2**bits - 1))).astype(dtype)


def _write(folder: Path, case: dict[str, object], name: str, planes: npt.NDArray[np.generic]) -> None:
    channels, order = case["names"], case["order"]
    if case["kind"] in {"planes", "pattern"}:
        for channel, plane in zip(channels, planes, strict=True):  # type: ignore[call-overload]
            file = f"{name}_{channel}.tif" if case["kind"] == "planes" else f"p{name}/x {channel.upper()}-1.tif"
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(folder / file, plane)
        return
    stack = planes[list(order)]  # type: ignore[call-overload]
    metadata: dict[str, object] = {"axes": "CYX"}
    if case["kind"] == "names":
        metadata["Channel"] = {"Name": [channels[index] for index in order]}  # type: ignore[index, attr-defined]
    tifffile.imwrite(folder / f"{name}.ome.tif", stack, ome=True, metadata=metadata, photometric="minisblack")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=descriptions())
def test_what_is_said_to_be_understood_is_what_is_in_the_store(
    tmp_path_factory: pytest.TempPathFactory, case: dict[str, object]
) -> None:
    folder, rng = tmp_path_factory.mktemp("random"), np.random.default_rng(int(case["seed"]))  # type: ignore[call-overload]
    names, classes, order = list(case["names"]), list(case["classes"]), list(case["order"])  # type: ignore[call-overload]
    (folder / "files").mkdir()
    (height, width), bits = case["size"], int(case["bits"])  # type: ignore[misc, call-overload]
    samples = {f"s{number}": _draw(case, rng) for number in range(int(case["n_samples"]))}  # type: ignore[call-overload]
    for name, planes in samples.items():
        _write(folder / "files", case, name, planes)
    chosen = {name: sorted(set(rng.integers(0, len(classes), 2).tolist())) for name in samples}
    table = write_table(folder / "t.csv", {n: ";".join(classes[k] for k in rows) for n, rows in chosen.items()})
    options = ImportOptions(
        source={"planes": "kaggle", "pattern": "pattern"}.get(str(case["kind"]), "stack"),  # type: ignore[arg-type]
        pattern="p{id}/x {channel}-*" if case["kind"] == "pattern" else None,
        channels={names[index]: place for place, index in enumerate(order)} if case["kind"] == "numbers" else None,
        intensity=f"bits={bits}" if case["dtype"] == "uint16" else "full",
        native=True,
    )
    dataset = Dataset(name="mine", channels=tuple(Channel(name=name) for name in names), classes=tuple(classes))
    plan = plan_conversion(folder / "files", folder / "s", labels=table, settings=options, dataset=dataset, codec="raw")
    understood = convert_files(plan).understood
    part = open_store(folder / "s").part("train")

    assert part.manifest.understood == understood
    assert understood.image_size == f"{height} x {width}"
    assert (understood.n_samples, understood.n_read) == (len(samples), len(samples))
    assert not understood.passed_over
    assert not understood.left_out
    assert sum(tally.n for tally in understood.files) == len(samples)
    assert all(f"{height} x {width}"[:3] in tally.what for tally in understood.files)
    for place, index in enumerate(order):
        source = understood.channels[index].source
        assert understood.channels[index].scaling == options.intensity
        assert {
            "planes": f"s0_{names[index]}.tif",
            "pattern": f"x {names[index].upper()}-1.tif",
            "numbers": f"plane {place}",
            "names": f"plane {names[index]!r} (number {place})",
        }[str(case["kind"])] in source
    assert part.labels is not None
    assert [np.flatnonzero(row).tolist() for row in part.labels] == [chosen[name] for name in part.ids]
    white = {"uint8": 255, "float32": 1}.get(str(case["dtype"]), 2**bits - 1)
    with open_store(folder / "s").reader(["train"]) as reader:
        for name, image in zip(reader.ids, reader.read(range(len(reader))), strict=True):
            wanted = np.moveaxis(samples[name].astype(np.float64), 0, 2) * (255 / white)
            assert np.abs(image - wanted).max() <= 0.501


def test_planes_of_other_sizes_are_told_by_their_number(tmp_path: Path) -> None:
    write_sample(tmp_path / "x", "a", draw_image(0))
    for index, channel in enumerate(("red", "green", "blue", "yellow")):
        large = cv2.resize(draw_image(1)[..., index], (600, 600))
        assert cv2.imwrite(str(tmp_path / "x" / f"b_{channel}.png"), large)
    understood = convert_files(plan_conversion(tmp_path / "x", tmp_path / "s")).understood
    assert {tally.what: tally.examples for tally in understood.files} == {
        "PNG 512 x 512, 8 bit": ("a",),
        "PNG 600 x 600, 8 bit": ("b",),
    }
