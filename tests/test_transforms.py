"""Transforms and packing: what the chapters' own cells cannot test."""
import copy
import multiprocessing
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posebook.codecs.base import BaseKeypointCodec
from posebook.structures.metainfo import COCO, parse_pose_metainfo
from posebook.datasets.transforms import (BaseTransform, Compose, GenerateTarget,
                                          GetBBoxCenterScale, LoadImage, PackPoseInputs,
                                          RandomBBoxTransform, RandomFlip, RandomHalfBody,
                                          TopdownAffine, show_batch, show_target)
from posebook.registry import TRANSFORMS
from posebook.structures.spaces import Spaces

META = parse_pose_metainfo(COCO)
CODEC = dict(type='MSRAHeatmap', input_size=(96, 128), heatmap_size=(24, 32), sigma=1)
TRAIN = [dict(type='LoadImage'), dict(type='GetBBoxCenterScale'), dict(type='RandomFlip'),
         dict(type='RandomHalfBody'), dict(type='RandomBBoxTransform'),
         dict(type='TopdownAffine', input_size=(96, 128)),
         dict(type='GenerateTarget', encoder=CODEC),
         dict(type='PackPoseInputs', pack_transformed=True)]


def results(seed=0, size_wh=(256, 192), **extra):
    """One person with 17 visible keypoints, as a dataset hands it out."""
    rng = np.random.default_rng(seed)
    w, h = size_wh
    points = rng.uniform((.3 * w, .2 * h), (.7 * w, .9 * h), (1, 17, 2)).astype(np.float32)
    bbox = np.concatenate([points.min(1), points.max(1)], axis=1)
    return dict(img=rng.integers(0, 256, (h, w, 3), dtype=np.uint8), bbox=bbox,
                bbox_score=np.ones(1, np.float32), keypoints=points,
                keypoints_visible=np.ones((1, 17), np.float32), id=seed, img_id=seed,
                category_id=1, **{k: META[k] for k in ('flip_indices', 'upper_body_ids',
                                                       'lower_body_ids')}, **extra)


class People:
    """A map-style dataset for a DataLoader."""

    def __init__(self, pipeline):
        self.pipeline = pipeline

    def __len__(self):
        return 12

    def __getitem__(self, i):
        return self.pipeline(results(i, sample_idx=i))


def crops(dataset, workers, order):
    """The crop of every sample, in the dataset's order, read by `workers` processes."""
    from torch.utils.data import DataLoader
    loader = DataLoader(dataset, batch_size=2, num_workers=workers, sampler=order,
                        collate_fn=list, multiprocessing_context='fork' if workers else None)
    read = [p['inputs'].numpy().copy() for batch in loader for p in batch]
    return [crop for _, crop in sorted(zip(order, read), key=lambda pair: pair[0])]


# ---------------------------------------------------------------------------- randomness
def test_same_sample_with_any_workers_and_order():
    dataset, order = People(Compose(TRAIN, seed=3)), list(range(12))
    want = crops(dataset, 0, order)
    for workers, this_order in ((1, order), (2, order), (2, order[::-1])):
        for a, b in zip(want, crops(dataset, workers, this_order)):
            np.testing.assert_array_equal(a, b)


def test_epochs_and_seeds_differ_and_repeat():
    def crop(seed, epoch):
        pipeline = Compose(TRAIN, seed=seed)
        pipeline.set_epoch(epoch)
        return pipeline(results(1, sample_idx=1))['inputs'].numpy()
    a = crop(0, 0)
    assert np.array_equal(a, crop(0, 0))
    assert not np.array_equal(a, crop(0, 1)) and not np.array_equal(a, crop(1, 0))


def test_steps_and_samples_draw_independently():
    pipeline = Compose([RandomBBoxTransform(), RandomBBoxTransform()], seed=0)
    base = GetBBoxCenterScale()(results())
    angles = []
    for i in range(50):
        pipeline({**base, 'sample_idx': i})
        angles.append([t.draw(1)[0][0, 0] + t.draw(1)[2][0] for t in pipeline.transforms])
    assert len(np.unique(np.round(angles, 6), axis=0)) > 40
    assert abs(np.corrcoef(np.transpose(angles))[0, 1]) < .5


