"""Slots: tables of names that a use case may write, and the parts they stand for.

A part is the class that is declared in ``usecase.yaml`` and does the work, in one module of its stage. A slot holds its
address, so that what is declared can be read without importing what runs; the class is imported when a use case names
it. A name that is not built in is looked up among the entry points of installed packages.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from expectations.errors import BundleError, PartError

if TYPE_CHECKING:
    from expectations.calibration import Calibration
    from expectations.data import Source
    from expectations.deciding import Policy
    from expectations.families import Family
    from expectations.gates import Gate
    from expectations.metrics import Metric
    from expectations.parts import CleaningStep, FeatureStep, Part
    from expectations.problems import Problem

P = TypeVar("P", bound="Part")


class Slot(Generic[P]):
    """A table of parts, told by the key that stands for each: ``{impute: …}`` is the part `impute`.

    As the metadata of an annotation it is a Pydantic type: ``Annotated[FeatureStep, FEATURES]``. Where several of the
    keys written name one, the part is that of the first name built in.

    Parameters
    ----------
    what : str
        What its parts are called in errors.
    base : str
        Address of the class that each part extends, ``module:Class``.
    built_in : mapping of str to str
        Name -> address of the class.
    group : str
        Entry points of other packages.
    tag : str, optional
        The key whose value names the part, where no key does so itself: ``{kind: file, …}`` is the part `file`.
    untagged : callable, optional
        Names the part of what was written without its tag.
    """

    def __init__(
        self,
        what: str,
        base: str,
        built_in: Mapping[str, str],
        group: str,
        tag: str | None = None,
        untagged: Callable[[Mapping[str, object]], str] | None = None,
    ) -> None:
        self.what, self.base, self.built_in, self.group, self.tag = what, base, dict(built_in), group, tag
        self.untagged = untagged

    def names(self) -> tuple[str, ...]:
        """Names that are built in, and then those of installed packages."""
        others = sorted(self._others().keys() - self.built_in.keys())
        return (*self.built_in, *others)

    def find(self, name: str) -> type[P] | None:
        """Return the part of a name; None where there is none.

        Raises
        ------
        PartError
            If what an installed package has under this name cannot be imported, or is no such part, or if two have one.
        """
        address = self.built_in.get(name)
        if address is not None:
            built_in: type[P] = _load(address)
            return built_in
        points = self._others().get(name, ())
        if len(points) > 1:
            several = ", ".join(sorted(point.value for point in points))
            raise PartError(
                f"one {self.what} {name!r}", f"{len(points)}: {several}", "Remove all of these packages but one"
            )
        for point in points:
            expected = f"a {self.what} {name!r} in the package {point.dist.name if point.dist else point.value}"
            try:
                found = point.load()
            except (ImportError, AttributeError) as error:
                raise PartError(expected, f"{error}", f"Repair or remove that package ({point.value})") from error
            if not (isinstance(found, type) and issubclass(found, _load(self.base))):
                raise PartError(expected, f"{point.value}, which extends no {self.base}", "Correct its entry point")
            part: type[P] = found
            return part
        return None

    def released(self, name: str) -> type[P]:
        """Return the part that a bundle names.

        Raises
        ------
        BundleError
            If it is not installed, or its package is broken.
        """
        try:
            part = self.find(name)
        except PartError as error:
            raise BundleError(error.expected, error.found, error.remedy) from error
        if part is None:
            remedy = f"Install the package that has it (entry points {self.group}), or train again"
            raise BundleError(f"a {self.what} that is installed", repr(name), remedy)
        return part

    def _others(self) -> dict[str, tuple[EntryPoint, ...]]:
        return _entry_points(self.group, tuple(sys.path))

    def part_of(self, written: object) -> type[P] | None:
        """Return the part that what was written names."""
        return next(filter(None, map(self.find, self._named(written))), None)

    def _named(self, written: object) -> list[str]:
        """Names a part might have that was written: those built in first, in their order."""
        if not isinstance(written, dict):
            return []
        found = [written.get(self.tag)] if self.tag else list(written)
        if self.untagged is not None and self.tag not in written:
            found = [self.untagged(written)]
        order = list(self.built_in)
        names = [name for name in found if isinstance(name, str)]
        return sorted(names, key=lambda name: order.index(name) if name in order else len(order))

    def _validate(self, value: Any, info: core_schema.ValidationInfo) -> P:  # noqa: ANN401 - whatever was written
        if isinstance(value, _load(self.base)):
            made: P = value
            return made
        try:
            part = self.part_of(value)
        except PartError as error:
            raise ValueError(str(error)) from error  # what Pydantic collects: a problem of this use case, with its line
        if part is None:
            words = {"what": self._expected(), "known": self.names(), "found": self._named(value)}
            raise PydanticCustomError("unknown_part", "{what}", words)
        if info.mode == "json":  # where a list may stand for a tuple
            return part.model_validate_json(json.dumps(value))
        return part.model_validate(value)

    def _expected(self) -> str:
        where = f"the `{self.tag}` of a {self.what} is" if self.tag else f"a {self.what} starts with"
        return f"{where} one of: {', '.join(self.names())}"

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        """Say how Pydantic reads and writes a part of this slot."""
        del source, handler
        return core_schema.with_info_plain_validator_function(
            self._validate, serialization=core_schema.plain_serializer_function_ser_schema(_dump, info_arg=True)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Say it in JSON schema: one of all parts."""
        del schema
        parts = (self.find(name) for name in self.names())
        return {"oneOf": [handler(part.__pydantic_core_schema__) for part in parts if part is not None]}


