"""`python -m unitrack_edge.benchmarks.gpu`: the races."""

import sys

from .compare import main

sys.exit(main())
