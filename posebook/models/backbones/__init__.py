"""Backbones: a picture in, a tuple of feature maps out."""
from .hrnet import (HRNet, from_official_state_dict, hrnet_extra, to_official_state_dict)

__all__ = ['HRNet', 'from_official_state_dict', 'hrnet_extra', 'to_official_state_dict']
