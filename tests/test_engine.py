"""Training that is killed and resumed, and the loop's promises that a chapter's cells cannot test."""
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from kills import TINY
from posebook.engine import (ResumeError, Trainer, build_loader, collate, evaluate, load_checkpoint_file,
                             save_atomically, seed_everything)
from posebook.engine.loop import describe, warmup_cosine
from posebook.engine.recipes.mini import MiniRecipe, mini_datasets, mini_model, mini_pipelines, train_mini
from posebook.files import locked


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp('rendered')
    mini_datasets(MiniRecipe(**TINY), root=folder, progress=False)  # rendered once, for all runs
    return folder


@pytest.mark.slow
def test_sigkill_and_resume_end_with_the_same_weights():
    """`python tests/kills.py 50` does it fifty times."""
    done = subprocess.run([sys.executable, Path(__file__).with_name('kills.py'), '5'], capture_output=True, text=True,
                          env=dict(os.environ, OMP_NUM_THREADS='1'), timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith('5 kills'), done.stdout


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


@pytest.mark.slow
def test_same_seed_same_result(root):
    recipe = MiniRecipe(**{**TINY, 'epochs': 1})
    runs = [train_mini(recipe=recipe, root=root, threads=1, progress=False) for _ in range(2)]
    for a, b in zip(*(r.model.state_dict().values() for r in runs)):
        assert torch.equal(a, b)
    assert runs[0].history == runs[1].history and dict(runs[0].result) == dict(runs[1].result)
    other = train_mini(recipe=recipe, root=root, threads=1, progress=False, seed=1)
    assert other.history != runs[0].history


@pytest.mark.slow
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


# what a run says, refuses and keeps: on a model of three weights

class Toy(torch.nn.Module):
    def __init__(self, width=3):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(width))
        self.dropout = torch.nn.Dropout(.1)

    def data_preprocess(self, data, training=None):
        return dict(inputs=data['inputs'].float() / 255, data_samples=data['data_samples'])

    def forward(self, inputs, data_samples=None, mode='loss'):
        return dict(loss=self.dropout((inputs.mean((2, 3)) * self.weight[:3]).sum(1)**2).mean())


PICTURES = [dict(inputs=torch.full((3, 4, 2), 20 * i, dtype=torch.uint8), data_samples=i) for i in range(8)]


def toy(work_dir=None, max_epochs=4, batch_size=2, lr=.1, samples=8, seed=0, optimizer=torch.optim.AdamW, width=3,
        options=None, **kwargs):
    seed_everything(0)
    model = Toy(width)
    return Trainer(model, build_loader(PICTURES[:samples], batch_size, shuffle=True, seed=seed),
                   optimizer(model.parameters(), lr=lr, **(options or {})), max_epochs, work_dir,
                   **{'progress': False, **kwargs})


def same_weights(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.model.state_dict().values(), b.model.state_dict().values()))


def test_fit_says_what_it_does(tmp_path, capsys):
    def said():
        return capsys.readouterr().out.replace(str(tmp_path), 'runs').strip()

    toy(tmp_path / 'a', 2).fit()
    assert said() == 'Training starts in runs/a: 2 epochs.'
    toy(tmp_path / 'a', 2).fit()
    assert said() == 'Nothing left to do: runs/a/last.pt holds all 2 epochs.'
    toy(tmp_path / 'a', 3).fit()
    first, second = said().splitlines()
    assert first == 'Training goes on after epoch 2 of 3 from runs/a/last.pt.'
    assert 'planned for 2 epochs' in second and 'it was 0 and is 0.0292' in second
    toy(None, 1).fit()
    assert said() == ''


