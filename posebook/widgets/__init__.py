"""Widgets: pictures that answer. They run in JupyterLab, Notebook 7, VS Code and Colab."""
from posebook.widgets.base import PoseWidget, WidgetSettings
from posebook.widgets.spaces_explorer import SpacesExplorer, SpacesSettings

__all__ = ['PoseWidget', 'SpacesExplorer', 'SpacesSettings', 'WidgetSettings']
