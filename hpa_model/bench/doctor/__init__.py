"""What is wrong, or could be better, with the machine, a store and a run: facts are measured, findings follow."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
