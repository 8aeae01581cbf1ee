"""Prepares a net for several processes: copies whose gradients are averaged (DDP), or parts of one model (FSDP)."""

from dataclasses import replace

from lumbre.base import Batch, OptionError
from lumbre.callbacks import SampleGenerations, TensorBoard
from lumbre.inspection import Inspect
from lumbre.processes import Sharded, Together, check_optimizers
from lumbre.run._loss import trained_by_loss
from lumbre.run._net import NamedLosses, Net, loss_function, make_optimizers
from lumbre.run._options import Options
from lumbre.run._setting import Setting
from lumbre.run._spec import Spec
from lumbre.steps import leaves_parameters_out


def in_parallel(net: Net, spec: Spec, options: Options, setting: Setting, first: Batch) -> tuple[Net, Sharded | None]:
    """The net whose call exchanges gradients; where the model is sharded, also what is trained in its place.

    Raises:
        OptionError: sharded, beside callbacks or optimizers that need the whole model.
    """
    trial = net.trial(first, setting.precision)
    if setting.world.size == 1 or trial is None:
        return net, None
    if options.strategy != "fsdp" or isinstance(net.loss, NamedLosses):
        with net.loss_tried():
            unused = leaves_parameters_out(net.model, trial)
        together = Together(net.model, net.call, unused=unused, loss=net.loss_module)
        shared = replace(net, call=together)
        settling = shared.trial(first, setting.precision)
        assert settling is not None
        together.settle(settling)
        return shared, None
    for one in options.callbacks:
        if isinstance(one, (SampleGenerations, Inspect)) or (isinstance(one, TensorBoard) and one.histograms):
            raise OptionError(
                f'{type(one).__name__} beside strategy="fsdp"',
                "callbacks that need no whole model in a single process",
                'strategy="ddp", or leave it out',
            )
    if of_loss := trained_by_loss(net.loss_module, net.model):
        raise OptionError(
            f'strategy="fsdp" beside a loss with parameters of its own: {", ".join(of_loss)}',
            "a loss without, since only the module's are cut into parts",
            'strategy="ddp"; or make the loss a part of the module: def loss(self, pred, target)',
        )
    check_optimizers(net.optimizers)
    sharded = Sharded(net.model, first.input)
    loss = loss_function(spec, sharded.model, setting.device)
    optimizers = make_optimizers(spec, sharded.model, loss, setting.device)
    check_optimizers(optimizers)
    return Net(net.model, sharded, loss, optimizers, net.beside, net.weighted), sharded
