from . import arrays as arrays
from . import codecs as codecs
from . import columns as columns
from . import layout as layout
from . import manifest as manifest
from . import options as options
from . import statistics as statistics
from . import understood as understood
