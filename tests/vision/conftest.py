"""A real photograph, cropped small, as Pillow and as a tensor."""

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    """96 wide, 80 high, RGB: flowers."""
    return Image.fromarray(np.ascontiguousarray(load_sample_images().images[1][120:200, 240:336]))


@pytest.fixture
def pixels(photo: Image.Image) -> Tensor:
    """The photograph as uint8 of shape (3, 80, 96)."""
    return torch.from_numpy(np.array(photo)).movedim(-1, 0).contiguous()


@pytest.fixture
def batch(pixels: Tensor) -> Tensor:
    """Six parts of the photograph, uint8 of shape (6, 3, 40, 48)."""
    return torch.stack([pixels[:, top : top + 40, left : left + 48] for top in (0, 20, 40) for left in (0, 48)])
