"""CodecLab without a browser: its answers are the codecs' own, its code builds them, its errors say what is wrong."""
import io

import numpy as np
import pytest
from PIL import Image

from posebook.codecs.base import codec_presets
from posebook.codecs import (IntegralRegressionLabel, MegviiHeatmap, MSRAHeatmap, RegressionLabel, SimCCLabel,
                             UDPHeatmap)
from posebook.structures.metainfo import COCO, parse_pose_metainfo
from posebook.structures.spaces import Spaces
from posebook.widgets import CodecLab, CodecLabSettings
from posebook.widgets.base import SCRIPT_LIMIT
from posebook.widgets.codec_lab import (answer, codec_code, codec_config, error_surface, make_codec,
                                        noise_units, noisy_targets, round_trip)

BOX = np.array([40., 20., 160., 170.])
METAINFO = parse_pose_metainfo(COCO)
SIZES = dict(input_size=(192, 256), heatmap_size=(48, 64))
EVERY = [
    MSRAHeatmap(**SIZES, sigma=2), MSRAHeatmap(**SIZES, sigma=1.5, unbiased=True, blur_kernel_size=7),
    MSRAHeatmap((96, 96), (48, 24), sigma=1), UDPHeatmap(**SIZES), UDPHeatmap(**SIZES, sigma=3, blur_kernel_size=9),
    UDPHeatmap(**SIZES, heatmap_type='combined', radius_factor=0.1), MegviiHeatmap(**SIZES, kernel_size=13),
    SimCCLabel((192, 256)), SimCCLabel((192, 256), sigma=(4.9, 5.66), simcc_split_ratio=3., use_dark=True),
    SimCCLabel((192, 256), normalize=False, decode_visibility=True, decode_beta=10.),
    SimCCLabel((192, 256), 'standard', label_smooth_weight=0.2, use_dark=True), RegressionLabel((192, 256))]


def name_of(codec):
    return type(codec).__name__ if not isinstance(codec, str) else codec


@pytest.fixture
def lab(image, keypoints):
    visible = np.full(17, 2)
    visible[[3, 5]] = 0, 1
    return CodecLab(image, keypoints, BOX, visible, selected=9, metainfo=METAINFO)


def ask(lab, number=1, **changes):
    """What the browser does: write `request`, read `result`."""
    lab.request = lab.state | changes | dict(id=number)
    return lab.result


def decoded(codec, kpt_inp):
    """decode(encode(x)) by hand, in input pixels."""
    encoded = codec.encode(np.float32([[kpt_inp]]))
    names = [k for k in ('heatmaps', 'keypoint_x_labels', 'keypoint_y_labels', 'keypoint_labels') if k in encoded]
    return codec.decode(*[encoded[k] for k in names])[0][0, 0] / codec.decoded_scale


# ---- codecs as configs and as code

@pytest.mark.parametrize('codec', [*EVERY, *codec_presets()], ids=name_of)
def test_the_code_builds_an_equal_codec(codec):
    codec = make_codec(codec)
    names = {}
    exec(codec_code(codec), names)
    again = names['codec']
    assert type(again) is type(codec) and repr(again) == repr(codec)
    assert codec_config(again) == codec_config(codec) == codec_config(make_codec(codec_config(codec)))


def test_code_leaves_out_what_is_the_default():
    assert codec_code(SimCCLabel((96, 128))) == \
        'from posebook.codecs import SimCCLabel\ncodec = SimCCLabel(input_size=(96, 128))'


@pytest.mark.parametrize('given, words', [
    ('msra', "one of 'MSRA', 'DARK'"), (dict(type='RTMCC'), "codec: type must be one of 'MSRAHeatmap'"), (dict(sigma=2), 'got None'),
    (dict(type='RegressionLabel', sigma=2), 'It takes'), (dict(type='MSRAHeatmap', sigma=2), 'missing'),
    (IntegralRegressionLabel(**SIZES, sigma=2), 'got IntegralRegressionLabel'), (None, 'got NoneType'), (7, 'got int'),
    (dict(type='mmpose.MegviiHeatmap', kernel_size=10, **SIZES), 'odd')])
