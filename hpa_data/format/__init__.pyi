from . import codecs as codecs
from . import layout as layout
from . import manifest as manifest
from . import statistics as statistics
