"""Side-by-side measurements: run one with ``python -m benchmarks.epoch --help`` from the repository root."""
