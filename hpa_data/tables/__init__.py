"""Tables of samples: label tables and ids, read from text, spreadsheets and Parquet; CSV files, written."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
