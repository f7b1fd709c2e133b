"""What we need of the operating system: atomic files, locks, memory, threads, executors. Also JSON records."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
