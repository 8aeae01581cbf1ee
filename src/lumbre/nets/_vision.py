"""Nets of timm for images: weights to begin with, a new head, and the scaling of their inputs inside the net."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn, optim
from torch.nn import functional as F

from lumbre.base import (
    ArchiveError,
    DownloadError,
    MissingExtraError,
    OptionError,
    RecipeError,
    at_least,
    did_you_mean,
    import_extra,
    preserved_randomness,
)
from lumbre.metrics import Accuracy
from lumbre.nets._prepared import Prepared
from lumbre.storage import load_weights


def vision(
    name: str = "resnet18",
    *,
    classes: int,
    pretrained: bool | str | Path = True,
    size: int | None = None,
    channels: int = 3,
) -> Prepared:
    """A net of timm for images, with pretrained weights and a new head.

    It takes images as lumbre's data give them, bytes or floats in [0, 1] of any size: `lumbre.nets.Vision` says what
    becomes of them. `lumbre.setup(lumbre.nets.vision("resnet18", classes=10)).fine_tune(data, epochs=5)` trains the
    head first, then all of it, with lower rates for the first layers.

    Args:
        name: of the net, as `timm.list_models()` has it, such as "resnet18" or "vit_small_patch16_224.dino".
        classes: how many scores the new head has.
        pretrained: True takes the weights that timm names, from the hub or its cache; a file of safetensors has weights
            of this net (its head may have any number of classes); False begins with random weights.
        size: height and width in pixels that images are brought to; None takes those of the weights.
        channels: of the images; where they are not 3, the first layer's weights are summed up for them.

    Raises:
        OptionError: there is no such net, or none for these sizes, or it has no pretrained weights.
        DownloadError: the weights are not in the cache, and could not be fetched.
        ArchiveError: the file cannot be read, or holds weights of another net.
        MissingExtraError: timm is not installed, or torchvision, which it needs, does not go with this torch.

    References:
        Wightman: PyTorch Image Models, 2019.
    """
    at_least(1, classes=classes, size=size, channels=channels)
    hparams: dict[str, Any] = {"name": name, "classes": classes, "size": size, "channels": channels}
    with preserved_randomness(torch.device("cpu")):
        if pretrained is False:
            module = Vision
            hparams["size"] = Vision(**hparams).size
        else:
            net = _weighted(name, None if pretrained is True else Path(pretrained), size, channels)
            hparams["size"] = size or _size(net)
            module = Pretrained(name, net)
    return Prepared(
        module,
        hparams,
        loss=nn.CrossEntropyLoss(),
        optimizer=optim.AdamW,
        opt_hparams={"lr": 2e-3, "weight_decay": 0.01},
        metrics=Accuracy(),
    )


class Vision(nn.Module):
    """The module that `vision` describes; `lumbre.load(path, lumbre.nets.Vision)` reads a file of it.

    Its input is images (rows, `channels`, height, width): whole numbers up to 255, or floats in [0, 1]. Those of
    another size are cut to the square in their middle, and scaled. They are standardised with mean and standard
    deviation of the weights, which are buffers, and so in its file and exports. It returns (rows, `classes`) scores.

    Args:
        name: of the net in timm.
        classes: how many scores the head has.
        size: height and width in pixels that images are brought to; None takes those of the net's weights.
        channels: of the images.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, *, name: str, classes: int, size: int | None = None, channels: int = 3) -> None:
        super().__init__()
        self.net = _built(name, classes, size, channels)
        config = self.net.pretrained_cfg
        self.size = size or _size(self.net)
        self.mode = "bicubic" if config.get("interpolation") == "bicubic" else "bilinear"
        for part in ("mean", "std"):
            values = torch.tensor(config[part], dtype=torch.float32)
            values = values if len(values) == channels else values.mean().expand(channels).clone()
            self.register_buffer(part, values.reshape(channels, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        x = images if images.is_floating_point() else images.to(self.mean.dtype) / 255
        scores: Tensor = self.net((self._fitting(x) - self.mean) / self.std)
        return scores

    def _fitting(self, x: Tensor) -> Tensor:
        """Images (rows, channels, `size`, `size`)."""
        height, width = x.shape[-2:]
        if height == width == self.size:
            return x
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        x = x[..., top : top + side, left : left + side]
        if side != self.size:
            x = F.interpolate(x, size=(self.size, self.size), mode=self.mode, antialias=True)
        return x.clamp(0, 1) if self.mode == "bicubic" else x


class Pretrained:
    """Builds a `Vision` that begins with weights that are there; its head begins anew.

    Args:
        name: of the net in timm.
        net: with its weights; without a head, or with one of any size.

    Attributes:
        parts: names and patterns of the net's parts, of each stage a list, from the head to the first layers.
        weights: of all but the head.
    """

    __name__ = "Vision"

    def __init__(self, name: str, net: nn.Module) -> None:
        self.name = name
        heads = tuple(f"{one}." for one in _heads(net))
        self.weights = {key: value for key, value in net.state_dict().items() if not key.startswith(heads)}
        self.parts = _stages(net, heads)

    def __call__(self, *, name: str, classes: int, size: int | None = None, channels: int = 3) -> Vision:
        module = Vision(name=name, classes=classes, size=size, channels=channels)
        wanted = {key: value.shape for key, value in module.net.state_dict().items()}
        heads = tuple(f"{one}." for one in _heads(module.net))
        given = {key: value.shape for key, value in self.weights.items()}
        if given != {key: shape for key, shape in wanted.items() if not key.startswith(heads)}:
            raise RecipeError(
                f"{name} with {channels} channels and images of {module.size} pixels, and weights of {self.name}",
                "the net that the weights were read for",
                f"lumbre.nets.vision({name!r}, classes={classes}, size={module.size}, channels={channels})",
            )
        module.net.load_state_dict(self.weights, strict=False)
        return module


def _timm() -> Any:
    """timm.

    Raises:
        MissingExtraError: it is not installed, or cannot be imported: it needs torchvision, which needs its own torch.
    """
    try:
        return import_extra("timm", "nets", "build nets for images")
    except MissingExtraError as error:
        cause = error.__cause__
        if getattr(cause, "name", "timm") == "timm":
            raise
    except (ImportError, RuntimeError, OSError) as error:
        cause = error
    raise MissingExtraError(
        f"timm, which cannot be imported: {cause}",
        "torchvision of the version, and for the device, that this torch is for",
        "install torch and torchvision together, by the command of PyTorch's own site for your machine",
    ) from cause


def _built(name: str, outputs: int, size: int | None, channels: int, **options: Any) -> Any:
    """A net of timm.

    Raises:
        OptionError: there is none of that name, or none for these sizes.
    """
    timm = _timm()
    if not isinstance(name, str) or not timm.is_model(name):
        plain = str(name).partition(".")[0]
        raise OptionError(
            f"name={name!r}", "a net of timm", f'{did_you_mean(plain, timm.list_models())}timm.list_models("*resnet*")'
        )
    try:
        config = timm.get_pretrained_cfg(name)
        if size is not None and config is not None and config.fixed_input_size:
            options["img_size"] = size
        return timm.create_model(name, num_classes=outputs, in_chans=channels, **options)
    except (RuntimeError, AssertionError, ValueError, TypeError) as error:
        if options.get("pretrained"):
            raise
        raise OptionError(
            f"{name} for {channels} channels{f' and {size} pixels' if size else ''}, which failed: {error}"[:400],
            "a net of timm, and sizes that it can be built for",
            "size=None for those of its weights; timm.list_pretrained() for the names of weights",
        ) from error


def _weighted(name: str, path: Path | None, size: int | None, channels: int) -> Any:
    """A net of timm with weights: those of a file, or those that timm names, from the hub or its cache.

    Raises:
        OptionError: it has none.
        DownloadError: they cannot be had.
        ArchiveError: they cannot be read, or are those of another net.
    """
    config = _built(name, 1, size, channels).pretrained_cfg
    if path is not None:
        return _from_file(name, path, size, channels)
    if not (config.get("hf_hub_id") or config.get("url")):
        known = [one for one in _timm().list_pretrained() if one.partition(".")[0] == name.partition(".")[0]]
        raise OptionError(
            f"pretrained=True for {name}, for which timm has no weights",
            f"a net with weights{f', such as {known[0]}' if known else ''}",
            "timm.list_pretrained(); or pretrained=False",
        )
    try:
        return _built(name, config["num_classes"], size, channels, pretrained=True)
    except Exception as error:  # of the hub, of its client, of the network
        raise DownloadError(
            f"the weights of {name}, which are not in the cache of the hub and could not be fetched: {error}"[:400],
            "a network, or the weights in the cache (HF_HOME) or in a file",
            f'vision({name!r}, classes=..., pretrained="model.safetensors"), with the file of '
            f"{config.get('hf_hub_id') or config.get('url')}",
        ) from error


def _from_file(name: str, path: Path, size: int | None, channels: int) -> Any:
    weights: Mapping[str, Tensor] = load_weights(path)
    heads = _heads(_built(name, 1, size, channels))
    rows = [len(weights[f"{one}.weight"]) for one in heads if f"{one}.weight" in weights]
    outputs = rows[0] if rows else 0
    overlay = {"state_dict": dict(weights), "num_classes": outputs, "source": "", "label_offset": 0}
    try:
        return _built(name, outputs, size, channels, pretrained=True, pretrained_cfg_overlay=overlay)
    except Exception as error:  # of torch, for names and shapes; of timm's own conversion of older files
        raise ArchiveError(
            f"{path}, whose weights are not those of {name}: {error}"[:400],
            f"weights of {name}, as timm has them",
            "the name of the net that they are of",
        ) from error


def _size(net: Any) -> int:
    """Height and width in pixels that a net's weights are for."""
    return int(net.pretrained_cfg["input_size"][-1])


def _heads(net: Any) -> list[str]:
    """The names of the layers that give the scores of classes."""
    found = net.pretrained_cfg.get("classifier") or ()
    return [found] if isinstance(found, str) else list(found)


def _stages(net: Any, heads: tuple[str, ...]) -> list[list[str]]:
    """The parts of a `Vision` around `net`, as patterns: the head, then stage by stage to the first layers."""
    models = import_extra("timm.models", "nets", "find the stages of a net")
    every = [name for name, _ in net.named_parameters()]
    by_stage = models.group_parameters(net, net.group_matcher(coarse=True), reverse=False)
    stages = [[name for name in names if not name.startswith(heads)] for _, names in sorted(by_stage.items())]
    found = [_patterns(names, every) for names in reversed(stages) if names]
    return [[f"net.{one.removesuffix('.')}" for one in heads], *([f"net.{one}" for one in stage] for stage in found)]


def _patterns(names: Iterable[str], every: Iterable[str]) -> list[str]:
    """The fewest parts that hold the parameters `names`, and no other of `every`."""
    chosen = set(names)
    outside = {prefix for name in every if name not in chosen for prefix in _prefixes(name)}
    return list(dict.fromkeys(next(one for one in _prefixes(name) if one not in outside) for name in names))


def _prefixes(name: str) -> list[str]:
    """ "a", "a.b" and "a.b.c" of "a.b.c"."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
