from . import callback as callback
from . import finetune as finetune
from . import fit as fit
from . import job as job
from . import tensorboard as tensorboard
from . import train as train
