"""One thread a process: tiny models are faster so, and do not wait for a busy machine at every operation."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
