from . import baseline as baseline
from . import checkpoint as checkpoint
from . import decision as decision
from . import folder as folder
from . import models as models
from . import out_of_fold as out_of_fold
