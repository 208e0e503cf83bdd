"""Estimators: backbone, neck and head as one model with three modes."""
from .topdown import TopdownPoseEstimator, add_pred_to_datasample, input_to_image

__all__ = ['TopdownPoseEstimator', 'add_pred_to_datasample', 'input_to_image']
