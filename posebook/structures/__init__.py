"""Boxes, keypoints, metainfo, data samples and the three spaces: numpy and OpenCV only."""

from .bbox import (bbox_clip_border, bbox_corner2xyxy, bbox_cs2xywh, bbox_cs2xyxy, bbox_overlaps,
                   bbox_xywh2cs, bbox_xywh2xyxy, bbox_xyxy2corner, bbox_xyxy2cs, bbox_xyxy2xywh,
                   fit_aspect_ratio, flip_bbox, get_pers_warp_matrix, get_udp_warp_matrix,
                   get_warp_matrix)
from .keypoint import flip_keypoints, flip_keypoints_custom_center, keypoint_clip_border
from .metainfo import (COCO, MPII, check_dataset_info, load_dataset_info, make_dataset_info,
                       parse_pose_metainfo)
from .pose_data_sample import (BaseDataElement, InstanceData, MultilevelPixelData, PixelData,
                               PoseDataSample, merge_data_samples, split_instances)
from .spaces import Spaces, input_to_image, revert_heatmap

__all__ = [
    'bbox_clip_border', 'bbox_corner2xyxy', 'bbox_cs2xywh', 'bbox_cs2xyxy', 'bbox_overlaps',
    'bbox_xywh2cs', 'bbox_xywh2xyxy', 'bbox_xyxy2corner', 'bbox_xyxy2cs', 'bbox_xyxy2xywh',
    'fit_aspect_ratio', 'flip_bbox', 'get_pers_warp_matrix', 'get_udp_warp_matrix',
    'get_warp_matrix', 'flip_keypoints', 'flip_keypoints_custom_center', 'keypoint_clip_border',
    'COCO', 'MPII', 'check_dataset_info', 'load_dataset_info', 'make_dataset_info',
    'parse_pose_metainfo', 'BaseDataElement', 'InstanceData', 'MultilevelPixelData', 'PixelData', 'PoseDataSample',
    'input_to_image', 'merge_data_samples', 'revert_heatmap', 'split_instances', 'Spaces'
]
