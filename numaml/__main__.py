"""``python -m numaml`` is the command ``numaml``."""

import sys

from .command.main import main

sys.exit(main())
