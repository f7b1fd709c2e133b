"""Benchmarks: how fast `hpa` is, compared with the limits of the machine and with other loaders."""
