"""Synthetic samples in the format of the real ones: fields of cells, a green pattern per class, Kaggle's files."""

from hpa_data.synth.labels import draw_labels
from hpa_data.synth.sample import draw_sample
from hpa_data.synth.write import SynthSummary, write_samples

__all__ = ["SynthSummary", "draw_labels", "draw_sample", "write_samples"]
