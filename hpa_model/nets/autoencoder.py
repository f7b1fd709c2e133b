"""Autoencoders: the chain of convolutions of a network as the encoder, and a decoder that mirrors it."""

from typing import Any

import keras
from keras import layers, ops

from hpa_data.errors import InputError
from hpa_model.nets.catalog import NETS, dtype_policy
from hpa_model.nets.channels import ChannelMatch, find_channel_layers
from hpa_model.nets.matching import compare_layers, describe_scaling
from hpa_model.nets.resize import AreaResize
from hpa_model.nets.scale import ZScore

# The layers before the first convolution: what they put out is what the decoder has to put out.
PREPARING = (layers.InputLayer, AreaResize, layers.Rescaling, ZScore)
# Layers of an autoencoder that put out images, float32 (B, Y, X, C), scaled as the network scales them: as they are,
# with mask and noise, and what the decoder makes of them.
ORIGINAL, DAMAGED, RECONSTRUCTION = "original", "damaged", "reconstruction"


class MaskPatches(layers.Layer):
    """In training, replace square patches of each image, drawn at random, by the mean of each of its channels.

    From (B, Y, X, C) to the same. The mean keeps the statistics of batch normalization close to those of whole images;
    0 would make each image darker.

    Parameters
    ----------
    share : float
        Of the patches of an image, those that are replaced, on average; in [0, 1).
    patch : int
        Pixels of the side of a patch.
    """

    def __init__(self, share: float, patch: int, **base: Any) -> None:
        super().__init__(**base)
        self.share = share
        self.patch = patch
        # Part of a checkpoint, as are those of dropout.
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, images: Any, training: bool | None = None) -> Any:
        """Mask a batch, (B, Y, X, C)."""
        if not training or not self.share:
            return images
        y, x = images.shape[1:3]
        grid = (ops.shape(images)[0], -(-y // self.patch), -(-x // self.patch), 1)
        is_masked = keras.random.uniform(grid, seed=self.seed_generator) < self.share
        is_masked = ops.repeat(ops.repeat(is_masked, self.patch, axis=1), self.patch, axis=2)[:, :y, :x]
        return ops.where(is_masked, ops.mean(images, axis=(1, 2), keepdims=True), images)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "share": self.share, "patch": self.patch}


class ReconstructionError(layers.Layer):
    """Compare images with their reconstructions, both (B, Y, X, C); to float32 (B, 2).

    The first column is the mean squared difference, over pixels and channels. The second is what it would be if each
    channel of each image were reconstructed by its mean.
    """

    def __init__(self, **base: Any) -> None:
        super().__init__(**{"dtype": "float32", **base})

    def call(self, images: Any, reconstructions: Any) -> Any:
        """Compare a batch."""
        means = ops.mean(images, axis=(1, 2), keepdims=True)
        both = [ops.mean(ops.square(images - other), axis=(1, 2, 3)) for other in (reconstructions, means)]
        return ops.stack(both, axis=-1)


# The custom layers that a saved autoencoder may have, besides those of the networks.
AUTOENCODER_LAYERS: dict[str, type[layers.Layer]] = {
    "MaskPatches": MaskPatches,
    "ReconstructionError": ReconstructionError,
}


def find_encoder(model: str) -> str:
    """Return the name of the last layer of the encoder of a network.

    Raises
    ------
    InputError
        If the network is not one of those that have an encoder.
    """
    able = [name for name, net in NETS.items() if net.encoder]
    if model not in able:
        raise InputError(
            f"model must be one of {', '.join(able)} to pre-train it as an encoder: their convolutions are one chain, "
            f"which a decoder can mirror. Received: model={model!r}. Choose one of them."
        )
    return NETS[model].encoder


def cut_encoder(network: keras.Model, end: str) -> keras.Model:
    """Return the part of a network up to a layer, by name. It shares all weights with the network."""
    return keras.Model(network.input, network.get_layer(end).output, name="encoder")


def build_autoencoder(
    network: keras.Model, end: str, *, mask: float = 0.0, patch: int = 16, noise: float = 0.0
) -> keras.Model:
    """Build an autoencoder over the first layers of a network.

    The decoder mirrors the encoder from its last layer to its first: a transposed convolution for each convolution,
    with its size, stride, activation and number of input channels; upsampling for each pooling; batch normalization
    where the encoder has it. Where rows or columns got lost in a convolution or a pooling, zeros are added.

    Parameters
    ----------
    network : keras.Model
        As `nets.build` makes it. The autoencoder shares the layers of the encoder with it.
    end : str
        The last layer of the encoder; the layers before it must be a chain.
    mask : float
        Share of the image that is masked in training, see `MaskPatches`.
    patch : int
        Pixels of the side of a masked patch.
    noise : float
        Standard deviation of normal noise that is added in training, as a share of the range of gray levels (of the
        standard deviation, in a network that standardizes its images).

    Returns
    -------
    keras.Model
        From uint8 (B, Y, X, C) to what `ReconstructionError` says, float32 (B, 2). The decoder is to put out the images
        without mask and noise. `keras.Model(it.input, it.get_layer(RECONSTRUCTION).output)` gives images.
    """
    chain = cut_encoder(network, end).layers
    is_preparing = [isinstance(layer, PREPARING) for layer in chain]
    first = is_preparing.index(False)
    x = network.input
    for layer in chain[1:first]:
        # A network of lower precision rounds images, but what is to be reconstructed is not rounded.
        x = type(layer).from_config({**layer.get_config(), "dtype": "float32"})(x)
    x = images = layers.Identity(name=ORIGINAL, dtype="float32")(x)
    if noise:
        x = layers.GaussianNoise(noise, name="noise")(x)
    if mask:
        x = MaskPatches(mask, patch, name="mask")(x)
    x = layers.Identity(name=DAMAGED, dtype="float32")(x)
    for layer in chain[first:]:
        x = layer(x)
    convolutions = [layer for layer in chain[first:] if isinstance(layer, layers.Conv2D)]
    for layer in reversed(chain[first:]):
        with dtype_policy(layer.dtype_policy.name):
            x = _fit(_mirror(layer, x, is_last=layer is convolutions[0]), layer.input.shape)
        if layer is convolutions[0]:
            break
    x = layers.Identity(name=RECONSTRUCTION, dtype="float32")(x)
    return keras.Model(network.input, ReconstructionError(name="error")(images, x), name="autoencoder")


def _mirror(layer: layers.Layer, x: keras.KerasTensor, *, is_last: bool) -> keras.KerasTensor:
    """Apply the mirror image of a layer of the encoder; the last one puts out images, of any gray level."""
    name = f"decoder_{layer.name}"
    if isinstance(layer, layers.Conv2D):
        return layers.Conv2DTranspose(
            layer.input.shape[-1],
            layer.kernel_size,
            strides=layer.strides,
            padding=layer.padding,
            activation=None if is_last else layer.activation,
            # All 0 puts out black at first. Random weights put out an error of many times that of black images.
            kernel_initializer="zeros" if is_last else _renew(layer.kernel_initializer),
            dtype="float32" if is_last else None,
            name=name,
        )(x)
    if isinstance(layer, layers.MaxPooling2D):
        return layers.UpSampling2D(layer.pool_size, name=name)(x)
    if isinstance(layer, layers.BatchNormalization):
        return layers.BatchNormalization(momentum=layer.momentum, name=name)(x)
    if isinstance(layer, layers.ReLU):
        return layers.ReLU(name=name)(x)
    return x  # dropout is for the encoder alone


def _renew(initializer: keras.initializers.Initializer) -> keras.initializers.Initializer:
    """Return an initializer of the same kind that draws other numbers."""
    return type(initializer).from_config({**initializer.get_config(), "seed": None})


def _fit(x: keras.KerasTensor, shape: tuple[int | None, ...]) -> keras.KerasTensor:
    """Add or remove rows at the bottom and columns at the right, up to those of a shape (B, Y, X, C)."""
    missing = [int(wanted or 0) - size for wanted, size in zip(shape[1:3], x.shape[1:3], strict=True)]
    for make, sides in (
        (layers.ZeroPadding2D, tuple((0, max(n, 0)) for n in missing)),
        (layers.Cropping2D, tuple((0, max(-n, 0)) for n in missing)),
    ):
        if sides != ((0, 0), (0, 0)):
            x = make(sides)(x)
    return x


def copy_encoder(encoder: keras.Model, to: keras.Model, end: str, match: ChannelMatch | None = None) -> str:
    """Copy the weights of an encoder into a network, layer by layer, by name.

    Parameters
    ----------
    encoder : keras.Model
        As `cut_encoder` makes it, or an autoencoder over the same network.
    to : keras.Model
        The network, changed in place; the layers behind `end` keep their weights.
    end : str
        The last layer of the encoder.
    match : ChannelMatch, optional
        Which filters each channel starts with, if they are not those in its place.

    Returns
    -------
    str
        How the two differ, in words, if the weights do not fit; then nothing is copied. Else empty.
    """
    there = {layer.name: layer for layer in encoder.layers}
    chain = cut_encoder(to, end).layers
    scalings = [describe_scaling(layers_of) for layers_of in (encoder.layers, chain)]
    if scalings[0] != scalings[1]:
        return f"it scales images by {scalings[0]}, this one by {scalings[1]}"
    of_channels = [] if match is None else find_channel_layers(to)
    fitting = []
    for layer in (layer for layer in chain if layer.weights):
        if layer.name not in there:
            return f"layer {layer.name} has no weights there"
        values = there[layer.name].get_weights()
        if match is not None and layer in of_channels:
            values = match.fit(layer, values)
        difference = compare_layers(there[layer.name], layer, values)
        if difference:
            return f"layer {layer.name} has {difference}"
        fitting.append((layer, values))
    for layer, values in fitting:
        layer.set_weights(values)
    return ""
