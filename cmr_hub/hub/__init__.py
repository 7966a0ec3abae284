"""Checkpoints and galleries on the Hub: find, list, read and publish them. All of it works on plain folders."""

from cmr_hub.utils.checkpoint_files import read_json
from cmr_hub.utils.hub import RepoType, bundled_checkpoints, bundled_folder, resolve

from .checkpoints import CheckpointInfo, checkpoint_info, list_checkpoints, read_card, read_inputs
from .publish import check_publishable, push_folder

__all__ = [
    "CheckpointInfo",
    "RepoType",
    "bundled_checkpoints",
    "bundled_folder",
    "check_publishable",
    "checkpoint_info",
    "list_checkpoints",
    "push_folder",
    "read_card",
    "read_inputs",
    "read_json",
    "resolve",
]
