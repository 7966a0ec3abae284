"""Visitors' own galleries: each lives in a private folder of this server while its visitor stays. No page in here.

They are embedded one at a time, a few images after the other, so that searches of other visitors find their turn in
between. Nothing is written anywhere but in the private folder, and what is removed is removed from disk and memory.
"""

from __future__ import annotations

import atexit
import logging
import queue
import tempfile
import threading
import time
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cmr_hub.errors import CMRError, InputError
from cmr_hub.retrieval.gallery import Gallery
from cmr_hub.utils.private_folder import PrivateFolder

from .catalogue import Catalogue
from .preparation import Progress
from .received_files import received_file
from .unpacking import MAX_UNPACKED
from .upload_tables import MB
from .uploads import part_of, read_upload
from .user_checkpoints import load_retriever, own_checkpoints
from .user_gallery import UserGallery, embed, write_zip

logger = logging.getLogger(__name__)

PREFIX = "cmr-own-"
READING = 0.3  # the share of the whole that unpacking and looking at images is taken for
MAX = 20  # galleries held at once, being built or ready
MAX_BYTES = 2_000 * MB  # held at once
MAX_PER_VISITOR = 3  # galleries held at once of one address, whatever sessions it opens
GRACE = 180.0  # seconds for a page to come back after its connection was lost, or to show that it is there at all
IDLE = 3600.0  # seconds without a question
MAX_TITLE = 60


class _Stopped(Exception):
    """The visitor does not want it any more."""


