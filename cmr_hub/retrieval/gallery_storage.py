"""Save, load and publish whole galleries: items and embeddings as Parquet, settings as JSON, no index."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from datasets import Dataset

from cmr_hub.data.columns import Modality
from cmr_hub.data.image_cells import ImageFiles
from cmr_hub.errors import CheckpointError
from cmr_hub.hub import push_folder
from cmr_hub.utils.checkpoint_files import inner_path
from cmr_hub.utils.checksums import saved
from cmr_hub.utils.hub import Location
from cmr_hub.utils.local_paths import without_local_paths

from .gallery_checks import check_columns, check_count, check_shard
from .gallery_files import EMBEDS, REAL_VALUED, read_items, write_config, write_items
from .gallery_layout import (
    CONFIG_NAME,
    MAP_NAME,
    RECORD_NAME,
    RETRIEVER,
    SHARD_ROWS,
    UNUSABLE_NAME,
    shard_path,
)
from .retriever import Retriever

# Of a gallery that was there before: more shards than now, what building it left, its map.
REPLACED = ("items-*", RECORD_NAME, UNUSABLE_NAME, MAP_NAME)


@dataclass(frozen=True)
class StoredGallery:
    """What is stored of a gallery, apart from its retriever.

    Attributes:
        name: of the gallery.
        dataset: the items.
        embeds: modality -> their embeddings.
        real_valued: modality -> the values behind codes, where they are stored.
        index: name of the index.
        index_options: what the index is made with.
        image_files: which files image cells may name, where images are copied into the folder.
    """

    name: str
    dataset: Dataset
    embeds: Mapping[Modality, np.ndarray]
    real_valued: Mapping[Modality, np.ndarray]
    index: str
    index_options: Mapping[str, Any]
    image_files: ImageFiles | None = None

    def save(self, folder: str | os.PathLike, retriever: Retriever, *, is_public: bool = False) -> None:
        """Write the files of the gallery; an earlier gallery in the folder survives a failure.

        Args:
            folder: receives the files.
            retriever: the checkpoint, which is named in the settings.
            is_public: of a folder of this machine only the last name is written.
        """
        columns = {EMBEDS[modality]: rows for modality, rows in self.embeds.items()}
        columns |= {REAL_VALUED[modality]: rows for modality, rows in self.real_valued.items()}
        shards = range(0, len(self.dataset), SHARD_ROWS)
        with saved(folder, replaces=REPLACED) as scratch:
            for number, start in enumerate(shards):
                rows = range(start, min(start + SHARD_ROWS, len(self.dataset)))
                embeds = {column: each[rows.start : rows.stop] for column, each in columns.items()}
                items = self.dataset.select(rows)
                write_items(shard_path(scratch, number), items, embeds, image_files=self.image_files)
            config = {
                "name": self.name,
                "retriever": without_local_paths(retriever.reference) if is_public else retriever.reference,
                "fingerprint": retriever.fingerprint,
                "index": self.index,
                "index_options": self.index_options,
                "shards": len(shards),
            }
            write_config(scratch, config)

    @classmethod
    def load(cls, folder: Path, config: Mapping[str, Any]) -> Self:
        """Read what [`save`] wrote.

        Args:
            folder: of the gallery.
            config: its settings, checked by [`~cmr_hub.retrieval.gallery_checks.check_settings`].

        Raises:
            CheckpointError: files that are missing or corrupt, or hold what no gallery does.
        """
        check_count(folder, config["shards"])
        paths = [shard_path(folder, number) for number in range(config["shards"])]
        paths = [path for path in paths if check_shard(path)]  # of a source's rows all may have been unusable
        if not paths:
            raise CheckpointError(f"The gallery in {folder} has no items. Build or fetch it again.")
        try:
            dataset, columns = read_items(paths)
            check_columns(dataset, folder)
        except CheckpointError:
            raise
        except Exception as error:  # of pyarrow or datasets, by what is broken
            raise CheckpointError(
                f"The gallery in {folder} cannot be read: {error!r}. Build or fetch it again."
            ) from error
        return cls(
            config["name"],
            dataset,
            {modality: columns[column] for modality, column in EMBEDS.items() if column in columns},
            {modality: columns[column] for modality, column in REAL_VALUED.items() if column in columns},
            config["index"],
            config["index_options"],
        )

    def push(self, retriever: Retriever, repo_id: str, **options: Any) -> str:
        """Publish the files of the gallery with a card; see `Gallery.push_to_hub`."""
        with tempfile.TemporaryDirectory() as scratch:
            self.save(scratch, retriever, is_public=True)
            (Path(scratch) / "README.md").write_text(self._card(retriever))
            required = ("README.md", CONFIG_NAME, shard_path(Path(), 0).name)
            return push_folder(scratch, repo_id, repo_type="dataset", required=required, **options)

    def _card(self, retriever: Retriever) -> str:
        info = self.dataset.info
        embedded = f"{len(self.dataset)} items embedded by `{without_local_paths(retriever.reference)}`."
        return (
            f"---\nlicense: {json.dumps(info.license or 'unknown')}\ntags:\n- cross-modal-retrieval\n"
            f"configs:\n- config_name: default\n  data_files: items-*.parquet\n---\n\n# {self.name}\n\n"
            f"{embedded} {info.description or ''}\n\n"
            f'```python\nimport cmr_hub\ngallery = cmr_hub.Gallery.from_pretrained("<this repo>")\n'
            f'gallery.search(text="…", k=10)\n```\n'
        )


def load_retriever(
    folder: Path, config: Mapping[str, Any], given: Retriever | None, source: Location, verify: bool
) -> Retriever:
    """The retriever of a saved gallery.

    Args:
        folder: of the gallery.
        config: its settings.
        given: the retriever that the user gives; by default the one in the folder `retriever`, or the one that the
            settings name, is loaded.
        source: from where a checkpoint of the Hub is fetched.
        verify: compare the checkpoint's files with their digests.

    Raises:
        CheckpointError: none is given or named, or the gallery was embedded with other weights.
    """
    retriever = given
    if retriever is None and inner_path(folder, RETRIEVER).is_dir():
        retriever = Retriever.from_pretrained(folder / RETRIEVER, verify=verify)
    if retriever is None:
        if not config.get("retriever"):
            raise CheckpointError(f"{folder} does not name its retriever: pass the one it was made with.")
        retriever = Retriever.from_pretrained(config["retriever"], **source, verify=verify)
    if retriever.fingerprint != config.get("fingerprint"):
        raise CheckpointError(
            f"{folder} was embedded with other weights than those of {retriever.name!r}: pass the retriever it was "
            f"made with ({config.get('retriever')!r}), or build it anew with Gallery.from_dataset."
        )
    return retriever
