"""The public names of `cmr_hub`, and the modules that define them; `stub.py` writes them down for type checkers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

SUBPACKAGES = (
    "data",
    "encoders",
    "errors",
    "evaluation",
    "experiments",
    "hub",
    "indexes",
    "methods",
    "modeling",
    "processing",
    "results",
    "retrieval",
    "space",
    "training",
    "utils",
)

# Everything but the methods' own classes, which their folders name.
HOMES = {
    "CMRConfig": "cmr_hub.modeling.configuration_cmr",
    "CMRModel": "cmr_hub.modeling.modeling_cmr",
    "CMROutput": "cmr_hub.modeling.modeling_cmr",
    "CMRProcessor": "cmr_hub.processing.processing_cmr",
    "ClosedFormCMRModel": "cmr_hub.modeling.modeling_cmr",
    "DualEncoderConfig": "cmr_hub.modeling.dual_encoder",
    "DualEncoderModel": "cmr_hub.modeling.dual_encoder",
    "Gallery": "cmr_hub.retrieval.gallery",
    "HashingConfig": "cmr_hub.modeling.configuration_hashing",
    "Hit": "cmr_hub.retrieval.search",
    "METHODS": "cmr_hub.methods",
    "Query": "cmr_hub.retrieval.queries",
    "RemoteGallery": "cmr_hub.retrieval.remote_gallery",
    "Retriever": "cmr_hub.retrieval.retriever",
    "SpreadingVectorsConfig": "cmr_hub.indexes.quantizers.spreading_vectors",
    "SpreadingVectorsModel": "cmr_hub.indexes.quantizers.spreading_vectors",
    "Term": "cmr_hub.retrieval.queries",
    "from_pretrained": "cmr_hub.retrieval.retriever",
    "list_checkpoints": "cmr_hub.hub",
    "list_methods": "cmr_hub.methods",
    "list_scores": "cmr_hub.results.leaderboard",
    "register_dataset": "cmr_hub.data",
    "register_encoder": "cmr_hub.encoders",
    "register_index": "cmr_hub.indexes",
    "register_method": "cmr_hub.methods",
}


@cache
def public_homes() -> Mapping[str, str]:
    """Public name -> full name of the module that has it, the model and configuration of every built-in method too."""
    from cmr_hub.methods import METHODS

    homes = dict(HOMES)
    for registration in METHODS.built_in():
        module, _, model = registration.target.partition(":")
        folder = module.rpartition(".")[0]
        homes |= {model: folder, f"{model.removesuffix('Model')}Config": folder}
    return homes
