"""What all widgets share, without a browser: checks, the protocol, and the joining of scripts."""
import base64
import dataclasses
import re

import matplotlib
import numpy as np
import pytest

from posebook.widgets import (CodecLab, HeatmapViewer, HRNetExplorer, LossExplorer, PoseWidget, SpacesExplorer,
                              WidgetSettings)
from posebook.widgets.base import (COLORS, DECODED, LIVE, SCRIPT_LIMIT, SIDES, _static, check_visible, join_script,
                                   join_style, place_unlabelled, pose_scene, shared_parts)

CANVAS = _static('canvas.js')
IMPORT = "import { mul } from './canvas.js';\n"


@dataclasses.dataclass(frozen=True, eq=False)
class DemoSettings(WidgetSettings):
    points: np.ndarray
    size: float = 1.
    which: int = 0
    kind: str = 'plain'
    owner = 'Demo'

    def __post_init__(self):
        points = self.check_array('points', (None, 2), '(K, 2)')
        self.check_number('size', 0, 5)
        self.check_index('which', len(points))
        self.check_choice('kind', ('plain', 'dark'))


class Demo(PoseWidget):
    _esm = join_script(IMPORT + 'export default mul;')

    def __init__(self, points, **changes):
        super().__init__(np.zeros((4, 5, 3), np.uint8), DemoSettings(points, **changes), dict(names=['a']))

    def _answer(self):
        if self.settings.size == 4:
            raise ValueError('no answer for 4')
        return dict(sum=float(self.settings.points.sum() * self.settings.size))


@pytest.fixture
def demo():
    return Demo([[1, 2], [3, 4]])


def ask(demo, number=1, **changes):
    demo.request = demo.state | changes | dict(id=number)
    return demo.result


def test_the_first_state_and_answer_are_there(demo):
    assert demo.state == dict(points=[[1., 2.], [3., 4.]], size=1., which=0, kind='plain', version=0)
    assert demo.result == dict(sum=10.)
    assert demo.scene == dict(names=['a'], image_size=[5, 4], picture_type='image/png', token=demo.scene['token'])


def test_answers_carry_the_tags_of_their_request(demo):
    assert ask(demo, 7, size=2.) == dict(sum=20., id=7, version=0)
    demo.update(size=3)
    assert demo.result == dict(sum=30.) and demo.state['version'] == 1 and demo.state['size'] == 3
    assert ask(demo, 8, version=0, size=5.) == dict(sum=30.)  # asked before the update: dropped
    assert ask(demo, 9) == dict(sum=30., id=9, version=1)


@pytest.mark.parametrize('wrong, words', [
    (dict(points=[[1., 2.]]), r'points must be \(2, 2\), as it was; got \(1, 2\)'),
    (dict(points=[]), r'points must be \(K, 2\); got shape \(0,\)'),
    (dict(points=[[[1., 2.]]]), r'Take one instance: points\[0\]'),
    (dict(points=[[1., None], [3., 4.]]), 'finite|NoneType'),
    (dict(size=6), 'Demo: size must be between 0 and 5; got 6'),
    (dict(size=float('nan')), 'size must be between'),
    (dict(size='wide'), "between 0 and 5; got 'wide'"),
    (dict(size=None), 'between 0 and 5; got None'),
    (dict(which='0'), "0 to 1; got '0'"),
    (dict(which=2), 'which must be the number of a keypoint, 0 to 1; got 2'),
    (dict(which=0.5), 'which must be the number'),
    (dict(kind='light'), "kind must be one of 'plain', 'dark'; got 'light'"),
    (dict(colour='red'), 'colour'),
    (dict(size=4), 'no answer for 4')])
def test_bad_requests_are_reported_and_change_nothing(demo, wrong, words):
    before = demo.settings
    result = ask(demo, 3, **wrong)
    assert re.search(words, result['error']) and result['id'] == 3
    assert demo.settings is before
    with pytest.raises((TypeError, ValueError), match=words):
        demo.update(**wrong)
    assert demo.settings is before and demo.state['version'] == 0


def test_a_half_written_subclass_says_what_is_missing(demo):
    with pytest.raises(NotImplementedError, match=r'Demo must define figure\(\)'):
        demo.figure()
    with pytest.raises(NotImplementedError, match=r'_answer\(\)'):
        PoseWidget._answer(demo)


def test_repr_is_readable(demo):
    assert repr(demo) == "Demo(image 5 x 4, points=[[1.0, 2.0], [3.0, 4.0]], size=1.0, which=0, kind='plain')"


def test_names_and_sides_without_metainfo():
    scene = pose_scene('Demo', np.array([2, 0]), [(0, 1)])
    assert scene == dict(names=['keypoint 0', 'keypoint 1'], sides=['middle'] * 2, links=[[0, 1]], visible=[2, 0])


def test_scripts_are_joined_without_their_comments():
    script = join_script('// why\n' + IMPORT + '/** Two\n *  lines. */\n  const url = "a // b"; // gone\nexport default mul;\n')
    assert script.startswith('const { mul } = (() => {') and 'const url = "a // b";\nexport' in script
    assert 'Two' not in script and 'why' not in script and script.count('export ') == 1
    wrapped = join_script("import {\n  mul, apply,\n} from './canvas.js';\n")
    assert wrapped.startswith('const { mul, apply } = ')
    assert join_style('.own {}').startswith('/*') and join_style('.own {}').endswith('.own {}')


