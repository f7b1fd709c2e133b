"""A page to look through the samples of a store: composites, labels, predictions, neighbors, copies."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
