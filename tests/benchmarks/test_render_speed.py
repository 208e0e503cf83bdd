"""A rendered scene, and a training sample made from it, beside the reading of one JPEG of that size."""
import itertools

import cv2
import numpy as np
import pytest
from timing import print_ratio

from posebook.datasets import CocoDataset
from posebook.book.places import data_samples_dir
from posebook.synthetic.scenes import render_scene

pytestmark = pytest.mark.speed
ROOT = data_samples_dir() / 'posebook-mini'


@pytest.fixture(autouse=True)
def one_thread():
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(threads)


@pytest.fixture(scope='module')
def read_jpeg():
    data = np.frombuffer(next((ROOT / 'images').glob('*.jpg')).read_bytes(), np.uint8)
    return lambda: cv2.imdecode(data, cv2.IMREAD_COLOR)


def test_a_scene_beside_a_jpeg(read_jpeg):
    index = itertools.count()
    print_ratio('rendered scene / decoded JPEG', lambda: render_scene(0, next(index)), read_jpeg, rounds=10, calls=5)


def test_a_training_sample_beside_its_jpeg(read_jpeg):
    codec = dict(type='MSRAHeatmap', input_size=(96, 128), heatmap_size=(24, 32), sigma=1)
    steps = [dict(type='LoadImage'), dict(type='GetBBoxCenterScale'), dict(type='RandomFlip'),
             dict(type='RandomHalfBody'), dict(type='RandomBBoxTransform'),
             dict(type='TopdownAffine', input_size=(96, 128)), dict(type='GenerateTarget', encoder=codec),
             dict(type='PackPoseInputs', pack_transformed=True)]
    people = CocoDataset(ann_file='annotations/person_keypoints_train.json', data_root=str(ROOT),
                         data_prefix=dict(img='images/'), pipeline=steps)
    assert people[0]['inputs'].shape == (3, 128, 96)
    index = itertools.cycle(range(16))
    print_ratio('training sample / decoded JPEG', lambda: people[next(index)], read_jpeg, rounds=20, calls=16)
