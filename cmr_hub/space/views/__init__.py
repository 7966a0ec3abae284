"""The views, in the order of their tabs. No other module outside of this folder knows them by name."""

from __future__ import annotations

from .base import View
from .compare import CompareView
from .look import LookView
from .map import MapView
from .results import ResultsView
from .scores import ScoresView
from .search import SearchView
from .use import UseView
from .user_gallery import UserGalleryView

VIEWS: tuple[type[View], ...] = (
    SearchView,
    CompareView,
    MapView,
    LookView,
    ScoresView,
    ResultsView,
    UserGalleryView,
    UseView,
)

__all__ = ["VIEWS", "View"]
