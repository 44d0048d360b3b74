"""What is done: one package for each stage of the loop, and the stores they share."""

import os

# Threads of OpenMP (LightGBM, torch, scikit-learn) that wait for each other spin for some microseconds and then sleep.
# By default they spin for so long that where others use the cores, too, learning takes a hundred times as long. GNU's
# OpenMP reads it as it is loaded, so it stands before all that does.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
