"""The format of a store, byte by byte: arrays, chunks and shards, codecs, manifest, pixel statistics."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
