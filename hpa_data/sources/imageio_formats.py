"""The formats that the fast decoders do not read, decoded by imageio and Pillow."""

import warnings

import numpy as np

from hpa_data.sources.image_file import MAX_PIXELS, ImageFile, cannot_decode, check_size, from_array
from hpa_data.sources.options import ImportOptions
from hpa_data.sources.orientation import check_orientation, turn_upright


def open_with_imageio(content: bytes, file: str, format_name: str, options: ImportOptions) -> ImageFile:
    """Decode an image with imageio.

    Palettes become gray, or red, green and blue; black and white become 0 and 255. Gray values of 9 to 16 bits are
    scaled to 16 bits by Pillow, which reads JPEG 2000 in color and AVIF with 8 bits only. A file of several images,
    such as an animation, is refused: which of them is the plane is not known.
    """
    import imageio.v3 as iio  # brings Pillow, which most sources do not need
    from PIL.Image import DecompressionBombError, DecompressionBombWarning

    # Our own limit is lower, and an error.
    warnings.filterwarnings("ignore", category=DecompressionBombWarning)
    # An orientation that cannot be read is none.
    warnings.filterwarnings("ignore", message="Corrupt EXIF data")
    try:
        source = iio.imopen(content, "r", plugin="pillow")
    except OSError as error:
        if isinstance(error.__cause__, DecompressionBombError):
            reason = f"its header gives more than {MAX_PIXELS} pixels"
            raise cannot_decode(file, reason, "Crop or reduce the image.") from error
        raise
    with source:
        properties = source.properties(index=0)  # from the header
        n_bytes = int(np.prod(properties.shape)) * properties.dtype.itemsize
        check_size(file, properties.shape[0], properties.shape[1], n_bytes)
        # Pillow reads gray images of 16 bits as int32.
        is_deep = properties.dtype == np.int32 and len(properties.shape) == 2
        if properties.dtype.name not in {"bool", "uint8", "uint16"} and not is_deep:
            raise cannot_decode(
                file,
                f"its pixels are {properties.dtype}, not 8 or 16 bits, unsigned",
                "Save it with 16 bits, unsigned.",
            )
        metadata = source.metadata(index=0, exclude_applied=False)
        if metadata["mode"] == "CMYK":  # four planes like RGBA
            raise cannot_decode(file, "its colors are CMYK, neither gray nor RGB", "Export it as gray or RGB.")
        try:
            source.properties(index=1)
        except EOFError:
            array = source.read(index=0)
        else:
            raise cannot_decode(file, "it holds several images", "Save each of them as a file of its own.")
    if is_deep:
        if array.min() < 0 or array.max() > np.iinfo(np.uint16).max:
            raise cannot_decode(file, "its pixels have more than 16 bits", "Save it with 16 bits.")
        array = array.astype(np.uint16)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    if options.rules > 1:
        # Pillow gives the turns that AVIF has of its own as this, too.
        array = turn_upright(array, check_orientation(metadata.get("Orientation")))
    return from_array(array, file, format_name)
