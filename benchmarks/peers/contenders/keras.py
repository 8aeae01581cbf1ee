"""Torch backend, `fit(verbose=0)`, Adam with torch's epsilon. Dense nets in Keras' own layers, others in a
TorchModuleWrapper."""

import os

os.environ["KERAS_BACKEND"] = "torch"

import keras
from torch import nn

from benchmarks.peers.contenders import Scores, Unsupported
from benchmarks.peers.works import Job


def own_layers(net: nn.Sequential, columns: int) -> keras.Model:
    """Dense layers with the same first weights."""
    linears = [layer for layer in net if isinstance(layer, nn.Linear)]
    model = keras.Sequential([keras.Input((columns,))])
    for layer in linears:
        model.add(keras.layers.Dense(layer.out_features, activation=None if layer is linears[-1] else "relu"))
        model.layers[-1].set_weights([layer.weight.detach().numpy().T, layer.bias.detach().numpy()])
    return model


def train(job: Job) -> Scores:
    if job.precision != "float32":
        raise Unsupported("Keras casts the layers of its own, not those of a wrapped torch module")
    dense = isinstance(job.model, nn.Sequential) and all(isinstance(part, (nn.Linear, nn.ReLU)) for part in job.model)
    if dense:
        model = own_layers(job.model, job.x.shape[1])
    else:
        model = keras.Sequential([keras.layers.TorchModuleWrapper(job.model)])
    model.compile(
        optimizer=keras.optimizers.Adam(job.lr, epsilon=1e-8),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.fit(job.x.numpy(), job.y.numpy(), batch_size=job.batch, epochs=job.epochs, verbose=0)
    return model if dense else job.model
