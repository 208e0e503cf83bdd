"""Keypoint datasets, their metainfo, and the transforms that turn samples into model input."""

from posebook.datasets import transforms
from posebook.datasets.coco import BaseCocoStyleDataset, BaseDataset, CocoDataset
from posebook.datasets.metainfo import COCO, MPII, parse_pose_metainfo

__all__ = ['BaseCocoStyleDataset', 'BaseDataset', 'COCO', 'CocoDataset', 'MPII',
           'parse_pose_metainfo', 'transforms']