def test_results_without_index_are_numbered():
    pipeline, again = Compose(TRAIN, seed=0), Compose(TRAIN, seed=0)
    first = [pipeline(results())['inputs'].numpy() for _ in range(4)]
    assert not all(np.array_equal(first[0], x) for x in first[1:])
    for x in first:
        np.testing.assert_array_equal(x, again(results())['inputs'].numpy())


def test_nested_pipelines_are_seeded():
    inner = Compose([GetBBoxCenterScale(), RandomFlip(), RandomBBoxTransform()])
    outer = Compose([LoadImage(), inner, TopdownAffine((96, 128))], seed=5)
    a, b = (outer(results(sample_idx=4))['img'] for _ in range(2))
    np.testing.assert_array_equal(a, b)


def _draw(jitter, queue):
    queue.put(jitter.rng.random(3).tolist())


def test_unseeded_processes_do_not_share_their_draws():
    jitter = RandomBBoxTransform()
    jitter.rng.random()  # the generator exists before the fork
    context = multiprocessing.get_context('fork')
    queue = context.Queue()
    workers = [context.Process(target=_draw, args=(jitter, queue)) for _ in range(3)]
    for w in workers:
        w.start()
    drawn = [queue.get(timeout=300) for _ in workers]
    for w in workers:
        w.join()
    assert len({d[0] for d in drawn}) == 3


def test_global_random_state_is_untouched():
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    Compose(TRAIN)(results())
    np.testing.assert_array_equal(before, np.random.get_state()[1])


def test_pipeline_can_be_pickled():
    pipeline = Compose(TRAIN, seed=0)
    twin = pickle.loads(pickle.dumps(pipeline))
    a, b = (p(results(sample_idx=2))['inputs'] for p in (pipeline, twin))
    assert a.equal(b)


# ------------------------------------------------------------------------------- purity
@pytest.mark.parametrize('seed', range(4))
def test_no_step_writes_into_its_input(seed):
    r, steps = results(), Compose(TRAIN, seed=seed).transforms
    for step in steps:
        step.seed(seed)
        before, arrays = dict(r), copy.deepcopy(r)
        out = step(r)
        assert r.keys() == before.keys() and all(r[k] is before[k] for k in before)
        for k, v in arrays.items():
            np.testing.assert_equal(r[k], v, err_msg=f'{step!r} wrote into {k}')
        r = out


# ------------------------------------------------------------------------------ geometry
@settings(max_examples=30, deadline=None)
@given(st.sampled_from(['horizontal', 'vertical', 'diagonal']), st.integers(9, 40),
       st.integers(9, 40), st.integers(0, 99))
def test_flip_twice_changes_nothing(direction, w, h, seed):
    r = GetBBoxCenterScale()(results(seed, (w, h), img_mask=np.ones((h, w), bool)))
    flip = RandomFlip(prob=1., direction=direction)
    once, twice = flip(r), flip(flip(r))
    for key in ('img', 'img_mask', 'keypoints_visible'):
        np.testing.assert_array_equal(twice[key], r[key])
    for key in ('keypoints', 'bbox', 'bbox_center'):
        np.testing.assert_allclose(twice[key], r[key], atol=1e-4)
    assert once['img_mask'].dtype == bool
    assert (once['bbox'][:, :2] <= once['bbox'][:, 2:]).all()
    x, y = np.round(r['keypoints'][0, 0]).astype(int)
    fx = w - 1 - x if direction != 'vertical' else x
    fy = h - 1 - y if direction != 'horizontal' else y
    np.testing.assert_array_equal(once['img'][fy, fx], r['img'][y, x])  # pixels move with points


@settings(max_examples=30, deadline=None)
@given(st.booleans(), st.floats(-180, 180), st.integers(0, 99),
       st.tuples(st.integers(16, 99), st.integers(16, 99)))
