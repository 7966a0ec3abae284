"""The commands, one module each: `<name>.py` defines `command`. They are listed in `cmr_hub/cli/main.py`."""
