"""`python -m training` is an alias of the `cmr` command."""

import sys

from cmr_hub.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
