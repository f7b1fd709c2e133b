"""How images are standardized."""

import numpy as np
from keras import ops

from hpa_model.nets.scale import ZScore


def test_a_bright_spot_is_standardized_exactly() -> None:
    images = np.random.default_rng(0).gamma(1, 4, (2, 256, 256, 4)).astype(np.float32)
    images[:, 5, 5] = 255
    exact = images.astype(np.float64)
    exact -= exact.mean(axis=(1, 2), keepdims=True)
    exact /= np.sqrt(np.square(exact).mean(axis=(1, 2), keepdims=True) + ZScore.EPSILON)
    np.testing.assert_allclose(ops.convert_to_numpy(ZScore()(images)), exact, rtol=0, atol=4e-5)
