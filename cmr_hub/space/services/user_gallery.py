"""One visitor's own gallery: what is known of it, how it is embedded, and how it is packed to be downloaded."""

from __future__ import annotations

import json
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

import numpy as np
from datasets import Dataset

from cmr_hub.data.columns import read_column
from cmr_hub.retrieval.gallery import CONFIG_NAME, Gallery
from cmr_hub.retrieval.gallery_files import write_config
from cmr_hub.retrieval.gallery_layout import RETRIEVER
from cmr_hub.retrieval.retriever import Retriever
from cmr_hub.utils.checksums import saved

from .preparation import Progress
from .unpacking import MAX_UNPACKED, Step
from .uploads import Upload
from .user_checkpoints import Checkpoint

BATCH = 16  # images embedded between two looks at whether to stop; about half a second
WAITING = Progress("waiting", message="Waiting for its turn: one gallery is embedded at a time")
README = """# {title}

{count} items embedded by {model}, as a visitor of the cmr_hub Space made them.

```python
import cmr_hub

gallery = cmr_hub.Gallery.from_pretrained("<this folder>")
gallery.search(text="…", k=10)
```
"""


@dataclass
class UserGallery:
    """One visitor's gallery, from the first file to its removal.

    Attributes:
        session: the browser session.
        title: what the visitor calls it.
        checkpoint: the model.
        folder: everything of it on disk.
        visitor: address of whoever sent it.
        name: what the catalogue calls it; not to be guessed.
        progress: how far it is.
        upload: what was sent, once it is read.
        gallery: once it is ready.
        packed: the zip to download, once somebody has asked for it.
        doing: what the visitor was last seen doing.
        made: when it was asked for.
        used: when that was something new.
        is_seen: whether its page has given a sign of life.
        left: when the page's connection was lost, if it has not come back.
        size: bytes that it takes, or may take while it is being built.
        stopped: set when nothing more shall come of it.
        timer: looks whether it is to be removed.
        packing: held while the zip is written.
    """

    session: str
    title: str
    checkpoint: Checkpoint
    folder: Path
    visitor: str = ""
    name: str = field(default_factory=lambda: f"own-{secrets.token_urlsafe(16)}")
    progress: Progress = WAITING
    upload: Upload | None = None
    gallery: Gallery | None = None
    packed: Path | None = None
    doing: Hashable = None
    made: float = field(default_factory=time.monotonic)
    used: float = field(default_factory=time.monotonic)
    is_seen: bool = False
    left: float | None = None
    size: int = MAX_UNPACKED
    stopped: threading.Event = field(default_factory=threading.Event)
    timer: threading.Timer | None = None
    packing: threading.Lock = field(default_factory=threading.Lock)

    def remove_files(self) -> None:
        """Delete everything of it on disk."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.packed is not None:
            shutil.rmtree(self.packed.parent, ignore_errors=True)

    @property
    def zip_name(self) -> str:
        """Name of the zip to download: the title as a file's name on any system."""
        letters = (letter if letter.isalnum() or letter in " -_" else "-" for letter in self.title)
        return f"{''.join(letters).strip() or 'gallery'}.zip"


def embed(items: Dataset, retriever: Retriever, title: str, step: Step) -> Gallery:
    """As `Gallery.from_dataset`, in steps, of items that may have no texts, and with nothing kept on disk."""
    images = read_column(items, "image")
    texts = read_column(items, "texts") if "texts" in items.column_names else None
    image_embeds, text_embeds = [], []
    for start in range(0, len(items), BATCH):
        stop = min(start + BATCH, len(items))
        step(start / len(items), f"Embedding image {start + 1:,} to {stop:,} of {len(items):,}")
        image_embeds.append(retriever.encode_images(list(images[start:stop])))
        if texts is not None:
            text_embeds.append(retriever.encode_texts(list(texts[start:stop])))
    return Gallery(
        items,
        retriever,
        np.concatenate(image_embeds),
        np.concatenate(text_embeds) if text_embeds else None,
        name=title,
    )


def write_zip(own: UserGallery, gallery: Gallery, path: Path) -> None:
    """Zip a gallery's folder; a checkpoint that only this machine has comes with it."""
    with tempfile.TemporaryDirectory(dir=own.folder) as scratch:
        folder = Path(scratch) / path.stem
        gallery.save_pretrained(folder)
        if Path(own.checkpoint.location).is_dir():
            gallery.retriever.save_pretrained(folder / RETRIEVER)
            config = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
            # Where the checkpoint is on this server means nothing elsewhere.
            with saved(folder) as changed:
                write_config(changed, {**config, "retriever": None})
        readme = README.format(title=own.title, count=len(gallery), model=own.checkpoint.title)
        (folder / "README.md").write_text(readme, encoding="utf-8")
        with ZipFile(path, "w", ZIP_STORED) as archive:  # images do not get any smaller
            for file in sorted(file for file in folder.rglob("*") if file.is_file()):
                archive.write(file, file.relative_to(scratch))