def test_what_is_no_codec_is_named(given, words):
    with pytest.raises(ValueError, match=words):
        make_codec(given)


# ---- numbers

@pytest.mark.parametrize('codec', [*EVERY, *codec_presets()], ids=name_of)
def test_the_answer_is_the_codecs_own(image, keypoints, codec):
    lab = CodecLab(image, keypoints, BOX, left=codec, right='MSRA', selected=9, metainfo=METAINFO)
    codec, found = lab.codecs['left'], lab.result['left']
    spaces = Spaces.from_bbox(BOX, codec.input_size, getattr(codec, 'heatmap_size', codec.input_size), 1.25,
                              use_udp=codec.use_udp)
    kpt_inp = spaces.transform(keypoints[9], 'image', 'input')
    assert np.reshape(found['matrix'], (2, 3)) == pytest.approx(spaces.image_to_input)
    assert found['point'] == pytest.approx(kpt_inp) and found['udp'] == codec.use_udp
    back = decoded(codec, kpt_inp)
    assert found['decoded']['input'] == pytest.approx(back, abs=1e-4)
    assert found['decoded']['error_input'] == pytest.approx(np.linalg.norm(back - kpt_inp), abs=1e-4)
    in_photo = spaces.transform(back, 'input', 'image')
    assert found['decoded']['image'] == pytest.approx(in_photo, abs=1e-4)
    assert found['decoded']['error_image'] == pytest.approx(np.linalg.norm(in_photo - keypoints[9]), abs=1e-4)
    surface = found['surface']
    values = np.frombuffer(surface['values'], np.uint8).reshape(surface['n'], -1) / 254 * surface['peak']
    assert values.shape == (surface['n'],) * 2 and surface['max'] == pytest.approx(max(surface['peak'], 1e-9), abs=1e-6)
    middle = np.array(found['cell']) * found['step']  # the surface's middle is the error there
    assert values[surface['n'] // 2, surface['n'] // 2] == pytest.approx(
        np.linalg.norm(decoded(codec, middle) - middle), abs=surface['peak'] / 254 + 1e-3)
    assert np.abs(np.subtract(found['point'], middle)).max() <= np.max(found['step']) / 2 + 1e-9  # it is around the point


def test_targets_travel_as_bytes(lab, keypoints):
    target = lab.result['right']['target']
    assert target['kind'] == 'map' and target['shape'] == [64, 48] and target['stride'] == [4, 4]
    sent = np.frombuffer(target['map'], np.uint8).reshape(64, 48) * (target['peak'] / 254)
    point = np.float32([[lab.result['right']['point']]])
    assert sent == pytest.approx(lab.codecs['right'].encode(point)['heatmaps'][0], abs=0.51 / 254)
    target = ask(lab, left=codec_config(make_codec('SimCC')))['left']['target']
    assert target['kind'] == 'rows' and target['shape'] == [384, 512] == [len(target['rows_x']), len(target['rows_y'])]
    assert np.argmax(np.frombuffer(target['rows_x'], np.uint8)) == round(lab.result['left']['point'][0] * 2)
    target = ask(lab, left=codec_config(make_codec('Regression')))['left']['target']
    assert target['numbers'] == pytest.approx(np.divide(lab.result['left']['point'], (192, 256)), abs=1e-6)


