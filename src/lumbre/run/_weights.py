"""Weights of rows: whether loss and metrics of a run can take them, asked before its first epoch."""

from dataclasses import replace

import torch

from lumbre.base import NamedLosses, RecipeError, RowLoss, own_method
from lumbre.metrics import check_weighing
from lumbre.run._feeds import Feeds
from lumbre.run._net import Net
from lumbre.run._setting import Setting
from lumbre.run._spec import Spec


def with_weights(net: Net, spec: Spec, feeds: Feeds, setting: Setting) -> Net:
    """The net of a run whose rows have weights.

    Raises:
        RecipeError: the loss gives no values for rows, or a metric does not take weights.
    """
    if feeds.data.weights is not None:
        check_weighing(spec.metrics.train)
    if any(weights is not None for weights in (feeds.data.valid_weights, *(w for _, w in feeds.data.also.values()))):
        check_weighing(spec.metrics.valid)
    name = type(net.model).__name__
    own_step = own_method(net.model, "step")
    if own_step and feeds.data.weights is not None:
        raise RecipeError(
            f"weights of rows for {name}, which has a step of its own",
            "a module with one loss, which lumbre calls",
            "a method loss(self, pred, target) that gives a value for each row, in the place of step(); or no weights",
        )
    if isinstance(net.loss, NamedLosses):
        raise RecipeError(
            f"weights of rows for {name}, which has several losses",
            "one loss",
            "a method loss(self, pred, target) that gives a value for each row; or no weights",
        )
    if net.loss is None:
        return net
    first, rows = feeds.first, RowLoss(net.loss)
    try:
        with net.loss_tried(), net.tried(), torch.no_grad(), setting.precision.autocast():
            pred = net.call(first.input)
    except Exception:  # the checks, or the run, say what the module does not take
        return replace(net, weighted=True)
    with net.loss_tried(), torch.no_grad(), setting.precision.autocast():
        rows.check(pred, first.target, first.size)
    return replace(net, weighted=True)
