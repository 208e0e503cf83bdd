"""The steps from an annotation to a training sample."""

from .common import (BaseTransform, Compose, GenerateTarget, GetBBoxCenterScale, LoadImage,
                     RandomBBoxTransform, RandomFlip, RandomHalfBody, TopdownAffine)
from .formatting import (PackPoseInputs, image_to_tensor, keypoints_to_tensor, show_batch,
                         show_target)

__all__ = ['BaseTransform', 'Compose', 'GenerateTarget', 'GetBBoxCenterScale', 'LoadImage',
           'PackPoseInputs', 'RandomBBoxTransform', 'RandomFlip', 'RandomHalfBody',
           'TopdownAffine', 'image_to_tensor', 'keypoints_to_tensor', 'show_batch', 'show_target']
