"""Wrong constructor arguments of every registered part: an error that names class and argument, or a working module."""
import inspect
import warnings

import pytest
import torch
from test_backbones import BACKBONES
from test_heads import HEADS
from torch import nn

import posebook.models  # noqa: F401  (fills the registry)
from posebook.models.backbones import BasicBlock, Bottleneck, InvertedResidual, ShuffleUnit
from posebook.models.backbones.tcn import BasicTemporalBlock
from posebook.models.heads.rtmcc_head import RTMCCBlock
from posebook.registry import MODELS

PARTS = {name: (name, args) for name, (args, *_) in BACKBONES.items()}
PARTS |= {f'head {key}': (args['type'], {k: v for k, v in args.items() if k != 'type'}) for key, (args, _) in HEADS.items()}
PARTS |= {name: (name, {}) for name in (
    'BCELoss', 'VariFocalLoss', 'KLDiscretLoss', 'JSDiscretLoss', 'InfoNCELoss', 'AdaptiveWingLoss', 'CombinedTargetMSELoss',
    'FocalHeatmapLoss', 'KeypointMSELoss', 'KeypointOHKMMSELoss', 'MLECCLoss', 'IoULoss', 'L1Loss', 'MPJPELoss',
    'MPJPEVelocityJointLoss', 'MSELoss', 'OKSLoss', 'SmoothL1Loss', 'SoftWeightSmoothL1Loss', 'SoftWingLoss', 'WingLoss',
    'RLELoss', 'GlobalAveragePooling', 'FeatureMapProcessor', 'PoseDataPreprocessor')}
PARTS |= {
    'BoneLoss': ('BoneLoss', dict(joint_parents=[0, 0, 1])), 'KDLoss': ('KDLoss', dict(name='a', use_this=True)),
    'FeaLoss': ('FeaLoss', dict(name='a', use_this=True, student_channels=2, teacher_channels=3)),
    'MultipleLossWrapper': ('MultipleLossWrapper', dict(losses=[dict(type='L1Loss')])),
    'CombinedLoss': ('CombinedLoss', dict(losses=dict(a=dict(type='L1Loss')))),
    'ChannelMapper': ('ChannelMapper', dict(in_channels=[2, 3], out_channels=4)),
    'FPN': ('FPN', dict(in_channels=[2, 3], out_channels=4, num_outs=2)),
    'CSPNeXtPAFPN': ('CSPNeXtPAFPN', dict(in_channels=[4, 6], out_channels=4, out_indices=(0, 1))),
    'HRFPN': ('HRFPN', dict(in_channels=[2, 3], out_channels=4)),
    'TCN': ('TCN', dict(in_channels=4, stem_channels=8)),
    'VisPredictHead': ('VisPredictHead', dict(pose_cfg=dict(type='RegressionHead', in_channels=2, num_joints=3))),
    'BasicBlock': (BasicBlock, dict(in_channels=4, out_channels=4)), 'Bottleneck': (Bottleneck, dict(in_channels=4, out_channels=4)),
    'ShuffleUnit': (ShuffleUnit, dict(in_channels=12, out_channels=12)),
    'InvertedResidual': (InvertedResidual, dict(in_channels=4, out_channels=4, mid_channels=8)),
    'BasicTemporalBlock': (BasicTemporalBlock, dict(in_channels=4, out_channels=4, mid_channels=4)),
    'RTMCCBlock': (RTMCCBlock, dict(num_token=3, in_token_dims=4, out_token_dims=4)),
}
WRONG = [None, 'x', -1, 0, float('nan'), (1, 2, 3), [None], dict(a=1)]
SAID = {('KDLoss', 'name'), ('FeaLoss', 'name'), ('HRFPN', 'norm_cfg')}  # any text; not used, as in MMPose



def class_of(kind):
    return MODELS.get(kind) if isinstance(kind, str) else kind


def arguments(cls):
    """Names of all arguments, those behind **kwargs too."""
    names = {}
    for base in cls.__mro__:
        if '__init__' not in vars(base):
            continue
        parameters = list(inspect.signature(base.__init__).parameters.values())[1:]
        names |= dict.fromkeys(p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL))
        if not any(p.kind == p.VAR_KEYWORD for p in parameters):
            break
    return list(names)


def test_every_registered_part_is_fuzzed():
    known = {class_of(kind) for kind, _ in PARTS.values()}
    left = {name for name, c in MODELS.module_dict.items() if c.__module__.startswith('posebook.models') and c not in known}
    assert left <= {'TIMMBackbone', 'TopdownPoseEstimator'}, 'a new part needs a row'


@pytest.mark.parametrize('name', PARTS)
@pytest.mark.slow
def test_wrong_arguments_are_named_or_work(name):
    kind, given = PARTS[name]
    cls, faults = class_of(kind), []
    for argument in arguments(cls):
        for value in WRONG:
            try:
                with warnings.catch_warnings(), torch.device('meta'):
                    warnings.simplefilter('ignore')
                    module = cls(**{**given, argument: value})
            except OSError as e:  # a file that is not there
                if argument not in str(e):
                    faults.append(f'{argument}={value!r}: {e}')
            except (TypeError, ValueError, KeyError) as e:
                text = str(e.args[0])
                if not text.startswith(f'{cls.__name__}: ') or argument not in text:
                    faults.append(f'{argument}={value!r}: {type(e).__name__}: {text[:150]}')
            except Exception as e:
                faults.append(f'{argument}={value!r}: raw {type(e).__name__}: {str(e)[:150]}')
            else:
                assert isinstance(module, nn.Module)
                if (name, argument) not in SAID and (value == 'x' or value == [None] and argument not in ('losses', 'batch_augments') or isinstance(value, dict)):
                    faults.append(f'{argument}={value!r}: in silence')
    assert not faults, '\n'.join(faults)
