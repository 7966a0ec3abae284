"""Experiments as YAML, which `cmr reproduce` and `cmr ablate` run; `python -m training` is an alias of `cmr`."""

import cmr_hub  # noqa: F401  (which makes the old paths of its modules importable)
