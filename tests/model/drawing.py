"""What augmentation draws for tests."""

from hpa_data.reader.batches import Draw
from hpa_model.augment import plan_augmentation


def draw_symmetries(image_shape: tuple[int, int, int], *, seed: int) -> Draw:
    """Return what draws the orientations of images of a shape, (Y, X, C)."""
    augmentation = plan_augmentation("symmetries", (), image_shape, image_shape[:2], seed=seed)
    assert augmentation is not None
    return augmentation.draw