@pytest.mark.parametrize('name', codec_presets())
def test_noise_is_the_same_every_time_and_a_part_of_the_height(name):
    codec, points = make_codec(name), np.array([[100., 120.], [60.5, 77.]])
    clean, noisy = (noisy_targets(codec, points, noise, 5)[0] for noise in (0., 0.1))
    again, other = (noisy_targets(codec, points, 0.1, seed)[0] for seed in (5, 6))
    assert len(clean) == len(noise_units(codec))
    if name == 'Regression':  # no height: a tenth of 4 input pixels
        assert np.abs((noisy[0] - clean[0]) * (192, 256)).max() < 4 * 0.1 * 4
        return
    for a, b, c, d, height in zip(clean, noisy, again, other, noise_units(codec)):
        fields = (b - a).reshape(2, -1)
        assert np.array_equal(b, c) and not np.array_equal(b, d)
        assert fields[0] == pytest.approx(fields[1], abs=1e-4 * height)  # one field for all points
        if fields.shape[1] > 100:
            assert fields.std() == pytest.approx(0.1 * height, rel=0.15)
            first = a.reshape(2, -1)[0]
            assert first.max() == pytest.approx(height, rel=0.05) or name == 'UDP combined'


def test_a_surface_is_computed_again_only_when_it_must_be(keypoints):
    memory, visible = {}, np.ones(17)
    points = keypoints.copy()
    settings = CodecLabSettings(points, BOX, 'MSRA', 'DARK')
    middle = settings.spaces['left'].transform([100., 120.], 'input', 'image')
    kept = []
    for shift, noise in ((0, 0), (0.4, 0), (0.4, 0.1), (6, 0.1)):
        points[0] = middle + shift
        answer(CodecLabSettings(points, BOX, 'MSRA', 'DARK', noise=noise), visible, memory)
        kept.append(memory['left'][1])
    assert kept[0] is kept[1] is not kept[2] is not kept[3]


def test_the_square_and_how_fine_it_is(keypoints):
    beside = CodecLabSettings(keypoints, BOX, 'Regression', MSRAHeatmap((192, 256), (24, 32), sigma=2))
    assert list(beside.step('left')) == [8, 8]
    alone = CodecLabSettings(keypoints, BOX, 'SimCC')
    assert list(alone.step('left')) == [4, 4]
    assert error_surface(make_codec('SimCC'), np.array([25, 30]), np.array([4., 4.])).shape == (33, 33)
    assert error_surface(make_codec('UDP'), np.array([25, 30]), np.array([4., 4.])).shape == (17, 17)
    large = UDPHeatmap((384, 512), (96, 128), 'combined')
    assert error_surface(large, np.array([25, 30]), large.scale_factor).shape == (9, 9)


def test_where_nothing_is_drawn_nothing_comes_back(lab, keypoints):
    far = keypoints.copy()
    far[9] = 250, 5
    found = ask(lab, keypoints=far.tolist(), padding=1.)['left']
    assert found['decoded'] is None and found['surface']['mean'] is None and set(found['surface']['values']) == {255}
    assert ask(lab, selected=3)['left']['decoded'] is None  # it has no label
    back, _, _ = round_trip(make_codec('MSRA'), np.array([[100., 120.], [-40., 120.]]))
    assert np.isfinite(back[0]).all() and np.isnan(back[1]).all()


def test_each_side_has_the_crop_that_its_codec_asks_for(image, keypoints):
    lab = CodecLab(image, keypoints, BOX, left='MSRA', right='UDP combined', selected=2)
    left, right = lab.result['left'], lab.result['right']
    assert left['matrix'] != right['matrix'] and (left['udp'], right['udp']) == (False, True)
    assert right['decoded']['image'] == pytest.approx(keypoints[2], abs=1e-3)  # the whole way is exact


# ---- the widget

