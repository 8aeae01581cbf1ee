"""The raw loop under torcheck: every parameter that can be trained is to change, none and no output is to be NaN or
infinite, and predictions before losses that apply a softmax or sigmoid are not to lie within 0 and 1."""

import torcheck
from torch import nn

from benchmarks.mistakes.contenders.raw import run
from benchmarks.mistakes.plain import Program, plain


def train(program: Program) -> None:
    given = plain(program)
    torcheck.register(given.optimizer)
    for name, one in given.model.named_parameters():
        if one.requires_grad:
            torcheck.add_tensor_changing_check(one, tensor_name=name, module_name="model")
    torcheck.add_module_nan_check(given.model, module_name="model")
    torcheck.add_module_inf_check(given.model, module_name="model")
    if isinstance(given.loss_module, (nn.CrossEntropyLoss, nn.BCEWithLogitsLoss)):
        torcheck.add_module_output_range_check(given.model, output_range=(0, 1), negate_range=True, module_name="model")
    run(given)
