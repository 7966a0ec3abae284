"""Make the features that ship with the package, so that the embedded gallery opens without encoding an image."""

from __future__ import annotations

from pathlib import Path

from datasets import concatenate_datasets

from cmr_hub.data import load_dataset
from cmr_hub.data.columns import read_column
from cmr_hub.encoders import create_encoder
from cmr_hub.processing.feature_store import SHIPPED, FeatureStore


def export_features(dataset: str, encoder: str) -> Path:
    """Encode all images of a data set, and write their features into the package in half precision."""
    store = FeatureStore(create_encoder("image", encoder))
    everything = concatenate_datasets(list(load_dataset(dataset).values()))
    return store.export(read_column(everything, "image"), SHIPPED / f"{store.folder.name}.safetensors")
