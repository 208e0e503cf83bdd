"""Rendered people: pictures with exact labels, each a function of a seed and a number."""
from .dataset import synthetic_dataset, write_coco
from .poses import COCO_SKELETON, KEYPOINT_NAMES
from .scenes import Scene, render_scene

__all__ = ['COCO_SKELETON', 'KEYPOINT_NAMES', 'Scene', 'render_scene', 'synthetic_dataset', 'write_coco']