def test_affine_is_the_map_of_spaces(use_udp, angle, seed, size):
    r = GetBBoxCenterScale()(results(seed, bbox_rotation=np.array([angle])))
    out = TopdownAffine(size, use_udp=use_udp)(r)
    spaces = Spaces(r['bbox_center'][0], r['bbox_scale'][0], angle, input_size=size,
                    heatmap_size=size, use_udp=use_udp)
    np.testing.assert_allclose(out['transformed_keypoints'],
                               spaces.transform(r['keypoints'], 'image', 'input'), atol=2e-3)
    assert out['img'].shape == (size[1], size[0], 3) and out['input_size'] == size


def test_affine_keeps_extra_dimensions_and_lists():
    r = GetBBoxCenterScale()(results())
    r['keypoints'] = np.concatenate([r['keypoints'], np.full((1, 17, 1), 7.)], -1)
    out = TopdownAffine((48, 64))({**r, 'img': [r['img']] * 2})
    assert [i.shape for i in out['img']] == [(64, 48, 3)] * 2
    assert (out['transformed_keypoints'][..., 2] == 7).all()
    assert out['transformed_keypoints'].dtype == np.float32


def test_half_body_takes_only_visible_keypoints():
    r = GetBBoxCenterScale()(results())
    r['keypoints_visible'] = np.ones((1, 17, 2), np.float32)  # (visible, weight)
    r['keypoints_visible'][0, 0, 0] = 0
    r['keypoints'] = r['keypoints'].copy()
    r['keypoints'][0, 0] = 9e4  # an unlabelled nose, anywhere
    out = RandomHalfBody(prob=1., upper_prioritized_prob=1.)(r)
    want = r['keypoints'][0, 1:11]
    np.testing.assert_allclose(out['bbox_center'][0], want.mean(0), rtol=1e-5)
    np.testing.assert_allclose(out['bbox_scale'][0], 1.5 * np.ptp(want, axis=0), rtol=1e-5)
    lower_hidden = r['keypoints_visible'].copy()
    lower_hidden[0, 13:, 0] = 0  # only the hips are left below: fewer than three
    out = RandomHalfBody(prob=1., upper_prioritized_prob=0.)({
        **r, 'keypoints_visible': lower_hidden})
    np.testing.assert_allclose(out['bbox_center'][0], want.mean(0), rtol=1e-5)


# ----------------------------------------------------------------------- targets, packing
class Lifting(BaseKeypointCodec):
    """Asks for further keys and fills all tables, as a lifting codec does."""

    auxiliary_encode_keys = {'lifting_target', 'camera_param'}
    instance_mapping_table = dict(lifting_target='lifting_target')
    label_mapping_table = dict(lifting_target_label='lifting_target_label')

    def encode(self, keypoints, keypoints_visible=None, lifting_target=None, camera_param=None):
        assert camera_param is None or 'f' in camera_param
        return dict(keypoint_labels=keypoints.reshape(len(keypoints), -1).T,
                    lifting_target_label=lifting_target - lifting_target[:, :1])

    def decode(self, encoded):
        raise NotImplementedError


def test_lifting_sample_is_packed_by_the_codecs_tables():
    keypoints = np.random.default_rng(0).normal(size=(9, 17, 2)).astype(np.float32)
    r = dict(keypoints=keypoints, keypoints_visible=np.ones((9, 17), np.float32),
             lifting_target=np.ones((1, 17, 3), np.float32), img_id=1)
    packed = Compose([GenerateTarget(Lifting()), PackPoseInputs()])(r)
    assert packed['inputs'].shape == (34, 9)
    sample = packed['data_samples']
    assert sample.gt_instances.keys() == ['lifting_target']
    assert sample.gt_instance_labels.keys() == ['lifting_target_label']


