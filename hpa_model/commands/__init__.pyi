from . import baseline as baseline
from . import bench as bench
from . import demo as demo
from . import evaluate as evaluate
from . import models as models
from . import predict as predict
from . import recipes as recipes
from . import train as train
