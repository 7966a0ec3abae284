"""`python -m training` is an alias of the `cmr` command, in which `reproduce --seeds 3` means three seeds."""

import sys

from cmr_hub.cli.main import main

if __name__ == "__main__":
    sys.exit(main(counts_seeds=True))
