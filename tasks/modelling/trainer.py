"""The one trainer of torch families: mini-batches, a schedule, checkpoints, and what is released at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from expectations.errors import TrainingError
from expectations.families import Report, Rows
from expectations.wording import one_line
from tasks.modelling.checkpoints import Checkpoints
from tasks.modelling.epochs import LearningState, run_epochs
from tasks.modelling.fitted_network import FittedNetwork
from tasks.modelling.network_rows import (
    LAST,
    LOSSES,
    WEIGHTS,
    counts_of,
    data_of,
    outputs_of,
    refuse_gaps,
)
from tasks.modelling.networks import Counts
from tasks.modelling.neural import Beside, Neural
from tasks.modelling.processors import are_processors_limited
from tasks.modelling.several_workers import Given, learn_together


class Network(Protocol):
    """What a family's network is made of: its recipe, how many features, which of them are categories, its outputs."""

    def __call__(self, recipe: Any, width: int, counts: Counts, outputs: int) -> nn.Module: ...  # noqa: ANN401, D102


def fit(
    recipe: Neural,
    build: Network,
    train: Rows,
    valid: Rows | None,
    *,
    seed: int,
    report: Report,
    start_from: Path | None,
) -> FittedNetwork:
    """Learn by mini-batches; see `Family.fit`. What was killed goes on from its last epoch.

    With `recipe.workers` so many processes learn together, but one where jobs already share the processors.
    """
    workers = 1 if are_processors_limited() else recipe.workers
    counts = counts_of(train, start_from)
    refuse_gaps(train, recipe)
    for rows in (train, valid):
        if rows is not None:
            recipe.refuse(rows)
    generator = torch.Generator().manual_seed(seed)
    last = LAST[train.task]
    centre, spread = (float(train.label.mean()), float(train.label.std()) or 1.0) if last.scaled else (0.0, 1.0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build(recipe, len(train.features), counts, outputs_of(train))
        if not recipe.draws_weights:
            _initialise(network, generator)
        if start_from is not None:
            _go_on_from(network, start_from, centre, spread)
        data = data_of(train, centre, spread)
        checks = data_of(valid, centre, spread) if valid is not None else None
        loss = last.loss if recipe.loss in ("auto", "cross_entropy", "mse") else LOSSES[recipe.loss]
        kept = Checkpoints.of(recipe, seed, train, valid, start_from, recipe.begins_with(train.folder))
        if workers > 1:
            given = Given(
                recipe,
                Beside.of(train),
                counts,
                outputs_of(train),
                seed,
                data,
                checks,
                loss,
                network.state_dict(),
                generator.get_state(),
                kept.content(),
                kept.keeps,
            )
            state, best, learnt = learn_together(network, given, workers, kept, report)
            network.load_state_dict(learnt)
        else:
            checks = checks.to(device) if checks is not None else None
            state, best = run_epochs(recipe, network.to(device), data.to(device), checks, loss, generator, kept, report)
    network.to("cpu")
    if best is not None:
        network.load_state_dict(best)
    # else there was nothing to choose by, or no loss was finite: what came of it stays, and of the latter no metric is
    # defined; the untrained weights might win
    _to_unit(network, centre, spread)
    return FittedNetwork(network, _settled(recipe, state), train)


def _settled(recipe: Neural, state: LearningState) -> Neural:
    """Return the recipe at the length found, its schedule as it was laid for the declared one."""
    changes: dict[str, Any] = {"epochs": max(state.best_epoch, 1), "patience": None}
    schedule = recipe.scheduled
    if schedule.kind in ("cosine", "one_cycle"):
        changes["schedule"] = schedule.model_copy(update={"epochs": schedule.epochs or recipe.epochs})
    elif schedule.kind == "plateau" and schedule.drops is None:
        changes["schedule"] = schedule.model_copy(update={"drops": tuple(state.drops)})
    return recipe.model_copy(update=changes)


def _initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Draw the weights of linear layers as torch does, but from our generator."""
    for layer in network.modules():
        if type(layer) is nn.Linear:
            bound = layer.in_features**-0.5
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.uniform_(layer.bias, -bound, bound, generator=generator)


def _to_unit(network: nn.Module, centre: float, spread: float) -> None:
    """Fold the label's scaling into the last layer."""
    last: Any = network.last
    with torch.no_grad():
        last.weight.mul_(spread)
        last.bias.mul_(spread).add_(centre)


def _go_on_from(network: nn.Module, folder: Path, centre: float, spread: float) -> None:
    from safetensors.torch import load_file

    known = load_file(folder / WEIGHTS)
    if all(name.split(".")[0].isdigit() for name in known):  # a perceptron of before others had bodies
        known = {f"body.{name}": value for name, value in known.items()}
    try:
        network.load_state_dict(known)
    except RuntimeError as error:
        raise TrainingError(
            "weights of the same layers to go on from",
            one_line(error),
            "Train from the start, or declare the champion's layers",
        ) from error
    last: Any = network.last
    with torch.no_grad():
        last.bias.sub_(centre).div_(spread)
        last.weight.div_(spread)
