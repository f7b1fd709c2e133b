"""Augmented copies of samples of rare classes: how many of which sample, their transforms, and their part."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
