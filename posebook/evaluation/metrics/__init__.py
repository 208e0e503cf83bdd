"""Metrics that collect predictions batch by batch."""
from .coco_metric import BaseMetric, CocoMetric, MetricResult

__all__ = ['BaseMetric', 'CocoMetric', 'MetricResult']
