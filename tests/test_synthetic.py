"""The renderer: what the chapter's cells cannot test (files, crashes, caches, other processes)."""
import hashlib
import json
import os
import stat
import subprocess
import sys

import cv2
import numpy as np
import pytest

from posebook.book.places import data_samples_dir
from posebook.files import cache_dir
from posebook.synthetic import dataset as synthetic
from posebook.synthetic.camera import Camera
from posebook.synthetic.dataset import is_complete, synthetic_dataset, write_coco
from posebook.synthetic.drawing import Capsule, draw_body
from posebook.synthetic.poses import (COCO_SKELETON, KEYPOINT_NAMES, POSES, _JOINTS, _LIMITS, forward_kinematics,
                                      sample_pose)
from posebook.synthetic.scenes import render_scene


def digest(scene):
    data = scene.image.tobytes() + json.dumps(scene.annotations).encode()
    return hashlib.sha256(data).hexdigest()


def test_same_picture_in_another_process():
    code = ('import hashlib, json; from posebook.synthetic import render_scene;'
            's = render_scene(3, 11); data = s.image.tobytes() + json.dumps(s.annotations).encode()\n'
            'print(hashlib.sha256(data).hexdigest())')
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == digest(render_scene(3, 11))
    assert digest(render_scene(3, 12)) != digest(render_scene(3, 11)) != digest(render_scene(4, 11))


def test_picture_does_not_depend_on_how_many(tmp_path):
    few, many = (write_coco(tmp_path / str(n), n, seed=2, progress=False) for n in (2, 4))
    few, many = (json.loads(path.read_text()) for path in (few, many))
    assert many['images'][:2] == few['images']
    assert many['annotations'][:len(few['annotations'])] == few['annotations']
    for name in ('train_00000.jpg', 'train_00001.jpg'):
        two, four = (tmp_path / f'{n}/images' / name for n in (2, 4))
        assert two.read_bytes() == four.read_bytes()


@pytest.mark.parametrize('family', [*POSES, 'walking', 'running', 'random'])
def test_every_family_stays_within_the_joint_limits(family):
    for seed in range(30):
        name, pose = sample_pose(np.random.default_rng(seed), family)
        angles = np.array([pose[joint] for joint in _JOINTS])
        assert name == family
        assert (angles >= _LIMITS[..., 0] - 1e-9).all() and (angles <= _LIMITS[..., 1] + 1e-9).all()


def test_mirrored_pose_gives_the_mirrored_body():
    _, pose = sample_pose(np.random.default_rng(5), 'kicking')
    swap = {'l': 'r', 'r': 'l'}
    other = {swap[j[0]] + j[1:]: a for j, a in pose.items() if j[1] == '_'}
    other |= {j: pose[j] * (1, -1, -1) for j in ('waist', 'head')}
    at, mirrored = forward_kinematics(pose)[0], forward_kinematics(other)[0]
    for joint, place in at.items():
        twin = swap[joint[0]] + joint[1:] if joint[1] == '_' else joint
        assert np.allclose(mirrored[twin], place * (-1, 1, 1), atol=1e-9), joint


def test_anatomy():
    _, pose = sample_pose(np.random.default_rng(0), 'standing')
    at, _ = forward_kinematics({joint: np.zeros(3) for joint in pose})
    assert at['l_shoulder'][0] > 0 > at['r_shoulder'][0]           # facing us: left is at +x
    assert at['l_toe'][2] > at['l_heel'][2]                        # toes point forward
    kneeling = {joint: np.zeros(3) for joint in pose} | {'l_knee': np.array((90., 0, 0))}
    at, _ = forward_kinematics(kneeling)
    assert at['l_ankle'][2] < at['l_knee'][2] - .3                 # shins go back, not forward


@pytest.mark.parametrize('size', [(256, 192), (96, 128), (321, 240), (32, 32)])
def test_labels_agree_with_the_maps(size):
    for index in range(8):
        scene = render_scene(6, index, size)
        w, h = size
        assert scene.image.shape == (h, w, 3) and scene.image.dtype == np.uint8
        owners = [n for n in range(len(scene.people)) if (scene.owner == n).any()]
        assert len(owners) == len(scene.annotations)
        for number, label in zip(owners, scene.annotations):
            mask = scene.owner == number
            rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            assert label['bbox'] == [cols[0], rows[0], np.ptp(cols) + 1, np.ptp(rows) + 1]
            assert label['area'] == mask.sum()
            keypoints = np.array(label['keypoints']).reshape(17, 3)
            on = keypoints[:, 2] > 0
            assert set(keypoints[:, 2]) <= {0, 1, 2} and on.sum() == label['num_keypoints']
            assert (keypoints[~on] == 0).all()
            assert (keypoints[on, :2] > -.51).all()
            assert (keypoints[on, :2] < np.array(size) - .49).all()
            for u, v, _ in keypoints[keypoints[:, 2] == 2]:     # visible: on one's own pixels
                assert mask[round(v), round(u)]


