"""HeatmapViewer without a browser: numbers of the library, every kind of map taken, every wrong one named."""
import io
import subprocess
import sys
import types

import numpy as np
import pytest
from PIL import Image

from posebook.codecs import IntegralRegressionLabel, MegviiHeatmap, MSRAHeatmap, RegressionLabel, SimCCLabel, UDPHeatmap
from posebook.codecs.utils import (get_heatmap_maximum, refine_keypoints, refine_keypoints_dark,
                                   refine_keypoints_dark_udp)
from posebook.structures.metainfo import COCO, parse_pose_metainfo
from posebook.structures import InstanceData, MultilevelPixelData, PixelData, PoseDataSample
from posebook.widgets import HeatmapSettings, HeatmapViewer
from posebook.widgets.base import SCRIPT_LIMIT
from posebook.widgets.heatmap_maps import find_points, map_notes, map_stride, pack_maps, score_kind

METAINFO = parse_pose_metainfo(COCO)
SIZES = (192, 256), (48, 64)
CODECS = dict(msra=MSRAHeatmap(*SIZES, sigma=2), dark=MSRAHeatmap(*SIZES, sigma=2, unbiased=True),
              udp=UDPHeatmap(*SIZES), combined=UDPHeatmap(*SIZES, heatmap_type='combined'),
              megvii=MegviiHeatmap(*SIZES, kernel_size=11))
POINTS = np.random.default_rng(3).uniform((20, 20), (170, 235), (1, 17, 2)).astype(np.float32)


@pytest.fixture
def image():
    return np.random.default_rng(4).integers(0, 255, (256, 192, 3), dtype=np.uint8)


@pytest.fixture
def target():
    return CODECS['dark'].encode(POINTS)['heatmaps']


@pytest.fixture
def viewer(image, target):
    noise = np.random.default_rng(5).normal(0, 0.01, target.shape)
    return HeatmapViewer(image, 0.8 * target + noise, target, CODECS['dark'], METAINFO, selected='left_wrist')


def ask(viewer, number=1, **changes):
    viewer.request = viewer.state | changes | dict(id=number)
    return viewer.result


def rows_of(viewer):
    """(S, K, 5) argmax, refined, score, and (K, 3) distances, as the browser reads them."""
    count, sources = viewer.map_info['shape'][0], len(viewer.map_info['sources'])
    numbers = np.frombuffer(viewer.result['rows'], np.float32)
    return numbers[:5 * count * sources].reshape(sources, count, 5), numbers[5 * count * sources:].reshape(count, 3)


@pytest.mark.parametrize('name', CODECS)
def test_refined_points_are_those_of_decode(image, name):
    codec = CODECS[name]
    maps = codec.encode(POINTS)['heatmaps']
    viewer = HeatmapViewer(image, maps, codec=codec)
    rows, _ = rows_of(viewer)
    keypoints, scores = codec.decode(maps)
    stride = map_stride(*SIZES, codec.use_udp)
    assert rows[0, :, 2:4] * stride == pytest.approx(keypoints[0] / codec.decoded_scale, abs=1e-3)
    assert rows[0, :, 4] == pytest.approx(scores[0])
    assert viewer.settings.refine == 'codec' and viewer.readout['heatmaps']['refined'].shape == (17, 2)


@pytest.mark.parametrize('refine, step', [
    ('quarter', refine_keypoints), ('dark', refine_keypoints_dark), ('dark_udp', refine_keypoints_dark_udp)])
def test_without_a_codec_the_helpers_refine(viewer, target, refine, step):
    alone = HeatmapViewer(None, target, refine=refine)
    argmax, heights = get_heatmap_maximum(target)
    rows, apart = rows_of(alone)
    assert np.array_equal(rows[0, :, :2], argmax)
    assert rows[0, :, 2:4] == pytest.approx(step(argmax, target), abs=1e-4)
    assert rows[0, :, 4] == pytest.approx(heights) and np.isnan(apart).all()
    assert ask(viewer, refine=refine)['texts']['kind'] == 'peak height'
    rows, _ = rows_of(viewer)
    assert rows[1, :, 2:4] == pytest.approx(step(argmax, target), abs=1e-4)


