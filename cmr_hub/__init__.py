"""cmr_hub: image-text cross-modal retrieval on the Hugging Face stack.

Public names are imported when they are first used: `exports.py` says where they are defined. Importing the package
prepares transformers' Auto classes for its checkpoints (see `modeling/auto_classes.py`).
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from . import exports
from .methods import METHODS
from .modeling.auto_classes import PROCESSING, offer_model_types
from .utils.import_hooks import when_imported
from .utils.lazy_imports import lazy_attributes
from .utils.moved_modules import MOVED, offer_old_paths, warn_moved

__version__ = "0.2.0"

# Models that are no method, by model type.
_OTHER_MODELS = {"dual_encoder": "DualEncoderModel", "spreading_vectors": "SpreadingVectorsModel"}


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return sorted(exports.public_homes())
    if name in exports.SUBPACKAGES:
        homes = {name: f"{__name__}.{name}"}
    elif (old := f"{__name__}.{name}") in MOVED:  # `import cmr_hub` used to import it
        warn_moved(old)
        globals()[name] = import_module(MOVED[old])
        return globals()[name]
    elif name in exports.HOMES or not name.endswith(("Model", "Config")):
        homes = exports.HOMES
    else:
        homes = exports.public_homes()
    value = lazy_attributes(__name__, homes)(name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    # Whoever asks for the value of each (`help`, `inspect`) need not have what the Space needs.
    return sorted({*globals(), *exports.public_homes(), *exports.SUBPACKAGES} - ({"space"} - globals().keys()))


def _load_model_class(model_type: str) -> Any:
    return __getattr__(_OTHER_MODELS[model_type]) if model_type in _OTHER_MODELS else METHODS[model_type]


offer_model_types(lambda: [*METHODS, *_OTHER_MODELS], _load_model_class)
# Checkpoints name the processor's class, and AutoProcessor looks for it among those that are registered.
when_imported(
    PROCESSING,
    lambda auto: auto.AutoProcessor.register(__getattr__("CMRConfig"), __getattr__("CMRProcessor"), exist_ok=True),
)
offer_old_paths()
