"""Backbones of `keras.applications`: networks for photographs, with an input for any number of channels.

Each is a row of `BACKBONES`. What its input scaling and its first convolution become where there are not three channels
is in `stem`.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import keras

from hpa_model.nets.head import add_outputs
from hpa_model.nets.resize import image_input
from hpa_model.nets.stem import IMAGENET, SIGNED, UNIT, ColorScaling, scale_colors

KERAS_FILES = "https://storage.googleapis.com/tensorflow/keras-applications"


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A network of `keras.applications` without its last layer, and its published weights."""

    application: Callable[..., keras.Model]
    """The function of `keras.applications`."""

    scaling: ColorScaling
    """How its published weights expect the gray levels of red, green and blue."""

    min_size: int
    """The fewest rows and columns that Keras lets it have."""

    url: str
    """Of the weights without the last layer."""

    file_hash: str
    """MD5 or SHA-256 of that file, as Keras has it."""

    scales_itself: bool = False
    """Whether it has its input scaling inside, which is switched off, since `scale_colors` does the same."""

    @property
    def file_name(self) -> str:
        """Of the published weights."""
        return self.url.rpartition("/")[2]

    def build(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Apply it to scaled images, (B, Y, X, C) with any C; return its features, (B, F)."""
        return self._apply(input_tensor=x).output

    def build_published(self) -> keras.Model:
        """Build the model that published weights are of: scaled images of three channels to features, (B, F)."""
        return self._apply(input_shape=(self.min_size + 21, self.min_size + 21, 3))

    def _apply(self, **shape: object) -> keras.Model:
        without = {"include_preprocessing": False} if self.scales_itself else {}
        with warnings.catch_warnings():
            # It expects 1 or 3 channels, because pretrained weights would.
            warnings.filterwarnings("ignore", "This model usually expects")
            return self.application(include_top=False, weights=None, pooling="avg", **shape, **without)


BACKBONES = {
    "densenet121": Backbone(
        application=keras.applications.DenseNet121,
        scaling=IMAGENET,
        min_size=32,
        url=f"{KERAS_FILES}/densenet/densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5",
        file_hash="30ee3e1110167f948a6b9946edeeb738",
    ),
    "resnet50v2": Backbone(
        application=keras.applications.ResNet50V2,
        scaling=SIGNED,
        min_size=32,
        url=f"{KERAS_FILES}/resnet/resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
        file_hash="fac2f116257151a9d068a22e544a4917",
    ),
    "inceptionv3": Backbone(
        application=keras.applications.InceptionV3,
        scaling=SIGNED,
        min_size=75,
        url=f"{KERAS_FILES}/inception_v3/inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
        file_hash="bcbd6486424b2319ff4ef7d526e38f63",
    ),
    "convnext-tiny": Backbone(
        application=keras.applications.ConvNeXtTiny,
        scaling=IMAGENET,
        min_size=32,
        url=f"{KERAS_FILES}/convnext/convnext_tiny_notop.h5",
        file_hash="d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1",
        scales_itself=True,
    ),
    "efficientnetv2-b0": Backbone(
        application=keras.applications.EfficientNetV2B0,
        scaling=IMAGENET,
        min_size=32,
        url=f"{KERAS_FILES}/efficientnet_v2/efficientnetv2-b0_notop.h5",
        file_hash="893217f2bb855e2983157299931e43ff",
        scales_itself=True,
    ),
}
# By the name of the option `scaling` of `densenet121`: as the paper trained it, or as its published weights expect.
SCALINGS = {"unit": UNIT, "imagenet": IMAGENET}


def find_scaling(name: str, options: dict[str, float | int | str]) -> ColorScaling:
    """Return how a backbone with these options scales its input."""
    return SCALINGS[str(options["scaling"])] if "scaling" in options else BACKBONES[name].scaling


def build_backbone(
    image_shape: tuple[int, int, int],
    n_classes: int,
    *,
    name: str,
    image_size: tuple[int, int],
    **options: float | int | str,
) -> keras.Model:
    """Build a network of `BACKBONES` with fresh weights and a classification head of one layer.

    Its layers depend on the number of channels and on its options, not on where its weights will come from.

    Parameters
    ----------
    image_shape, n_classes, image_size
        As in `nets.build`.
    name : str
        One of `BACKBONES`.
    scaling : {"unit", "imagenet"}, only of `densenet121`
        Of the gray levels: 0 to 1, as the paper trained it, or as its published weights expect.
    """
    scaling = find_scaling(name, options)
    inputs, x = image_input(image_shape, image_size, dtype=scaling.dtype)
    features = BACKBONES[name].build(scale_colors(x, scaling))
    return keras.Model(inputs, add_outputs(features, n_classes), name=name)