def test_nearer_part_covers_the_farther_one_in_either_order():
    camera = Camera.look_at((0, 0, 4), (0, 0, 0), 100, (64, 64))
    near = Capsule(np.array((-.5, 0, 1)), np.array((.5, 0, 1)), .1, .1, np.float32((255, 0, 0)))
    far = Capsule(np.array((0, -.5, 0)), np.array((0, .5, 0)), .1, .1, np.float32((0, 0, 255)))
    for parts in ([near, far], [far, near]):
        layer = draw_body(parts, camera, (64, 64))
        blue, _, red = layer.planes[3:6, 32 - layer.y0, 32 - layer.x0]
        assert blue > 250 and red < 5


def test_limb_that_points_at_the_camera_is_a_disc():
    camera = Camera.look_at((0, 0, 4), (0, 0, 0), 200, (101, 101))
    limb = Capsule(np.zeros(3), np.array((0, 0, 1.)), .1, .1, np.float32((9, 9, 9)))
    layer = draw_body([limb], camera, (101, 101))
    assert np.isclose(layer.planes[7].sum(), np.pi * (200 * .1 / 3) ** 2, rtol=.05)
    assert np.isclose(layer.planes[6].min(), 2.9, atol=.01)


def test_names_are_cocos():
    metainfo = pytest.importorskip('posebook.structures.metainfo')
    info = metainfo.COCO['keypoint_info']
    assert KEYPOINT_NAMES == tuple(info[i]['name'] for i in range(17))
    names = {frozenset((KEYPOINT_NAMES[a - 1], KEYPOINT_NAMES[b - 1])) for a, b in COCO_SKELETON}
    assert names == {frozenset(bone['link']) for bone in metainfo.COCO['skeleton_info'].values()}


def test_dials():
    assert all(len(render_scene(1, i, max_people=1).people) == 1 for i in range(12))
    calm = [render_scene(1, i, max_people=1, occluders=0, clutter=0) for i in range(12)]
    standing = [s for s in calm if s.people[0][1] != 'sitting']
    assert standing and not any((s.owner == -2).any() for s in standing)


def test_crash_leaves_no_labels(tmp_path, monkeypatch):
    calls = []

    def dies(*args, **kwargs):
        calls.append(1)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return render_scene(*args, **kwargs)
    monkeypatch.setattr(synthetic, 'render_scene', dies)
    with pytest.raises(KeyboardInterrupt):
        write_coco(tmp_path / 'a', 5, progress=False)
    assert not list((tmp_path / 'a/annotations').iterdir())
    calls.clear()
    with pytest.raises(KeyboardInterrupt):
        synthetic_dataset(tmp_path / 'b', 5, 1, progress=False)
    assert [p.name for p in (tmp_path / 'b').iterdir()] == ['.lock']
    monkeypatch.undo()
    assert synthetic_dataset(tmp_path / 'b', 2, 1, progress=False).is_dir()


def test_dataset_is_found_again_and_repaired(tmp_path, monkeypatch):
    monkeypatch.setenv('POSEBOOK_CACHE', str(tmp_path))
    assert cache_dir() == tmp_path
    folder = synthetic_dataset(num_images=2, num_val=1, progress=False)
    assert folder.parent == tmp_path
    monkeypatch.setattr(synthetic, 'write_coco', lambda *a, **k: pytest.fail('rendered again'))
    assert synthetic_dataset(num_images=2, num_val=1, progress=False) == folder
    monkeypatch.undo()
    labels = folder / 'annotations/person_keypoints_val.json'
    labels.write_text(labels.read_text()[:100])                    # cut short
    synthetic_dataset(tmp_path, 2, 1, progress=False)
    assert len(json.loads(labels.read_text())['images']) == 1
    other = synthetic_dataset(tmp_path, 2, 1, progress=False, max_people=1)
    assert other != folder and folder.is_dir()