def test_requests_are_adopted_stale_and_bad_ones_are_not(lab):
    ask(lab, noise=0.1)
    assert lab.settings.noise == 0.1
    lab.update(right=SimCCLabel((192, 256)), noise=0)
    assert lab.state['version'] == 1 and lab.state['right']['type'] == 'SimCCLabel'
    lab.request = lab.state | dict(version=0, noise=0.3, id=3)
    assert lab.settings.noise == 0
    left = lab.state['left']
    for wrong, words in [
            (dict(left=left | dict(sigma=-1)), 'CodecLab: left: MSRAHeatmap: sigma must be a number'),
            (dict(left=left | dict(blur_kernel_size=10)), 'left: MSRAHeatmap: blur_kernel_size must be an odd'),
            (dict(left=left | dict(heatmap_size=[50, 0])), 'heatmap_size'), (dict(left=None), 'left: codec must be one of'),
            (dict(right=dict(type='SimCCLabel', input_size=[192, 256], sigma=0.2, use_dark=True)), 'right: SimCCLabel: sigma must be of 0.5 bins'),
            (dict(noise=-1), 'noise'), (dict(seed=1.5), 'seed'), (dict(selected=17), 'selected'), (dict(colour='red'), 'colour')]:
        assert words in ask(lab, 9, **wrong)['error'], wrong
        assert lab.settings.left == codec_config(make_codec('MSRA')) and lab.settings.noise == 0
    assert 'error' not in ask(lab, 10)


def test_one_side_alone(lab):
    assert ask(lab, right=None)['right'] is None and list(lab.codecs) == ['left']
    with pytest.raises(ValueError, match='side must be one of'):
        lab.code('right')
    assert 'CodecLab' in repr(lab) and small(lab).width > 450


def small(lab):
    return Image.open(io.BytesIO(lab._repr_mimebundle_()[0]['image/png']))


@pytest.mark.slow
@pytest.mark.parametrize('codec', codec_presets())
def test_stand_in_and_text(image, keypoints, codec):
    lab = CodecLab(image, keypoints, BOX, left=codec, selected=9, noise=0.01)
    data, _ = lab._repr_mimebundle_()
    picture = Image.open(io.BytesIO(data['image/png']))
    assert picture.format == 'PNG' and picture.width > 900
    assert len(np.unique(np.asarray(picture.convert('RGB')).reshape(-1, 3), axis=0)) > 50
    assert data['text/plain'] == repr(lab) and '0x' not in repr(lab)
    assert 'application/vnd.jupyter.widget-view+json' in data


def test_nothing_is_written_into_the_arguments(image, keypoints):
    config = codec_config(make_codec('UDP'))
    copies = image.copy(), keypoints.copy(), BOX.copy(), dict(config)
    lab = CodecLab(image, keypoints, BOX, left=config)
    lab.update(noise=0.1)
    lab.figure()
    assert all(np.array_equal(a, b) for a, b in zip((image, keypoints, BOX), copies)) and config == copies[3]


@pytest.mark.parametrize('changes, words', [
    (dict(keypoints=np.zeros((1, 17, 2))), 'Take one instance'), (dict(keypoints=np.full((17, 2), np.nan)), 'finite'),
    (dict(bbox=[100, 80, 60, 90]), 'Is it xywh'), (dict(image=np.zeros((9, 9), np.uint8)), 'image must be'),
    (dict(left='Gauss'), "left: codec must be one of 'MSRA'"), (dict(right=object()), 'right: codec must be one of MSRAHeatmap, .* got object'),
    (dict(keypoints_visible=[1, 1]), 'keypoints_visible'), (dict(noise='much'), 'noise must be between'),
    (dict(keypoints=np.ones((5, 2)), metainfo=METAINFO), 'has 17 keypoints'), (dict(padding=0), 'padding')])
def test_wrong_arguments_are_named(image, keypoints, changes, words):
    with pytest.raises(ValueError, match=words):
        CodecLab(**dict(image=image, keypoints=keypoints, bbox=BOX) | changes)


def test_settings_survive_the_way_to_the_browser_and_back(keypoints):
    settings = CodecLabSettings(keypoints, BOX, 'DARK', SimCCLabel((192, 256), sigma=(4.9, 5.66)), noise=0.1)
    again = CodecLabSettings(**settings.to_dict())
    assert again.to_dict() == settings.to_dict()


def test_static_files_are_small_and_plain():
    """The script travels with every instance: what a browser gets is one self-contained text below SCRIPT_LIMIT."""
    script = CodecLab._esm
    assert len(script) < SCRIPT_LIMIT
    assert 'http' not in script + CodecLab._css and 'import ' not in script
    assert script.count('export ') == script.count('export default ') == 1
