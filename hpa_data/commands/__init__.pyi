from . import augment as augment
from . import console as console
from . import convert as convert
from . import folds as folds
from . import preview as preview
from . import stats as stats
from . import synth as synth
from . import verify as verify
