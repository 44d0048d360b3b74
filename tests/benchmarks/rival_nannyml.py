"""What NannyML estimates, for `estimates.py`; run by a Python that has it (0.13 with pandas < 3).

    PYTHON tests/benchmarks/rival_nannyml.py FOLDER

Each ``*.npz`` holds a reference (prediction, label, matrix) and rows to estimate; the answers go to ``answers.json``.
"""

import json
import sys
from pathlib import Path

import numpy as np


def main() -> None:
    """Estimate each of the files."""
    import nannyml
    import pandas as pd

    folder, answers = Path(sys.argv[1]), {}
    for path in sorted(folder.glob("*.npz")):
        held = np.load(path)
        names = [f"f{at}" for at in range(held["reference_matrix"].shape[1])]
        reference = pd.DataFrame(held["reference_matrix"], columns=names)
        rows = pd.DataFrame(held["matrix"], columns=names)
        reference["said"], rows["said"] = held["reference_prediction"], held["prediction"]
        reference["truth"] = held["reference_label"]
        if str(held["metric"]) == "rmse":
            estimator = nannyml.DLE(
                feature_column_names=names, y_pred="said", y_true="truth", metrics=["rmse"], chunk_number=5
            )
        else:
            reference["called"] = (reference["said"] >= 0.5).astype(int)
            rows["called"] = (rows["said"] >= 0.5).astype(int)
            estimator = nannyml.CBPE(
                y_pred_proba="said",
                y_pred="called",
                y_true="truth",
                problem_type="classification_binary",
                metrics=["roc_auc"],
                chunk_number=5,
            )
        estimator.fit(reference)
        estimator.chunker = nannyml.chunk.CountBasedChunker(1)  # all rows are one
        found = estimator.estimate(rows).filter(period="analysis").to_df()
        metric = str(held["metric"])
        answers[path.stem] = {
            key: float(found[(metric, key)].iloc[0])
            for key in ("value", "lower_confidence_boundary", "upper_confidence_boundary")
        }
    (folder / "answers.json").write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