class NameOf:
    """As the metadata of an annotation, the name of a part: where a use case says which one, and no more of it."""

    def __init__(self, slot: Slot[Any]) -> None:
        self.slot = slot

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        """Say how Pydantic reads it."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Say it in JSON schema: one of the names."""
        return {**handler(schema), "enum": list(self.slot.names())}

    def _check(self, name: str) -> str:
        try:
            part = self.slot.find(name)
        except PartError as error:
            raise ValueError(str(error)) from error
        if part is None:
            known = self.slot.names()
            words = {"what": f"a {self.slot.what} is one of: {', '.join(known)}", "known": known, "found": [name]}
            raise PydanticCustomError("unknown_part", "{what}", words)
        return name


def _dump(value: Part, info: core_schema.SerializationInfo) -> dict[str, Any]:
    return value.model_dump(mode=info.mode, by_alias=bool(info.by_alias))


@cache
def _entry_points(group: str, path: tuple[str, ...]) -> dict[str, tuple[EntryPoint, ...]]:
    """Return those of packages that are installed now: to look takes as long as to read a whole use case."""
    del path
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=group):
        found[point.name] = (*found.get(point.name, ()), point)
    return found


def _load(address: str) -> Any:  # noqa: ANN401 - whatever class lies there
    module, _, name = address.partition(":")
    return getattr(import_module(module), name)


FEATURES: Slot[FeatureStep] = Slot(
    "feature step",
    "expectations.parts:FeatureStep",
    {
        "numeric": "tasks.preprocessing.steps.numeric:Numeric",
        "expression": "tasks.preprocessing.steps.expression:Expression",
        "calendar": "tasks.preprocessing.steps.calendar:Calendar",
        "cyclic": "tasks.preprocessing.steps.cyclic:Cyclic",
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
        "target": "tasks.preprocessing.steps.target:Target",
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
        "linear": "tasks.modelling.linear:Linear",
        "torch.mlp": "tasks.modelling.torch_mlp:TorchMLP",
        "torch.transformer": "tasks.modelling.torch_transformer:TorchTransformer",
        "torch.cnn": "tasks.modelling.torch_signals:TorchCNN",
        "torch.rnn": "tasks.modelling.torch_signals:TorchRNN",
    },
    "driftwheel.families",
    tag="family",
)
CALIBRATIONS: Slot[Calibration] = Slot(
    "calibration",
    "expectations.calibration:Calibration",
    {
        "isotonic": "tasks.modelling.calibrations.isotonic:Isotonic",
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
DEFAULT_TRIGGER = "trial"
POLICIES: Slot[Policy] = Slot(
    "policy",
    "expectations.deciding:Policy",
    {
        "trial": "tasks.deciding.triggers.trial:Trial",
        "performance": "tasks.deciding.triggers.performance:Performance",
        "estimated": "tasks.deciding.triggers.estimated:Estimated",
        "drift": "tasks.deciding.triggers.drift:Drift",
        "schedule": "tasks.deciding.triggers.schedule:Schedule",
    },
    "driftwheel.policies",
    tag="trigger",
    untagged=lambda written: "performance" if {"violations", "of"} & written.keys() else DEFAULT_TRIGGER,
)
SLOTS: dict[str, Slot[Any]] = {
    "sources": SOURCES,
    "cleaning": CLEANING,
    "features": FEATURES,
    "task": PROBLEMS,
    "candidates": FAMILIES,
    "calibration": CALIBRATIONS,
    "metrics": METRICS,
    "gates": GATES,
    "policies": POLICIES,
}
"""Each slot by what a use case fills it under."""
