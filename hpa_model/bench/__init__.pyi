from . import doctor as doctor
from . import io as io
from . import limits as limits
from . import step as step
from . import timing as timing
from .io import measure_io as measure_io
from .step import measure_step as measure_step
