"""SimCC, RTMCC and visibility, learnt by heart; the heads of chapters 431 and 433 are in test_heads.py."""
import numpy as np
import pytest

from overfit import INPUT_SIZE, overfit

BINS = dict(type='SimCCLabel', input_size=INPUT_SIZE, sigma=(3., 3.46), simcc_split_ratio=2.)
MAPS = dict(type='MSRAHeatmap', input_size=INPUT_SIZE, heatmap_size=(18, 24), sigma=1.5, unbiased=True)
SIZES = dict(in_channels=32, out_channels=17, input_size=INPUT_SIZE, in_featuremap_size=(18, 24))
HEATMAP = dict(type='HeatmapHead', in_channels=32, out_channels=17, deconv_out_channels=None, decoder=MAPS)
LEARNERS = {
    'simcc': (dict(type='SimCCHead', deconv_out_channels=None, decoder=BINS, **SIZES), BINS, 200),
    'rtmcc': (dict(type='RTMCCHead', final_layer_kernel_size=7, decoder=BINS, **SIZES,
                   gau_cfg=dict(hidden_dims=64, s=32, act_fn='SiLU', pos_enc=True)), BINS, 200),
    # with a weight of 1 the visibility drowns the pose, with 1e-3 it is not learnt in so few steps
    'visibility': (dict(type='VisPredictHead', pose_cfg=HEATMAP,
                        loss=dict(type='BCELoss', use_sigmoid=True, loss_weight=.02)), MAPS, 400),
}  # head, codec, steps


def visibility(run):
    """What the network says, and for which keypoints there is a target; both (people, K)."""
    samples = run.model.test_step(run.batch)
    said = np.concatenate([s.pred_instances.keypoints_visible for s in samples])
    drawn = np.concatenate([s.gt_instance_labels.keypoint_weights for s in samples]) > 0
    return said, drawn


@pytest.mark.slow
@pytest.mark.parametrize('name', LEARNERS)
def test_a_tiny_network_learns_sixteen_people_by_heart(name):
    head, codec, steps = LEARNERS[name]
    run = overfit(head, codec, steps=steps)
    assert run.pck > .95, f'{name}: PCK@0.05 {run.pck:.3f} after {len(run.losses)} steps'
    if name == 'visibility':
        said, drawn = visibility(run)
        assert 5 < (~drawn).sum() < drawn.sum()  # or saying yes each time would do
        assert ((said > .5) == drawn).all(), f'{((said > .5) != drawn).sum()} wrong of {drawn.size}'
        assert said.min() >= 0 and said.max() <= 1
