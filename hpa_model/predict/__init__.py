"""Prediction: the models of all folds of a run, averaged, for samples of a store or of image files."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
