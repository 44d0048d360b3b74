"""XGBoost's names: which settings change what trees of numbers learn, and which would be passed over or end it."""

from __future__ import annotations

from collections.abc import Iterable

from tasks.modelling.parameter_names import unheard

_FOLLOWS = "it follows from the task; leave it out"
_ANEW = "trees are grown anew, as `tree_method` says; leave it out"
_IMPOSSIBLE = {
    **dict.fromkeys(("base_score", "booster", "enable_categorical", "eval_metric", "num_class", "objective"), _FOLLOWS),
    **dict.fromkeys(("process_type", "refresh_leaf", "updater"), _ANEW),
    "disable_default_eval_metric": "how training goes is said by that metric; leave it out",
    "early_stopping_rounds": "write `patience`, a field of its own",
    "multi_strategy": "a tree has one output here; leave it out",
    "n_estimators": "write `rounds`, a field of its own",
    "num_boost_round": "write `rounds`, a field of its own",
}
"""Settings that decide how trees are run, or that `xgboost.train` does not take."""
_NAMES = {
    "alpha": ("reg_alpha",),
    "colsample_bylevel": (),
    "colsample_bynode": (),
    "colsample_bytree": (),
    "device": (),
    "gamma": ("min_split_loss",),
    "grow_policy": (),
    "interaction_constraints": (),
    "lambda": ("reg_lambda",),
    "learning_rate": ("eta",),
    "max_bin": (),
    "max_cached_hist_node": (),
    "max_delta_step": (),
    "max_depth": (),
    "max_leaves": (),
    "min_child_weight": (),
    "monotone_constraints": (),
    "nthread": ("n_jobs",),
    "num_parallel_tree": (),
    "sampling_method": (),
    "scale_pos_weight": (),
    "seed": ("random_state",),
    "seed_per_iteration": (),
    "sparse_threshold": (),
    "subsample": (),
    "tree_method": (),
    "validate_parameters": (),
    "verbosity": (),
}
"""Of version 3.2 (doc/parameter.rst): settings of trees without categories and of our objectives, and other names."""


def unknown_parameters(params: Iterable[str], objective: str) -> dict[str, str]:
    """Return the names of parameters that XGBoost does not know, would not hear, or cannot learn by, and why."""
    impossible = {name: _IMPOSSIBLE[name] for name in params if name in _IMPOSSIBLE}
    if objective.startswith("multi:") and "scale_pos_weight" in params:
        impossible["scale_pos_weight"] = "it is of two classes; write `model.weights`"
    others = [name for name in params if name not in impossible]
    return impossible | unheard(others, _NAMES, "XGBoost has no such setting for trees of numbers")
