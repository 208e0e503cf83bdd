"""Necks: the backbone's tuple of maps in, the maps that a head wants out."""
from .maps import ChannelMapper, FeatureMapProcessor, GlobalAveragePooling
from .pyramids import FPN, CSPNeXtPAFPN

__all__ = ['CSPNeXtPAFPN', 'ChannelMapper', 'FPN', 'FeatureMapProcessor', 'GlobalAveragePooling']
