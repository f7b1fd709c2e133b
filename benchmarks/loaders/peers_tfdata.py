"""Loaders to compare with: PNG and TFRecord files through tf.data, as TensorFlow's documentation recommends."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.loaders.reading import BUFFER, N_FILES, SHAPE, SHUFFLE_BUFFERED, list_files, list_planes, load_images
from benchmarks.loaders.row import Epoch, Images, Loader, Setup


def _open_dataset(setup: Setup, dataset: Any) -> Epoch:
    """Batch and prefetch; TensorFlow draws a new order for each epoch."""
    import tensorflow as tf

    options = tf.data.Options()
    options.deterministic = False  # samples may change their order; they are shuffled anyway
    options.threading.private_threadpool_size = setup.threads
    options.autotune.cpu_budget = setup.threads
    dataset = dataset.batch(setup.batch_size).prefetch(tf.data.AUTOTUNE).with_options(options)

    # One iterator per epoch: one over all epochs would keep reading ahead, without limit, while other rows are timed.
    def run(_: int) -> Iterator[Images]:
        iterators = [iter(dataset)]
        for batch in iterators[0]:
            yield np.asarray(memoryview(batch))  # `numpy()` would copy
        # Deleting an iterator can take as long as the epoch took: TensorFlow 2.21 waits for its autotuner to wake up.
        threading.Thread(target=iterators.clear).start()

    return run


def _decode_planes(planes: Any) -> Any:
    """Decode four encoded planes, strings (4,), into an image."""
    import tensorflow as tf

    decoded = [tf.io.decode_png(planes[number], channels=1) for number in range(4)]
    return tf.ensure_shape(tf.concat(decoded, axis=-1), SHAPE)  # (Y, X, C)


def open_png_tf(setup: Setup) -> Epoch:
    """Read and decode the planes with tf.data."""
    import tensorflow as tf

    def decode(paths: Any) -> Any:
        return _decode_planes([tf.io.read_file(paths[number]) for number in range(4)])

    paths = tf.data.Dataset.from_tensor_slices(list_planes(setup)).shuffle(len(setup.ids), seed=setup.seed)
    return _open_dataset(setup, paths.map(decode, num_parallel_calls=tf.data.AUTOTUNE))


def _write_records(setup: Setup, make_record: Callable[[int], bytes]) -> None:
    """Distribute the samples' records over TFRecord files."""
    import tensorflow as tf

    for number, path in enumerate(list_files(setup, "tfrecord")):
        with tf.io.TFRecordWriter(path) as writer:
            for sample in range(number, len(setup.ids), N_FILES):
                writer.write(make_record(sample))


def _open_records(setup: Setup, decode: Callable[[Any], Any]) -> Epoch:
    """Interleave TFRecord files, shuffle the encoded records, decode them."""
    import tensorflow as tf

    auto = tf.data.AUTOTUNE
    files = tf.data.Dataset.from_tensor_slices(list_files(setup, "tfrecord")).shuffle(N_FILES, seed=setup.seed)
    records = files.interleave(tf.data.TFRecordDataset, cycle_length=N_FILES, num_parallel_calls=auto)
    return _open_dataset(setup, records.shuffle(BUFFER, seed=setup.seed).map(decode, num_parallel_calls=auto))


def write_tfrecord_raw(setup: Setup) -> None:
    """Write the bytes of each image as a record; a tf.train.Example around them would cost a tenth of the speed."""
    images = load_images(setup)
    _write_records(setup, lambda sample: images[sample].tobytes())


def open_tfrecord_raw(setup: Setup) -> Epoch:
    """Read records of raw bytes."""
    import tensorflow as tf

    return _open_records(setup, lambda record: tf.reshape(tf.io.decode_raw(record, tf.uint8), SHAPE))


def write_tfrecord_png(setup: Setup) -> None:
    """Write the four files of each sample as a tf.train.Example."""
    import tensorflow as tf

    planes = list_planes(setup)

    def make_record(sample: int) -> bytes:
        encoded = tf.train.BytesList(value=[Path(path).read_bytes() for path in planes[sample]])
        features = tf.train.Features(feature={"planes": tf.train.Feature(bytes_list=encoded)})
        return tf.train.Example(features=features).SerializeToString()

    _write_records(setup, make_record)


def open_tfrecord_png(setup: Setup) -> Epoch:
    """Read records of four encoded planes."""
    import tensorflow as tf

    features = {"planes": tf.io.FixedLenFeature([4], tf.string)}
    return _open_records(setup, lambda record: _decode_planes(tf.io.parse_single_example(record, features)["planes"]))


LOADERS = (
    Loader(
        name="PNG + tf.data",
        description="the PNG files, decoded by TensorFlow",
        modules=("tensorflow",),
        open=open_png_tf,
    ),
    Loader(
        name="TFRecord raw",
        description=f"raw bytes in {N_FILES} files that are read front to back",
        shuffle=SHUFFLE_BUFFERED,
        modules=("tensorflow",),
        open=open_tfrecord_raw,
        write=write_tfrecord_raw,
    ),
    Loader(
        name="TFRecord PNG",
        description=f"the PNG files in {N_FILES} files that are read front to back",
        shuffle=SHUFFLE_BUFFERED,
        modules=("tensorflow",),
        open=open_tfrecord_png,
        write=write_tfrecord_png,
    ),
)
