"""Heads: feature maps in; predictions, decoded keypoints or losses out."""
from .base import BaseHead, BaseHeatmapHead
from .heatmap_head import HeatmapHead
from .regression_heads import DSNTHead, IntegralRegressionHead, RLEHead, RegressionHead
from .rtmcc_head import RTMCCBlock, RTMCCHead
from .simcc_head import BaseSimCCHead, SimCCHead, get_simcc_normalized
from .stage_heads import BaseStageHead, CPMHead, MSPNHead, PRM, ViPNASHead
from .vis_predict_head import VisPredictHead

__all__ = ['BaseHead', 'BaseHeatmapHead', 'BaseSimCCHead', 'BaseStageHead', 'CPMHead', 'DSNTHead',
           'HeatmapHead', 'IntegralRegressionHead', 'MSPNHead', 'PRM', 'RLEHead', 'RTMCCBlock',
           'RTMCCHead', 'RegressionHead', 'SimCCHead', 'ViPNASHead', 'VisPredictHead',
           'get_simcc_normalized']
