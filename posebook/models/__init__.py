"""Models: preprocessors, backbones, heads, losses and the estimators that wire them together."""
from .backbones import HRNet, from_official_state_dict, hrnet_extra, to_official_state_dict
from .data_preprocessors import PoseDataPreprocessor
from .heads import HeatmapHead, flip_heatmaps
from .losses import KeypointMSELoss
from .pose_estimators import TopdownPoseEstimator, add_pred_to_datasample, input_to_image

__all__ = ['HRNet', 'HeatmapHead', 'KeypointMSELoss', 'PoseDataPreprocessor',
           'TopdownPoseEstimator', 'add_pred_to_datasample', 'flip_heatmaps',
           'from_official_state_dict', 'hrnet_extra', 'input_to_image', 'to_official_state_dict']
