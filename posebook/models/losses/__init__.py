"""Losses: predictions and targets in, a scalar out."""
from .heatmap_loss import KeypointMSELoss

__all__ = ['KeypointMSELoss']
