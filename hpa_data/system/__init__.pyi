from . import atomic as atomic
from . import executor as executor
from . import lock as lock
from . import memory as memory
from . import progress as progress
from . import records as records
from . import threads as threads
