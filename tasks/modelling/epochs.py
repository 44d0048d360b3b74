"""The epochs of a network: mini-batches, a schedule, early stopping and checkpoints, on one worker or on several."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from expectations.families import Report
from tasks.modelling.batch_shares import ALONE, Share
from tasks.modelling.checkpoints import Checkpoints
from tasks.modelling.learning_rates import learning_rate
from tasks.modelling.network_rows import NetworkData, answers_of, squeezed
from tasks.modelling.neural import Neural


class LearningState:
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


def run_epochs(
    recipe: Neural,
    network: nn.Module,
    data: NetworkData,
    checks: NetworkData | None,
    loss: Callable[..., nn.Module],
    generator: torch.Generator,
    kept: Checkpoints,
    report: Report,
    share: Share = ALONE,
) -> tuple[LearningState, dict[str, torch.Tensor] | None]:
    """Run the epochs, those that a killed run had done not again; returns the state and the best weights.

    Parameters
    ----------
    data : NetworkData
        All rows that are learnt from.
    checks : NetworkData, optional
        All rows that judge.
    share : Share
        What of them this worker takes.
    """
    state, optimizer, best = LearningState(), _optimizer(recipe, network), None
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
    schedule, learner = recipe.scheduled, share.joined(network)

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
        share.begin(state.epoch)
        train_loss, rate = _epoch(recipe, network, learner, data, optimizer, loss, generator, state, share)
        curve = {"train_loss": train_loss, "learning_rate": rate}
        judged = train_loss
        if checks is not None:
            judged = curve["valid_loss"] = _judged(network, checks, loss, share)
        if state.found(judged, schedule.every) and checks is not None:
            best = copy.deepcopy({name: value.cpu() for name, value in network.state_dict().items()})
        if checks is None:
            state.best_epoch = state.epoch
        curves.append(curve)
        kept.write(known)
        report(state.epoch, curve)
    kept.write(known, ended=True)  # what comes after it may be killed, too
    return state, best


def _over(recipe: Neural, state: LearningState, checks: NetworkData | None) -> bool:
    return checks is not None and recipe.patience is not None and state.epoch - state.best_epoch >= recipe.patience


def _judged(network: nn.Module, checks: NetworkData, loss: Callable[..., nn.Module], share: Share) -> float:
    """Return the mean loss over the rows that judge; each worker answers its own."""
    rows = torch.arange(len(checks.inputs), device=checks.inputs.device)
    mine = share.rows(rows)
    own = checks if share.size == 1 else checks.at(mine)
    with torch.inference_mode():
        answers = squeezed(answers_of(network.eval(), own.inputs))
        mean = _mean_loss(loss, answers, own.targets, own.weight)
    if share.size == 1:
        return mean.item()
    return share.total(mean.clone() * share.count(rows)).item() / len(rows)


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
    learner: nn.Module,
    data: NetworkData,
    optimizer: torch.optim.Optimizer,
    loss: Callable[..., nn.Module],
    generator: torch.Generator,
    state: LearningState,
    share: Share,
) -> tuple[float, float]:
    """Learn from every row once; returns the mean loss and the last learning rate."""
    learner.train()
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
        own = data.at(share.rows(batch))
        with torch.autocast("cuda", torch.bfloat16, enabled=mixed):
            out = squeezed(learner(own.inputs))
        value = _mean_loss(loss, out.float(), own.targets, own.weight)
        share.weighed(value, batch).backward()  # type: ignore[no-untyped-call] # torch's own has no types
        if recipe.clip is not None:
            nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
        optimizer.step()
        total += value.detach() * share.count(batch)
    return share.total(total).item() / sum(map(len, batches)), rate


def _optimizer(recipe: Neural, network: nn.Module) -> torch.optim.Optimizer:
    arguments: dict[str, Any] = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay}
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(network.parameters(), momentum=recipe.momentum, **arguments)
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return kind(network.parameters(), **arguments)
