"""Keypoint datasets, their metainfo, and the transforms that turn samples into model input."""

from posebook.datasets import transforms
from posebook.datasets.base import BaseDataset
from posebook.datasets.body import CocoDataset
from posebook.datasets.coco_style import BaseCocoStyleDataset
from posebook.structures.metainfo import COCO, MPII, parse_pose_metainfo

__all__ = ['BaseCocoStyleDataset', 'BaseDataset', 'COCO', 'CocoDataset', 'MPII',
           'parse_pose_metainfo', 'transforms']
