"""Can it learn? A tiny network with any head learns 16 of the embedded people by heart."""
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from posebook.datasets import CocoDataset
from posebook.book.places import data_samples_dir
from posebook.engine.loop import collate
from posebook.evaluation.functional.keypoint_eval import keypoint_pck_accuracy
from posebook.models import TopdownPoseEstimator

INPUT_SIZE = (72, 96)  # (w, h)
PIXELS = dict(type='PoseDataPreprocessor', mean=[123.675, 116.28, 103.53],
              std=[58.395, 57.12, 57.375], bgr_to_rgb=True)


class TinyBackbone(nn.Module):
    """Four strided convolutions; the deepest map, or all of them summed up at stride 4.

    Group norm, because a network that has seen 16 pictures has no running statistics to trust. A
    regression head reads the deepest map whole, 5 x 6 x channels numbers: global average pooling
    would keep the mean of each channel, which group norm has made nearly the same for all pictures.
    """

    def __init__(self, channels=32, stride=4):
        super().__init__()
        if stride not in (4, 16):
            raise ValueError(f'stride must be 4 or 16; got {stride}')
        self.stride = stride
        widths = (3, channels // 2, channels, channels, channels)
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1), nn.GroupNorm(4, b), nn.ReLU(),
                          nn.Conv2d(b, b, 3, padding=1), nn.GroupNorm(4, b), nn.ReLU())
            for a, b in zip(widths, widths[1:]))

    def forward(self, x):
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        if self.stride == 16:
            return (x, )
        fine = maps[1]
        return (fine + sum(F.interpolate(m, fine.shape[2:]) for m in maps[2:]), )


@lru_cache(maxsize=1)
def _dataset(codec):
    root = data_samples_dir() / 'posebook-mini'
    steps = [dict(type='LoadImage'), dict(type='GetBBoxCenterScale'),
             dict(type='TopdownAffine', input_size=INPUT_SIZE, use_udp=dict(codec).get('type') == 'UDPHeatmap'),
             dict(type='GenerateTarget', encoder=dict(codec)), dict(type='PackPoseInputs')]
    return CocoDataset(ann_file='annotations/person_keypoints_train.json', data_root=str(root),
                       data_prefix=dict(img='images/'), pipeline=steps)


def mini_batch(codec, count=16):
    """The first `count` people of posebook-mini as one batch, with the targets of the codec's config."""
    data = _dataset(tuple(codec.items()))
    return collate([data[i] for i in range(count)])


def pck(predictions, thr=0.05):
    """PCK in image space, in units of the box's longer side, as PCKAccuracy counts it."""
    pred, gt, visible, size = [], [], [], []
    for sample in predictions:
        pred.append(sample.pred_instances.keypoints)
        gt.append(sample.gt_instances.keypoints)
        visible.append(np.asarray(sample.gt_instances.keypoints_visible) > 0)
        x1, y1, x2, y2 = sample.gt_instances.bboxes[0]
        size.append([[max(x2 - x1, y2 - y1)] * 2])
    return keypoint_pck_accuracy(*map(np.concatenate, (pred, gt, visible)), thr,
                                 np.concatenate(size))[1]


@dataclass
class Overfit:
    """What `overfit` leaves behind."""
    pck: float  # at 0.05, from `predict` in eval mode
    losses: list  # of every step
    model: TopdownPoseEstimator
    batch: dict  # as it came from the loader


def overfit(head, codec, neck=None, stride=4, channels=32, steps=250, lr=3e-3, threads=1, seed=0,
            count=16):
    """Train `head` on a `TinyBackbone` until it knows `count` people by heart, or ought to.

    `head`: a config or a module with the decoder in it, which reads `channels` channels at `stride` 4
    (18 x 24 pixels) or 16 (5 x 6; (w, h)). `codec`: the config of the codec that makes the targets.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    try:
        model = TopdownPoseEstimator(TinyBackbone(channels, stride), neck=neck, head=head,
                                     data_preprocessor=PIXELS)
        batch = mini_batch(codec, count)
        ready = model.data_preprocess(batch, training=True)
        optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.99))
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
        losses = []
        model.train()
        for _ in range(steps):
            parts = model(**ready, mode='loss')
            loss = sum(v for k, v in parts.items() if 'loss' in k)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 10.)  # RLE's flow leaps now and then
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        result = pck(model.eval().test_step(batch))
    finally:
        torch.set_num_threads(before)
    return Overfit(result, losses, model, batch)
