"""Codecs: keypoints in input space <-> what a network is trained to predict."""
import importlib
import warnings

from posebook import checks
from posebook.codecs import base
from posebook.codecs.base import BaseHeatmapCodec, BaseKeypointCodec
from posebook.codecs.integral_regression_label import IntegralRegressionLabel
from posebook.codecs.megvii_heatmap import MegviiHeatmap
from posebook.codecs.msra_heatmap import MSRAHeatmap
from posebook.codecs.regression_label import RegressionLabel
from posebook.codecs.simcc_label import SimCCLabel
from posebook.codecs.udp_heatmap import UDPHeatmap
from posebook.codecs.utils import odd_width

__all__ = ['BaseHeatmapCodec', 'BaseKeypointCodec', 'IntegralRegressionLabel', 'MSRAHeatmap',
           'MegviiHeatmap', 'RegressionLabel', 'SimCCLabel', 'UDPHeatmap']

# what moved, and how it is found until the next release
_MOVED = {
    'check_codec': ('posebook.testing.check_codec', lambda: _named('posebook.testing.check_codec')),
    'base.check_crop': ('posebook.datasets.transforms.topdown.check_crop', lambda: _named(
        'posebook.datasets.transforms.topdown.check_crop')),
    'base.check_size': ('posebook.checks.size_wh', lambda: lambda owner, name, size:
                        checks.size_wh(f'{owner}: {name}', size)),
    'base.check_above_0': ('posebook.checks.number', lambda: lambda owner, name, value, unit:
                           checks.number(f'{owner}: {name}', value, above=0, unit=unit)),
    'base.check_odd': ('posebook.codecs.utils.odd_width', lambda: lambda owner, name, value:
                       odd_width(f'{owner}: {name}', value))}


def _named(path):
    """What a path names; the module is imported when somebody asks for it under its old name."""
    module, _, name = path.rpartition('.')
    return getattr(importlib.import_module(module), name)


def _find(module, name):
    key = name if module == __name__ else f'base.{name}'
    if key not in _MOVED:
        raise AttributeError(f'module {module!r} has no attribute {name!r}')
    new, find = _MOVED[key]
    warnings.warn(f'{module}.{name} has moved to {new}; the old path goes with the next release',
                  DeprecationWarning, stacklevel=3)
    return find()


def __getattr__(name):
    return _find(__name__, name)


def _of_base(name):
    return _find(base.__name__, name)


base.__getattr__ = _of_base
