"""Codecs: keypoints in input space <-> what a network is trained to predict."""
from posebook.codecs.base import BaseHeatmapCodec, BaseKeypointCodec
from posebook.codecs.checks import check_codec
from posebook.codecs.integral_regression_label import IntegralRegressionLabel
from posebook.codecs.megvii_heatmap import MegviiHeatmap
from posebook.codecs.msra_heatmap import MSRAHeatmap
from posebook.codecs.regression_label import RegressionLabel
from posebook.codecs.simcc_label import SimCCLabel
from posebook.codecs.udp_heatmap import UDPHeatmap

__all__ = ['BaseHeatmapCodec', 'BaseKeypointCodec', 'IntegralRegressionLabel', 'MSRAHeatmap',
           'MegviiHeatmap', 'RegressionLabel', 'SimCCLabel', 'UDPHeatmap', 'check_codec']
