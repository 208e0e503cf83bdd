"""Heads: feature maps in; predictions, decoded keypoints or losses out."""
from .heatmap_head import HeatmapHead, flip_heatmaps

__all__ = ['HeatmapHead', 'flip_heatmaps']
