"""What `cmr reproduce` measured: one schema, one JSON file per data set in this folder, and renderers over them."""

from .schema import NotMeasured, Published, Reproduction, Row, Table
from .store import list_results, read_results, results_path

__all__ = ["NotMeasured", "Published", "Reproduction", "Row", "Table", "list_results", "read_results", "results_path"]
