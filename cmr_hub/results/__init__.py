"""What `python -m training reproduce` measured: one JSON file a data set in this folder, and tables made of them."""

from .reproduction import NotMeasured, Reproduction, list_results, read_results, results_path
from .table import Row, Table

__all__ = ["NotMeasured", "Reproduction", "Row", "Table", "list_results", "read_results", "results_path"]
