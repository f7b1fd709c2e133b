"""What a user may choose about an export. Imports nothing heavy, so that the command line can offer it."""

from typing import Literal

Format = Literal["saved-model", "onnx", "litert", "openvino", "bioimageio"]

# The largest difference of a probability from that of the run. Sums in another order differ by 1e-6 to 1e-5 in float32.
TOLERANCE = 1e-4
# Samples that are compared.
N_CHECKED = 24
