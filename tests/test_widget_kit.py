"""check_widget on the book's own widgets, and on widgets that break one promise each."""
import numpy as np
import pytest

from posebook.codecs import MSRAHeatmap
from posebook.testing.widgets import HOSTILE, check_widget, fingerprint, page_made_of, shared_state
from posebook.widgets import CodecLab, HeatmapViewer, SpacesExplorer
from posebook.widgets.base import figure_text, stand_in

POINTS, BOX = np.array([[5., 6.], [20., 25.], [12., 30.]]), [2, 2, 28, 36]
VISIBLE = np.array([2, 1, 0])
CODEC = MSRAHeatmap((24, 32), (12, 16), sigma=1.)


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 255, (40, 30, 3), dtype=np.uint8)


def named(text):
    return dict(num_keypoints=3, keypoint_id2name={0: text, 1: text, 2: 'left ' + text}, dataset_name=text)


@pytest.mark.slow
def test_spaces_explorer(picture):
    points = POINTS.copy()
    points[2] = np.nan  # without a label

    def make(text='wrist'):
        return SpacesExplorer(picture, points, BOX, VISIBLE, metainfo=named(text))
    check_widget(make, [dict(rotation=20.), dict(selected=2), dict(show_all=True)], [picture, points, VISIBLE])


@pytest.mark.slow
def test_codec_lab(picture):
    def make(text='wrist'):
        return CodecLab(picture, POINTS, BOX, VISIBLE, left='MSRA', right='Regression', metainfo=named(text))
    check_widget(make, [dict(noise=.2), dict(selected=2), dict(right=None)], [picture, POINTS, VISIBLE])


@pytest.mark.slow
def test_heatmap_viewer(picture):
    crop, maps = picture[:32, :24].copy(), CODEC.encode(POINTS[None].astype(np.float32))['heatmaps']
    maps[1, 3, 3] = np.nan  # said, and no filter of warnings is touched for it
    target = np.nan_to_num(maps)

    def make(text='heatmaps'):
        return HeatmapViewer(crop, maps, target, CODEC, named(text), titles=(text, text))
    check_widget(make, [dict(selected=[0]), dict(colormap='viridis'), dict(refine='dark')], [crop, maps, target, vars(CODEC)])


@pytest.mark.parametrize('text', HOSTILE)
def test_a_stand_in_is_one_picture(text):
    tags, attributes = page_made_of(stand_in('token', text, b'png'))
    assert tags == ['style', 'div', 'img'] and attributes == {'class', 'data-token', 'alt', 'src', 'style'}


def test_texts_of_figures_are_no_mathematics():
    assert figure_text('a$b\n\tc') == r'a\$b  c'


def test_the_kit_sees_what_is_written_into():
    torch = pytest.importorskip('torch')
    net = torch.nn.Linear(2, 2)
    before = fingerprint(net)
    hook = net.register_forward_hook(lambda *args: None)
    assert fingerprint(net) != before
    hook.remove()
    assert fingerprint(net) == before
    net.train(False)
    assert fingerprint(net) != before
    threads = shared_state()
    torch.set_grad_enabled(False)
    try:
        assert shared_state() != threads
    finally:
        torch.set_grad_enabled(True)


def test_the_kit_leaves_everything_as_it_was(picture):
    state = shared_state()
    check_widget(lambda: SpacesExplorer(picture, POINTS, BOX))
    assert shared_state() == state


@pytest.mark.parametrize('make', [SpacesExplorer, None, 7])
def test_the_kit_wants_a_function(picture, make):
    with pytest.raises((TypeError, ValueError), match='check_widget: make|missing'):
        check_widget(make)
