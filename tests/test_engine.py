"""Training that is killed and resumed, and the loop's promises that a chapter's cells cannot test."""
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from posebook.engine import load_checkpoint_file, save_atomically
from posebook.engine.mini import MiniRecipe, mini_datasets, mini_model, train_mini

TINY = dict(epochs=4, num_images=24, num_val=6, batch_size=8, width=8, blocks=1, stem_channels=8,
            input_size=(64, 96), max_people=1)
PROGRAM = f'''
import sys
from posebook.engine.mini import MiniRecipe, train_mini
train_mini(recipe=MiniRecipe(**{TINY}), work_dir=sys.argv[1], root=sys.argv[2], threads=1, resume=True,
           progress=False)
'''


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp('rendered')
    mini_datasets(MiniRecipe(**TINY), root=folder, progress=False)  # rendered once, for all runs
    return folder


def start(work_dir, root):
    return subprocess.Popen([sys.executable, '-c', PROGRAM, str(work_dir), str(root)],
                            env=dict(os.environ, OMP_NUM_THREADS='1'), stderr=subprocess.PIPE)


def finish(process):
    _, errors = process.communicate(timeout=3000)
    assert process.returncode == 0, errors.decode()[-2000:]


@pytest.mark.slow
def test_sigkill_and_resume_end_with_the_same_weights(tmp_path, root):
    finish(start(tmp_path / 'whole', root))
    want = load_checkpoint_file(tmp_path / 'whole/last.pt')

    rng, killed = np.random.default_rng(0), 0
    work_dir = tmp_path / 'killed'
    checkpoint = work_dir / 'last.pt'
    for target in range(1, TINY['epochs']):  # let each run finish one more epoch, then kill it somewhere
        process = start(work_dir, root)
        while process.poll() is None:
            if checkpoint.exists() and load_checkpoint_file(checkpoint)['epoch'] >= target:
                time.sleep(rng.uniform(0, 0.3))
                process.send_signal(signal.SIGKILL)
                killed += process.wait() == -signal.SIGKILL
                break
            time.sleep(0.01)
        process.stderr.close()
        load_checkpoint_file(checkpoint)  # whole, at any moment
    assert killed >= 1
    finish(start(work_dir, root))

    got = load_checkpoint_file(checkpoint)
    assert got['epoch'] == want['epoch'] == TINY['epochs']
    for name, weight in want['model'].items():
        assert torch.equal(weight, got['model'][name]), name
    assert got['history']['steps'] == want['history']['steps']
    assert not list(work_dir.glob('*.part'))


def test_a_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    path = save_atomically(dict(epoch=1), tmp_path / 'last.pt')
    monkeypatch.setattr(os, 'fsync', lambda _: (_ for _ in ()).throw(OSError('disk full')))
    with pytest.raises(OSError, match='disk full'):
        save_atomically(dict(epoch=2), path)
    assert load_checkpoint_file(path)['epoch'] == 1
    assert [p.name for p in tmp_path.iterdir()] == ['last.pt']


@pytest.mark.parametrize('content', [b'', b'not a checkpoint', b'PK\x03\x04broken'])
def test_a_broken_checkpoint_is_named(tmp_path, content):
    path = tmp_path / 'last.pt'
    path.write_bytes(content)
    with pytest.raises(ValueError, match='last.pt'):
        load_checkpoint_file(path)


def test_same_seed_same_result(root):
    recipe = MiniRecipe(**{**TINY, 'epochs': 1})
    runs = [train_mini(recipe=recipe, root=root, threads=1, progress=False) for _ in range(2)]
    for a, b in zip(*(r.model.state_dict().values() for r in runs)):
        assert torch.equal(a, b)
    assert runs[0].history == runs[1].history and dict(runs[0].result) == dict(runs[1].result)
    other = train_mini(recipe=recipe, root=root, threads=1, progress=False, seed=1)
    assert other.history != runs[0].history


def test_the_model_learns_from_the_first_steps(root):
    recipe = MiniRecipe(**{**TINY, 'epochs': 12})
    steps = train_mini(recipe=recipe, root=root, threads=1, progress=False, val_interval=99).history['steps']
    assert np.mean([s['loss_kpt'] for s in steps[-3:]]) < 0.9 * np.mean([s['loss_kpt'] for s in steps[:3]])


def test_recipe_is_a_model_that_fits():
    for stride in (2, 4):
        model = mini_model(MiniRecipe(heatmap_stride=stride))
        w, h = MiniRecipe().input_size
        maps = model(torch.zeros(1, 3, h, w), mode='tensor')
        assert maps.shape == (1, 17, h // stride, w // stride)
    with pytest.raises(ValueError, match='heatmap_stride must be 2 or 4; got 3'):
        MiniRecipe(heatmap_stride=3)


def test_wrong_work_dir_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match='nothing.pt'):
        load_checkpoint_file(Path(tmp_path) / 'nothing.pt')
