"""cmr_hub: image-text cross-modal retrieval on the Hugging Face stack.

Importing it registers every method of the registry with transformers' Auto classes, and makes each method's
configuration and model available here by their class names (`cmr_hub.DSCMRModel` …).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from transformers import AutoConfig, AutoModel, AutoProcessor

from .hub import list_checkpoints
from .indexes.quantizers.spreading_vectors import SpreadingVectorsModel
from .methods import METHODS, list_methods
from .modeling.configuration_cmr import CMRConfig
from .modeling.configuration_hashing import HashingConfig
from .modeling.modeling_cmr import ClosedFormCMRModel, CMRModel, CMROutput
from .processing.processing_cmr import CMRProcessor
from .results.leaderboard import list_scores
from .retrieval.dual_encoder import DualEncoderModel
from .retrieval.retriever import Retriever, from_pretrained

if TYPE_CHECKING:
    from .retrieval.gallery import Gallery, Hit

__version__ = "0.1.0"

__all__ = [
    "CMRConfig",
    "CMRModel",
    "CMROutput",
    "CMRProcessor",
    "ClosedFormCMRModel",
    "Gallery",
    "HashingConfig",
    "Hit",
    "Retriever",
    "from_pretrained",
    "list_checkpoints",
    "list_methods",
    "list_scores",
]

for _model_class in (*METHODS.values(), DualEncoderModel, SpreadingVectorsModel):
    _config_class = _model_class.config_class
    AutoConfig.register(_config_class.model_type, _config_class, exist_ok=True)
    AutoModel.register(_config_class, _model_class, exist_ok=True)
    if issubclass(_model_class, CMRModel):
        AutoProcessor.register(_config_class, CMRProcessor, exist_ok=True)
    globals().update({cls.__name__: cls for cls in (_config_class, _model_class)})
    __all__ += [_config_class.__name__, _model_class.__name__]


def __getattr__(name: str) -> Any:
    # Galleries pull in `datasets` and pandas, which those who only encode need not wait for.
    if name in ("Gallery", "Hit"):
        return getattr(import_module(".retrieval.gallery", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