def test_visibility_weights_reach_the_sample():
    visible = np.ones((1, 17, 2), np.float32)
    visible[0, :3, 1] = 0
    r = {**results(), 'keypoints_visible': visible}
    out = Compose(TRAIN[:2] + TRAIN[5:], seed=0)(r)['data_samples']
    assert out.gt_instances.keypoints_visible.shape == (1, 17)
    np.testing.assert_array_equal(out.gt_instance_labels.keypoints_visible_weights, visible[..., 1])


def test_dataset_weights_for_several_encoders_are_an_option():
    r = TopdownAffine((96, 128))(GetBBoxCenterScale()(results()))
    r['dataset_keypoint_weights'] = np.full(17, 2.)
    levels = [dict(CODEC), dict(CODEC, heatmap_size=(12, 16))]
    for option, factor in ((False, 1), (True, 1), ('all', 2)):
        out = GenerateTarget(levels, multilevel=True, use_dataset_keypoint_weights=option)(r)
        assert [w.max() for w in out['keypoint_weights']] == [factor, factor]
    single = GenerateTarget(CODEC, use_dataset_keypoint_weights=True)(r)
    assert single['keypoint_weights'].max() == 2 and single['keypoint_weights'].dtype == np.float32


SIZES = dict(input_size=(96, 128), heatmap_size=(24, 32))
ENCODERS = {  # encoder, shapes of the packed fields, shapes of the packed labels besides the weights
    'heatmap': (CODEC, dict(heatmaps=(17, 32, 24)), {}),
    'udp heatmap': (dict(type='UDPHeatmap', **SIZES), dict(heatmaps=(17, 32, 24)), {}),
    'combined heatmap': (dict(type='UDPHeatmap', heatmap_type='combined', **SIZES), dict(heatmaps=(51, 32, 24)), {}),
    'keypoint_label': (dict(type='RegressionLabel', input_size=(96, 128)), {}, dict(keypoint_labels=(1, 17, 2))),
    'keypoint_xy_label': (dict(type='SimCCLabel', input_size=(96, 128)), {},
                          dict(keypoint_x_labels=(1, 17, 192), keypoint_y_labels=(1, 17, 256))),
    'heatmap+keypoint_label': (dict(type='IntegralRegressionLabel', sigma=2., **SIZES),
                               dict(heatmaps=(17, 32, 24)), dict(keypoint_labels=(1, 17, 2))),
    'two encoders': ([dict(type='RegressionLabel', input_size=(96, 128)), CODEC],
                     dict(heatmaps=(17, 32, 24)), dict(keypoint_labels=(1, 17, 2)))}


@pytest.mark.parametrize('kind', ENCODERS)
def test_every_kind_of_target_is_packed_and_can_be_looked_at(kind):
    import matplotlib
    matplotlib.use('agg')
    encoder, fields, labels = ENCODERS[kind]
    udp = 'udp' in kind or 'combined' in kind
    sample = Compose([*TRAIN[:2], TopdownAffine((96, 128), use_udp=udp), GenerateTarget(encoder), PackPoseInputs()],
                     seed=0)(results())['data_samples']
    packed = sample.gt_instance_labels
    assert {k: tuple(sample.gt_fields.get(k).shape) for k in sample.gt_fields.keys()} == fields
    assert {k: tuple(packed.get(k).shape) for k in packed.keys() if k != 'keypoint_weights'} == labels
    assert packed.keypoint_weights.shape == ((1, 2, 17) if kind == 'two encoders' else (1, 17))
    assert sample.metainfo['use_udp'] is udp
    image = dict(inputs=np.zeros((3, 128, 96), np.uint8), data_samples=sample)
    assert show_target(image, metainfo=META).axes and show_batch(image, metainfo=META).axes


def test_levels_of_several_sizes_are_packed_as_levels():
    levels = [dict(type='MegviiHeatmap', input_size=(96, 128), heatmap_size=size, kernel_size=k)
              for size, k in [((12, 16), 9), ((24, 32), 11)]]
    sample = Compose([*TRAIN[:2], TRAIN[5], GenerateTarget(levels, multilevel=True), PackPoseInputs()],
                     seed=0)(results())['data_samples']
    assert [tuple(m.shape) for m in sample.gt_fields.heatmaps] == [(17, 16, 12), (17, 32, 24)]
    assert sample.gt_instance_labels.keypoint_weights.shape == (2, 1, 17)


