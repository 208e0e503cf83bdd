"""Codecs: keypoints in input space <-> what a network is trained to predict."""
from posebook.codecs.base import BaseKeypointCodec
from posebook.codecs.msra_heatmap import MSRAHeatmap

__all__ = ['BaseKeypointCodec', 'MSRAHeatmap']