@pytest.mark.parametrize('damage', [
    lambda folder: (folder / 'checksums.json').write_text('[]'),
    lambda folder: (folder / 'checksums.json').write_text('[' * 100_000),
    lambda folder: (folder / 'checksums.json').unlink(),
    lambda folder: (folder / 'annotations/person_keypoints_val.json').write_text('[]'),
    lambda folder: (folder / 'annotations/person_keypoints_val.json').unlink(),
    lambda folder: (folder / 'images/train_00001.jpg').write_bytes(
        (folder / 'images/train_00001.jpg').read_bytes()[:-300]),
    lambda folder: (folder / 'images/train_00001.jpg').write_bytes(b''),
    lambda folder: (folder / 'images/train_00001.jpg').unlink(),
    lambda folder: (folder / 'images/more.jpg').write_bytes(b'?'),
])
def test_a_damaged_cache_is_recognised_and_made_again(tmp_path, damage):
    folder = synthetic_dataset(tmp_path, 2, 1, progress=False)
    whole = {p: p.read_bytes() for p in folder.rglob('*') if p.is_file()}
    damage(folder)
    assert not is_complete(folder)
    assert synthetic_dataset(tmp_path, 2, 1, progress=False) == folder
    assert {p: p.read_bytes() for p in folder.rglob('*') if p.is_file()} == whole


def test_what_a_killed_rendering_left_is_swept_up_and_two_take_turns(tmp_path):
    code = ('import sys; from posebook.synthetic import synthetic_dataset\n'
            'print(synthetic_dataset(sys.argv[1], 4, 1, progress=False, seed=int(sys.argv[2])).name)')

    def start(seed):
        return subprocess.Popen([sys.executable, '-c', code, str(tmp_path), str(seed)],
                                stdout=subprocess.PIPE, text=True)

    killed = subprocess.Popen([sys.executable, '-c', code.replace('4, 1', '5000, 1'), str(tmp_path), '0'])
    while not list(tmp_path.glob('.synthetic-*/*/images/*.jpg')):
        assert killed.poll() is None
    killed.kill()
    killed.wait()
    assert list(tmp_path.glob('.synthetic-*'))
    runs = [start(seed) for seed in (1, 1, 2)]
    names = [run.communicate(timeout=300)[0].strip() for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted({'.lock', *names})
    assert all(is_complete(tmp_path / name) for name in names)


def test_rights_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        folder = synthetic_dataset(tmp_path, 1, 1, progress=False)
    finally:
        os.umask(before)
    for path in (folder, *folder.rglob('*')):
        assert stat.S_IMODE(path.stat().st_mode) == (0o750 if path.is_dir() else 0o640), path


def test_splits_share_no_picture(tmp_path):
    paths = [write_coco(tmp_path, 3, split=split, progress=False) for split in ('train', 'val')]
    train, val = (json.loads(path.read_text()) for path in paths)
    assert not {i['id'] for i in train['images']} & {i['id'] for i in val['images']}
    assert not {a['id'] for a in train['annotations']} & {a['id'] for a in val['annotations']}
    pictures = [p.read_bytes() for p in (tmp_path / 'images').iterdir()]
    assert len(set(pictures)) == 6


@pytest.mark.parametrize('split, count', [('train', 40), ('val', 20)])
def test_mini_is_whole_and_pycocotools_reads_it(split, count, capsys):
    coco_module = pytest.importorskip('pycocotools.coco')
    root = data_samples_dir() / 'posebook-mini'
    coco = coco_module.COCO(str(root / f'annotations/person_keypoints_{split}.json'))
    assert len(coco.imgs) == count and coco.getCatIds(['person']) == [1]
    for image in coco.imgs.values():
        picture = cv2.imread(str(root / 'images' / image['file_name']))
        assert picture.shape == (image['height'], image['width'], 3)
    for label in coco.anns.values():
        outline = coco.annToMask(label)
        assert abs(int(outline.sum()) - label['area']) < .35 * label['area'] + 60


def test_mini_follows_from_its_seed():
    root = data_samples_dir() / 'posebook-mini'
    data = json.loads((root / 'annotations/person_keypoints_val.json').read_text())
    scene = render_scene(0, data['images'][3]['id'] - 1)
    stored = cv2.imread(str(root / 'images' / data['images'][3]['file_name']))
    assert np.abs(stored.astype(int) - scene.image).mean() < 6     # what the JPEG loses
    boxes = [a['bbox'] for a in data['annotations'] if a['image_id'] == data['images'][3]['id']]
    assert boxes == [a['bbox'] for a in scene.annotations]


def test_grace_hopper_labels():
    data = json.loads((data_samples_dir() / 'grace_hopper.json').read_text())
    label = data['annotations'][0]
    keypoints = np.array(label['keypoints']).reshape(17, 3)
    x, y, w, h = label['bbox']
    seen = keypoints[keypoints[:, 2] > 0, :2]
    assert len(seen) == label['num_keypoints'] == 7
    assert ((seen >= (x, y)) & (seen < (x + w, y + h))).all()
    assert keypoints[1, 0] > keypoints[2, 0]                       # her left eye is on our right
