"""Training, measuring, publishing and preparing: `python -m training --help`."""
