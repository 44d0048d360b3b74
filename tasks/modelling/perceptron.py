"""The multi-layer perceptron in torch, released as ONNX with its weights beside it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from expectations.errors import TrainingError
from expectations.families import Matrix, Report, Rows, Scores
from tasks.modelling.importance import shares
from tasks.modelling.torch_mlp import MODEL, TorchMLP

WEIGHTS = "weights.safetensors"
OPSET = 20
IR_VERSION = 9

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
}


class _Last(NamedTuple):
    """What a task ends a network with.

    Attributes
    ----------
    node : str
        The ONNX operator that does what `run` does.
    several : bool
        Whether there is an output for each class.
    scaled : bool
        Whether the label is a value, which is learnt in deviations.
    """

    run: Callable[[torch.Tensor], torch.Tensor]
    node: str
    loss: Callable[[], nn.Module]
    several: bool = False
    scaled: bool = False


_LAST = {
    "binary_classification": _Last(torch.sigmoid, "Sigmoid", nn.BCEWithLogitsLoss),
    "multiclass_classification": _Last(partial(torch.softmax, dim=1), "Softmax", nn.CrossEntropyLoss, several=True),
    "regression": _Last(torch.clone, "Identity", nn.MSELoss, scaled=True),
}
_ONNX_ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid", "gelu": "Gelu"}


class FittedPerceptron:
    """A perceptron that has learnt; its last layer already speaks the label's own unit."""

    def __init__(self, network: nn.Sequential, recipe: TorchMLP, rows: Rows) -> None:
        self.network, self.recipe, self.features = network.eval(), recipe, rows.features
        self.last, self.outputs = _LAST[rows.task], _outputs(rows)
        self._sample = torch.from_numpy(rows.matrix[:2000].astype(np.float32))

    def predict(self, matrix: Matrix) -> Scores:
        """Return scores; see `expectations.problems`."""
        with torch.inference_mode():
            out = self.last.run(_squeezed(self.network(torch.from_numpy(matrix.astype(np.float32)))))
        return out.numpy().astype(np.float64)

    def save(self, folder: Path) -> None:
        """Write the network as an ONNX graph, and its weights as safetensors."""
        from safetensors.torch import save_file

        (folder / MODEL).write_bytes(self._graph())
        save_file({name: value.contiguous() for name, value in self.network.state_dict().items()}, folder / WEIGHTS)

    def _graph(self) -> bytes:
        """Build the graph by hand: it has three kinds of nodes, and torch's exporter takes seconds and warns."""
        from onnx import TensorProto, checker, helper, numpy_helper

        linears = [layer for layer in self.network if isinstance(layer, nn.Linear)]
        nodes, weights, value = [], [], "features"
        for index, layer in enumerate(linears):
            weights += [
                numpy_helper.from_array(layer.weight.detach().numpy(), f"weight{index}"),
                numpy_helper.from_array(layer.bias.detach().numpy(), f"bias{index}"),
            ]
            nodes.append(helper.make_node("Gemm", [value, f"weight{index}", f"bias{index}"], [f"sum{index}"], transB=1))
            value = f"sum{index}"
            if layer is not linears[-1]:
                nodes.append(helper.make_node(_ONNX_ACTIVATIONS[self.recipe.activation], [value], [f"active{index}"]))
                value = f"active{index}"
        nodes.append(helper.make_node(self.last.node, [value], ["prediction"]))
        graph = helper.make_graph(
            nodes,
            "perceptron",
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", len(self.features)])],
            [helper.make_tensor_value_info("prediction", TensorProto.FLOAT, ["rows", self.outputs])],
            weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        checker.check_model(model)
        return bytes(model.SerializeToString(deterministic=True))

    def importance(self) -> dict[str, float]:
        """Mean absolute gradient of the output times the feature's deviation, over up to 2,000 training rows.

        Of several outputs that of the largest one, which is the class that is predicted.
        """
        inputs = self._sample.clone().requires_grad_()
        out = self.network(inputs)
        (out.sum() if self.outputs == 1 else out.max(dim=1).values.sum()).backward()
        if inputs.grad is None:
            raise TrainingError("a gradient for every feature", "none", "Check the network's layers")
        sizes = (inputs.grad.abs().mean(0) * self._sample.std(0, correction=0)).numpy()
        return shares(dict(zip(self.features, map(float, sizes), strict=True)))


def fit(
    params: TorchMLP, train: Rows, valid: Rows | None, *, seed: int, report: Report, start_from: Path | None
) -> FittedPerceptron:
    """Learn by mini-batches; see `Family.fit`."""
    _refuse_gaps(train)
    generator = torch.Generator().manual_seed(seed)
    last = _LAST[train.task]
    centre, spread = (float(train.label.mean()), float(train.label.std()) or 1.0) if last.scaled else (0.0, 1.0)
    network = _network(len(train.features), params, generator, _outputs(train))
    if start_from is not None:
        _resume(network, start_from, centre, spread)
    inputs, targets = _tensors(train, centre, spread)
    checks = _tensors(valid, centre, spread) if valid is not None else None
    loss = last.loss() if params.loss in ("auto", "cross_entropy", "mse") else nn.L1Loss()
    weight = None if train.weight is None else torch.from_numpy(train.weight.astype(np.float32))
    measure = loss if weight is None else type(loss)(reduction="none")
    optimizer = _optimizer(params, network)
    best, best_state, best_epoch = float("inf"), copy.deepcopy(network.state_dict()), 0
    for epoch in range(1, params.epochs + 1):
        network.train()
        total = 0.0
        for batch in torch.split(torch.randperm(len(inputs), generator=generator), params.batch_size):
            optimizer.zero_grad()
            value = measure(_squeezed(network(inputs[batch])), targets[batch])
            if weight is not None:
                value = (value * weight[batch]).mean()
            value.backward()
            optimizer.step()
            total += value.item() * len(batch)
        curve = {"train_loss": total / len(inputs)}
        if checks is None:
            best_epoch, best_state = epoch, network.state_dict()
        else:
            with torch.inference_mode():
                curve["valid_loss"] = loss(_squeezed(network.eval()(checks[0])), checks[1]).item()
            if curve["valid_loss"] < best:
                best, best_epoch = curve["valid_loss"], epoch
                best_state = copy.deepcopy(network.state_dict())
        report(epoch, curve)
        if checks is not None and params.patience and epoch - best_epoch >= params.patience:
            break
    if best_epoch:
        network.load_state_dict(best_state)
    # else no loss was finite: what came of it stays, of which no metric is defined; the untrained weights might win
    _to_unit(network, centre, spread)
    return FittedPerceptron(network, params.model_copy(update={"epochs": max(best_epoch, 1), "patience": None}), train)


def _refuse_gaps(rows: Rows) -> None:
    gaps = [name for name, column in zip(rows.features, rows.matrix.T, strict=True) if np.isnan(column).any()]
    if gaps:
        raise TrainingError(
            "no missing values where torch.mlp learns",
            f"gaps in {', '.join(gaps)}",
            "Impute these columns in `features`",
        )


def _outputs(rows: Rows) -> int:
    return len(rows.classes) if _LAST[rows.task].several else 1


def _squeezed(out: torch.Tensor) -> torch.Tensor:
    return out[:, 0] if out.shape[1] == 1 else out


def _network(width: int, params: TorchMLP, generator: torch.Generator, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for size in params.hidden:
        layers += [nn.Linear(width, size), _ACTIVATIONS[params.activation]()]
        width = size
    layers.append(nn.Linear(width, outputs))
    for layer in layers:
        if isinstance(layer, nn.Linear):  # torch's own initialisation, but from our generator
            bound = layer.in_features**-0.5
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
    return nn.Sequential(*layers)


def _tensors(rows: Rows, centre: float, spread: float) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = torch.from_numpy(rows.matrix.astype(np.float32))
    if _LAST[rows.task].several:  # places of classes
        return inputs, torch.from_numpy(rows.label.astype(np.int64))
    return inputs, torch.from_numpy(((rows.label - centre) / spread).astype(np.float32))


def _optimizer(params: TorchMLP, network: nn.Module) -> torch.optim.Optimizer:
    kinds: dict[str, type[torch.optim.Optimizer]] = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "sgd": torch.optim.SGD,
    }
    arguments: dict[str, Any] = {"lr": params.learning_rate, "weight_decay": params.weight_decay}
    return kinds[params.optimizer](network.parameters(), **arguments)


def _last(network: nn.Sequential) -> nn.Linear:
    layer = network[-1]
    if not isinstance(layer, nn.Linear):
        raise TypeError("a network ends with a linear layer")
    return layer


def _to_unit(network: nn.Sequential, centre: float, spread: float) -> None:
    """Fold the label's scaling into the last layer."""
    with torch.no_grad():
        _last(network).weight.mul_(spread)
        _last(network).bias.mul_(spread).add_(centre)


def _resume(network: nn.Sequential, folder: Path, centre: float, spread: float) -> None:
    from safetensors.torch import load_file

    try:
        network.load_state_dict(load_file(folder / WEIGHTS))
    except RuntimeError as error:
        raise TrainingError(
            "weights of the same layers to go on from",
            str(error).splitlines()[0],
            "Train from the start, or declare the champion's layers",
        ) from error
    with torch.no_grad():
        _last(network).bias.sub_(centre).div_(spread)
        _last(network).weight.div_(spread)
