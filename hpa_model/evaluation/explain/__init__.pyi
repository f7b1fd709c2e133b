from . import files as files
from . import maps as maps
from . import run as run
from . import samples as samples
from .run import Explained as Explained
from .run import explain_samples as explain_samples
