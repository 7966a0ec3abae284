"""`python -m cmr_hub.cli` is the `cmr` command, for a package that is not installed and for `accelerate launch -m`."""

import sys

from cmr_hub.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
