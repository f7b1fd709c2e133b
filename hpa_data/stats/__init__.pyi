from . import figures as figures
from . import intensities as intensities
from . import labels as labels
from . import measure as measure
from . import style as style
from .figures import write_figures as write_figures
from .labels import measure_table as measure_table
from .measure import measure_store as measure_store
