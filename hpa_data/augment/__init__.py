"""Augmented copies of rare samples: how many of which sample, their transforms, and the part that holds them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
