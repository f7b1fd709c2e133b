"""Exports: the networks of a run as one model that other programs load, checked against the run."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
