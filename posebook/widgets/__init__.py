"""Widgets: pictures that answer. They run in JupyterLab, Notebook 7, VS Code and Colab."""
from posebook.widgets.spaces_explorer import SpacesExplorer, SpacesSettings

__all__ = ['SpacesExplorer', 'SpacesSettings']
