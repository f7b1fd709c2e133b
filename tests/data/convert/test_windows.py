"""One window per channel over a part: measured once, kept, and used again."""

import re
from pathlib import Path

import numpy as np
import pytest
import tifffile

from hpa_data.convert.estimate import estimate_conversion
from hpa_data.convert.execute import convert_files
from hpa_data.convert.plan import ConversionPlan, plan_conversion
from hpa_data.dataset import HPA_2018
from hpa_data.errors import InputError
from hpa_data.sources.measure import measure_windows
from hpa_data.sources.naming import find_samples
from hpa_data.sources.options import ImportOptions
from hpa_data.sources.samples import FolderReader
from hpa_data.store.store import Store, open_store
from hpa_data.system.executor import Parallelism
from hpa_data.verify.check import verify_store
from tests.builders import assert_same_bytes

CHANNELS = HPA_2018.channel_names
SMALL = HPA_2018.resized(40, 40)
ONE_WINDOW = ImportOptions(intensity="dataset-percentile", intensities={"blue": "full"})


def write(folder: Path, dtype: type, *, n: int = 6, scale: float = 4000) -> dict[str, np.ndarray]:
    """Write samples of different brightness; return all pixels of each channel."""
    folder.mkdir(exist_ok=True)
    written: dict[str, list[np.ndarray]] = {name: [] for name in CHANNELS}
    for number in range(n):
        for index, channel in enumerate(CHANNELS):
            share = np.random.default_rng((number, index)).random((40, 40)) ** 2 / (1 + number)
            written[channel].append((share * scale).astype(dtype))
            tifffile.imwrite(folder / f"s{number}_{channel}.tif", written[channel][-1])
    return {name: np.concatenate(planes) for name, planes in written.items()}


def plan(folder: Path, options: ImportOptions = ONE_WINDOW, store: str = "store") -> ConversionPlan:
    return plan_conversion(folder / "files", folder / store, dataset=SMALL, settings=options)


def windows_of(store: Store) -> dict[str, list[float]]:
    windows: dict[str, list[float]] = store.part("train").manifest.settings["windows"]
    return windows


@pytest.mark.parametrize(("dtype", "scale"), [(np.uint8, 255), (np.uint16, 4000), (np.uint16, 65535)])
@pytest.mark.parametrize("percents", [(0.1, 99.9), (0.0, 100.0), (5.0, 50.0)])
def test_windows_of_integers_are_the_percentiles_of_all_pixels(
    tmp_path: Path, dtype: type, scale: float, percents: tuple[float, float]
) -> None:
    pixels = write(tmp_path / "files", dtype, scale=scale)
    planned = plan(tmp_path, ImportOptions(intensity="dataset-percentile={},{}".format(*percents)))
    windows = measure_windows(planned.samples, planned.settings, planned.dataset)
    assert list(windows) == list(CHANNELS)
    for name, window in windows.items():
        assert window == pytest.approx(np.percentile(pixels[name], percents), abs=1e-6)
    for threads in (2, 3):
        assert measure_windows(planned.samples[::-1], planned.settings, planned.dataset, threads=threads) == windows


@pytest.mark.parametrize(
    ("dtype", "scale", "offset"),
    [(np.float32, 0.01, 0), (np.float32, 3e6, 0), (np.float32, 1, -0.5), (np.uint32, 3e6, 0)],
)
def test_windows_of_other_pixels_are_exact_to_two_gray_levels(
    tmp_path: Path, dtype: type, scale: float, offset: float
) -> None:
    for number in range(3):
        share = np.random.default_rng(number).random((40, 40)) ** 2
        tifffile.imwrite(tmp_path / f"s{number}_red.tif", (share * scale + offset).astype(dtype))
    options = ImportOptions(intensity="dataset-percentile", missing="fill")
    (window,) = measure_windows(find_samples(tmp_path, options), options, SMALL).values()
    pixels = [tifffile.imread(path) for path in sorted(tmp_path.glob("*.tif"))]
    wanted = np.percentile(np.concatenate(pixels).astype(np.float64), (0.1, 99.9))
    assert np.abs(window - wanted).max() < (wanted[1] - wanted[0]) * 2 / 255


