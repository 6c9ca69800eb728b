"""Batch norms multiplied into the convolutions before them: the same function, in fewer steps."""

import itertools

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

# Convolutions whose weights are used as they are stored (a weight-standardised one is not), timm's
# with TensorFlow's padding included.
FOLDABLE = ("Conv2d", "Conv2dSame")
# RepViT's first norm follows the sum of two convolutions, not the one registered before it.
NOT_IN_ORDER = ("RepVggDw",)


def fold_batch_norm(module: nn.Module) -> None:
    """Multiply each batch norm into the convolution before it, in place, in every submodule.

    The function stays the same in evaluation mode (Jacob et al. 2018, section 3.2). An activation
    that timm keeps inside its batch norm takes the norm's place. "Before" is the order in which a
    module registers its parts; a norm that is first, or follows something else, stays.
    """
    children = list(module._modules.items())
    in_order = type(module).__name__ not in NOT_IN_ORDER
    for (here, child), (after, norm) in itertools.pairwise([*children, ("", None)]):
        if (
            in_order
            and type(child).__name__ in FOLDABLE
            and isinstance(child, nn.Conv2d)
            and isinstance(norm, nn.BatchNorm2d)
        ):
            setattr(module, here, fuse_conv_bn_eval(child, norm))
            act = getattr(norm, "act", None)
            setattr(module, after, act if isinstance(act, nn.Module) else nn.Identity())
        elif child is not None:
            fold_batch_norm(child)
