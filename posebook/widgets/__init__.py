"""Widgets: pictures that answer. They run in JupyterLab, Notebook 7, VS Code and Colab."""
from importlib import import_module

from posebook.widgets.base import PoseWidget, WidgetSettings
from posebook.widgets.codec_lab import CodecLab, CodecLabSettings
from posebook.widgets.heatmap_viewer import HeatmapSettings, HeatmapViewer
from posebook.widgets.spaces_explorer import SpacesExplorer, SpacesSettings

__all__ = ['CodecLab', 'CodecLabSettings', 'HRNetExplorer', 'HRNetSettings', 'HeatmapSettings',
           'HeatmapViewer', 'LossExplorer', 'LossSettings', 'PoseWidget', 'SpacesExplorer',
           'SpacesSettings', 'WidgetSettings']

# these import torch, so only when they are asked for
_LATER = {'HRNetExplorer': 'hrnet.explorer', 'HRNetSettings': 'hrnet.explorer',
          'LossExplorer': 'loss_explorer', 'LossSettings': 'loss_explorer'}


def __getattr__(name: str):
    if name not in _LATER:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'{__name__}.{_LATER[name]}'), name)
