"""Maps of where networks see a class: which samples and classes, by which models, and the files."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
