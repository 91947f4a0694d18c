"""Tensors of images as kernels see them: [images, channels, points], either of the two last axes innermost."""

import math

from torch import Tensor

from xaipipe.ops import _library


def as_images(tensor: Tensor, leading: int) -> Tensor:
    """The first `leading` axes as one, the next one for channels, the others as one; a copy only where it must be."""
    shape = tensor.shape
    return tensor.reshape(math.prod(shape[:leading]), shape[leading], math.prod(shape[leading + 1 :]))


def is_channels_last(images: Tensor) -> bool:
    """Whether kernels should have them with channels innermost: they lie like that, and not as they would otherwise."""
    return not images.is_contiguous() and images.transpose(1, 2).is_contiguous()


def laid_out(images: Tensor, channels_last: bool) -> Tensor:
    """The same memory where it lies like that and starts at a whole element, else a copy."""
    return contiguous(images.transpose(1, 2) if channels_last else images)


def contiguous(tensor: Tensor) -> Tensor:
    tensor = tensor.contiguous()
    return tensor if _library.is_aligned(tensor) else tensor.clone()


def empty_images(like: Tensor, images: int, channels: int, points: int, channels_last: bool) -> Tensor:
    """[images, channels, points], in new memory."""
    if channels_last:
        return like.new_empty(images, points, channels).transpose(1, 2)
    return like.new_empty(images, channels, points)
