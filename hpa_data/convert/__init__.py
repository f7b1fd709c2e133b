"""Converting image files into a part of a store: plan, estimate, execute."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
