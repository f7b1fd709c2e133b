"""What a training says before its first step."""

import keras

from hpa_model.config import TrainConfig
from hpa_model.training.overview import describe_idle


def test_settings_without_effect_on_a_network_are_named() -> None:
    images = keras.Input((8, 8, 1))
    plain = keras.Model(images, keras.layers.Flatten()(images))
    normed = keras.Model(images, keras.layers.BatchNormalization()(images))
    lagging = TrainConfig(bn_momentum=0.9)
    assert describe_idle(lagging, plain, 10) == "; without effect: bn_momentum (no batch normalization)"
    assert not describe_idle(lagging, keras.Model(images, normed(images)), 10)  # inside, too
    assert not describe_idle(TrainConfig(), plain, 10)
    rising = TrainConfig(warmup_epochs=0.5, accumulate_batches=4)
    assert describe_idle(rising, normed, 3) == "; without effect: warmup_epochs (shorter than a change of the weights)"
    assert not describe_idle(rising, normed, 30)
