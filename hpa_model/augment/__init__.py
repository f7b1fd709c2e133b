"""Augmentation of training images on the device: what is drawn for each sample, and how it is applied."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
