"""How MLflow loads a bundle as pyfunc: ``mlflow.pyfunc.load_model("models:/NAME@champion")``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from tasks.bundles.bundle import Bundle, load_bundle

if TYPE_CHECKING:
    import pandas as pd


class BundleModel:
    """Predicts a pandas frame of raw columns."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle

    def predict(
        self, model_input: pd.DataFrame, params: dict[str, object] | None = None
    ) -> npt.NDArray[np.float64 | np.bool_ | np.object_]:
        """Return the default output of the service, or labels where ``params`` say ``{"output": "label"}``."""
        out, manifest = self.bundle.predict(pl.from_pandas(model_input)), self.bundle.manifest
        if (params or {}).get("output") == "label":
            return np.asarray(manifest.problem.decide(out, manifest.answers))
        return out


def _load_pyfunc(path: str) -> BundleModel:
    """Entry point MLflow looks up by this name."""
    return BundleModel(load_bundle(Path(path)))
