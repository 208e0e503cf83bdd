"""Models: preprocessors, backbones, heads, losses and the estimators that wire them together."""
from .backbones import (AlexNet, BaseBackbone, CPM, CSPNeXt, HRNet, HourglassAENet, HourglassNet,
                        MSPN, MobileNetV2, MobileNetV3, RSN, RegNet, ResNeSt, ResNeXt, ResNet,
                        ResNetV1d, SCNet, SEResNeXt, SEResNet, ShuffleNetV1, ShuffleNetV2, TCN,
                        TIMMBackbone, VGG, ViPNAS_MobileNetV3, ViPNAS_ResNet,
                        from_official_state_dict, hrnet_extra, to_official_state_dict)
from .builder import build_model
from .checkpoints import (CheckpointMismatchError, LoadReport, init_weights, load_checkpoint,
                          read_checkpoint, save_checkpoint)
from .complexity import Complexity, count_macs, count_parameters
from .data_preprocessors import PoseDataPreprocessor
from .fast_inference import optimize_for_inference
from .heads import (BaseHead, BaseHeatmapHead, DSNTHead, HeatmapHead, IntegralRegressionHead,
                    RLEHead, RegressionHead)
from .losses import KeypointMSELoss
from .necks import CSPNeXtPAFPN, ChannelMapper, FPN, FeatureMapProcessor, GlobalAveragePooling
from .pose_estimators import TopdownPoseEstimator, add_pred_to_datasample, input_to_image
from .tta import flip_coordinates, flip_heatmaps, flip_vectors, flip_visibility

__all__ = ['AlexNet', 'BaseBackbone', 'BaseHead', 'BaseHeatmapHead', 'CPM', 'CSPNeXt',
           'CSPNeXtPAFPN', 'ChannelMapper', 'CheckpointMismatchError', 'Complexity', 'DSNTHead',
           'FPN', 'FeatureMapProcessor', 'GlobalAveragePooling', 'HRNet', 'HeatmapHead',
           'HourglassAENet', 'HourglassNet', 'IntegralRegressionHead', 'KeypointMSELoss',
           'LoadReport', 'MSPN', 'MobileNetV2', 'MobileNetV3', 'PoseDataPreprocessor', 'RLEHead',
           'RSN', 'RegNet', 'RegressionHead', 'ResNeSt', 'ResNeXt', 'ResNet', 'ResNetV1d', 'SCNet',
           'SEResNeXt', 'SEResNet', 'ShuffleNetV1', 'ShuffleNetV2', 'TCN', 'TIMMBackbone',
           'TopdownPoseEstimator', 'VGG', 'ViPNAS_MobileNetV3', 'ViPNAS_ResNet',
           'add_pred_to_datasample', 'build_model', 'count_macs', 'count_parameters',
           'flip_coordinates', 'flip_heatmaps', 'flip_vectors', 'flip_visibility',
           'from_official_state_dict', 'hrnet_extra', 'init_weights', 'input_to_image',
           'load_checkpoint', 'optimize_for_inference', 'read_checkpoint', 'save_checkpoint',
           'to_official_state_dict']
