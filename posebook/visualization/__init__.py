"""Drawing poses: OpenCV, and matplotlib only where a picture is shown."""
from .local_visualizer import PoseLocalVisualizer, draw_boxes, draw_heatmaps, draw_keypoints

__all__ = ['PoseLocalVisualizer', 'draw_boxes', 'draw_heatmaps', 'draw_keypoints']
