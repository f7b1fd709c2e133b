"""Metrics over a set of samples: F1 and accuracy, measures of ranking, and how sure they are. NumPy only."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
