"""Widgets: pictures that answer. They run in JupyterLab, Notebook 7, VS Code and Colab."""
from posebook.widgets.base import PoseWidget, WidgetSettings
from posebook.widgets.codec_lab import CodecLab, CodecLabSettings
from posebook.widgets.heatmap_viewer import HeatmapSettings, HeatmapViewer
from posebook.widgets.spaces_explorer import SpacesExplorer, SpacesSettings

__all__ = ['CodecLab', 'CodecLabSettings', 'HeatmapSettings', 'HeatmapViewer', 'PoseWidget',
           'SpacesExplorer', 'SpacesSettings', 'WidgetSettings']
