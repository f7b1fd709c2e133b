"""Random batches per second: our loader and what else one might take."""
