"""SpacesExplorer without a browser: its traits, its checks, its stand-in picture, its static files."""
import io
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from posebook.codecs.msra_heatmap import MSRAHeatmap
from posebook.structures.metainfo import COCO, parse_pose_metainfo
from posebook.structures.spaces import Spaces
from posebook.widgets import SpacesExplorer, SpacesSettings
from posebook.widgets.base import SCRIPT_LIMIT
from posebook.widgets.spaces_explorer import answer

BOX = np.array([40., 20., 160., 170.])
METAINFO = parse_pose_metainfo(COCO)


@pytest.fixture
def explorer(image, keypoints):
    visible = np.full(17, 2)
    visible[[3, 5]] = 0, 1
    return SpacesExplorer(image, keypoints, BOX, visible, selected=9, metainfo=METAINFO)


def ask(explorer, number=1, **changes):
    """What the browser does: write `request`, read `result`."""
    explorer.request = explorer.state | changes | dict(id=number)
    return explorer.result


@pytest.mark.parametrize('changes', [
    dict(), dict(rotation=33.), dict(flip=True), dict(use_udp=True, rotation=-20.),
    dict(input_size=[256, 256], heatmap_size=[64, 64], padding=1.6, flip=True, use_udp=True)])
def test_the_answer_is_the_librarys_own(explorer, keypoints, changes):
    result = ask(explorer, 5, **changes)
    spaces = Spaces.from_bbox(BOX, changes.get('input_size', (192, 256)),
                              changes.get('heatmap_size', (48, 64)), changes.get('padding', 1.25),
                              changes.get('rotation', 0), changes.get('flip', False),
                              changes.get('use_udp', False))
    assert result['id'] == 5 and result['version'] == 0
    assert np.reshape(result['matrix'], (2, 3)) == pytest.approx(spaces.image_to_input)
    for space, point in result['point'].items():
        assert point == pytest.approx(spaces.transform(keypoints[9], 'image', space))
    assert result['round_trip'] < 1e-9
    decoded = result['decoded']
    assert spaces.transform(decoded['image'], 'image', 'input') == pytest.approx(decoded['input'])
    assert decoded['error_image'] == pytest.approx(np.linalg.norm(decoded['image'] - keypoints[9]))
    assert decoded['error_input'] < 6


def test_the_heatmap_travels_as_bytes(explorer, keypoints):
    result = ask(explorer)
    assert isinstance(result['heatmap'], bytes) and result['shape'] == [64, 48]
    sent = np.frombuffer(result['heatmap'], np.uint8).reshape(64, 48) * (result['peak'] / 255)
    points = explorer.spaces.transform(keypoints, 'image', 'input')[None].astype(np.float32)
    whole = MSRAHeatmap((192, 256), (48, 64), 2.).encode(points, np.ones((1, 17), np.float32))
    assert sent == pytest.approx(whole['heatmaps'][9], abs=0.5 / 255 + 1e-6)


def test_a_mirrored_crop_swaps_the_channels(explorer):
    assert ask(explorer, flip=False)['channel'] == 9
    assert ask(explorer, flip=True)['channel'] == 10


def test_a_point_without_label_or_outside_has_no_heatmap(explorer, keypoints):
    assert ask(explorer, selected=3)['decoded'] is None
    far = keypoints.copy()
    far[9] = 250, 5
    result = ask(explorer, keypoints=far.tolist(), padding=1.)
    assert result['decoded'] is None and not any(result['heatmap'])
    assert ask(explorer, show_all=True)['peak'] == pytest.approx(1, abs=0.01)


def test_dark_loses_almost_nothing(explorer):
    assert ask(explorer, unbiased=True)['mean_error'] < 0.1 < ask(explorer)['mean_error']


def test_requests_are_adopted_stale_and_bad_ones_are_not(explorer):
    ask(explorer, rotation=12.)
    assert explorer.settings.rotation == 12
    explorer.update(rotation=30, padding=1.5)
    assert explorer.state['version'] == 1 and explorer.state['padding'] == 1.5
    explorer.request = explorer.state | dict(version=0, rotation=5., id=3)
    assert explorer.settings.rotation == 30
    for wrong in (dict(sigma=-1.), dict(selected=17), dict(bbox=[9, 9, 3, 3]), dict(colour='red'),
                  dict(keypoints=[[1., 2.]]), dict(keypoints=[[None, 2.]] * 17)):
        assert 'error' in ask(explorer, 9, **wrong), wrong
    assert explorer.settings.rotation == 30
    assert 'error' not in ask(explorer, 10)


