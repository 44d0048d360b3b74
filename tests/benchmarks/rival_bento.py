"""The same bundle behind BentoML, numpy all the way: what `bench-serving` measures ours against."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import bentoml

from tasks.bundles.bundle import load_bundle


@bentoml.service(workers=1)
class Rival:
    """Loads the bundle once, runs its feature program and its predictor on every request."""

    def __init__(self) -> None:
        self.bundle = load_bundle(Path(os.environ["BENCH_BUNDLE"]))
        self.executor = self.bundle.program.compile()

    @bentoml.api(route="/invocations")
    def invocations(self, dataframe_records: list[dict[str, Any]]) -> dict[str, Any]:
        """Answer as MLflow does."""
        matrix = self.executor.matrix(dataframe_records)
        return {"predictions": self.bundle.predictor.predict(matrix).tolist()}
