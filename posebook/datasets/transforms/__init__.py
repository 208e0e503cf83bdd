"""The steps from an annotation to a training sample."""

from .augmentation import RandomBBoxTransform, RandomFlip, RandomHalfBody
from .base import BaseTransform
from .compose import Compose
from .formatting import (PackPoseInputs, image_to_tensor, keypoints_to_tensor, show_batch,
                         show_target)
from .loading import LoadImage, read_image
from .targets import GenerateTarget
from .topdown import GetBBoxCenterScale, TopdownAffine

__all__ = ['BaseTransform', 'Compose', 'GenerateTarget', 'GetBBoxCenterScale', 'LoadImage',
           'PackPoseInputs', 'RandomBBoxTransform', 'RandomFlip', 'RandomHalfBody',
           'TopdownAffine', 'image_to_tensor', 'keypoints_to_tensor', 'read_image', 'show_batch',
           'show_target']
