"""Losses: predictions and targets in, a scalar out."""
from .base import BaseLoss
from .classification_loss import BCELoss, InfoNCELoss, JSDiscretLoss, KLDiscretLoss, VariFocalLoss
from .distillation_loss import FeaLoss, KDLoss
from .heatmap_loss import (AdaptiveWingLoss, CombinedTargetMSELoss, FocalHeatmapLoss,
                           KeypointMSELoss, KeypointOHKMMSELoss, MLECCLoss)
from .loss_wrappers import CombinedLoss, MultipleLossWrapper
from .regression_loss import (BoneLoss, IoULoss, L1Loss, MPJPELoss, MPJPEVelocityJointLoss, MSELoss,
                              OKSLoss, SmoothL1Loss, SoftWeightSmoothL1Loss, SoftWingLoss, WingLoss)
from .rle_loss import RLELoss, RealNVP

__all__ = ['AdaptiveWingLoss', 'BCELoss', 'BaseLoss', 'BoneLoss', 'CombinedLoss',
           'CombinedTargetMSELoss', 'FeaLoss', 'FocalHeatmapLoss', 'InfoNCELoss', 'IoULoss',
           'JSDiscretLoss', 'KDLoss', 'KLDiscretLoss', 'KeypointMSELoss', 'KeypointOHKMMSELoss',
           'L1Loss', 'MLECCLoss', 'MPJPELoss', 'MPJPEVelocityJointLoss', 'MSELoss',
           'MultipleLossWrapper', 'OKSLoss', 'RLELoss', 'RealNVP', 'SmoothL1Loss',
           'SoftWeightSmoothL1Loss', 'SoftWingLoss', 'VariFocalLoss', 'WingLoss']