@pytest.mark.parametrize('change, words', [
    (dict(lr=.01), 'optimizer.lr: 0.1 -> 0.01'),
    (dict(options=dict(weight_decay=.5)), 'optimizer.weight_decay: 0.01 -> 0.5'),
    (dict(options=dict(betas=(.8, .9))), 'optimizer.betas: [0.9, 0.999] -> [0.8, 0.9]'),
    (dict(optimizer=torch.optim.SGD), "optimizer: 'AdamW' -> 'SGD'"),
    (dict(batch_size=4), 'batch_size: 2 -> 4'),
    (dict(samples=6), 'samples: 8 -> 6'),
    (dict(seed=1), 'seed of the order: 0 -> 1'),
    (dict(clip_grad=1.), 'clip_grad: None -> 1.0'),
    (dict(width=4), "model.weight: 'shape (3,)' -> 'shape (4,)'"),
    (dict(max_epochs=1), 'max_epochs: 2 -> 1, with 2 done'),
    (dict(schedule=lambda step: 1.), 'schedule, factor at step 2: 0.9505 -> 1'),
    (dict(recipe=dict(augment=True)), 'recipe.augment: nothing -> True'),
])
def test_another_recipe_is_refused_by_name(tmp_path, change, words):
    toy(tmp_path, 2).fit()
    before = (tmp_path / 'last.pt').read_bytes()
    with pytest.raises(ResumeError) as e:
        toy(tmp_path, **{'max_epochs': 2, **change}).fit()
    assert words in str(e.value) and 'last.pt' in str(e.value) and str(e.value).startswith('Trainer: recipe must be ')
    assert (tmp_path / 'last.pt').read_bytes() == before


def test_a_changed_loss_or_dropout_or_augmentation_is_a_changed_recipe():
    model, other = mini_model(MiniRecipe()), mini_model(MiniRecipe(sigma=1.))
    a, b = describe(model, 'model'), describe(other, 'model')
    assert [k for k in a if a[k] != b[k]] == ['model.head.decoder.sigma']
    assert describe(torch.nn.Dropout(.1)) != describe(torch.nn.Dropout(.2))
    looped = [1, {}]
    looped[1]['back'] = looped  # ends all the same
    assert describe(looped, 'x') == {'x.0': 1, 'x.1.back': 'list'}


def test_the_same_recipe_is_the_same_wherever_it_stands(tmp_path):
    """Reused objects, another folder, another way of making the same schedule: no false alarm."""
    toy(tmp_path / 'a', 4, schedule=warmup_cosine(16, 2)).fit()
    (tmp_path / 'a').rename(tmp_path / 'b')
    trainer = toy(tmp_path / 'b', 4, schedule=lambda step: warmup_cosine(16, 2)(step))
    assert len(trainer.fit()['steps']) == 16
    assert len(trainer.fit()['steps']) == 16
    assert len(trainer.fit(resume=False)['steps']) == 16  # its own file


def test_two_and_two_epochs_are_four_when_planned_so(tmp_path):
    plan = warmup_cosine(16, 1)
    whole = toy(None, 4)
    whole.fit()
    toy(tmp_path, 2, schedule=plan).fit()
    rest = toy(tmp_path, 4, schedule=plan)
    assert rest.fit() == whole.history and same_weights(whole, rest)


def test_longer_without_a_plan_follows_the_new_schedule(tmp_path):
    toy(tmp_path, 4).fit()
    longer = toy(tmp_path, 6)
    lrs = [s['lr'] for s in longer.fit()['steps']]
    assert len(lrs) == 24
    assert np.allclose(lrs[16:], [.1 * warmup_cosine(24, 1)(step) for step in range(16, 24)])
    again = toy(tmp_path, 6)  # the longer plan is the plan now
    assert again.fit() == longer.history


def test_nothing_is_overwritten(tmp_path):
    for name, content in [('foreign', b'of another program'), ('empty', b'')]:
        (tmp_path / name).mkdir()
        file = tmp_path / name / 'last.pt'
        file.write_bytes(content)
        for resume, error in [(False, FileExistsError), (True, ResumeError)]:
            with pytest.raises(error, match='last.pt'):
                toy(tmp_path / name).fit(resume=resume)
            assert file.read_bytes() == content and [p.name for p in (tmp_path / name).iterdir() if p.name != '.lock'] == ['last.pt']
    save_atomically(dict(model={}, epoch=3), tmp_path / 'foreign/last.pt')
    with pytest.raises(ResumeError, match='without optimizer, scheduler'):
        toy(tmp_path / 'foreign').fit()
    toy(tmp_path / 'ours', 1).fit()
    before = (tmp_path / 'ours/last.pt').read_bytes()
    with pytest.raises(FileExistsError, match='go on with that run'):
        toy(tmp_path / 'ours', 1).fit(resume=False)
    assert (tmp_path / 'ours/last.pt').read_bytes() == before
    (tmp_path / 'notes').mkdir()
    (tmp_path / 'notes/history.json').write_text('mine')
    with pytest.raises(FileExistsError, match='history.json'):
        train_mini(work_dir=tmp_path / 'notes', root=tmp_path / 'unused')
    assert not (tmp_path / 'unused').exists()  # noticed before a picture was rendered


