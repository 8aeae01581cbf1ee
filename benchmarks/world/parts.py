"""Modules, losses and optimizers of other packages, each with data of its kind that are made here."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn, optim


@dataclass(frozen=True)
class Part:
    """A part to try.

    Attributes:
        package: whose it is.
        kind: "module", "loss" or "optimizer".
        name: of the part.
        module: makes the module.
        loss: makes the loss.
        data: makes input and target.
        optimizer: makes the optimizer of parameters.
        options: of the optimizer.
        closure: whether its step asks for the loss itself.
        graph: whether it differentiates gradients once more.
    """

    package: str
    kind: str
    name: str
    module: Callable[[], nn.Module]
    loss: Callable[[], Any]
    data: Callable[[], tuple[Any, Tensor]]
    optimizer: Callable[..., optim.Optimizer] = optim.SGD
    options: dict[str, Any] = field(default_factory=lambda: {"lr": 0.01})
    closure: bool = False
    graph: bool = False


def _drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _classes(rows: int, classes: int) -> Tensor:
    return torch.arange(rows) % classes


def _numbers() -> tuple[Tensor, Tensor]:
    x = _drawn(64, 6)
    return x, x.sum(1, keepdim=True)


def _texts() -> tuple[Tensor, Tensor]:
    return torch.randint(2, 50, (16, 12), generator=torch.Generator().manual_seed(0)), _classes(16, 3)


def _pictures() -> tuple[Tensor, Tensor]:
    return _drawn(16, 3, 32, 32), _classes(16, 3)


def small_net() -> nn.Module:
    """The net of the optimizers."""
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))


class Scores(nn.Module):
    """Loss of the scores in an output that holds more, as the models of transformers give it."""

    def forward(self, pred: Any, target: Tensor) -> Tensor:
        """Cross entropy of `pred.logits`."""
        return nn.functional.cross_entropy(pred.logits, target)


class Reshaped(nn.Module):
    """A module whose output another function brings into form.

    Args:
        inner: the module.
        after: from its output to a prediction.
    """

    def __init__(self, inner: nn.Module, after: Callable[[Any], Any]) -> None:
        super().__init__()
        self.inner, self.after = inner, after

    def forward(self, x: Any) -> Any:
        """The prediction."""
        return self.after(self.inner(x))


def transformers_modules() -> Iterator[Part]:
    """Tiny configurations of transformers with a head for classes."""
    import transformers as hf

    small = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "classifier_dropout_prob": 0.0,
        "num_labels": 3,
    }
    tokens = {**small, "vocab_size": 50, "max_position_embeddings": 32, "embedding_size": 16, "pad_token_id": 0}
    pixels = {**small, "image_size": 32, "patch_size": 8}
    texts = ("Bert", "Roberta", "Electra", "Albert", "Ernie", "RoFormer", "Nystromformer", "ConvBert")
    heads = [(name, "ForSequenceClassification", tokens, _texts) for name in texts]
    heads += [(name, "ForImageClassification", pixels, _pictures) for name in ("ViT", "DeiT")]
    for name, head, options, data in heads:
        config: Any = getattr(hf, f"{name}Config")(**options)
        model: Any = getattr(hf, f"{name}{head}")
        yield Part("transformers", "module", f"{name}{head}", partial(model, config), Scores, data)


def tabular_modules() -> Iterator[Part]:
    """Nets for tables: rtdl, tabm."""
    import rtdl_revisiting_models as rtdl
    import tabm

    made: dict[str, Callable[[], nn.Module]] = {
        "MLP": lambda: rtdl.MLP(d_in=6, d_out=1, n_blocks=2, d_block=16, dropout=0.0),
        "ResNet": lambda: rtdl.ResNet(
            d_in=6, d_out=1, n_blocks=2, d_block=16, d_hidden_multiplier=2.0, dropout1=0.0, dropout2=0.0
        ),
        "FTTransformer": lambda: _WithoutCategories(
            rtdl.FTTransformer(
                n_cont_features=6,
                cat_cardinalities=[],
                d_out=1,
                n_blocks=1,
                d_block=16,
                attention_n_heads=2,
                attention_dropout=0.0,
                ffn_d_hidden_multiplier=2.0,
                ffn_dropout=0.0,
                residual_dropout=0.0,
            )
        ),
    }
    for name, make in made.items():
        yield Part("rtdl_revisiting_models", "module", name, make, nn.MSELoss, _numbers)
    yield Part(
        "tabm",
        "module",
        "TabM, predictions averaged",
        lambda: Reshaped(
            tabm.TabM(
                n_num_features=6,
                d_out=1,
                n_blocks=2,
                d_block=16,
                dropout=0.0,
                k=4,
                start_scaling_init="random-signs",
            ),
            lambda pred: pred.mean(1),
        ),
        nn.MSELoss,
        _numbers,
    )


class _WithoutCategories(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x, None)


def science_modules() -> Iterator[Part]:
    """Medicine, flows, spikes, differential equations, sequences."""
    import monai.networks.nets as monai
    import snntorch
    import torchdiffeq
    import x_transformers
    import zuko

    def masks() -> tuple[Tensor, Tensor]:
        return _drawn(8, 1, 32, 32), (_drawn(8, 1, 32, 32, seed=1) > 0).float()

    nets: dict[str, Callable[[], nn.Module]] = {
        "UNet": lambda: monai.UNet(spatial_dims=2, in_channels=1, out_channels=1, channels=(4, 8), strides=(2,)),
        "BasicUNet": lambda: monai.BasicUNet(
            spatial_dims=2, in_channels=1, out_channels=1, features=(4, 4, 8, 8, 8, 4)
        ),
        "SegResNet": lambda: monai.SegResNet(spatial_dims=2, in_channels=1, out_channels=1, init_filters=8),
        "AttentionUnet": lambda: monai.AttentionUnet(2, 1, 1, channels=(4, 8), strides=(2,)),
    }
    for name, make in nets.items():
        yield Part("monai", "module", name, make, nn.BCEWithLogitsLoss, masks)

    class Flow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.flow = zuko.flows.NSF(features=2, context=0, transforms=2, hidden_features=(16,))

        def forward(self, x: Tensor) -> Tensor:
            return self.flow().log_prob(x)[:, None]

        def loss(self, pred: Tensor, target: Tensor) -> Tensor:
            return -pred.mean()

    yield Part(
        "zuko", "module", "NSF, by its log-likelihood", Flow, lambda: None, lambda: (_drawn(64, 2), _classes(64, 2))
    )

    class Spikes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.out = nn.Linear(6, 16), nn.Linear(16, 3)
            self.leak = snntorch.Leaky(beta=0.9)

        def forward(self, x: Tensor) -> Tensor:
            memory, total = self.leak.init_leaky(), torch.zeros(x.shape[0], 3)
            for _ in range(4):
                spike, memory = self.leak(self.inner(x), memory)
                total = total + self.out(spike)
            return total

    yield Part("snntorch", "module", "Leaky", Spikes, nn.CrossEntropyLoss, lambda: (_drawn(32, 6), _classes(32, 3)))

    class Ode(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.field, self.out = nn.Linear(6, 6), nn.Linear(6, 1)

        def forward(self, x: Tensor) -> Tensor:
            ends = torchdiffeq.odeint(lambda t, y: torch.tanh(self.field(y)), x, torch.tensor([0.0, 1.0]), method="rk4")
            return self.out(ends[-1])

    yield Part("torchdiffeq", "module", "odeint within a net", Ode, nn.MSELoss, _numbers)
    yield Part(
        "x-transformers",
        "module",
        "Encoder",
        lambda: Reshaped(
            x_transformers.TransformerWrapper(
                num_tokens=50,
                max_seq_len=16,
                attn_layers=x_transformers.Encoder(dim=16, depth=2, heads=2),
                num_memory_tokens=1,
            ),
            lambda scores: scores.mean(1)[:, :3],
        ),
        nn.CrossEntropyLoss,
        _texts,
    )


def metric_learning_losses() -> Iterator[Part]:
    """Every loss of pytorch-metric-learning that takes embeddings and labels."""
    from pytorch_metric_learning import losses

    left_out = {"BaseMetricLossFunction", "BaseLossWrapper", "GenericPairLoss", "WeightRegularizerMixin"}
    for name, kind in vars(losses).items():
        if not inspect.isclass(kind) or not name.endswith("Loss") or name in left_out:
            continue
        given = {"num_classes": 3, "embedding_size": 4, "num_labels": 3, "class_num": 3}
        known = inspect.signature(kind).parameters
        yield Part(
            "pytorch_metric_learning",
            "loss",
            name,
            lambda: nn.Linear(6, 4),
            lambda kind=kind, given=given, known=known: kind(**_given(given, known)),
            lambda: (_drawn(48, 6), _classes(48, 3)),
        )


def _given(options: dict[str, int], known: Any) -> dict[str, int]:
    """The options that a loss takes, perhaps through its base."""
    passed_on = any(one.kind is one.VAR_KEYWORD for one in known.values()) and "margin" in known
    return {k: v for k, v in options.items() if k in known or (passed_on and k in ("num_classes", "embedding_size"))}


def monai_losses() -> Iterator[Part]:
    """Losses of monai for masks."""
    from monai import losses

    for name in ("DiceLoss", "DiceCELoss", "DiceFocalLoss", "FocalLoss", "TverskyLoss", "GeneralizedDiceLoss"):
        kind: Any = getattr(losses, name)
        options = {"sigmoid": True} if "sigmoid" in inspect.signature(kind).parameters else {}
        yield Part(
            "monai",
            "loss",
            name,
            lambda: nn.Conv2d(1, 1, 3, padding=1),
            lambda kind=kind, options=options: kind(**options),
            lambda: (_drawn(16, 1, 16, 16), (_drawn(16, 1, 16, 16, seed=1) > 0).float()),
        )


# Which of the optimizers need a closure, though it may be left out in their signatures, or gradients of gradients.
_BY_CLOSURE, _BY_CURVATURE = ("alig",), ("adahessian", "sophiah")


def optimizers() -> Iterator[Part]:
    """Every optimizer of torch, pytorch_optimizer and smaller packages."""
    import adabelief_pytorch
    import lion_pytorch
    import prodigyopt
    import pytorch_optimizer
    import schedulefree
    import torch_optimizer

    found: list[tuple[str, str, Any]] = []
    for package in (optim, schedulefree, lion_pytorch, prodigyopt, adabelief_pytorch, torch_optimizer):
        for name, kind in vars(package).items():
            if inspect.isclass(kind) and issubclass(kind, optim.Optimizer) and kind is not optim.Optimizer:
                found.append((package.__name__, name, kind))
    for name in pytorch_optimizer.get_supported_optimizers():
        found.append(("pytorch_optimizer", str(name), pytorch_optimizer.load_optimizer(name)))
    for package, name, kind in found:
        options = {"lr": 0.01} if "lr" in inspect.signature(kind).parameters else {}
        asked = inspect.signature(kind.step).parameters.get("closure")
        closure = (asked is not None and asked.default is asked.empty) or name in _BY_CLOSURE
        graph = name.lower() in _BY_CURVATURE
        yield Part(package, "optimizer", name, small_net, nn.MSELoss, _numbers, kind, options, closure, graph)


GROUPS: dict[str, Callable[[], Iterator[Part]]] = {
    "transformers": transformers_modules,
    "tables": tabular_modules,
    "science": science_modules,
    "metric-learning": metric_learning_losses,
    "monai-losses": monai_losses,
    "optimizers": optimizers,
}
