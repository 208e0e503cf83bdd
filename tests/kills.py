"""Kill a training again and again, go on each time, and compare with a training that was left alone.

    python tests/kills.py 50      fifty SIGKILLs; exit code 0 if every training ends bit-equal

Half of them strike at random, half as soon as a checkpoint is being written. Linux and macOS.
"""
import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from posebook.engine import load_checkpoint_file
from posebook.engine.recipes.mini import MiniRecipe, mini_datasets, train_mini

TINY = dict(epochs=4, num_images=24, num_val=6, batch_size=8, width=8, blocks=1, stem_channels=8,
            input_size=(64, 96), max_people=1)


def train(work_dir, root):
    with open(os.devnull, 'w') as nowhere, contextlib.redirect_stdout(nowhere):
        train_mini(recipe=MiniRecipe(**TINY), work_dir=work_dir, root=root, threads=1, resume=True,
                   progress=False)


def start(work_dir, root):
    """A process that trains; forked, so that torch is imported once for all of them."""
    process = multiprocessing.get_context('fork').Process(target=train, args=(work_dir, root))
    process.start()
    return process


def strike(process, work_dir, seconds, while_saving):
    """Kill it after `seconds`, or when the next checkpoint is begun; whether it was struck."""
    deadline = time.monotonic() + seconds
    while process.is_alive():
        saving = while_saving and any(work_dir.glob('.last.pt.*.part'))
        if saving or not while_saving and time.monotonic() > deadline:
            process.kill()
            break
        time.sleep(0.0005 if while_saving else 0.005)
    process.join()
    return process.exitcode == -signal.SIGKILL


def same(state, wanted):
    return (state['epoch'] == wanted['epoch'] and state['history'] == wanted['history']
            and all(torch.equal(weight, state['model'][name]) for name, weight in wanted['model'].items())
            and all(torch.equal(value, state['optimizer']['state'][i][key])
                    for i, entries in wanted['optimizer']['state'].items() for key, value in entries.items()))


def main(kills, folder):
    root = folder / 'rendered'
    mini_datasets(MiniRecipe(**TINY), root=root, progress=False)
    began = time.monotonic()
    whole = start(folder / 'whole', root)
    whole.join()
    assert whole.exitcode == 0
    seconds = (time.monotonic() - began) / 2
    wanted = load_checkpoint_file(folder / 'whole/last.pt')

    rng, struck, runs = np.random.default_rng(0), 0, 0
    while struck < kills:
        work_dir, left = folder / f'killed-{runs}', True
        while left:
            left = struck < kills and strike(start(work_dir, root), work_dir, rng.uniform(0, seconds), bool(struck % 2))
            struck += left
            if (work_dir / 'last.pt').exists():
                load_checkpoint_file(work_dir / 'last.pt')  # whole, at any moment
        last = start(work_dir, root)
        last.join()
        runs += 1
        assert last.exitcode == 0 and same(load_checkpoint_file(work_dir / 'last.pt'), wanted), work_dir
        assert not list(work_dir.glob('*.part'))
    print(f'{struck} kills in {runs} trainings, which all ended with the same weights, moments and history')


if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as tmp:
        main(int(sys.argv[1]), Path(tmp))