def test_a_folder_that_will_not_do_is_noticed_before_the_first_step(tmp_path):
    (tmp_path / 'file').write_text('')
    (tmp_path / 'dangling').symlink_to(tmp_path / 'nowhere')
    for name in ('file', 'file/below', 'dangling'):
        trainer = toy(tmp_path / name)
        with pytest.raises(OSError, match=name) as e:
            trainer.fit()
        assert trainer.history['steps'] == [] and len(str(e.value).splitlines()) == 1
    with pytest.raises(OSError, match='/proc/posebook'):  # read-only for root as well
        toy('/proc/posebook').fit()
    assert (tmp_path / 'file').read_text() == '' and not (tmp_path / 'nowhere').exists()


def test_a_full_disk_is_noticed_before_the_first_step(tmp_path, monkeypatch):
    class Usage:
        free = 40

    trainer = toy(tmp_path / 'a')
    monkeypatch.setattr('shutil.disk_usage', lambda _: Usage)
    with pytest.raises(OSError, match='room for two checkpoints'):
        trainer.fit()
    monkeypatch.undo()
    assert trainer.history['steps'] == []
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    trainer = toy(tmp_path / 'b')
    try:  # files end after 1 kB, as they do on a disk that is full
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
        with pytest.raises(OSError, match='last.pt'):
            trainer.fit()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert trainer.history['steps'] == [] and not list(tmp_path.rglob('*.p*t'))


def test_two_runs_do_not_share_a_folder(tmp_path):
    with locked(tmp_path):
        with pytest.raises(BlockingIOError, match='in use by another run'):
            toy(tmp_path).fit()
        with pytest.raises(BlockingIOError, match='in use by another run'):
            train_mini(work_dir=tmp_path, root=tmp_path / 'unused')
    toy(tmp_path, 1).fit()


@pytest.mark.parametrize('error', [RuntimeError, KeyboardInterrupt])
def test_a_validation_that_fails_costs_no_epoch(tmp_path, error):
    calls = []

    def validate(model):
        torch.rand(3)
        calls.append(1)
        if len(calls) == 2:
            raise error('not now')
        return dict(score=model.weight.sum().item())

    with pytest.raises(error):
        toy(tmp_path, validate=validate).fit()
    assert load_checkpoint_file(tmp_path / 'last.pt')['epoch'] == 2
    resumed, calls[:] = toy(tmp_path, validate=validate), [1, 1, 1]
    resumed.fit()
    calls[:] = [1, 1, 1]
    whole = toy(None, validate=validate)
    whole.fit()
    assert resumed.history == whole.history and same_weights(resumed, whole)
    assert [e['epoch'] for e in resumed.history['epochs']] == [1, 2, 3, 4]


def test_a_broken_off_epoch_leaves_no_steps_behind():
    trainer = toy(None, 1)
    step, count = trainer.step, []

    def once(batch):
        count.append(1)
        if len(count) == 3:
            raise KeyboardInterrupt
        return step(batch)

    trainer.step = once
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    assert len(trainer.fit()['steps']) == 4


def test_scores_are_on_screen(capsys):
    toy(None, 2, validate=lambda model: {'coco/AP': .25}, progress=True).fit()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(':')[0] for line in lines if line] == ['epoch 1 of 2', 'epoch 2 of 2']
    assert all('coco/AP 0.25' in line and 'loss ' in line for line in lines if line)


