"""HRNetExplorer: a network's parts, what flows through them, how it is drawn, and the widget."""