def test_distances_are_in_heatmap_and_in_input_pixels(viewer):
    rows, apart = rows_of(viewer)
    gap = rows[0, :, 2:4] - rows[1, :, 2:4]
    assert apart[:, 1] == pytest.approx(np.linalg.norm(gap, axis=1), abs=1e-5)
    assert apart[:, 2] == pytest.approx(4 * apart[:, 1], rel=1e-4)
    assert apart[:, 0] == pytest.approx(np.linalg.norm(rows[0, :, :2] - rows[1, :, :2], axis=1), abs=1e-5)
    result = ask(viewer, selected=[])
    assert result['summary']['mean'] == pytest.approx(apart[:, 2].mean(), rel=1e-5)
    assert result['summary']['farthest'] == [apart[:, 2].argmax(), pytest.approx(apart[:, 2].max(), rel=1e-5)]
    assert result['texts']['found'] == '17 of 17' and result['texts']['mean'].endswith('px input')


def test_maps_travel_as_bytes_with_a_scale_each(viewer, target):
    info = viewer.map_info
    assert info['shape'] == [17, 64, 48] and len(viewer.map_bytes) == 2 * 17 * 64 * 48
    sent = np.frombuffer(viewer.map_bytes, np.uint8).reshape(2, 17, 64, 48)[1]
    low, high = (np.array(info['sources'][1][n])[:, None, None] for n in ('lows', 'highs'))
    assert low + sent * ((high - low) / 255) == pytest.approx(target, abs=(high - low).max() / 510 + 1e-6)


@pytest.mark.parametrize('maps', [
    np.linspace(-3, 300, 2 * 6 * 5).reshape(2, 6, 5), -np.ones((1, 4, 4)) + np.eye(4) / 2,
    np.arange(24, dtype=np.uint8).reshape(2, 3, 4), np.zeros((3, 2, 2), bool), np.full((1, 3, 3), np.inf)])
def test_any_range_and_type_of_map(maps):
    viewer = HeatmapViewer(None, maps)
    assert viewer.result['summary']['shown'] == len(maps) and viewer.scene['image_size'] == list(maps.shape[:0:-1])
    assert viewer._repr_mimebundle_()[0]['image/png']


def test_a_tensor_is_taken_as_it_is(target):
    torch = pytest.importorskip('torch')
    for tensor in (torch.tensor(target, requires_grad=True), torch.tensor(target).bfloat16()):
        rows, _ = rows_of(HeatmapViewer(None, tensor))
        assert rows[0, :, 4] == pytest.approx(target.max((1, 2)), abs=0.01)


def test_maps_that_cannot_be_drawn_are_said(image, target):
    broken = target.copy()
    broken[0, 5, 5], broken[1], broken[2], broken[3] = np.nan, 0, 0.25, -1 + target[3] / 2
    viewer = HeatmapViewer(image, broken, target, CODECS['dark'], METAINFO)
    notes, drawn = map_notes(broken)
    assert notes[:5] == ['NaN or inf at 1 of 3072 pixels', 'empty: 0 everywhere', 'flat: 0.25 everywhere',
                         f'no value above 0: {broken[3].max():.3g} at most', '']
    assert drawn[:5] == [False, False, False, True, True]
    assert viewer.map_info['sources'][0]['short'][:5] == ['NaN or inf', 'empty', 'flat', 'no value', '']
    assert viewer.result['note'] == ('prediction: nose (NaN or inf at 1 of 3072 pixels), '
                                     'left_eye (empty: 0 everywhere), '
                                     'right_eye (flat: 0.25 everywhere) not drawn')
    rows, apart = rows_of(viewer)
    assert np.isnan(rows[0, [0, 1, 3], :4]).all() and np.isnan(apart[[0, 1, 3], 1]).all()
    assert np.isfinite(rows[1]).all() and viewer.result['texts']['found'] == '14 of 17'
    viewer.update(selected=[3])
    assert 'left_ear (no value above 0' in viewer.result['note'] and 'not drawn' not in viewer.result['note']
    assert not any(np.frombuffer(viewer.map_bytes, np.uint8)[:3 * 3072])
    viewer.figure()


