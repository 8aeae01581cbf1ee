"""`fit(..., augment=...)`: training batches only, seeded per row, targets that move with the image."""

import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb
from lumbre import vision

IMAGES = torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(12) % 3


class Recorder(lb.Callback):
    """Keeps every batch."""

    def __init__(self) -> None:
        self.train: list[Tensor] = []
        self.valid: list[Tensor] = []
        self.targets: list[Tensor] = []

    def on_train_batch_end(self, ctx: lb.Context) -> None:
        assert ctx.batch is not None
        self.train.append(ctx.batch.input.clone())
        self.targets.append(ctx.batch.target.clone())

    def on_valid_batch_end(self, ctx: lb.Context) -> None:
        assert ctx.batch is not None
        self.valid.append(ctx.batch.input.clone())


def classifier() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(3))


def fit(augment, data=(IMAGES, LABELS), net=classifier, loss=None, **options) -> tuple[lb.Fitted, Recorder]:
    recorder = Recorder()
    recipe = lb.setup(net, loss=loss or nn.CrossEntropyLoss(), optimizer=optim.SGD).set_opt_hparams(lr=0.1)
    fitted = recipe.fit(
        data, epochs=2, batch_size=5, augment=augment, callbacks=recorder, verbose=False, preflight=True, **options
    )
    return fitted, recorder


def test_training_batches_are_augmented_and_validation_is_not() -> None:
    _, seen = fit(vision.RandomHorizontalFlip(p=1), shuffle=False, valid_data=(IMAGES, LABELS), ignore="LB041")
    assert torch.equal(torch.cat(seen.train[:3]), IMAGES.flip(-1))
    assert torch.equal(torch.cat(seen.valid[:3]), IMAGES)


def test_a_transform_may_change_the_size() -> None:
    fitted, seen = fit(vision.Augment([vision.RandomCrop(6)]), valid_data=None)
    assert seen.train[0].shape == (5, 1, 6, 6)
    assert fitted.model[1].in_features == 36


@pytest.mark.parametrize("workers", [0, 2])
def test_the_bits_do_not_depend_on_workers_or_batches(workers: int) -> None:
    augment = vision.Augment([vision.RandomCrop(8, padding=2), vision.ColorJitter(brightness=0.4)])
    fitted, _ = fit(augment, num_workers=workers)
    plain, _ = fit(augment)
    assert all(torch.equal(a, b) for a, b in zip(fitted.model.parameters(), plain.model.parameters(), strict=True))


def test_another_epoch_augments_otherwise() -> None:
    _, seen = fit(vision.RandomCrop(8, padding=3), shuffle=False)
    assert not torch.equal(torch.cat(seen.train[:3]), torch.cat(seen.train[3:]))


def test_masks_move_with_their_images() -> None:
    masks = (IMAGES[:, 0] > 0.5).long()
    augment = vision.Augment([vision.RandomHorizontalFlip(), vision.RandomCrop(8, padding=2)], target="masks")

    def net() -> nn.Module:
        return nn.Conv2d(1, 2, 1)

    _, seen = fit(augment, data=(IMAGES, masks), net=net)
    images, moved = torch.cat(seen.train)[:, 0], torch.cat(seen.targets)
    assert not torch.equal(moved[:12], masks)
    assert torch.equal((images > 0.5).long(), moved)


def test_pixels_of_masks_from_outside_get_the_label_that_is_asked_for() -> None:
    crop = vision.Augment([vision.RandomCrop(8, padding=2)], target="masks", mask_fill=-100)
    masks = torch.ones(len(IMAGES), 8, 8, dtype=torch.int64)
    images, moved = crop.batch(IMAGES + 1, masks, vision.row_seeds(range(len(IMAGES))))
    assert set(moved.unique().tolist()) == {-100, 1}
    assert torch.equal(moved == -100, images[:, 0] == 0)


def test_loaders_do_not_number_rows_and_are_augmented_all_the_same() -> None:
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(IMAGES, LABELS), batch_size=5)
    recipe = lb.setup(classifier, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD).set_opt_hparams(lr=0.1)
    recorder = Recorder()
    recipe.fit(loader, epochs=2, augment=vision.RandomCrop(8, padding=3), callbacks=recorder, verbose=False)
    first, second = torch.cat(recorder.train[:3]), torch.cat(recorder.train[3:])
    assert not torch.equal(first, IMAGES)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("augment", ["flip", lambda images: images])
def test_what_is_no_augmentation_is_refused(augment) -> None:
    with pytest.raises(lb.OptionError, match=r"lumbre\.vision"):
        fit(augment)


def test_a_function_of_input_and_row_seeds_will_do() -> None:
    _, seen = fit(lambda images, seeds: images + 10, shuffle=False, ignore="LB025")
    assert torch.equal(torch.cat(seen.train[:3]), IMAGES + 10)


def test_target_is_one_of_three() -> None:
    with pytest.raises(lb.OptionError, match=r"(?i)did you mean .masks."):
        vision.Augment([], target="mask")
