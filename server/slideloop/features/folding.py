"""Networks with BatchNorm in their convolutions: the same function in fewer steps.

Owns the folding. It goes through the modules and never traces a call: tracing replaces what every
module of the process does when it is called, in other threads too.
"""

from __future__ import annotations

import copy
import itertools

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold(network: nn.Module) -> nn.Module:
    """Return a copy of a network in which each BatchNorm is part of the convolution before it.

    Parameters
    ----------
    network : Module
        In evaluation mode; a BatchNorm that is registered right behind a convolution is also
        computed right behind it, as in torchvision's networks.
    """
    network = copy.deepcopy(network)
    for module in list(network.modules()):
        for (name, conv), (behind, norm) in itertools.pairwise(list(module.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(conv, norm))
                setattr(module, behind, nn.Identity())
    return network