def test_combined_maps_show_discs_and_offsets(image):
    codec = CODECS['combined']
    maps = codec.encode(POINTS)['heatmaps']
    viewer = HeatmapViewer(image, maps, codec=codec, selected=9)
    assert viewer.map_info['shape'] == [17, 64, 48] and viewer.map_info['per'] == 3
    assert viewer.settings.refine == 'codec' and len(viewer.map_info['lists']['refine']) == 1
    assert viewer.map_info['sources'][0]['lows'][28] == -2 and viewer.map_info['sources'][0]['highs'][28] == 2
    sent = np.frombuffer(viewer.map_bytes, np.uint8).reshape(51, 64, 48)[28] * (4 / 255) - 2
    assert sent == pytest.approx(np.clip(maps[28], -2, 2), abs=2 / 255 + 1e-6)
    assert 'error' not in ask(viewer, layer='x') and viewer.figure()
    rows, _ = rows_of(viewer)
    assert rows[0, :, :2] == pytest.approx(POINTS[0] / codec.scale_factor, abs=1.5)  # the disc's middle, not its corner
    assert 'refine must be one of' in ask(viewer, refine='dark')['error']


def test_scores_are_named():
    assert score_kind(CODECS['megvii']) == 'blurred peak / 255 + 0.5' and score_kind(None, 'dark') == 'peak height'
    assert score_kind(CODECS['combined']) == 'height of the blurred disc'
    assert score_kind(CODECS['megvii'], 'quarter') == score_kind(CODECS['udp']) == 'peak height'
    assert score_kind(types.SimpleNamespace()) == 'score of SimpleNamespace'


@pytest.mark.parametrize('changes, words', [
    (dict(heatmaps=np.zeros((1, 17, 64, 48))), r'got float64 \(1, 17, 64, 48\). Take one sample: heatmaps\[0\]'),
    (dict(heatmaps=np.zeros((64, 48))), r'For a single map: heatmaps\[None\]'),
    (dict(heatmaps=np.zeros((0, 64, 48))), r'got float64 \(0, 64, 48\)'),
    (dict(heatmaps='maps.npy'), 'heatmaps must be'),
    (dict(heatmaps=[np.zeros((17, 384)), np.zeros((17, 512))]), r'got \(17, 384\) and \(17, 512\).*CodecLab'),
    (dict(target=np.zeros((17, 32, 24))), r'same shape; got \(17, 64, 48\) and \(17, 32, 24\)'),
    (dict(target=np.zeros((2, 17, 64, 48))), r'target\[0\]'),
    (dict(heatmaps=np.zeros((17, 48, 64))), r'h, w = 64, 48 for MSRAHeatmap; got \(17, 48, 64\). Did you swap'),
    (dict(codec=CODECS['combined'], use_udp=True), r'must be \(3 K, h, w\)'),
    (dict(codec=SimCCLabel((192, 256))), 'codec must decode heatmaps; got SimCCLabel. CodecLab'),
    (dict(codec=RegressionLabel((192, 256))), 'got RegressionLabel'),
    (dict(codec=IntegralRegressionLabel(*SIZES, sigma=2)), 'Use its heatmap_codec'),
    (dict(codec=CODECS['udp'], use_udp=False), 'as UDPHeatmap expects'),
    (dict(image=np.zeros((192, 256, 3), np.uint8)), 'Did you swap w and h'),
    (dict(image=np.zeros((256, 192))), 'image must be'),
    (dict(metainfo=METAINFO, heatmaps=np.zeros((5, 64, 48))), "'coco' has 17 keypoints"),
    (dict(selected='left_thumb'), "keypoint 0, .*; got 'left_thumb'"),
    (dict(selected=17), 'numbers of keypoints, 0 to 16; got'),
    (dict(selected=-1), 'selected must be'),
    (dict(opacity=2), 'opacity must be between 0 and 1'),
    (dict(colormap='jet'), "one of 'inferno', 'viridis'"),
    (dict(layer='x'), 'only combined UDP maps have offsets'),
    (dict(refine='guess'), 'refine must be one of')])
