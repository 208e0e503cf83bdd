"""Models: backbones, necks, heads, losses, the estimators that wire them together, their weights."""
from ..checkpoints import (CheckpointMismatchError, LoadReport, init_weights, load_checkpoint,
                           read_checkpoint, save_checkpoint)
from . import backbones, heads, losses, necks
from .backbones import *  # noqa: F403  (each lists its names in __all__)
from .builder import build_model
from .complexity import Complexity, count_macs, count_parameters
from .data_preprocessors import PoseDataPreprocessor
from .fast_inference import optimize_for_inference
from .heads import *  # noqa: F403
from .losses import *  # noqa: F403
from .necks import *  # noqa: F403
from .pose_estimators import TopdownPoseEstimator, add_pred_to_datasample, input_to_image
from .tta import flip_coordinates, flip_heatmaps, flip_vectors, flip_visibility

__all__ = sorted([
    *backbones.__all__, *heads.__all__, *losses.__all__, *necks.__all__,
    'CheckpointMismatchError', 'Complexity', 'LoadReport', 'PoseDataPreprocessor',
    'TopdownPoseEstimator', 'add_pred_to_datasample', 'build_model', 'count_macs',
    'count_parameters', 'flip_coordinates', 'flip_heatmaps', 'flip_vectors', 'flip_visibility',
    'init_weights', 'input_to_image', 'load_checkpoint', 'optimize_for_inference',
    'read_checkpoint', 'save_checkpoint'])
