import os
import struct
import zlib
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from hpa_data.dataset import FAILED, HPA_2018, OK
from hpa_data.errors import InputError
from hpa_data.sources.naming import find_samples
from hpa_data.sources.samples import FolderReader, read_sample
from tests.builders import draw_image, write_sample


def test_an_image_has_the_pixels_that_imageio_reads_from_the_four_files(kaggle: Path) -> None:
    for sample in find_samples(kaggle / "train"):
        planes = [iio.imread(kaggle / "train" / f"{sample.id}_{channel}.png") for channel in HPA_2018.channel_names]
        assert (read_sample(sample).image == np.stack(planes, axis=-1)).all()


def test_a_sample_says_what_its_files_are_like(kaggle: Path, tmp_path: Path) -> None:
    origins = {read_sample(sample).origin for sample in find_samples(kaggle / "train")}
    assert origins == {"PNG 512 x 512, 8 bit"}
    write_sample(tmp_path, "a", draw_image(0))
    iio.imwrite(tmp_path / "a_blue.png", draw_image(0)[..., 2].astype(np.uint16) * 257)
    assert read_sample(find_samples(tmp_path)[0]).origin == "PNG 512 x 512, 8 bit + PNG 512 x 512, 16 bit"


def test_a_missing_plane_is_named(tmp_path: Path) -> None:
    write_sample(tmp_path, "a", draw_image(0))
    (tmp_path / "a_yellow.png").unlink()
    with pytest.raises(InputError, match="Cannot read sample 'a': there is no file for yellow beside a_red.png"):
        read_sample(find_samples(tmp_path)[0])


@pytest.mark.parametrize("keep", [0, 1, 100, 20_000, -12])
def test_a_plane_that_is_cut_short_is_refused(tmp_path: Path, keep: int) -> None:
    write_sample(tmp_path, "a", draw_image(0))
    path = tmp_path / "a_green.png"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"Cannot decode a_green\.png: "):
        read_sample(find_samples(tmp_path)[0])


def test_planes_that_are_not_square_are_refused(tmp_path: Path) -> None:
    for channel in HPA_2018.channel_names:
        iio.imwrite(tmp_path / f"a_{channel}.png", np.zeros((512, 511), np.uint8))
    with pytest.raises(
        InputError, match=r"a_red\.png: it has 512 x 511 pixels .* not the aspect ratio of the images, 512 x 512"
    ):
        read_sample(find_samples(tmp_path)[0])


def test_planes_of_two_sizes_are_refused(tmp_path: Path) -> None:
    write_sample(tmp_path, "a", draw_image(0))
    iio.imwrite(tmp_path / "a_red.png", np.zeros((1024, 1024), np.uint8))
    with pytest.raises(InputError, match=r"its planes differ in size \(a_red\.png 1024 x 1024, a_green"):
        read_sample(find_samples(tmp_path)[0])


@pytest.mark.parametrize("size", [60, 511])
def test_a_first_plane_of_another_size_is_told_from_one_that_does_not_fit(tmp_path: Path, size: int) -> None:
    write_sample(tmp_path, "a", draw_image(0))
    iio.imwrite(tmp_path / "a_red.png", np.zeros((size, 60), np.uint8))
    with pytest.raises(
        InputError, match=rf"its planes differ in size \(a_red\.png {size} x 60, a_green\.png 512 x 512"
    ):
        read_sample(find_samples(tmp_path)[0])


def test_two_files_for_one_channel_fail_the_sample(tmp_path: Path) -> None:
    for name in "ab":
        write_sample(tmp_path, name, draw_image(0))
    (tmp_path / "a_red.jpg").write_bytes((tmp_path / "a_red.png").read_bytes())
    one, other = find_samples(tmp_path)
    with pytest.raises(InputError, match=r"two files for red, a_red\.jpg and a_red\.png"):
        read_sample(one)
    assert read_sample(other).status == OK


def test_a_file_name_that_is_not_utf_8_fails_its_sample(tmp_path: Path) -> None:
    write_sample(tmp_path, "a", draw_image(0))
    try:
        (tmp_path / os.fsdecode(b"\xff_red.png")).touch()
    except OSError:
        pytest.skip("this file system allows only UTF-8 names")
    unexpected, plain = find_samples(tmp_path)
    assert (unexpected.id, plain.id) == ("\\xff", "a")
    with pytest.raises(InputError, match=r"not UTF-8\. Rename the file\."):
        read_sample(unexpected)


def test_a_header_that_claims_too_many_pixels_fails_its_sample(tmp_path: Path) -> None:
    write_sample(tmp_path, "a", draw_image(0))
    content = bytearray((tmp_path / "a_red.png").read_bytes())
    content[16:24] = struct.pack(">II", 100_000, 100_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "a_red.png").write_bytes(content)
    with pytest.raises(InputError, match="Cannot decode a_red.png: its header gives 100000 x 100000 pixels"):
        read_sample(find_samples(tmp_path)[0])


def test_a_folder_reader_reads_any_indices_in_order(kaggle: Path) -> None:
    reader = FolderReader(find_samples(kaggle / "test"))
    images = reader.read([2, 0, 2])
    assert len(reader) == 3
    assert images.shape == (3, *reader.image_shape)
    assert (images[0] == draw_image(102)).all()
    assert (images[1] == draw_image(100)).all()
    assert (images[2] == images[0]).all()


def test_a_folder_reader_records_what_it_cannot_read(kaggle: Path) -> None:
    samples = find_samples(kaggle / "test")
    broken = samples[1]._replace(planes=(None, *samples[1].planes[1:]))
    with FolderReader([samples[0], broken]) as reader:
        images = reader.read_async([1, 0]).result()
    assert not images[0].any()
    assert (images[1] == draw_image(100)).all()
    assert reader.status.tolist() == [OK, FAILED]
    assert list(reader.failures) == [1]
    assert "no file for red" in reader.failures[1]
