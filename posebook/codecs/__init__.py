"""Codecs: keypoints in input space <-> what a network is trained to predict."""
from posebook.codecs.base import BaseKeypointCodec
from posebook.codecs.msra_heatmap import MSRAHeatmap
from posebook.codecs.regression_label import RegressionLabel

__all__ = ['BaseKeypointCodec', 'MSRAHeatmap', 'RegressionLabel']
