"""Backbones: a picture in, a tuple of feature maps out."""
from .adapter import LibraryBackbone, TIMMBackbone, conv_groups, rename_state_dict
from .base import BaseBackbone
from .compact import (AlexNet, InvertedResidual, MobileNetV2, MobileNetV3, ShuffleNetV1,
                      ShuffleNetV2, ShuffleUnit, VGG)
from .cspnext import CSPNeXt
from .hourglass import CPM, HourglassAENet, HourglassNet
from .hr_module import HRModule
from .hrformer import HRFormer
from .hrnet import HRNet, from_official_state_dict, hrnet_extra, to_official_state_dict
from .hrnet_versions import HRFPN, HRNetClassifier
from .lite_hrnet import LiteHRNet
from .mspn import MSPN, RSN
from .pvt import PyramidVisionTransformer, PyramidVisionTransformerV2
from .residual import BasicBlock, Bottleneck, ResidualBlock, conv_bn, norm_name, stack_blocks
from .resnet import ResNet, ResNetV1d
from .resnet_relatives import (GroupedBottleneck, RegNet, ResNeSt, ResNeXt, SCNet, SEResNeXt,
                               SEResNet)
from .swin import SwinTransformer
from .tcn import TCN
from .vipnas import ContextBlock, ViPNAS_MobileNetV3, ViPNAS_ResNet
from .vit import VisionTransformer

__all__ = ['AlexNet', 'BaseBackbone', 'BasicBlock', 'Bottleneck', 'CPM', 'CSPNeXt', 'ContextBlock',
           'GroupedBottleneck', 'HRFPN', 'HRFormer', 'HRModule', 'HRNet', 'HRNetClassifier',
           'HourglassAENet', 'HourglassNet', 'InvertedResidual', 'LibraryBackbone', 'LiteHRNet',
           'MSPN', 'MobileNetV2', 'MobileNetV3', 'PyramidVisionTransformer',
           'PyramidVisionTransformerV2', 'RSN', 'RegNet', 'ResNeSt', 'ResNeXt', 'ResNet',
           'ResNetV1d', 'ResidualBlock', 'SCNet', 'SEResNeXt', 'SEResNet', 'ShuffleNetV1',
           'ShuffleNetV2', 'ShuffleUnit', 'SwinTransformer', 'TCN', 'TIMMBackbone', 'VGG',
           'ViPNAS_MobileNetV3', 'ViPNAS_ResNet', 'VisionTransformer', 'conv_bn',
           'conv_groups', 'from_official_state_dict', 'hrnet_extra', 'norm_name', 'rename_state_dict',
           'stack_blocks', 'to_official_state_dict']