def test_show_works_without_a_display_and_says_what_it_needs():
    import matplotlib
    matplotlib.use('agg')
    import matplotlib.pyplot as plt
    dataset = People(Compose(TRAIN, seed=0))
    fig = show_batch(dataset, n=5, metainfo=META)
    assert sum(bool(ax.images) for ax in fig.axes) == 5
    fig = show_target(dataset, n=2, keypoint=9)
    cover = np.asarray(fig.axes[0].images[1].get_array())[..., 3]
    target = dataset[0]['data_samples'].gt_fields.heatmaps[9].numpy()
    np.testing.assert_allclose(cover, target, atol=1e-6)
    plt.close('all')
    with pytest.raises(ValueError, match='pack_transformed=True'):
        show_batch([Compose(TRAIN[:2] + [TRAIN[5], PackPoseInputs()])(results())])
    with pytest.raises(ValueError, match='no sample'):
        show_batch([])


# --------------------------------------------------------------------------------- errors
@pytest.mark.parametrize('build, message', [
    (lambda: RandomFlip(prob=1.5), 'from 0 to 1'),
    (lambda: RandomFlip(direction='sideways'), "'horizontal', 'vertical', 'diagonal'"),
    (lambda: RandomFlip(prob=[.5, .2]), 'each direction'),
    (lambda: RandomHalfBody(prob=-1), 'prob must be a number from 0 to 1'),
    (lambda: RandomBBoxTransform(scale_factor=(1.5, .5)), 'low <= high'),
    (lambda: RandomBBoxTransform(rotate_prob=2), 'rotate_prob'),
    (lambda: TopdownAffine((96, 0)), r'\(w, h\)'),
    (lambda: TopdownAffine(96), r'\(w, h\)'),
    (lambda: GetBBoxCenterScale(0), 'padding'),
    (lambda: LoadImage(color_type='cmyk'), 'color_type'),
    (lambda: LoadImage(backend_args=dict(backend='petrel')), 'local'),
    (lambda: GenerateTarget(CODEC, multilevel=True), 'list of encoders'),
    (lambda: GenerateTarget(CODEC)(dict(keypoints_visible=np.ones((1, 17)))), "'keypoints'"),
    (lambda: GenerateTarget([CODEC, CODEC])(results()), 'multilevel=True'),
    (lambda: LoadImage()(dict(img='a.jpg')), 'array'),
    (lambda: RandomFlip(prob=1.)({k: v for k, v in results().items() if k != 'flip_indices'}),
     'flip_indices'),
    (lambda: Compose([TopdownAffine((128, 96)), GenerateTarget(CODEC)]), 'swap w and h'),
    (lambda: Compose([TopdownAffine((96, 128), use_udp=True), GenerateTarget(CODEC)]),
     'use_udp=False'),
])
def test_bad_arguments_raise_with_a_hint(build, message):
    with pytest.raises(ValueError, match=message):
        build()


WEIRD = [None, 'x', -1, 1.5, float('nan'), float('inf'), [], [None], {}, (1, 2, 3), object(), True, 10**400, b'x',
         np.zeros(3), np.zeros((2, 2)), lambda: 0, {'type': 'Nothing'}, ('a', 'b'), [0.3, 'x']]
ARGUMENTS = {
    LoadImage: dict(to_float32=False, color_type='color', imdecode_backend='cv2', backend_args=None, ignore_empty=False,
                    max_pixels=None),
    GetBBoxCenterScale: dict(padding=1.25), TopdownAffine: dict(input_size=(96, 128), use_udp=False),
    RandomFlip: dict(prob=.5, direction='horizontal'),
    RandomHalfBody: dict(min_total_keypoints=9, min_upper_keypoints=2, min_lower_keypoints=3, padding=1.5, prob=.3,
                         upper_prioritized_prob=.7),
    RandomBBoxTransform: dict(shift_factor=.16, shift_prob=.3, scale_factor=(.5, 1.5), scale_prob=1., rotate_factor=80.,
                              rotate_prob=.6),
    GenerateTarget: dict(encoder=CODEC, multilevel=False, use_dataset_keypoint_weights=False),
    Compose: dict(transforms=[], seed=None), PackPoseInputs: dict(meta_keys=('id',), pack_transformed=False)}


