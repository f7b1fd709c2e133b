"""Networks: uint8 images in, one sigmoid probability per class out."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
