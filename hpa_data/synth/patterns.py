"""Name the pattern of the green channel for each of the 28 classes."""

from collections.abc import Callable

import numpy as np

from hpa_data.synth import patterns_cytoplasm as cytoplasm
from hpa_data.synth import patterns_nucleus as nucleus
from hpa_data.synth.brush import Canvas
from hpa_data.synth.field import Field
from hpa_data.synth.landmarks import Landmarks

# Draws a pattern into a new canvas whose level is about 1 where the protein is.
Pattern = Callable[[np.random.Generator, Field, Landmarks], Canvas]

PATTERNS: dict[int, Pattern] = {
    0: nucleus.draw_nucleoplasm,
    1: nucleus.draw_nuclear_membrane,
    2: nucleus.draw_nucleoli,
    3: nucleus.draw_fibrillar_centers,
    4: nucleus.draw_speckles,
    5: nucleus.draw_nuclear_bodies,
    6: cytoplasm.draw_reticulum_protein,
    7: cytoplasm.draw_golgi,
    8: cytoplasm.draw_peroxisomes,
    9: cytoplasm.draw_endosomes,
    10: cytoplasm.draw_lysosomes,
    11: cytoplasm.draw_intermediate_filaments,
    12: cytoplasm.draw_actin,
    13: cytoplasm.draw_focal_adhesions,
    14: cytoplasm.draw_microtubule_protein,
    15: cytoplasm.draw_microtubule_ends,
    16: nucleus.draw_bridges,
    17: nucleus.draw_spindle,
    18: nucleus.draw_organizing_centers,
    19: nucleus.draw_centrosomes,
    20: cytoplasm.draw_lipid_droplets,
    21: cytoplasm.draw_plasma_membrane,
    22: cytoplasm.draw_cell_junctions,
    23: cytoplasm.draw_mitochondria,
    24: nucleus.draw_aggresomes,
    25: cytoplasm.draw_cytosol,
    26: cytoplasm.draw_cytoplasmic_bodies,
    27: cytoplasm.draw_rods_and_rings,
}

METAPHASE_CLASS = 17
BRIDGE_CLASS = 16
JUNCTION_CLASS = 22