class UserGalleries:
    """The visitors' own galleries, at most one per browser session. Safe to share between threads.

    Args:
        catalogue: serves those that are ready.
        most, most_bytes: how many galleries, and bytes of images, are held at once.
        most_per_visitor: how many of one address.
        grace: seconds that a page whose connection was lost has to come back.
        unseen: seconds until the first sign of life of a page; a caller without one takes no place for long.
        idle: seconds without anything new being asked after which a gallery is removed.

    Attributes:
        root: the private folder that all are in; removed at exit.

    Example:
    ```python
    >>> from cmr_hub.space.services.catalogue import Catalogue
    >>> from cmr_hub.space.services.user_galleries import UserGalleries
    >>> galleries = UserGalleries(Catalogue())
    >>> galleries["a browser session"] is None
    True
    ```
    """

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        most: int = MAX,
        most_bytes: int = MAX_BYTES,
        most_per_visitor: int = MAX_PER_VISITOR,
        grace: float = GRACE,
        unseen: float = GRACE,
        idle: float = IDLE,
    ):
        self.catalogue, self.most, self.most_bytes, self.grace, self.idle = catalogue, most, most_bytes, grace, idle
        self.most_per_visitor, self.unseen = most_per_visitor, unseen
        self._folder = PrivateFolder(PREFIX)
        self.root = self._folder.path
        self._owns: dict[str, UserGallery] = {}
        self._waiting: queue.SimpleQueue[tuple[UserGallery, list[Mapping[str, Any]]]] = queue.SimpleQueue()
        self._lock = threading.RLock()
        self._worker: threading.Thread | None = None
        atexit.register(self.close)

    def __getitem__(self, session: str) -> UserGallery | None:
        """The gallery of a browser session; None where it has none."""
        return self._owns.get(session)

    def build(
        self,
        session: str,
        files: Sequence[Mapping[str, Any]],
        title: str = "",
        model: str | None = None,
        visitor: str = "",
    ) -> UserGallery:
        """Make a gallery of uploaded files, in the place of the one that the session may have. Returns at once.

        Args:
            session: the browser session.
            files: as for [`read_upload`]; they are deleted when they have been read, whatever comes of it.
            title: what to call it.
            model: a title of [`own_checkpoints`]; by default the first.
            visitor: address of whoever asks, see [`client_address`].

        Raises:
            InputError: there are no files, one was not uploaded here, there is no such model, or this server holds as
                much as it can, of this visitor or of all.
        """
        checkpoints = own_checkpoints(self.catalogue)
        model = model or next(iter(checkpoints))
        if not files:
            raise InputError("There are no files yet. Choose images, a zip or a folder first.")
        if model not in checkpoints:
            raise InputError(f"There is no model {model[:60]!r} any more. Choose one from the list.")
        for file in files:
            received_file(file["path"])
        with self._lock:
            others = [own for own in self._owns.values() if own.session != session and own.progress.state != "failed"]
            mine = [own for own in others if own.visitor == visitor]
            if visitor and len(mine) >= self.most_per_visitor:
                raise InputError(
                    f"This server holds {len(mine)} galleries from your address, the most that one may have. Remove "
                    "one, or close its page and wait some minutes."
                )
            if len(others) >= self.most or sum(own.size for own in others) + MAX_UNPACKED > self.most_bytes:
                raise InputError(
                    f"This server holds as many galleries of visitors as it can ({len(others)}). Try again in some "
                    "minutes, or run the Space on a machine of your own."
                )
            self.forget(session)
            title = " ".join(title.encode("utf-8", "replace").decode().split())[:MAX_TITLE] or "My images"
            own = UserGallery(session, title, checkpoints[model], Path(tempfile.mkdtemp(dir=self.root)), visitor)
            self._owns[session] = own
            self._watch(own)
            self._waiting.put((own, list(files)))
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, name="own galleries", daemon=True)
                self._worker.start()
        return own

    def cancel(self, session: str) -> None:
        """Stop building a session's gallery, and remove what there is of it; one that is ready stays."""
        with self._lock:
            own = self._owns.get(session)
            if own is not None and own.progress.is_active:
                self.forget(session)

    def touch(self, session: str, doing: Hashable = None) -> None:
        """A page tells that it is there, and what it shows. The same for long is no use of the gallery."""
        with self._lock:
            own = self._owns.get(session)
            if own is None:
                return
            own.is_seen, own.left = True, None
            if doing != own.doing:
                own.doing, own.used = doing, time.monotonic()

    def leave(self, session: str) -> None:
        """A page's connection is lost: for good, unless [`touch`] comes in time."""
        with self._lock:
            own = self._owns.get(session)
            if own is not None:
                own.left = time.monotonic()
                self._watch(own)

    def forget(self, session: str) -> None:
        """Remove a session's gallery, whatever state it is in, from disk and memory. Removing twice does no harm."""
        with self._lock:
            own = self._owns.pop(session, None)
            if own is None:
                return
            own.stopped.set()
            if own.timer is not None:
                own.timer.cancel()
            self.catalogue.remove_own(own.name)
            own.gallery = None
            own.remove_files()

    def pack(self, session: str, folder: Path) -> Path:
        """A zip of the session's gallery, whose folder `Gallery.from_pretrained` opens on any machine.

        Args:
            session: the browser session.
            folder: receives the zip, in a folder of a name that is not to be guessed; it goes with the gallery.

        Raises:
            InputError: the session has no gallery (any more).
        """
        own = self._owns.get(session)
        gallery = own.gallery if own is not None else None
        if own is not None and gallery is not None:
            with own.packing:
                packed = own.packed
                if packed is None or not packed.exists():  # Gradio clears its folder now and then
                    packed = self._pack(own, gallery, folder / own.name / own.zip_name)
            if not own.stopped.is_set():
                return packed
        raise InputError("There is no gallery any more: it was removed. Build it again.")

    @staticmethod
    def _pack(own: UserGallery, gallery: Gallery, path: Path) -> Path:
        own.packed = path
        try:
            path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
            write_zip(own, gallery, path)
        except OSError:
            if not own.stopped.is_set():
                own.packed = None
                raise
        if own.stopped.is_set():  # removed while it was being packed
            own.remove_files()
        return path

    def close(self) -> None:
        """Remove everything."""
        for session in list(self._owns):
            self.forget(session)
        self._folder.remove()

    def _watch(self, own: UserGallery) -> None:
        """Remove a gallery when its time has come; look again then."""
        with self._lock:
            if own.timer is not None:
                own.timer.cancel()
            if self._owns.get(own.session) is not own:
                return
            ends = [own.used + self.idle]
            if own.left is not None:
                ends.append(own.left + self.grace)
            if not own.is_seen:
                ends.append(own.made + self.unseen)
            remaining = min(ends) - time.monotonic()
            if remaining <= 0:
                self.forget(own.session)
                return
            own.timer = threading.Timer(remaining, self._watch, [own])
            own.timer.daemon = True
            own.timer.start()

    def _work(self) -> None:
        while True:
            own, files = self._waiting.get()
            failure = ""
            try:
                self._build(own, files)
            except _Stopped:
                pass
            except CMRError as error:
                failure = str(error)
            except Exception:
                if not own.stopped.is_set():  # whose files were removed under it fails as it may
                    logger.exception("A visitor's gallery could not be built")
                    failure = "Something went wrong on the server. Try it again."
            if own.progress.state != "done":
                own.size = 0
                own.remove_files()
            if failure:  # told when there is nothing left of it
                own.progress = Progress("failed", message=failure)

    def _build(self, own: UserGallery, files: Sequence[Mapping[str, Any]]) -> None:
        def step(fraction: float, message: str) -> None:
            if own.stopped.is_set():
                raise _Stopped
            own.progress = Progress("running", fraction, message)

        unpacked = own.folder / "upload"
        try:
            step(0, "Starting")
            unpacked.mkdir()
            own.upload = read_upload(files, unpacked, part_of(step, 0, READING))
        finally:
            for file in files:
                Path(file["path"]).unlink(missing_ok=True)
        own.size = sum(path.stat().st_size for path in unpacked.rglob("*") if path.is_file())
        retriever = load_retriever(own.checkpoint.location)
        gallery = embed(own.upload.items, retriever, own.title, part_of(step, READING, 1 - READING))
        with self._lock:
            step(1, "Opening")
            own.gallery, own.used = gallery, time.monotonic()
            self.catalogue.add_own(own.name, own.title, {own.checkpoint.method: gallery})
            own.progress = Progress("done", 1.0, "Ready")