def test_one_writer_for_each_trait(explorer):
    before = explorer.state
    ask(explorer, rotation=40.)
    assert explorer.state == before  # Python writes no trait of its own but `result`
    assert explorer.trait_metadata('request', 'echo_update') is False


def test_nothing_is_written_into_the_arguments(image, keypoints):
    copies = image.copy(), keypoints.copy(), BOX.copy()
    explorer = SpacesExplorer(image, keypoints, BOX)
    explorer.update(rotation=10)
    explorer.figure()
    for given, copy in zip((image, keypoints, BOX), copies):
        assert np.array_equal(given, copy)


@pytest.mark.parametrize('changes, words', [
    (dict(keypoints=np.zeros((1, 17, 2))), 'Take one instance'),
    (dict(keypoints=np.zeros((17, 3))), r'\(K, 2\)'),
    (dict(keypoints=np.full((17, 2), np.nan)), 'finite'),
    (dict(bbox=[100, 80, 60, 90]), 'Is it xywh'),
    (dict(bbox=[1, 2, 3]), 'bbox must be xyxy'),
    (dict(heatmap_size=(64, 48)), 'swap w and h'),
    (dict(sigma=0), 'sigma must be between'),
    (dict(padding=float('nan')), 'padding must be between'),
    (dict(selected=17), 'selected'),
    (dict(image=np.zeros((9, 9), np.uint8)), 'image must be'),
    (dict(image='photo.jpg'), 'got str'),
    (dict(keypoints_visible=[1, 1]), 'keypoints_visible'),
    (dict(skeleton=[(0, 40)]), 'skeleton')])
def test_wrong_arguments_are_named(image, keypoints, changes, words):
    good = dict(image=image, keypoints=keypoints, bbox=BOX)
    with pytest.raises(ValueError, match=words):
        SpacesExplorer(**good | changes)


def test_stand_in_and_text(explorer):
    data, _ = explorer._repr_mimebundle_()
    picture = Image.open(io.BytesIO(data['image/png']))
    assert picture.format == 'PNG' and picture.width > 800
    assert len(np.unique(np.asarray(picture.convert('RGB')).reshape(-1, 3), axis=0)) > 50
    assert data['text/plain'] == repr(explorer) and '0x' not in repr(explorer)
    assert 'application/vnd.jupyter.widget-view+json' in data


def test_a_large_photo_is_sent_smaller_in_its_own_coordinates(keypoints):
    explorer = SpacesExplorer(np.full((3000, 4000, 3), 90, np.uint8), keypoints, BOX)
    sent = cv2.imdecode(np.frombuffer(explorer.picture, np.uint8), cv2.IMREAD_COLOR)
    assert sent.shape == (1200, 1600, 3) and explorer.scene['image_size'] == [4000, 3000]
    assert explorer.scene['picture_type'] == 'image/jpeg'


def test_any_number_of_keypoints_without_metainfo(image):
    explorer = SpacesExplorer(image, [[100, 100]], BOX, use_udp=True, flip=True)
    assert explorer.scene['names'] == ['keypoint 0'] and explorer.result['channel'] == 0


def test_settings_survive_the_way_to_the_browser_and_back(keypoints):
    settings = SpacesSettings(keypoints, BOX, rotation=3., flip=True)
    again = SpacesSettings(**settings.to_dict())
    assert again.to_dict() == settings.to_dict()
    assert answer(again, np.ones(17), np.arange(17))['round_trip'] < 1e-9


def test_static_files_are_small_and_plain():
    """The script travels with every instance: what a browser gets is one self-contained text below SCRIPT_LIMIT."""
    script = SpacesExplorer._esm
    assert len(script) < SCRIPT_LIMIT
    assert 'http' not in script + SpacesExplorer._css and 'import ' not in script
    assert script.count('export ') == script.count('export default ') == 1


def test_importing_the_widgets_leaves_matplotlib_and_torch_alone():
    code = "import sys, posebook.widgets; print({'torch', 'matplotlib.pyplot'} & set(sys.modules))"
    found = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == 'set()'