def test_wrong_arguments_are_named(image, target, changes, words):
    good = dict(image=image, heatmaps=target, codec=CODECS['dark'])
    with pytest.raises(ValueError, match=words):
        HeatmapViewer(**good | changes)


def test_a_codec_of_ones_own_serves():
    class Plain:
        input_size, heatmap_size = (8, 8), (4, 4)

        def decode(self, maps):
            return np.full((1, len(maps), 2), 6.), np.full((1, len(maps)), 0.5)

    viewer = HeatmapViewer(None, np.eye(4)[None], codec=Plain())
    rows, _ = rows_of(viewer)
    assert rows[0, 0].tolist() == [0, 0, 3, 3, 0.5] and viewer.result['texts']['kind'] == 'score of Plain'


def sample_of(target, prediction=None):
    sample = PoseDataSample(metainfo=dict(use_udp=False, input_size=(192, 256)))
    sample.gt_instances = InstanceData(bboxes=np.zeros((1, 4)))
    if target is not None:
        sample.gt_fields = PixelData(heatmaps=target)
    if prediction is not None:
        sample.pred_fields = PixelData(heatmaps=prediction)
    return sample


def test_from_packed_samples_and_predictions(image, target):
    packed = dict(inputs=image.transpose(2, 0, 1), data_samples=sample_of(target))
    viewer = HeatmapViewer.from_sample(packed, codec=CODECS['dark'], metainfo=METAINFO, selected=9)
    assert [s['title'] for s in viewer.map_info['sources']] == ['target']
    assert np.array_equal(viewer._image, image) and viewer.settings.selected == (9,)
    both = HeatmapViewer.from_sample(sample_of(target, target / 2), packed['inputs'])
    assert [s['title'] for s in both.map_info['sources']] == ['prediction', 'target']
    rows, _ = rows_of(both)
    assert rows[0, :, 4] == pytest.approx(rows[1, :, 4] / 2)
    levels = sample_of(None)
    levels.gt_fields = MultilevelPixelData(heatmaps=[target[:, ::2, ::2], target])
    assert HeatmapViewer.from_sample(levels).map_info['shape'] == [17, 64, 48]


def test_from_sample_reads_tensors(image, target):
    torch = pytest.importorskip('torch')
    inputs = torch.from_numpy(image.transpose(2, 0, 1).copy())
    viewer = HeatmapViewer.from_sample(dict(inputs=inputs, data_samples=sample_of(torch.from_numpy(target))))
    assert np.array_equal(viewer._image, image)
    with pytest.raises(ValueError, match=r'before the data preprocessor; got float32 \(3, 256, 192\)'):
        HeatmapViewer.from_sample(dict(inputs=inputs / 255., data_samples=sample_of(target)))


@pytest.mark.parametrize('sample, words', [
    (sample_of(None), 'output_heatmaps=True'),
    (dict(inputs=[np.zeros((3, 4, 4), np.uint8)] * 2, data_samples=[1, 2]), 'these are 2 samples. Take one'),
    (dict(inputs=[1, 2, 3], data_samples=sample_of(np.zeros((2, 4, 4)))), '3 crops'),
    (dict(inputs=np.zeros((3, 256, 192), np.uint8), data_samples=sample_of(np.zeros((17, 64, 48)))),
     'TopdownAffine')])
def test_wrong_samples_are_named(sample, words):
    with pytest.raises(ValueError, match=words):
        HeatmapViewer.from_sample(sample, codec=CODECS['udp'])


