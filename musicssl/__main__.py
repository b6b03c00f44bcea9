"""``python -m musicssl``: the command `musicssl`."""

import sys

from musicssl.cli.commands import main

sys.exit(main())
