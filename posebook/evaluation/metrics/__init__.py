"""Metrics that collect predictions batch by batch."""
from .base import BaseMetric, MetricResult
from .coco_metric import CocoMetric

__all__ = ['BaseMetric', 'CocoMetric', 'MetricResult']
