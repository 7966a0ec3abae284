"""What all views share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from ..components.session_state import SessionState, Updates
from ..services.catalogue import Catalogue
from ..services.queries import Asked


class View(ABC):
    """One tab of the page; to be made inside `gr.Blocks`, in the tab that is open.

    Args:
        catalogue: the galleries.
        session_state: the components that all views share.

    Attributes:
        name: its name in links.
        title: on the tab.
        needs_gallery: whether there is nothing to show in it without a gallery that is ready.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    needs_gallery: ClassVar[bool] = False

    def __init__(self, catalogue: Catalogue, session_state: SessionState):
        self.catalogue, self.session_state = catalogue, session_state
        self._lay_out()
        self._connect()

    @abstractmethod
    def _lay_out(self) -> None:
        """Make the components."""

    @abstractmethod
    def _connect(self) -> None:
        """Connect their events."""

    @property
    @abstractmethod
    def page(self) -> list[Any]:
        """The components that [`open`] may change."""

    @abstractmethod
    def open(self, name: str, method: str | None, asked: Asked | None) -> Updates:
        """Show the view. The page calls it when the tab is chosen, or the gallery or the model changes.

        Args:
            name: the gallery.
            method: the model; None where the gallery is not ready.
            asked: the question; None where the gallery is not ready.
        """

    def is_for(self, name: str, method: str | None) -> bool:
        """Whether there is anything to show of a gallery and one of its models; else the tab is hidden."""
        return True


class GalleryView(View):
    """A view that shows nothing without a gallery that is ready."""

    needs_gallery = True

    def open(self, name: str, method: str | None, asked: Asked | None) -> Updates:
        """Show a gallery that is ready; of any other nothing."""
        return {} if method is None or asked is None else self.open_gallery(name, method, asked)

    @abstractmethod
    def open_gallery(self, name: str, method: str, asked: Asked) -> Updates:
        """Show a gallery, one of its models, and the question that is asked."""