def test_update_brings_settings_and_maps(viewer, target):
    viewer.update(selected=['nose', 3], opacity=0.5)
    assert viewer.settings.selected == (0, 3) and viewer.state['version'] == 1
    before = viewer.map_bytes
    viewer.update(heatmaps=target)
    assert viewer.map_bytes != before and viewer.state['version'] == 2
    assert rows_of(viewer)[1][:, 1] == pytest.approx(0, abs=1e-6)
    viewer.update(heatmaps=target, target=target / 2, selected=None)
    assert rows_of(viewer)[0][1, :, 4] == pytest.approx(target.max((1, 2)) / 2)
    kept = viewer.map_bytes, viewer.settings, viewer.state, viewer._maps
    for wrong in (dict(heatmaps=target[:5]), dict(heatmaps=target[None]), dict(heatmaps=target * 2, opacity=7),
                  dict(selected='thumb')):
        with pytest.raises(ValueError):
            viewer.update(**wrong)
        assert (viewer.map_bytes, viewer.settings, viewer.state, viewer._maps) == kept
    with pytest.raises(ValueError, match='made without a target'):
        HeatmapViewer(None, target).update(target=target)
    with pytest.raises(ValueError, match='of 17 keypoints'):
        HeatmapViewer(None, target).update(heatmaps=target[:5])


def test_requests_are_adopted_and_bad_ones_are_not(viewer):
    assert ask(viewer, 4, selected=[10, 9], colormap='viridis')['id'] == 4
    assert viewer.settings.selected == (9, 10) and viewer.settings.colormap == 'viridis'
    for wrong in (dict(selected=[17]), dict(selected=9), dict(opacity=-1), dict(refine='best'), dict(layer='y'),
                  dict(colour='red')):
        assert 'error' in ask(viewer, 5, **wrong), wrong
    assert viewer.settings.selected == (9, 10) and 'error' not in ask(viewer, 6)


def test_nothing_is_written_into_the_arguments(image, target):
    copies = image.copy(), target.copy()
    viewer = HeatmapViewer(image, target, target, CODECS['dark'])
    viewer.update(refine='dark')
    viewer.figure()
    assert np.array_equal(image, copies[0]) and np.array_equal(target, copies[1])
    pack_maps(target)
    find_points(target, 'dark')
    assert np.array_equal(target, copies[1])


@pytest.mark.slow
def test_stand_in_and_text(viewer, target):
    for selected in ([9], [], [9, 10]):
        viewer.update(selected=selected)
        data, _ = viewer._repr_mimebundle_()
        picture = Image.open(io.BytesIO(data['image/png']))
        assert picture.format == 'PNG' and picture.width > 800
        assert len(np.unique(np.asarray(picture.convert('RGB')).reshape(-1, 3), axis=0)) > 50
        assert data['text/plain'] == repr(viewer) and '0x' not in repr(viewer)
    assert 'left_wrist, right_wrist' in repr(viewer)
    for maps in (target[:1], np.concatenate([target] * 8), target[:, :20]):
        HeatmapViewer(None, maps, selected=0, scale='both', colormap='greys').figure()


def test_large_maps_are_fine():
    maps = np.random.default_rng(0).random((133, 96, 72), dtype=np.float32)
    viewer = HeatmapViewer(None, maps, maps)
    assert len(viewer.map_bytes) == 2 * 133 * 96 * 72 and len(viewer.result['rows']) == 4 * 133 * (2 * 5 + 3)


def test_settings_survive_the_way_to_the_browser_and_back():
    settings = HeatmapSettings((9, 3), colormap='greys', refine='dark')
    assert HeatmapSettings(**settings.to_dict()).to_dict() == settings.to_dict()
    assert settings.selected == (3, 9)


def test_static_files_are_small_and_plain():
    script = HeatmapViewer._esm
    assert len(script) < SCRIPT_LIMIT
    assert 'http' not in script + HeatmapViewer._css and 'import ' not in script
    assert script.count('export ') == script.count('export default ') == 1


def test_the_module_leaves_torch_and_matplotlib_alone():
    code = "import sys, posebook.widgets.heatmap_viewer; print({'torch', 'matplotlib.pyplot'} & set(sys.modules))"
    found = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == 'set()'