@pytest.mark.parametrize('call', [
    lambda: Trainer(Toy(), build_loader(PICTURES, 2), None, 0), lambda: toy(max_epochs='two'), lambda: toy(max_epochs=1.5),
    lambda: toy(val_interval=0), lambda: toy(schedule=.1), lambda: toy(validate='coco'), lambda: warmup_cosine(0, 0),
    lambda: warmup_cosine(10, -1), lambda: build_loader(PICTURES, 0), lambda: build_loader(PICTURES, None),
    lambda: build_loader(PICTURES, 2, num_workers=-1), lambda: build_loader(PICTURES, 2, shuffle=True, seed=-1),
    lambda: build_loader([], 2), lambda: collate([]), lambda: collate([dict(inputs=torch.zeros(3, 2, 2))]), lambda: collate([1]),
    lambda: evaluate(Toy(), build_loader(PICTURES, 2)), lambda: train_mini(recipe=dict(lr=1)), lambda: train_mini(seed=-1),
    lambda: train_mini(threads=0), lambda: train_mini(epochs=0), lambda: train_mini(num_images='all'),
    lambda: MiniRecipe(lr=0), lambda: MiniRecipe(lr=float('nan')), lambda: MiniRecipe(sigma='2'), lambda: MiniRecipe(width=1.5),
    lambda: MiniRecipe(input_size=96), lambda: MiniRecipe(facing=270), lambda: MiniRecipe(occluders=2), lambda: MiniRecipe(blocks=True),
    lambda: MiniRecipe(scale_factor=1), lambda: MiniRecipe(scale_factor=(1.1, .9)), lambda: MiniRecipe(batch_size=None),
])
def test_wrong_arguments_in_the_house_form(call):
    with pytest.raises(ValueError, match=r'^\w+: \w+ must be .+; got .+') as e:
        call()
    assert len(str(e.value).splitlines()) == 1


def test_a_forgotten_metainfo_is_named():
    class Metric:
        protocol, dataset_meta = {}, None

        def reset(self):
            pass

    with pytest.raises(ValueError, match='evaluate: Metric.dataset_meta must be the metainfo of the keypoints; got none'):
        evaluate(Toy(), build_loader(PICTURES, 2), Metric())


def test_the_history_file_is_written_whole(tmp_path, root):
    recipe = MiniRecipe(**{**TINY, 'epochs': 1})
    run = train_mini(recipe=recipe, work_dir=tmp_path, root=root, threads=1, progress=False)
    assert json.loads((tmp_path / 'history.json').read_text()) == run.history
    with pytest.raises(ResumeError, match='recipe.facing: 60.0 -> 180.0'):
        train_mini(recipe=MiniRecipe(**{**TINY, 'epochs': 1, 'facing': 180.}), work_dir=tmp_path, root=root, threads=1,
                   progress=False, resume=True)


def test_the_protocol_says_where_the_boxes_came_from(tmp_path):
    """Detected boxes of score 1 look like annotated ones; the data set knows better."""
    from posebook.book.places import data_samples_dir
    from posebook.datasets import CocoDataset
    from posebook.evaluation.metrics import CocoMetric

    recipe = MiniRecipe(**TINY)
    root = data_samples_dir() / 'posebook-mini'
    ann_file = root / 'annotations/person_keypoints_val.json'
    boxes = [dict(image_id=a['image_id'], category_id=1, bbox=a['bbox'], score=1.)
             for a in json.loads(ann_file.read_text())['annotations'][:4]]
    (tmp_path / 'boxes.json').write_text(json.dumps(boxes))
    model = mini_model(recipe)
    for extra, said in ((dict(), 'ground truth'), (dict(bbox_file=str(tmp_path / 'boxes.json')), 'detected (boxes.json)')):
        data = CocoDataset(ann_file=str(ann_file), data_prefix=dict(img=str(root / 'images')), test_mode=True,
                           pipeline=mini_pipelines(recipe)[1], indices=3, **extra)
        result = evaluate(model, build_loader(data, 3), CocoMetric(str(ann_file)))
        assert result.protocol['boxes'] == said
