"""Training, measuring, publishing and preparing: `python -m training --help`."""

import os

import cmr_hub  # noqa: F401  (which makes the old paths of its modules importable)

# Read when torch is first imported. Threads that wait by spinning take the cores from whatever runs beside a training.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
