"""All operations on the device by name, in the order in which they are applied.

To add one, add a row to `moves.MOVES`, `grays.GRAYS` or `pairs.PAIRS`. Recipes name operations and parameters.
"""

from hpa_model.augment.grays import GRAYS
from hpa_model.augment.kinds import Operation
from hpa_model.augment.moves import MOVES
from hpa_model.augment.pairs import PAIRS

OPERATIONS: dict[str, Operation] = {operation.name: operation for operation in (*MOVES, *GRAYS, *PAIRS)}
