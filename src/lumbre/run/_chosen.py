"""What was chosen for a run beside module and data, as far as checks ask for it: what is watched, drawn and moved."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lumbre.base import Batch
from lumbre.callbacks import LRScheduler, Monitor
from lumbre.core import Callback
from lumbre.preflight import Chosen, Watched
from lumbre.run._feeds import Feeds
from lumbre.run._options import Options
from lumbre.run._spec import Spec
from lumbre.vision import Augment, row_seeds

_PROBED = 8


def chosen(spec: Spec, options: Options, feeds: Feeds) -> Chosen:
    """What `options` say, and what of it concerns the metrics and the first batch."""
    return Chosen(
        watched=tuple(_watched(spec, options.callbacks)),
        draws=feeds.data.draws,
        moved_alone=_moves_input_alone(options.augment, feeds.first),
        batches=feeds.train.length,
    )


def _watched(spec: Spec, callbacks: Sequence[Callback]) -> Iterator[Watched]:
    """What callbacks watch with a `mode` of the user's own, and what the metric says of it."""
    higher: dict[str, bool | None] = {"train_loss": False, "valid_loss": False}
    for name, metrics in (("train", spec.metrics.train), ("valid", spec.metrics.valid)):
        higher |= {f"{name}_{one.name.lower()}": one.higher_is_better for one in metrics}
    for one in callbacks:
        if isinstance(one, LRScheduler) and one.kwargs.get("mode") in ("min", "max"):
            name = str(vars(one).get("_metric") or "valid_loss")
            if higher.get(name) is not None:
                yield Watched(type(one).__name__, name, one.kwargs["mode"], "max" if higher[name] else "min")
        monitor = vars(one).get("_monitor")
        if not isinstance(monitor, Monitor) or not getattr(one, "best_only", True):
            continue
        name, given, *_ = monitor.watch
        if given is not None and higher.get(str(name)) is not None:
            yield Watched(type(one).__name__, str(name), str(given), "max" if higher[str(name)] else "min")


def _moves_input_alone(augment: object, first: Batch) -> bool:
    """Whether transforms move pixels of pictures whose target lies on them, and leave that where it is."""
    input, target = first.input, first.target
    if not isinstance(augment, Augment) or augment.target is not None:
        return False
    if not isinstance(input, Tensor) or not isinstance(target, Tensor) or input.ndim != 4 or target.ndim < 3:
        return False
    if target.shape[-2:] != input.shape[-2:] or min(input.shape[-2:]) < 4:
        return False
    # Pictures in which the left half is dark and the right half light, and others of top and bottom.
    rows, channels, height, width = min(_PROBED, len(input)), *input.shape[1:]
    across, down = torch.arange(width) >= width // 2, torch.arange(height) >= height // 2
    seeds = row_seeds(range(rows), seed=0, epoch=1)
    for light in (across.expand(height, width), down[:, None].expand(height, width)):
        picture = light.to(input.dtype).expand(rows, channels, height, width).clone()
        try:
            moved = augment(picture, seeds)
        except Exception:  # transforms that take other pictures
            return False
        if moved.shape[-2:] != picture.shape[-2:] or _turned(picture, moved):
            return True
    return False


def _turned(before: Tensor, after: Tensor) -> bool:
    """Whether what was light is dark in some picture, and what was dark is light."""
    a, b = (one.float().mean(1).flatten(1) for one in (before, after))
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    return bool(((a * b).sum(1) < -0.5 * a.norm(dim=1) * b.norm(dim=1)).any())
