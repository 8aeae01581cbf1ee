"""The 3x3 matrices of motions in the plane of an image, in float64, on the host.

A matrix takes a point (x, y, 1) of the image as it was to the same point of the image as it will be. Coordinates are
continuous: x from 0 at the left edge to the width at the right one, y downwards, so the pixel in row r and column c
covers [c, c+1) x [r, r+1) and has its centre at (c + 0.5, r + 0.5). Images, masks, boxes and keypoints share them.
"""

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

Number: TypeAlias = Tensor | float
"""The same for all rows, or a float64 tensor of shape (batch,)."""


def of(entries: Sequence[Number]) -> Tensor:
    """Nine entries, row by row, as matrices of shape (batch, 3, 3); batch is 1 where all are plain numbers."""
    parts = torch.broadcast_tensors(*(torch.as_tensor(entry, dtype=torch.float64).reshape(-1) for entry in entries))
    return torch.stack(parts, dim=1).reshape(-1, 3, 3)


def translation(x: Number, y: Number) -> Tensor:
    """Every point moved by (x, y)."""
    return of([1, 0, x, 0, 1, y, 0, 0, 1])


def scaling(x: Number, y: Number) -> Tensor:
    """Every point stretched away from (0, 0)."""
    return of([x, 0, 0, 0, y, 0, 0, 0, 1])


def affinity(
    center: tuple[float, float],
    angle: Number,
    translate: tuple[Number, Number] = (0, 0),
    scale: Number = 1,
    shear: tuple[Number, Number] = (0, 0),
) -> Tensor:
    """Shear, scale and turn about `center`, then translate: torchvision's order, so that its numbers mean the same.

    Args:
        center: (x, y) of the point that stays where it is before the translation.
        angle: degrees, clockwise as seen on the screen.
        translate: (x, y) in pixels.
        scale: factor.
        shear: degrees along x and along y.
    """
    turn, shear_x, shear_y = (torch.deg2rad(torch.as_tensor(a, dtype=torch.float64)) for a in (angle, *shear))
    cos, sin = torch.cos(turn - shear_y) / torch.cos(shear_y), torch.sin(turn - shear_y) / torch.cos(shear_y)
    b, d = -cos * torch.tan(shear_x) - torch.sin(turn), -sin * torch.tan(shear_x) + torch.cos(turn)
    linear = of([scale * cos, scale * b, 0, scale * sin, scale * d, 0, 0, 0, 1])
    x, y = center
    return translation(x + translate[0], y + translate[1]) @ linear @ translation(-x, -y)


def homography(start: Tensor, end: Tensor) -> Tensor:
    """The projective map that takes four points to four others.

    Args:
        start: float64 tensor of shape (batch, 4, 2).
        end: float64 tensor of shape (batch, 4, 2).

    Returns:
        Matrices of shape (batch, 3, 3); infinite or NaN where three of the points lie on a line.
    """
    # Two equations a point in the eight unknown entries (Hartley and Zisserman, "Multiple View Geometry", 4.1).
    (x, y), (u, v) = start.unbind(-1), end.unbind(-1)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    of_x = torch.stack([x, y, one, zero, zero, zero, -u * x, -u * y], dim=-1)
    of_y = torch.stack([zero, zero, zero, x, y, one, -v * x, -v * y], dim=-1)
    entries = torch.linalg.solve_ex(torch.cat([of_x, of_y], dim=1), torch.cat([u, v], dim=1)).result
    return torch.cat([entries, torch.ones_like(entries[:, :1])], dim=1).reshape(-1, 3, 3)


def moved_points(points: Tensor, matrix: Tensor) -> Tensor:
    """Points after the motion.

    Args:
        points: shape (batch, n, 2), (x, y); integers become float32.
        matrix: shape (batch or 1, 3, 3).
    """
    points = points if points.is_floating_point() else points.float()
    entries = matrix.to(points.device, points.dtype, non_blocking=True)[:, :, :, None]
    x, y = points.unbind(-1)
    homogeneous = [row[:, 0] * x + row[:, 1] * y + row[:, 2] for row in entries.unbind(1)]
    return torch.stack([homogeneous[0] / homogeneous[2], homogeneous[1] / homogeneous[2]], dim=-1)


def moved_boxes(boxes: Tensor, matrix: Tensor, size: tuple[int, int]) -> Tensor:
    """The upright boxes around the moved corners, clipped to the new image.

    Args:
        boxes: shape (batch, n, 4), (left, top, right, bottom).
        matrix: shape (batch or 1, 3, 3).
        size: height and width of the new image.

    Returns:
        The same shape. A box that has left the image has no area.
    """
    rows, count, _ = boxes.shape
    corners = boxes[..., [0, 1, 2, 1, 2, 3, 0, 3]].reshape(rows, count * 4, 2)
    moved = moved_points(corners, matrix).reshape(rows, count, 4, 2)
    low, high = moved.amin(2), moved.amax(2)
    limit = torch.tensor([size[1], size[0]], dtype=moved.dtype, device=moved.device)
    return torch.cat([torch.minimum(low.clamp(min=0), limit), torch.minimum(high.clamp(min=0), limit)], dim=-1)