@pytest.mark.parametrize('own, words', [
    ('export default 1;', 'must begin with import'),
    ("import { mul, mall } from './canvas.js';", 'canvas.js has no mall; it exports')])
def test_a_wrong_import_is_reported(own, words):
    with pytest.raises(ValueError, match=words):
        join_script(own)


def test_both_halves_have_the_same_colours():
    def table(name):
        return dict(re.findall(r"(\w+): '(#\w+)'", re.search(rf'export const {name} = {{(.*?)}}', CANVAS)[1]))
    assert table('COLOR') == COLORS and table('SIDE') == SIDES and f"DECODED = '{DECODED}'" in CANVAS
    for space, color in COLORS.items():
        assert f'--pb-{space}: {color};' in SpacesExplorer._css


@pytest.mark.parametrize('name', ['inferno', 'viridis', 'magma', 'greys'])
def test_heatmaps_have_the_colours_of_matplotlib(name):
    ramp = re.search(rf"{name}: '(\w+)'", CANVAS)[1]
    colours = np.array([int(ramp[i:i + 2], 16) for i in range(0, 36, 2)]).reshape(6, 3)
    theirs = matplotlib.colormaps[dict(greys='gray').get(name, name)](np.linspace(0, 1, 6))[:, :3]
    assert np.abs(colours - theirs * 255).max() <= 1


WIDGETS = [SpacesExplorer, CodecLab, HeatmapViewer, HRNetExplorer, LossExplorer]


@pytest.mark.parametrize('widget', WIDGETS)
def test_scripts_keep_to_the_limit(widget):
    """Set knowingly in chapter 801: about half of the picture that stands in for a widget."""
    assert len(widget._esm) <= SCRIPT_LIMIT
    assert 'import ' not in re.sub(r'//.*', '', widget._esm.split('export default')[0][:200])


def test_a_widget_gets_what_it_uses():
    parts, exported = shared_parts()
    assert len(parts) == len(set(parts)) and set(exported) < set(parts)
    small = join_script("import { put } from './canvas.js';\nexport default put;")
    assert len(small) < 300
    page = join_script("import { createWidget } from './canvas.js';\nexport default createWidget;")
    assert 'function createStore' in page and 'function paintHeatmap' not in page and 'RAMPS' not in page


@pytest.mark.parametrize('visible, words', [
    ([2, float('nan')], r'keypoints_visible must be numbers from 0; got \[2.0, nan\]'), ([2, -1], 'numbers from 0'),
    (['a', 'b'], 'numbers from 0'), ([1], r'must be \(2,\), one for each')])
def test_visibility_is_checked(visible, words):
    with pytest.raises(ValueError, match=words):
        check_visible('Demo', visible, 2)


def test_visibility_has_three_levels():
    assert check_visible('Demo', [0.3, 1, 0], 3).tolist() == [2, 2, 0]  # a part of a label is a label
    assert check_visible('Demo', [0, 1, 3], 3).tolist() == [0, 1, 2]


def test_nan_without_a_label_is_no_mistake():
    points = np.array([[1., 2.], [np.nan, 3.]])
    assert place_unlabelled(points, [2, 0]).tolist() == [[1, 2], [0, 0]] and np.isnan(points[1, 0])
    image = np.zeros((9, 9, 3), np.uint8)
    explorer = SpacesExplorer(image, points, [1, 1, 8, 8], [2, 0])
    explorer.update(keypoints=[[3., 4.], [np.nan, np.nan]])
    assert explorer.settings.keypoints[0].tolist() == [3, 4]
    with pytest.raises(ValueError, match='keypoints must be finite'):
        SpacesExplorer(image, points, [1, 1, 8, 8], [2, 2])


def test_a_widget_keeps_copies():
    image, points = np.zeros((9, 9, 3), np.uint8), np.array([[3., 4.]])
    explorer = SpacesExplorer(image, points, [1, 1, 8, 8])
    image[:], points[:] = 255, 0
    assert explorer._image.max() == 0 and explorer.settings.keypoints.tolist() == [[3, 4]]


def test_two_outputs_the_picture_first(monkeypatch):
    shown = []
    monkeypatch.setattr('IPython.display.display', lambda data, raw: shown.append(data))
    explorer = SpacesExplorer(np.zeros((9, 9, 3), np.uint8), [[3., 4.]], [1, 1, 8, 8])
    explorer._ipython_display_()
    picture, live = shown
    assert set(picture) == {'text/html', 'image/png', 'text/plain'} and set(live) == {LIVE}
    assert base64.b64decode(picture['image/png']).startswith(b'\x89PNG')
    assert explorer.scene['token'] in picture['text/html'] and explorer.model_id == live[LIVE]['model_id']


def test_an_embedded_state_holds_the_script():
    from ipywidgets.embed import dependency_state
    explorer = SpacesExplorer(np.zeros((9, 9, 3), np.uint8), [[3., 4.]], [1, 1, 8, 8])
    state = dependency_state(explorer)[explorer.model_id]['state']
    assert state['_esm'] == str(explorer._esm) and state['_model_module'] == 'anywidget'
