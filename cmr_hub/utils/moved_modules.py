"""Old paths of modules: importing one warns, and gives the module that has its contents now."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from .deprecation import REMOVED_IN, warn_deprecated

# Package -> modules that moved into it from `cmr_hub`, under the name that they had.
_MOVED_INTO = {
    "cmr_hub.data": ["columns", "labels"],
    "cmr_hub.hub": ["card"],
    "cmr_hub.indexes.quantizers": ["lattice", "spreading_vectors"],
    "cmr_hub.modeling": [
        "checked_model",
        "codes",
        "configuration_canonical",
        "configuration_cmr",
        "configuration_hashing",
        "losses",
        "modeling_canonical",
        "modeling_cmr",
        "modeling_hashing",
        "solvers",
        "standardizer",
    ],
    "cmr_hub.processing": ["processing_cmr"],
    "cmr_hub.results": ["ablations", "leaderboard"],
    "cmr_hub.retrieval": [
        "answering",
        "dual_encoder",
        "explanation",
        "gallery",
        "gallery_building",
        "gallery_files",
        "gallery_sources",
        "item_metadata",
        "maps",
        "precision_recall",
        "prepared",
        "retriever",
    ],
    "cmr_hub.utils": ["files", "images", "processes"],
}

# Likewise from the package `training`.
_MOVED_FROM_TRAINING = {
    "cmr_hub.experiments": [
        "ablate",
        "answer",
        "curves",
        "faithfulness",
        "figure",
        "map",
        "prepare",
        "publish",
        "questions",
        "reproduce",
        "seeds",
        "sweep",
        "table",
        "word_pairs",
        "workers",
    ],
    "cmr_hub.training": ["evaluate", "network_parts", "recipe", "train", "trainer"],
    "cmr_hub.utils": ["plots"],
}

# Likewise from `cmr_hub.space`.
_MOVED_WITHIN_SPACE = {
    "cmr_hub.space.components": [
        "bits",
        "charts",
        "curve_charts",
        "map_figure",
        "map_markup",
        "map_scripts",
        "markup",
        "preparing",
        "result_charts",
        "results_markup",
        "scores_markup",
        "snippets",
        "tables",
    ],
    "cmr_hub.space.services": [
        "average_precision",
        "catalogue",
        "disagreement",
        "examples",
        "links",
        "preparation",
        "queries",
        "scoreboard",
        "uploads",
    ],
    "cmr_hub.space.views": ["compare", "look", "map", "results", "scores", "search", "use"],
}

_RENAMED = {
    "cmr_hub.attention_pictures": "cmr_hub.retrieval.attention_images",
    "cmr_hub.encoders.efficientnet_lite0": "cmr_hub.encoders.efficientnet_lite",
    "cmr_hub.features": "cmr_hub.processing.feature_store",
    "cmr_hub.indexes.milvus_collection": "cmr_hub.indexes.milvus.collection",
    "cmr_hub.indexes.milvus_connection": "cmr_hub.indexes.milvus.connection",
    "cmr_hub.indexes.milvus_process": "cmr_hub.indexes.milvus.process",
    "cmr_hub.indexes.milvus_server": "cmr_hub.indexes.milvus.server",
    "cmr_hub.registry": "cmr_hub.methods",
    "cmr_hub.results.reproduction": "cmr_hub.results",
    "cmr_hub.results.table": "cmr_hub.results",
    "cmr_hub.space.own": "cmr_hub.space.views.user_gallery",
    "cmr_hub.space.own_galleries": "cmr_hub.space.services.user_galleries",
    "cmr_hub.space.pictures": "cmr_hub.space.components.images",
    "cmr_hub.space.place": "cmr_hub.space.components.session_state",
    "cmr_hub.spreading_vectors.configuration_spreading_vectors": (
        "cmr_hub.indexes.quantizers.spreading_vectors.configuration_spreading_vectors"
    ),
    "cmr_hub.spreading_vectors.modeling_spreading_vectors": (
        "cmr_hub.indexes.quantizers.spreading_vectors.modeling_spreading_vectors"
    ),
    "training.joint_steps": "cmr_hub.training.distributed",
    "training.kept": "cmr_hub.experiments.run_cache",
    "training.pairs": "cmr_hub.training.datasets",
    "training.picture_pairs": "cmr_hub.training.image_datasets",
    "training.results_page": "cmr_hub.results.page",
    "training.ship": "cmr_hub.experiments.export_features",
    "training.spread": "cmr_hub.training.train_quantizer",
    "training.tune": "cmr_hub.training.finetune",
    "training.watched_epochs": "cmr_hub.training.test_selection",
    "training.yardsticks": "cmr_hub.experiments.baselines",
}

MOVED = {
    f"{origin}.{name}": f"{package}.{name}"
    for origin, moved in (
        ("cmr_hub", _MOVED_INTO),
        ("cmr_hub.space", _MOVED_WITHIN_SPACE),
        ("training", _MOVED_FROM_TRAINING),
    )
    for package, names in moved.items()
    for name in names
} | _RENAMED


class _MovedModules(MetaPathFinder, Loader):
    """Finds modules by their old names. An old and a new name lead to one module object, and to the same classes."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in MOVED else None

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave it to the import system: the module that is made is replaced in `exec_module`."""

    def exec_module(self, module: ModuleType) -> None:
        old = module.__name__
        warn_moved(old)
        sys.modules[old] = import_module(MOVED[old])


def warn_moved(old: str) -> None:
    """Warn that a module was imported by its old path."""
    warn_deprecated(f"{old} is deprecated and will be removed in {REMOVED_IN}: import {MOVED[old]} instead.")


def offer_old_paths() -> None:
    """Make the old paths importable."""
    if not any(isinstance(finder, _MovedModules) for finder in sys.meta_path):
        # First, so that a module of a moved package is not loaded a second time through the folder of the new one.
        sys.meta_path.insert(0, _MovedModules())
