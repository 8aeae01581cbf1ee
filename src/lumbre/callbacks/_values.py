"""What an epoch came to, for those who write it down."""

from lumbre.core import Context


def epoch_values(ctx: Context) -> dict[str, dict[str, float]]:
    """The single numbers that this epoch recorded, by set and metric."""
    values: dict[str, dict[str, float]] = {}
    for set_name, metric, epoch, value in ctx.history.scalars():
        if epoch == ctx.epoch:
            values.setdefault(set_name, {})[metric] = value
    return values
