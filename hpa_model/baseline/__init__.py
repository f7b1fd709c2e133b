"""A floor with skill: classical features of images, classified by logistic regression and by trees."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
