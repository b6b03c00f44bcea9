"""``python -m musicssl.cli``."""

import sys

from musicssl.cli.main import main

sys.exit(main())
