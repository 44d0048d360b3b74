"""Write small models of CatBoost, and what CatBoost says of some rows: what ours is held to.

    make.py

Run once, with catboost 1.2.10; neither the tests nor driftwheel need it.
"""

import json
from pathlib import Path

import numpy as np
from catboost import CatBoostClassifier, CatBoostRegressor

HERE = Path(__file__).parent
SETTINGS = {"iterations": 6, "depth": 3, "thread_count": 1, "verbose": 0, "allow_writing_files": False}


def main() -> None:
    """Write a file for each kind of problem, and the rows with what is said of them."""
    random = np.random.default_rng(0)
    whole = random.normal(size=(400, 3))
    rows = np.where(random.random(whole.shape) < 0.15, np.nan, whole)
    amount = 10 + np.nan_to_num(rows[:, 0]) + 2 * np.isnan(rows[:, 1]) + random.normal(size=400) / 4
    words = np.array(["high", "low", "middle"])[np.digitize(whole[:, 0] + whole[:, 2], [-0.5, 0.5])]
    mixed = ["0:nan_mode=Max", "1:nan_mode=Min", "2:nan_mode=Max"]
    made = {
        "binary": CatBoostClassifier(nan_mode="Max", **SETTINGS).fit(rows, np.where(amount > 10.5, "late", "early")),
        "multiclass": CatBoostClassifier(loss_function="MultiClass", **SETTINGS).fit(whole, words),
        "regression": CatBoostRegressor(per_float_feature_quantization=mixed, **SETTINGS).fit(rows, amount),
    }
    for name, model in made.items():
        file = HERE / f"{name}.json"
        model.save_model(file, format="json")
        said = json.loads(file.read_text())
        del said["model_info"]["catboost_version_info"], said["model_info"]["training"]
        file.write_text(json.dumps(said, indent=1) + "\n")
        asked = np.vstack(
            [rows[:30], at_borders(said), np.full((2, 3), [[np.inf], [-np.inf]]), np.full((1, 3), np.nan)]
        )
        answers = model.predict(asked) if name == "regression" else model.predict_proba(asked)
        held = {"rows": asked.tolist(), "said": answers.tolist()}
        (HERE / f"{name}-said.json").write_text(json.dumps(held) + "\n")


def at_borders(said: dict) -> np.ndarray:
    """Return rows whose numbers are borders, a little more of which 32 bits keep nothing, and the next number above."""
    features = said["features_info"]["float_features"]
    borders = [np.resize(each["borders"] or [0.0], 4).astype(np.float32) for each in features]
    exact = np.column_stack(borders).astype(np.float64)
    above = np.nextafter(np.column_stack(borders), np.float32(np.inf)).astype(np.float64)
    return np.vstack([exact, np.nextafter(exact, np.inf), above])


if __name__ == "__main__":
    main()
