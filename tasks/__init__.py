"""What is done: one package for each stage of the loop, and the stores they share."""

import os

# Threads of OpenMP (LightGBM, torch, scikit-learn) that have nothing to do sleep in place of spinning: where others use
# the cores, too, a model is learnt in a twentieth of the time. It is read as these are loaded, so it stands before all.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
