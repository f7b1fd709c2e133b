from . import compare as compare
from . import figures as figures
from . import report as report
from . import scores as scores
