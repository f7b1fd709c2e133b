from . import features as features
from . import linear as linear
from . import model as model
from . import regions as regions
from . import settings as settings
from . import texture as texture
from . import trees as trees
