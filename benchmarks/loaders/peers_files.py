"""Loaders to compare with: PNG, NumPy, HDF5, LMDB, ArrayRecord and WebDataset files."""

import threading
from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.loaders.reading import (
    BUFFER,
    N_FILES,
    SHAPE,
    SHUFFLE_BUFFERED,
    Indices,
    allocate,
    list_files,
    list_planes,
    load_images,
    read_batches,
    read_samples,
)
from benchmarks.loaders.row import Epoch, Images, Loader, Setup


def open_png_opencv(setup: Setup) -> Epoch:
    """Decode the planes with OpenCV."""
    import cv2

    cv2.setNumThreads(1)  # only the threads of the pool
    planes = list_planes(setup)

    def read(sample: int, slot: Images) -> None:
        cv2.merge([cv2.imread(path, cv2.IMREAD_GRAYSCALE) for path in planes[sample]], slot)

    return read_samples(setup, read)


def open_memmap(setup: Setup) -> Epoch:
    """Copy samples from a memory-mapped `.npy`; threads are faster than a fancy index, which also allocates memory."""
    images = load_images(setup)
    return read_samples(setup, lambda sample, slot: np.copyto(slot, images[sample]))


def write_lmdb(setup: Setup) -> None:
    """Write the bytes of each image under its number."""
    import lmdb

    images = load_images(setup)
    # The size of the map is only an upper limit: the file grows as it is filled.
    with lmdb.open(str(setup.folder / "lmdb"), map_size=2 * images.nbytes + 2**30, sync=False) as environment:
        for sample, image in enumerate(images):
            with environment.begin(write=True) as transaction:
                transaction.put(sample.to_bytes(4, "big"), image.tobytes())


def open_lmdb(setup: Setup) -> Epoch:
    """Copy values from the memory map, without the further copies that values as `bytes` would be."""
    import lmdb

    environment = lmdb.open(str(setup.folder / "lmdb"), readonly=True, lock=False)
    local = threading.local()  # a transaction belongs to one thread

    def read(sample: int, slot: Images) -> None:
        if not hasattr(local, "transaction"):
            local.transaction = environment.begin(buffers=True)
        value = local.transaction.get(sample.to_bytes(4, "big"))
        np.copyto(slot, np.frombuffer(value, np.uint8).reshape(SHAPE))

    return read_samples(setup, read)


def write_array_record(setup: Setup) -> None:
    """Write the bytes of each image, one per group, as random access needs, and without further compression."""
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(setup.folder / "images.arrayrecord"), "group_size:1,uncompressed")
    for image in load_images(setup):
        writer.write(image.tobytes())
    writer.close()


def open_array_record(setup: Setup) -> Epoch:
    """Read one record per call, in threads, as Grain does; one batch per call has half the speed."""
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    source = ArrayRecordDataSource(str(setup.folder / "images.arrayrecord"))

    def read(sample: int, slot: Images) -> None:
        np.copyto(slot, np.frombuffer(source[sample], np.uint8).reshape(SHAPE))

    return read_samples(setup, read)


def write_hdf5(setup: Setup) -> None:
    """Write one chunk per sample."""
    import h5py
    import hdf5plugin

    images = load_images(setup)
    codec = hdf5plugin.Blosc(cname="lz4hc", clevel=5, shuffle=hdf5plugin.Blosc.SHUFFLE)
    with h5py.File(setup.folder / "images.h5", "w") as file:
        dataset = file.create_dataset("images", images.shape, np.uint8, chunks=(1, *SHAPE), compression=codec)
        for sample, image in enumerate(images):
            dataset[sample] = image


def open_hdf5(setup: Setup) -> Epoch:
    """Read chunk by chunk in one thread: h5py holds a lock while it reads, and Blosc's threads make it slower."""
    import h5py
    import hdf5plugin  # noqa: F401  registers the filter

    # Chunks that are read whole and once should leave the cache first, says h5py's documentation.
    dataset = h5py.File(setup.folder / "images.h5", rdcc_w0=1.0)["images"].id
    chunk = h5py.h5s.create_simple((1, *SHAPE))

    def read(samples: Indices, batch: Images) -> None:
        # As `read_direct`, without its selections, a sixth of the time. A fancy index reads 13 samples per second.
        space = dataset.get_space()
        for position, sample in enumerate(samples.tolist()):
            space.select_hyperslab((sample, 0, 0, 0), (1, *SHAPE))
            dataset.read(chunk, space, batch[position : position + 1])

    return read_batches(setup, read)


def write_webdataset(setup: Setup) -> None:
    """Distribute the bytes of the images over tar files."""
    import webdataset

    images = load_images(setup)
    for number, path in enumerate(list_files(setup, "tar")):
        with webdataset.TarWriter(path) as writer:
            for sample in range(number, len(images), N_FILES):
                writer.write({"__key__": f"{sample:06}", "raw": images[sample].tobytes()})


def open_webdataset(setup: Setup) -> Epoch:
    """Read tar files one after another; only PyTorch's loader has processes that read them in parallel."""
    import webdataset

    files = list_files(setup, "tar")
    buffer = allocate(setup)

    def collate(samples: Sequence[tuple[bytes]]) -> Images:
        for slot, (value,) in zip(buffer, samples, strict=False):
            np.copyto(slot, np.frombuffer(value, np.uint8).reshape(SHAPE))
        return buffer[: len(samples)]

    def run(epoch: int) -> Iterator[Images]:
        seed = setup.seed + epoch
        dataset = webdataset.WebDataset(files, shardshuffle=N_FILES, seed=seed).shuffle(BUFFER, seed=seed)
        yield from dataset.to_tuple("raw").batched(setup.batch_size, collation_fn=collate)

    return run


LOADERS = (
    Loader(
        name="PNG + OpenCV threads",
        description="the PNG files, decoded in a pool of threads",
        modules=("cv2",),
        open=open_png_opencv,
    ),
    Loader(
        name="np.memmap",
        description="raw bytes in one memory-mapped file, copied by threads",
        modules=(),
        open=open_memmap,
    ),
    Loader(
        name="HDF5 LZ4HC",
        description="one compressed chunk per sample; h5py reads in one thread",
        modules=("h5py", "hdf5plugin"),
        open=open_hdf5,
        write=write_hdf5,
    ),
    Loader(
        name="LMDB",
        description="raw bytes in a memory-mapped database, copied by threads",
        modules=("lmdb",),
        open=open_lmdb,
        write=write_lmdb,
    ),
    Loader(
        name="ArrayRecord",
        description="raw bytes as records with random access",
        modules=("array_record",),
        open=open_array_record,
        write=write_array_record,
    ),
    Loader(
        name="WebDataset",
        description=f"raw bytes in {N_FILES} files that one thread reads front to back",
        shuffle=SHUFFLE_BUFFERED,
        modules=("webdataset",),
        open=open_webdataset,
        write=write_webdataset,
    ),
)
