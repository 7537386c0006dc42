"""Trade a little arithmetic in the backward pass for memory."""

from typing import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

# Below it there is little memory to save, and the bookkeeping (0.3 ms a call) would show.
MIN_ELEMENTS = 2**20


def recompute(function: Callable, *inputs: Tensor, random: bool = False) -> Tensor:
    """Call a function and, where gradients are wanted, keep only its inputs for the backward pass.

    There the function runs again, but only until everything it had stored exists: for a norm or an
    activation followed by a matrix product the product itself is not repeated, because it stores
    its operands before it starts. So cheap operations in front of expensive ones cost next to
    nothing. Inputs of fewer than ``MIN_ELEMENTS`` elements are not worth it and are kept as usual.

    Args:
        function: Of the inputs and of module parameters.
        *inputs: Its tensors.
        random: The function draws random numbers (dropout), which must come out the same again.
    """
    if not torch.is_grad_enabled() or sum(x.numel() for x in inputs) < MIN_ELEMENTS:
        return function(*inputs)
    return checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=random)
