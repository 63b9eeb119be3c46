"""``python -m numaml`` is the command ``numaml``."""

import sys

from .cli import main

sys.exit(main())