def test_the_images_are_scaled_by_the_windows_and_other_channels_are_not(tmp_path: Path) -> None:
    pixels = write(tmp_path / "files", np.uint16)
    convert_files(plan(tmp_path))
    store = open_store(tmp_path / "store")
    windows = windows_of(store)
    assert sorted(windows) == ["green", "red", "yellow"]
    with store.reader() as reader:
        images = reader.read(np.arange(6)).reshape(-1, 4)
    for index, name in enumerate(CHANNELS):
        low, high = windows.get(name, (0, 65535))
        wanted = ((pixels[name].ravel() - low) * (255 / (high - low))).clip(0, 255)
        assert np.abs(images[:, index] - wanted).max() < 0.501


def test_a_part_that_was_begun_goes_on_with_its_windows_whatever_became_of_its_files(tmp_path: Path) -> None:
    write(tmp_path / "files", np.uint16)
    convert_files(plan(tmp_path, store="whole"))
    path = tmp_path / "files" / "s0_red.tif"
    content = path.read_bytes()
    path.write_bytes(content[:100])
    first = convert_files(plan(tmp_path))
    assert [failure.id for failure in first.failures] == ["s0"]
    windows = windows_of(open_store(tmp_path / "store"))
    path.write_bytes(content)
    again = plan(tmp_path)
    assert {name: list(window) for name, window in (again.settings.windows or {}).items()} == windows
    assert convert_files(again).n_ok == 6
    assert windows_of(open_store(tmp_path / "store")) == windows
    # A new conversion measures all samples.
    assert windows_of(open_store(tmp_path / "whole")) != windows
    fresh = plan_conversion(tmp_path / "files", tmp_path / "store", dataset=SMALL, settings=ONE_WINDOW, overwrite=True)
    convert_files(fresh, overwrite=True)
    assert_same_bytes(tmp_path / "store", tmp_path / "whole")


def test_the_store_does_not_depend_on_the_threads_and_can_be_verified_and_repaired(tmp_path: Path) -> None:
    write(tmp_path / "files", np.uint16)
    for threads in (1, 3):
        convert_files(plan(tmp_path, store=f"store{threads}"), workers=Parallelism(threads=threads))
    assert_same_bytes(tmp_path / "store1", tmp_path / "store3")
    assert verify_store(tmp_path / "store1", source=tmp_path / "files").n_errors == 0


def test_other_percentiles_are_refused_before_anything_is_measured(tmp_path: Path) -> None:
    write(tmp_path / "files", np.uint16)
    convert_files(plan(tmp_path))
    other = ImportOptions(intensity="dataset-percentile=1,99", intensities={"blue": "full"})
    with pytest.raises(InputError, match="with intensity='dataset-percentile', and this command has intensity="):
        convert_files(plan(tmp_path, other))


def test_a_dry_run_measures_the_samples_that_it_reads_and_writes_nothing(tmp_path: Path) -> None:
    write(tmp_path / "files", np.uint16)
    estimate = estimate_conversion(plan(tmp_path), n_sampled=3)
    assert estimate.failures == ()
    assert not (tmp_path / "store").exists()


def test_files_of_different_types_have_no_window_in_common(tmp_path: Path) -> None:
    write(tmp_path / "files", np.uint16)
    tifffile.imwrite(tmp_path / "files" / "s3_green.tif", np.zeros((40, 40), np.uint8))
    with pytest.raises(
        InputError, match=r"one window for channel 'green': .* s0_green\.tif \(uint16\) and s3_green\.tif \(uint8\)"
    ):
        convert_files(plan(tmp_path))
    assert not (tmp_path / "store").exists()


def test_files_are_not_read_without_a_store_before_their_windows_are_known(tmp_path: Path) -> None:
    write(tmp_path / "files", np.uint16)
    planned = plan(tmp_path)
    with pytest.raises(InputError, match=re.escape("Pass --intensity red=window=LOW:HIGH, or convert the files first")):
        FolderReader(planned.samples, planned.settings, SMALL)
    convert_files(planned)
    settings = ImportOptions.decode(open_store(tmp_path / "store").part("train").manifest.settings)
    with FolderReader(planned.samples, settings, SMALL) as files, open_store(tmp_path / "store").reader() as reader:
        assert (files.read([3, 1]) == reader.read([3, 1])).all()
