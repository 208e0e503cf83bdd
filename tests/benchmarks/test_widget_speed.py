"""How smoothly the widgets draw while something is dragged, in a real Chromium on a real JupyterLab.

    pytest -s tests/benchmarks/test_widget_speed.py

Frames are compared with what the same page draws at rest, the kernel's answers with a frame.
"""
import numpy as np
import pytest
import test_browser
import test_browser_base
import test_browser_codec_lab
import test_browser_loss_explorer
from widget_lab import drag_round, opened_notebook

pytestmark = [pytest.mark.speed, pytest.mark.browser]

loupe = opened_notebook('loupe', test_browser_base.NOTEBOOK)
spaces = opened_notebook('explorer', test_browser.NOTEBOOK)
codec_lab = opened_notebook('codec_lab', test_browser_codec_lab.NOTEBOOK)
losses = opened_notebook('losses', test_browser_loss_explorer.NOTEBOOK)
HOMES = dict(
    loupe=('image', "onPanel('image', pb().store.state.point)"),
    spaces=('image', "onPanel('image', pb().apply(pb().store.maps.from.image, pb().store.state.keypoints[9]))"),
    codec_lab=('left', "onPanel('left', pb().apply(pb().store.answer.left.matrix, pb().store.state.keypoints[9]))"),
    losses=('plane', "onPanel('plane', pb().store.state.point)"))
REST = """async () => {
  const times = [];
  for (let i = 0; i < 60; i += 1) {
    const start = performance.now();
    await frame();
    times.push(performance.now() - start);
  }
  return times;
}"""


@pytest.mark.parametrize('name', HOMES)
def test_a_drag(name, request):
    page = request.getfixturevalue(name)
    panel, home = HOMES[name]
    found = drag_round(page, panel, page.evaluate(home), moves=180)
    rest, frames = np.median(page.evaluate(REST)), np.median(found['frameTimes'])
    middle, most = np.percentile(found['answerTimes'], (50, 95))
    print(f'\n{name:10} a frame takes {frames / rest:.2f} times as long as at rest ({frames:.1f} ms); the kernel answers '
          f'{found["answers"]} of {found["moves"]} moves, half of them within {middle / frames:.1f} frames ({middle:.0f} ms), '
          f'95 of 100 within {most / frames:.1f} ({most:.0f} ms)')
