"""The one trainer of torch families: mini-batches, a schedule, checkpoints, and what is released at the end."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from expectations.errors import TrainingError
from expectations.families import Report, Rows
from tasks.modelling.checkpoints import Checkpoints
from tasks.modelling.fitted_network import FittedNetwork
from tasks.modelling.learning_rates import learning_rate
from tasks.modelling.network_rows import (
    LAST,
    LOSSES,
    WEIGHTS,
    NetworkData,
    answers_of,
    counts_of,
    data_of,
    outputs_of,
    refuse_gaps,
    squeezed,
)
from tasks.modelling.networks import Counts
from tasks.modelling.neural import Neural


class Network(Protocol):
    """What a family's network is made of: its recipe, how many features, which of them are categories, its outputs."""

    def __call__(self, recipe: Any, width: int, counts: Counts, outputs: int) -> nn.Module: ...  # noqa: ANN401, D102


class _State:
    """All that training changes from epoch to epoch, beside the network and the optimiser."""

    def __init__(self) -> None:
        self.epoch, self.best_epoch, self.best = 0, 0, math.inf
        self.stale, self.drops = 0, list[int]()

    def found(self, loss: float, schedule_every: int) -> bool:
        """Take the loss of an epoch; whether it is the best. Notes where `plateau` drops."""
        better = loss < self.best
        if better:
            self.best, self.best_epoch, self.stale = loss, self.epoch, 0
        else:
            self.stale += 1
            if self.stale % schedule_every == 0:
                self.drops.append(self.epoch)
        return better


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
    """Learn by mini-batches; see `Family.fit`. What was killed goes on from its last epoch."""
    counts = counts_of(train, start_from)
    refuse_gaps(train, recipe)
    recipe.refuse(train)
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
        data = data_of(train, centre, spread).to(device)
        checks = data_of(valid, centre, spread).to(device) if valid is not None else None
        loss = last.loss if recipe.loss in ("auto", "cross_entropy", "mse") else LOSSES[recipe.loss]
        kept = Checkpoints.of(recipe, seed, train, valid, start_from)
        state, best = _epochs(recipe, network.to(device), data, checks, loss, generator, kept, report)
    network.to("cpu")
    if best is not None:
        network.load_state_dict(best)
    # else there was nothing to choose by, or no loss was finite: what came of it stays, and of the latter no metric is
    # defined; the untrained weights might win
    _to_unit(network, centre, spread)
    return FittedNetwork(network, _settled(recipe, state), train)


def _epochs(
    recipe: Neural,
    network: nn.Module,
    data: NetworkData,
    checks: NetworkData | None,
    loss: Callable[..., nn.Module],
    generator: torch.Generator,
    kept: Checkpoints,
    report: Report,
) -> tuple[_State, dict[str, torch.Tensor] | None]:
    """Run the epochs, those that a killed run had done not again; returns the state and the best weights."""
    state, optimizer, best = _State(), _optimizer(recipe, network), None
    found = kept.read()
    if found is not None:
        vars(state).update(found["state"])
        network.load_state_dict(found["network"])
        optimizer.load_state_dict(found["optimizer"])
        generator.set_state(found["generator"])
        torch.set_rng_state(found["random"])
        best = found["best"]
        for epoch, curve in enumerate(found["curves"], 1):
            report(epoch, curve)
    curves = list(found["curves"]) if found is not None else []
    schedule = recipe.scheduled

    def known() -> dict[str, Any]:
        return {
            "state": vars(state),
            "network": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "generator": generator.get_state(),
            "random": torch.get_rng_state(),
            "best": best,
            "curves": curves,
        }

    while state.epoch < recipe.epochs and not _over(recipe, state, checks):
        state.epoch += 1
        train_loss, rate = _epoch(recipe, network, data, optimizer, loss, generator, state)
        curve = {"train_loss": train_loss, "learning_rate": rate}
        judged = train_loss
        if checks is not None:
            with torch.inference_mode():
                answers = squeezed(answers_of(network.eval(), checks.inputs))
                judged = curve["valid_loss"] = _mean_loss(loss, answers, checks.targets, checks.weight).item()
        if state.found(judged, schedule.every) and checks is not None:
            best = copy.deepcopy({name: value.cpu() for name, value in network.state_dict().items()})
        if checks is None:
            state.best_epoch = state.epoch
        curves.append(curve)
        kept.write(known)
        report(state.epoch, curve)
    kept.write(known, ended=True)  # what comes after it may be killed, too
    return state, best


def _over(recipe: Neural, state: _State, checks: NetworkData | None) -> bool:
    return checks is not None and recipe.patience is not None and state.epoch - state.best_epoch >= recipe.patience


def _mean_loss(
    loss: Callable[..., nn.Module], answers: torch.Tensor, targets: torch.Tensor, weight: torch.Tensor | None
) -> torch.Tensor:
    """Return the mean loss of answers, of rows by what they count."""
    if weight is None:
        found: torch.Tensor = loss()(answers, targets)
        return found
    return torch.as_tensor((loss(reduction="none")(answers, targets) * weight).mean())


def _epoch(
    recipe: Neural,
    network: nn.Module,
    data: NetworkData,
    optimizer: torch.optim.Optimizer,
    loss: Callable[..., nn.Module],
    generator: torch.Generator,
    state: _State,
) -> tuple[float, float]:
    """Learn from every row once; returns the mean loss and the last learning rate."""
    network.train()
    rows = len(data.inputs)
    order = torch.randperm(rows, generator=generator).to(data.inputs.device)
    batches = list(torch.split(order, recipe.batch_size))
    if (
        len(batches) > 1
        and len(batches[-1]) == 1
        and any(isinstance(each, nn.BatchNorm1d) for each in network.modules())
    ):
        batches.pop()  # one row has no deviation
    known = recipe.scheduled.drops
    drops = sum(at < state.epoch for at in (state.drops if known is None else known))
    total = torch.zeros((), device=data.inputs.device)
    rate, mixed = recipe.learning_rate, data.inputs.device.type == "cuda"
    for at, batch in enumerate(batches):
        rate = learning_rate(recipe, (state.epoch - 1) * len(batches) + at, len(batches), drops)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        with torch.autocast("cuda", torch.bfloat16, enabled=mixed):
            out = squeezed(network(data.inputs[batch]))
        weight = None if data.weight is None else data.weight[batch]
        value = _mean_loss(loss, out.float(), data.targets[batch], weight)
        value.backward()  # type: ignore[no-untyped-call] # torch's own has no types
        if recipe.clip is not None:
            nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
        optimizer.step()
        total += value.detach() * len(batch)
    return total.item() / sum(map(len, batches)), rate


def _settled(recipe: Neural, state: _State) -> Neural:
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


def _optimizer(recipe: Neural, network: nn.Module) -> torch.optim.Optimizer:
    arguments: dict[str, Any] = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay}
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(network.parameters(), momentum=recipe.momentum, **arguments)
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return kind(network.parameters(), **arguments)


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
            str(error).splitlines()[0],
            "Train from the start, or declare the champion's layers",
        ) from error
    last: Any = network.last
    with torch.no_grad():
        last.bias.sub_(centre).div_(spread)
        last.weight.div_(spread)
