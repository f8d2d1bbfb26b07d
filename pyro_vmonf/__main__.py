"""``python -m pyro_vmonf`` is ``pyro-vmonf``."""

import sys

from pyro_vmonf.cli import main

if __name__ == "__main__":
    sys.exit(main())
