"""`python -m musicssl_training.cli`."""

import sys

from musicssl_training.cli.main import main

sys.exit(main())
