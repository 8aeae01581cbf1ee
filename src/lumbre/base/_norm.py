"""How large a tensor is."""

import torch
from torch import Tensor


def norm_of(tensor: Tensor) -> float:
    """The Euclidean norm in single precision, of complex numbers, too, whose imaginary parts `.float()` leaves out."""
    plain = torch.view_as_real(tensor.detach().resolve_conj()) if tensor.is_complex() else tensor.detach()
    return float(plain.float().norm())
