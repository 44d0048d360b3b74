"""Slots: tables of the names that a use case may write, and the addresses of the parts they stand for.

How they are read is in `expectations.named_parts`. A new part is one line here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from expectations.named_parts import Slot

if TYPE_CHECKING:
    from expectations.alert_rules import AlertRule
    from expectations.calibration import Calibration
    from expectations.data import Source
    from expectations.deciding import Policy
    from expectations.drift_scores import DriftScore
    from expectations.families import Family
    from expectations.gates import Gate
    from expectations.measures import Measure
    from expectations.metrics import Metric
    from expectations.parts import CleaningStep, FeatureStep
    from expectations.problems import Problem
    from expectations.protection import Protection
    from expectations.references import ReferenceChoice
    from expectations.types.column import TypeOfColumn

FEATURES: Slot[FeatureStep] = Slot(
    "feature step",
    "expectations.parts:FeatureStep",
    {
        "numeric": "tasks.preprocessing.steps.numeric:Numeric",
        "expression": "tasks.preprocessing.steps.expression:ExpressionFeature",
        "calendar": "tasks.preprocessing.steps.calendar:CalendarParts",
        "cyclic": "tasks.preprocessing.steps.cyclic:Cyclic",
        "holidays": "tasks.preprocessing.steps.holidays:Holidays",
        "impute": "tasks.preprocessing.steps.impute:Impute",
        "outliers": "tasks.preprocessing.steps.outliers:Outliers",
        "encode": "tasks.preprocessing.steps.encode:Encode",
        "one_hot": "tasks.preprocessing.steps.one_hot:OneHot",
        "frequency": "tasks.preprocessing.steps.frequency:Frequency",
        "hashed": "tasks.preprocessing.steps.hashed:Hashed",
        "cross": "tasks.preprocessing.steps.cross:Cross",
        "scale": "tasks.preprocessing.steps.scale:Scale",
        "discretize": "tasks.preprocessing.steps.discretize:Discretize",
        "principal_components": "tasks.preprocessing.steps.principal_components:PrincipalComponents",
        "text_length": "tasks.preprocessing.steps.text_length:TextLength",
        "ngrams": "tasks.preprocessing.steps.ngrams:Ngrams",
        "tfidf": "tasks.preprocessing.steps.tfidf:Tfidf",
        "tokens": "tasks.preprocessing.steps.tokens:Tokens",
        "pixels": "tasks.preprocessing.steps.pixels:PixelsStep",
        "target": "tasks.preprocessing.steps.target:TargetEncoding",
        "select": "tasks.preprocessing.steps.select:Select",
    },
    "driftwheel.feature_steps",
)
CLEANING: Slot[CleaningStep] = Slot(
    "cleaning step",
    "expectations.parts:CleaningStep",
    {
        "drop_duplicates": "tasks.cleaning.steps.drop_duplicates:DropDuplicates",
        "clip": "tasks.cleaning.steps.clip:Clip",
        "bounds": "tasks.cleaning.steps.bounds:WithinBounds",
        "convert": "tasks.cleaning.steps.convert:Convert",
        "round": "tasks.cleaning.steps.round:Round",
        "trim": "tasks.cleaning.steps.trim:Trim",
        "map": "tasks.cleaning.steps.map_values:MapValues",
        "drop_missing": "tasks.cleaning.steps.drop_missing:DropMissing",
    },
    "driftwheel.cleaning_steps",
)
SOURCES: Slot[Source] = Slot(
    "source",
    "expectations.data:Source",
    {
        "file": "tasks.collection.sources.file:FileSource",
        "package": "tasks.collection.sources.package:PackageSource",
        "http": "tasks.collection.sources.http:HttpSource",
        "python": "tasks.collection.sources.python:PythonSource",
        "sql": "tasks.collection.sources.sql:SqlSource",
    },
    "driftwheel.sources",
    tag="kind",
)
FAMILIES: Slot[Family] = Slot(
    "model family",
    "expectations.families:Family",
    {
        "lightgbm": "tasks.modelling.boosted_trees:LightGBM",
        "xgboost": "tasks.modelling.xgboost_family:XGBoost",
        "linear": "tasks.modelling.linear:Linear",
        "torch.mlp": "tasks.modelling.torch_mlp:TorchMLP",
        "torch.transformer": "tasks.modelling.torch_transformer:TorchTransformer",
        "torch.cnn": "tasks.modelling.torch_signals:TorchCNN",
        "backbone": "tasks.modelling.backbone:Backbone",
        "torch.rnn": "tasks.modelling.torch_signals:TorchRNN",
        "torch.text": "tasks.modelling.torch_text:TorchText",
        "torch.module": "tasks.modelling.torch_module:TorchModule",
        "adopted": "tasks.modelling.adopted:Adopted",
    },
    "driftwheel.families",
    tag="family",
)
CALIBRATIONS: Slot[Calibration] = Slot(
    "calibration",
    "expectations.calibration:Calibration",
    {
        "isotonic": "tasks.modelling.calibrations.isotonic:Isotonic",
        "line": "tasks.modelling.calibrations.line:Line",
        "platt": "tasks.modelling.calibrations.platt:Platt",
        "temperature": "tasks.modelling.calibrations.temperature:Temperature",
    },
    "driftwheel.calibrations",
    tag="calibration",
)
PROBLEMS: Slot[Problem] = Slot(
    "problem kind",
    "expectations.problems:Problem",
    {
        "binary_classification": "tasks.problems.binary:Binary",
        "multiclass_classification": "tasks.problems.multiclass:Multiclass",
        "regression": "tasks.problems.regression:Regression",
    },
    "driftwheel.problems",
    tag="task",
)
METRICS: Slot[Metric] = Slot(
    "metric",
    "expectations.metrics:Metric",
    {
        "roc_auc": "tasks.evaluation.scores.ranking:RocAuc",
        "average_precision": "tasks.evaluation.scores.ranking:AveragePrecision",
        "accuracy": "tasks.evaluation.scores.classification:Accuracy",
        "precision": "tasks.evaluation.scores.classification:Precision",
        "recall": "tasks.evaluation.scores.classification:Recall",
        "f1": "tasks.evaluation.scores.classification:F1",
        "specificity": "tasks.evaluation.scores.classification:Specificity",
        "matthews": "tasks.evaluation.scores.agreement:Matthews",
        "cohen_kappa": "tasks.evaluation.scores.agreement:CohenKappa",
        "kolmogorov_smirnov": "tasks.evaluation.scores.ranking:KolmogorovSmirnov",
        "calibration_error": "tasks.evaluation.scores.calibration:CalibrationError",
        "balanced_accuracy": "tasks.evaluation.scores.multiclass:BalancedAccuracy",
        "f1_macro": "tasks.evaluation.scores.multiclass:F1Macro",
        "f1_weighted": "tasks.evaluation.scores.multiclass:F1Weighted",
        "precision_macro": "tasks.evaluation.scores.multiclass:PrecisionMacro",
        "top_3_accuracy": "tasks.evaluation.scores.multiclass:Top3Accuracy",
        "roc_auc_ovr": "tasks.evaluation.scores.multiclass:RocAucOvr",
        "log_loss": "tasks.evaluation.scores.classification:LogLoss",
        "cost": "tasks.evaluation.scores.classification:Cost",
        "brier": "tasks.evaluation.scores.classification:Brier",
        "rmse": "tasks.evaluation.scores.regression:Rmse",
        "mae": "tasks.evaluation.scores.regression:Mae",
        "r2": "tasks.evaluation.scores.regression:R2",
        "mape": "tasks.evaluation.scores.regression:Mape",
        "wape": "tasks.evaluation.scores.regression:Wape",
        "rmsle": "tasks.evaluation.scores.regression:Rmsle",
        "median_absolute_error": "tasks.evaluation.scores.regression:MedianAbsoluteError",
    },
    "driftwheel.metrics",
    tag="metric",
)
GATES: Slot[Gate] = Slot(
    "gate",
    "expectations.gates:Gate",
    {
        "slice": "tasks.evaluation.part_gates:SliceGate",
        "fairness": "tasks.evaluation.part_gates:FairnessGate",
        "versus": "tasks.evaluation.gates:ComparisonGate",
        "folds": "tasks.evaluation.gates:FoldsGate",
        "metric": "tasks.evaluation.gates:AbsoluteGate",
    },
    "driftwheel.gates",
)
MEASURES: Slot[Measure] = Slot(
    "measure",
    "expectations.measures:Measure",
    {"domain_classifier": "tasks.evaluation.measures.domain_classifier:DomainClassifier"},
    "driftwheel.measures",
    tag="measure",
)
REFERENCES: Slot[ReferenceChoice] = Slot(
    "reference",
    "expectations.references:ReferenceChoice",
    {
        "training": "tasks.evaluation.references.training:Training",
        "period": "tasks.evaluation.references.period:Period",
        "season": "tasks.evaluation.references.season:Season",
        "recent": "tasks.evaluation.references.recent:Recent",
        "auto": "tasks.evaluation.references.auto:Auto",
    },
    "driftwheel.references",
    tag="of",
)
PROTECTIONS: Slot[Protection] = Slot(
    "protection",
    "expectations.protection:Protection",
    {
        "hash": "tasks.stores.protections.hash:Hash",
        "drop": "tasks.stores.protections.drop:Drop",
        "truncate": "tasks.stores.protections.truncate:Truncate",
        "bucket": "tasks.stores.protections.bucket:Bucket",
        "encrypt": "tasks.stores.protections.encrypt:Encrypt",
        "keep": "tasks.stores.protections.keep:Keep",
    },
    "driftwheel.protections",
)
DRIFT_SCORES: Slot[DriftScore] = Slot(
    "drift score",
    "expectations.drift_scores:DriftScore",
    {
        "wasserstein": "tasks.evaluation.drift_scores.wasserstein:Wasserstein",
        "jensen_shannon": "tasks.evaluation.drift_scores.jensen_shannon:JensenShannon",
        "total_variation": "tasks.evaluation.drift_scores.total_variation:TotalVariation",
        "population_stability": "tasks.evaluation.drift_scores.population_stability:PopulationStability",
    },
    "driftwheel.drift_scores",
    tag="score",
)
ALERT_RULES: Slot[AlertRule] = Slot(
    "alert rule",
    "expectations.alert_rules:AlertRule",
    {
        "stray": "tasks.monitoring.rules.stray:Stray",
        "silent": "tasks.monitoring.rules.silent:Silent",
        "unusable": "tasks.monitoring.rules.unusable:Unusable",
        "unseen": "tasks.monitoring.rules.unseen:Unseen",
        "slices": "tasks.monitoring.rules.parts_of_rows:Slices",
        "unfair": "tasks.monitoring.rules.parts_of_rows:Unfair",
        "unmatched": "tasks.monitoring.rules.unmatched:UnmatchedFeedback",
        "rising": "tasks.monitoring.rules.rising:Rising",
        "drift": "tasks.monitoring.rules.decided:DriftFound",
        "loss": "tasks.monitoring.rules.decided:Loss",
        "unscored": "tasks.monitoring.rules.unscored:Unscored",
        "low_coverage": "tasks.monitoring.rules.low_coverage:LowCoverage",
    },
    "driftwheel.alert_rules",
    tag="rule",
)
COLUMN_TYPES: Slot[TypeOfColumn] = Slot(
    "column type",
    "expectations.types.column:TypeOfColumn",
    {
        "number": "expectations.types.number:Number",
        "integer": "expectations.types.integer:Integer",
        "text": "expectations.types.text:Text",
        "boolean": "expectations.types.boolean:Boolean",
        "instant": "expectations.types.instant:Instant",
        "image": "expectations.types.image:Image",
    },
    "",
    tag="type",
    closed="the lake, the journal, bundles and the service write a value of each type in a way of its own",
)
DEFAULT_TRIGGER = "trial"
POLICIES: Slot[Policy] = Slot(
    "policy",
    "expectations.deciding:Policy",
    {
        "trial": "tasks.deciding.triggers.trial:TrialPolicy",
        "performance": "tasks.deciding.triggers.performance:PerformancePolicy",
        "estimated": "tasks.deciding.triggers.estimated:Estimated",
        "drift": "tasks.deciding.triggers.drift:DriftPolicy",
        "schedule": "tasks.deciding.triggers.schedule:SchedulePolicy",
    },
    "driftwheel.policies",
    tag="trigger",
    untagged=lambda written: "performance" if {"violations", "of"} & written.keys() else DEFAULT_TRIGGER,
)
SLOTS: dict[str, Slot[Any]] = {
    "sources": SOURCES,
    "columns": COLUMN_TYPES,
    "personal": PROTECTIONS,
    "cleaning": CLEANING,
    "features": FEATURES,
    "task": PROBLEMS,
    "candidates": FAMILIES,
    "calibration": CALIBRATIONS,
    "metrics": METRICS,
    "gates": GATES,
    "measures": MEASURES,
    "references": REFERENCES,
    "drift_scores": DRIFT_SCORES,
    "alert_rules": ALERT_RULES,
    "policies": POLICIES,
}
"""Each slot by what a use case fills it under."""
