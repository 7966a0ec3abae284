"""The views, in the order of their tabs. The only lines outside their own modules that know them are here."""

from __future__ import annotations

from .compare import CompareView
from .look import LookView
from .map import MapView
from .results import ResultsView
from .scores import ScoresView
from .search import SearchView
from .use import UseView
from .user_gallery import UserGalleryView

VIEWS = (SearchView, CompareView, MapView, LookView, ScoresView, ResultsView, UserGalleryView, UseView)
