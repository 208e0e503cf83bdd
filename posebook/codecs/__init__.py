"""Codecs: keypoints in input space <-> what a network is trained to predict."""
import importlib
import warnings

from posebook.codecs.base import BaseHeatmapCodec, BaseKeypointCodec
from posebook.codecs.integral_regression_label import IntegralRegressionLabel
from posebook.codecs.megvii_heatmap import MegviiHeatmap
from posebook.codecs.msra_heatmap import MSRAHeatmap
from posebook.codecs.regression_label import RegressionLabel
from posebook.codecs.simcc_label import SimCCLabel
from posebook.codecs.udp_heatmap import UDPHeatmap

__all__ = ['BaseHeatmapCodec', 'BaseKeypointCodec', 'IntegralRegressionLabel', 'MSRAHeatmap',
           'MegviiHeatmap', 'RegressionLabel', 'SimCCLabel', 'UDPHeatmap']

# names that moved, and where they are now: found here until the next release
_MOVED = {'check_codec': 'posebook.testing'}


def __getattr__(name):
    if name not in _MOVED:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    warnings.warn(f'{__name__}.{name} has moved to {_MOVED[name]}; the old path goes with the next release',
                  DeprecationWarning, stacklevel=2)
    return getattr(importlib.import_module(_MOVED[name]), name)