@pytest.mark.parametrize('cls', ARGUMENTS)
def test_any_argument_is_taken_or_answered_in_one_sentence(cls):
    for name in ARGUMENTS[cls]:
        for value in WEIRD:
            try:
                step = cls(**{**ARGUMENTS[cls], name: value})
            except (ValueError, TypeError, KeyError) as e:
                message = e.args[0]
                assert ' must be ' in message and '; got ' in message or 'KEYPOINT_CODECS' in message or 'TRANSFORMS' in message, (name, value, message)
                assert len(message) < 1000
            else:  # what is taken works
                repr(step)
                if cls not in (LoadImage, Compose, PackPoseInputs, GenerateTarget):
                    step(GetBBoxCenterScale()(results()))


def test_columns_beside_x_and_y_stay():
    r = GetBBoxCenterScale()(results())
    deep = np.concatenate([r['keypoints'] + 9, np.arange(17, dtype=np.float32)[None, :, None]], -1)
    out = TopdownAffine((96, 128))({**r, 'transformed_keypoints': deep})['transformed_keypoints']
    assert out.shape == (1, 17, 3) and out[0, :, 2].tolist() == list(range(17))
    np.testing.assert_array_equal(out[..., :2], TopdownAffine((96, 128))(r)['transformed_keypoints'])
    assert (deep[0, :, :2] == r['keypoints'][0] + 9).all()  # not written into


def test_hostile_ids_are_drawn_as_text():
    import matplotlib
    matplotlib.use('agg')
    sample = Compose(TRAIN, seed=0)({**results(), 'id': r'$\\frac{$<script>' * 20})
    fig = show_batch([sample])
    fig.canvas.draw()  # mathtext would raise here
    assert len(fig.axes[0].get_title()) < 80


def test_compose_wants_a_list_of_steps():
    for wrong in (LoadImage(), dict(type='LoadImage'), 'LoadImage'):
        with pytest.raises(TypeError, match='list'):
            Compose(wrong)
    with pytest.raises(KeyError, match='RandomFlip'):
        Compose([dict(type='RandomFlop')])
    assert Compose([])(dict(a=1)) == dict(a=1)
    assert Compose([lambda r: None, LoadImage()])(dict(a=1)) is None


@pytest.mark.skipif(sys.version_info < (3, 11), reason='notes on exceptions came with 3.11')
def test_an_error_names_the_step_and_the_sample():
    with pytest.raises(FileNotFoundError) as e:
        Compose(TRAIN)(dict(img_path='gone.jpg', id=42))
    assert 'step 0 (LoadImage)' in e.value.__notes__[0] and 'id=42' in e.value.__notes__[0]


def test_a_users_own_step_and_the_old_scope():
    class Mine(BaseTransform):
        pass
    with pytest.raises(NotImplementedError, match='Mine must implement transform'):
        Mine()(dict())
    assert isinstance(TRANSFORMS.build(dict(type='mmpose.RandomFlip', prob=.3)), RandomFlip)
    assert repr(RandomFlip(prob=.3)) == "RandomFlip(prob=0.3, direction='horizontal')"
    with pytest.warns(DeprecationWarning, match='target_type'):
        GenerateTarget(CODEC, target_type='heatmap')


# ---------------------------------------------------------------------------------- cost
def test_importing_the_modules_needs_no_torch():
    code = ('import sys, posebook.datasets.transforms.compose, '
            'posebook.datasets.transforms.formatting; '
            "sys.exit(bool({'torch', 'matplotlib', 'IPython'} & set(sys.modules)))")
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0
