"""How good is a prediction: functions on arrays and metrics on batches."""
from . import functional, metrics
from .metrics import BaseMetric, CocoMetric, MetricResult

__all__ = ['functional', 'metrics', 'BaseMetric', 'CocoMetric', 'MetricResult']
