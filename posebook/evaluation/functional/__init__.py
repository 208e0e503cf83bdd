"""Measures and suppression as plain functions on arrays.

`nms` is a function here and also the name of the module it lives in, as in MMPose: say
`from posebook.evaluation.functional.nms import oks_iou` for the other names of that module.
"""
from .keypoint_eval import (keypoint_auc, keypoint_epe, keypoint_nme, keypoint_pck_accuracy,
                            pose_pck_accuracy, simcc_pck_accuracy)
from .nms import nearby_joints_nms, nms, object_keypoint_similarity, oks_iou, oks_nms, soft_oks_nms

__all__ = ['keypoint_auc', 'keypoint_epe', 'keypoint_nme', 'keypoint_pck_accuracy',
           'pose_pck_accuracy', 'nearby_joints_nms', 'nms', 'object_keypoint_similarity',
           'oks_iou', 'oks_nms', 'simcc_pck_accuracy', 'soft_oks_nms']
