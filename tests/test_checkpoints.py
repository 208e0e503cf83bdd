"""Checkpoints from files, servers and other toolkits: what is refused, what fits, and what is said about the rest."""
import hashlib
import http.server
import json
import os
import pickle
import re
import subprocess
import sys
import threading
import time
import types
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from posebook.checkpoints import reader, sources
from posebook.models import (CheckpointMismatchError, HeatmapHead, HRNet, TopdownPoseEstimator, hrnet_extra,
                             init_weights, load_checkpoint, read_checkpoint, save_checkpoint, to_official_state_dict)


def tiny(keypoints=17, width=8):
    extra = hrnet_extra(width, num_modules=(1, 1, 1), num_blocks=1)
    return TopdownPoseEstimator(HRNet(extra), head=HeatmapHead(width, keypoints, deconv_out_channels=None)).eval()


@pytest.fixture(scope='module')
def published():
    torch.manual_seed(0)
    return tiny()


def same(model, state):
    return all(torch.equal(v, state[k]) for k, v in model.state_dict().items())


# --- nothing in a file is run

class Runs:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def attacks(marker):
    """Pickles that would make the file `marker`."""
    return {'os.system': Runs(os.system, f'touch {marker}'), 'eval': Runs(eval, f'open({str(marker)!r}, "w")'),
            'exec': Runs(exec, f'open({str(marker)!r}, "w")'), 'open': Runs(open, str(marker), 'w'),
            'touch': Runs(Path(marker).touch), 'subprocess': Runs(subprocess.call, ['touch', str(marker)]),
            'getattr': Runs(getattr, Runs(__import__, 'os'), 'system'), 'numpy': Runs(np.save, str(marker), [1])}


@pytest.mark.parametrize('name', attacks('x'))
@pytest.mark.parametrize('how', ['pickle', 'torch', 'old torch', 'inside'])
@pytest.mark.parametrize('suffix', ['.pth', '.bin'])
def test_a_pickle_that_runs_code_is_refused(tmp_path, name, how, suffix):
    marker, path = tmp_path / 'was_here', tmp_path / f'evil{suffix}'
    attack = attacks(marker)[name]
    if how == 'pickle':
        path.write_bytes(pickle.dumps(attack))
    else:
        content = dict(state_dict=dict(w=torch.ones(1)), meta=attack) if how == 'inside' else attack
        torch.save(content, path, _use_new_zipfile_serialization=how != 'old torch')
    for read in (read_checkpoint, lambda p: load_checkpoint(nn.Linear(1, 1), p)):
        with pytest.raises(ValueError, match=f'evil{suffix} is not a checkpoint that can be read safely'):
            read(path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize('name', ['os.system', 'eval', 'open'])
def test_the_attacks_would_work_elsewhere(tmp_path, name):
    pickle.loads(pickle.dumps(attacks(tmp_path / 'was_here')[name]))
    assert (tmp_path / 'was_here').exists()


def test_getattr_answers_for_the_history_buffer_alone():
    assert reader._method_name(reader.HistoryBuffer, 'mean') == 'mean'
    for owner, name in [(os, 'system'), (dict, 'get'), (reader.HistoryBuffer, 1), (reader.HistoryBuffer(), 'mean')]:
        with pytest.raises(pickle.UnpicklingError):
            reader._method_name(owner, name)


MMENGINE = '''
from collections import OrderedDict
import numpy as np

class HistoryBuffer:
    """Pickled as MMEngine's: its methods are part of its state."""
    _statistics_methods = OrderedDict()

    def __init__(self, values):
        self._max_length = 1000000
        self._log_history, self._count_history = np.array(values), np.ones(len(values))
        self._statistics_methods.update(mean=HistoryBuffer.mean)

    def __getstate__(self):
        self.__dict__.update(statistics_methods=self._statistics_methods)
        return self.__dict__

    def mean(self):
        return self._log_history.mean()
'''


def test_a_checkpoint_of_mmengine_loads_without_mmengine(tmp_path, monkeypatch):
    name = 'mmengine.logging.history_buffer'
    fakes = {n: types.ModuleType(n) for n in ('mmengine', 'mmengine.logging', name)}
    for n, fake in fakes.items():
        monkeypatch.setitem(sys.modules, n, fake)
    exec(MMENGINE, fakes[name].__dict__)
    model = nn.Linear(2, 1)
    torch.save(dict(
        meta=dict(epoch=210, cfg='model = dict()', seed=np.int64(3), time='20230101', best_score=np.float32(.75),
                  dataset_meta=dict(sigmas=np.array([.026, .025], np.float32),
                                    flip_indices=np.arange(2), names=['nose', 'eye'])),
        state_dict=OrderedDict(model.state_dict()), optimizer=torch.optim.Adam(model.parameters()).state_dict(),
        message_hub=dict(log_scalars=OrderedDict(loss=fakes[name].HistoryBuffer([3., 2., 1.])),
                         runtime_info=OrderedDict(iter=7, best=np.float64(.5)), resumed_keys=OrderedDict(iter=True))),
        tmp_path / 'epoch_210.pth')
    for n in fakes:
        monkeypatch.delitem(sys.modules, n)
    before = set(torch.serialization.get_safe_globals())
    got = read_checkpoint(tmp_path / 'epoch_210.pth')
    assert 'mmengine' not in sys.modules and set(torch.serialization.get_safe_globals()) == before
    buffer = got['message_hub']['log_scalars']['loss']
    assert buffer._log_history.tolist() == [3, 2, 1] and buffer.statistics_methods == dict(mean='mean')
    assert got['meta']['seed'] == 3 and got['meta']['best_score'] == .75
    assert got['message_hub']['runtime_info']['best'] == .5
    assert got['meta']['dataset_meta']['sigmas'].dtype == np.float32
    assert load_checkpoint(nn.Linear(2, 1), tmp_path / 'epoch_210.pth').ok


@pytest.mark.parametrize('core', ['core', '_core'])
def test_numpy_data_of_both_numpy_generations(tmp_path, core):
    data = pickle.dumps(dict(a=np.arange(3.), s=np.float64(2)), protocol=2)
    here = np.float64(1).__reduce__()[0].__module__.split('.')[1].encode()
    (tmp_path / 'a.pth').write_bytes(data.replace(b'numpy.' + here + b'.', b'numpy.' + core.encode() + b'.'))
    with reader._allowing(reader.HARMLESS):
        with open(tmp_path / 'a.pth', 'rb') as file:
            got = torch._weights_only_unpickler.load(file, encoding='utf-8')
    assert got['a'].tolist() == [0, 1, 2] and got['s'] == 2


@pytest.mark.parametrize('content, why', [
    (b'', 'empty'), (b'<!DOCTYPE html><html>', 'web page'),
    (b'version https://git-lfs.github.com/spec/v1', 'git lfs pull'),
    (b'not a checkpoint', ''), (b'PK\x03\x04broken', '')])
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_what_else_a_file_may_be(tmp_path, content, why, suffix):
    (tmp_path / f'w{suffix}').write_bytes(content)
    with pytest.raises(ValueError, match=rf'w\{suffix} is not a checkpoint.*{why}'):
        read_checkpoint(tmp_path / f'w{suffix}')


@pytest.mark.parametrize('share', [.02, .5, .97])
@pytest.mark.parametrize('new', [True, False])
def test_a_file_that_was_cut_off(tmp_path, share, new):
    path = tmp_path / 'w.pth'
    torch.save(nn.Linear(30, 30).state_dict(), path, _use_new_zipfile_serialization=new)
    whole = path.read_bytes()
    path.write_bytes(whole[:int(share * len(whole))])
    with pytest.raises(ValueError, match='damaged or was cut off; delete it and get it again'):
        read_checkpoint(path)


@pytest.mark.parametrize('mmap', [True, False])
def test_a_compressed_file_is_neither_a_bomb_nor_taken_for_weights(tmp_path, mmap):
    torch.save(nn.Linear(30, 30).state_dict(), tmp_path / 'w.pth')
    with zipfile.ZipFile(tmp_path / 'w.pth') as old, zipfile.ZipFile(tmp_path / 'z.pth', 'w', zipfile.ZIP_DEFLATED) as new:
        for part in old.namelist():
            new.writestr(part, b'0' * 10**8 if part.endswith('data.pkl') else old.read(part))
    with pytest.raises(ValueError, match='its parts are compressed'):
        read_checkpoint(tmp_path / 'z.pth', mmap=mmap)


@pytest.mark.parametrize('header', [
    dict(a=[[30, 3], [0, 360]], b=[[30, 3], [0, 360]]), dict(a=[[2**40, 2**40], [0, 360]]), dict(a=[[-30, -3], [0, 360]]),
    dict(a=[[30, float('nan')], [0, 360]]), dict(a=[[30, 3], [360, 0]]), dict(a=[[30, 3], [0, 10**12]]), dict(a=[[30, 3.5], [0, 420]])])
def test_a_safetensors_header_that_lies(tmp_path, header):
    text = json.dumps({k: dict(dtype='F32', shape=shape, data_offsets=at) for k, (shape, at) in header.items()}).encode()
    for size in (len(text), 2**63, 10**8):
        (tmp_path / 'w.safetensors').write_bytes(size.to_bytes(8, 'little') + text + bytes(360))
        with pytest.raises(ValueError, match='is not a checkpoint'):
            read_checkpoint(tmp_path / 'w.safetensors')


@pytest.mark.parametrize('odd', [torch.ones(2, 2).to_sparse(), torch.ones(2, 2, device='meta'), torch.ones(2, 2, dtype=torch.complex64)])
def test_what_is_no_plain_tensor_is_refused_before_anything_is_copied(odd):
    model = nn.Linear(2, 2)
    before = model.weight.clone(), model.bias.clone()
    for state in (dict(bias=torch.ones(2), weight=odd), {'bias': torch.ones(2), 7: torch.ones(2, 2)}):
        with pytest.raises(ValueError, match=r"checkpoint: entry ('weight'|7) must be a dense tensor of real numbers.* 1 of 2 entries are not"):
            load_checkpoint(model, state)
    assert torch.equal(model.weight, before[0]) and torch.equal(model.bias, before[1])


def test_two_entries_never_share_a_name():
    state = {'weight': torch.ones(2, 2), 'module.weight': torch.zeros(2, 2), 'bias': torch.ones(2)}
    with pytest.raises(ValueError, match='gives two entries the same name'):
        load_checkpoint(nn.Linear(2, 2), state)
    state = {'weight': torch.ones(2, 2), 'model.weight': torch.zeros(2, 2), 'bias': torch.ones(2)}
    with pytest.raises(CheckpointMismatchError) as caught:
        load_checkpoint(nn.Linear(2, 2), state)
    assert caught.value.report.unexpected == ['model.weight']


# --- files and round trips

@pytest.mark.parametrize('suffix', ['.pth', '.pt', '.bin', '.safetensors'])
def test_save_and_load(tmp_path, published, suffix):
    path = save_checkpoint(published, tmp_path / f'new/w{suffix}', meta=dict(dataset_meta=dict(name='mini'), note='x'))
    model = tiny()
    report = load_checkpoint(model, path)
    assert report.ok and same(model, published.state_dict()) and report.source == path.name
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    if suffix != '.safetensors':
        raw = torch.load(path, weights_only=True)
        assert list(raw) == ['meta', 'state_dict'] and raw['meta']['dataset_meta'] == dict(name='mini')


def test_old_file_format_and_file_url(tmp_path, published):
    path = tmp_path / 'old style.pth'
    torch.save(published.state_dict(), path, _use_new_zipfile_serialization=False)
    for source in (path, str(path), path.as_uri()):
        assert load_checkpoint(tiny(), source).ok


def test_tied_weights_are_saved_and_loaded(tmp_path):
    def tied():
        model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        model[1].weight = model[0].weight
        return model
    model, other = tied(), tied()
    for suffix in ('.pth', '.safetensors'):
        assert load_checkpoint(other, save_checkpoint(model, tmp_path / f't{suffix}')).ok
        assert same(other, model.state_dict())


@pytest.mark.parametrize('source, text', [
    ('open-mmlab://resnet50', 'model zoo'), ('mmcls://resnet50', 'model zoo'), ('s3://bucket/w.pth', 'allowed are'),
    ('torchvision://resnet5', 'did you mean resnet50'), ('torchvision://resnet50.v9', 'imagenet1k_v1'),
    ('https://a.org/', 'names no file')])
def test_sources_that_are_none(source, text, tmp_path):
    with pytest.raises(ValueError, match=text):
        read_checkpoint(source, cache_dir=tmp_path)


def test_torchvision_means_the_first_weights():
    assert sources.torchvision_url('resnet50').endswith('resnet50-0676ba61.pth')
    assert sources.torchvision_url('resnet50.imagenet1k_v2').endswith('resnet50-11ad3fa6.pth')
    assert 'convnext_tiny' in sources.torchvision_url('convnext_tiny')


# --- the network

class Server(http.server.BaseHTTPRequestHandler):
    payload = b''
    asked = []

    def do_GET(self):
        self.asked.append(self.path)
        if 'missing' in self.path or 'private' in self.path:
            return self.send_error(404 if 'missing' in self.path else 403)
        if 'moved' in self.path:
            self.send_response(302)
            self.send_header('Location', self.path.replace('moved', 'there'))
            return self.end_headers()
        if 'tofile' in self.path:
            self.send_response(302)
            self.send_header('Location', 'file:///etc/hostname')
            return self.end_headers()
        if 'garbage' in self.path:
            return self.wfile.write(b'nothing that HTTP knows\r\n\r\n')
        self.send_response(200)
        if 'page' in self.path:
            self.send_header('Content-Type', 'text/html; charset=utf-8')
        if 'unsized' not in self.path:
            length = 10**18 if 'huge' in self.path else 0 if 'empty' in self.path else len(self.payload)
            self.send_header('Content-Length', str(length))
        self.end_headers()
        if 'drip' in self.path:
            for _ in range(100):
                self.wfile.write(b'.')
                time.sleep(.05)
        body = self.payload[:len(self.payload) // 2] if 'cut' in self.path or 'slow' in self.path else self.payload
        self.wfile.write(body)
        if 'slow' in self.path:
            self.wfile.flush()
            time.sleep(1.5)

    def log_message(self, *args):
        pass


@pytest.fixture
def host(tmp_path, monkeypatch):
    monkeypatch.setenv('no_proxy', '*')
    save_checkpoint(nn.Linear(20, 30), tmp_path / 'payload.pth')
    Server.payload, Server.asked = (tmp_path / 'payload.pth').read_bytes(), []
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()
    server.server_close()


def files(folder):
    """Those of a cache, less the hashes that it keeps beside files."""
    return [p for p in folder.rglob('*') if p.is_file() and p.suffix != '.sha256']


@pytest.mark.parametrize('name', ['w.pth', 'w-{}.pth', 'unsized.pth', 'moved/w.pth', 'w-{}.pth?download=true'])
def test_download_once(host, tmp_path, name):
    url = f'{host}/{name.format(hashlib.sha256(Server.payload).hexdigest()[:8])}'
    for _ in range(2):
        assert load_checkpoint(nn.Linear(20, 30), url, cache_dir=tmp_path / 'cache', progress=False).ok
    assert len(Server.asked) == (2 if 'moved' in name else 1)
    assert [p.read_bytes() for p in files(tmp_path / 'cache')] == [Server.payload]


@pytest.mark.parametrize('name, error, text', [
    ('missing.pth', ConnectionError, '404 Not Found; check the address'),
    ('private.pth', ConnectionError, '403 Forbidden'),
    ('cut.pth', ConnectionError, r'broke after \d+ of \d+ bytes'), ('cut-00000000.pth', ConnectionError, 'broke after'),
    ('w-00000000.pth', ValueError, 'promises a SHA-256 of 00000000'),
    ('slow.pth', ConnectionError, r'nothing for 0\.2 s'), ('drip.pth', ConnectionError, r'nothing for 0\.2 s'),
    ('huge.pth', ConnectionError, 'the disk has room for'), ('empty.pth', ConnectionError, 'an empty file'), ('page.pth', ConnectionError, 'a web page'),
    ('tofile.pth', ConnectionError, 'not allowed'), ('garbage.pth', ConnectionError, 'nothing that HTTP knows'),
    ('a b.pth', ConnectionError, 'control characters')])
@pytest.mark.slow
def test_a_download_that_fails_leaves_nothing(host, tmp_path, name, error, text):
    for _ in range(2):  # and the second try is not fooled by the first
        with pytest.raises(error, match=text):
            read_checkpoint(f'{host}/{name}', cache_dir=tmp_path / 'cache', progress=False,
                            timeout=.2 if name in ('slow.pth', 'drip.pth') else 60)
    assert not files(tmp_path / 'cache')


def test_without_a_network_the_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv('no_proxy', '*')
    with pytest.raises(ConnectionError) as caught:
        read_checkpoint('http://127.0.0.1:9/w-36af842e.pth', cache_dir=tmp_path, progress=False)
    assert str(tmp_path / 'w-36af842e.pth') in str(caught.value) and 'by hand' in str(caught.value)
    digest = hashlib.sha256(save_checkpoint(nn.Linear(1, 1), tmp_path / 'w.pth').read_bytes()).hexdigest()[:8]
    (tmp_path / 'w.pth').rename(tmp_path / f'w-{digest}.pth')  # as told
    assert read_checkpoint(f'http://127.0.0.1:9/w-{digest}.pth', cache_dir=tmp_path)['state_dict']
    save_checkpoint(nn.Linear(1, 1), tmp_path / 'w-36af842e.pth')  # another file
    with pytest.warns(UserWarning, match='SHA-256 36af842e.*downloaded again'), pytest.raises(ConnectionError):
        read_checkpoint('http://127.0.0.1:9/w-36af842e.pth', cache_dir=tmp_path, progress=False)


def test_equal_names_of_different_addresses_do_not_mix(host, tmp_path):
    for folder in 'ab':
        read_checkpoint(f'{host}/{folder}/latest.pth', cache_dir=tmp_path / 'cache', progress=False)
    assert len(files(tmp_path / 'cache')) == 2


def test_an_interrupted_download_leaves_nothing(host, tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt
    monkeypatch.setattr(os, 'fsync', interrupt)
    with pytest.raises(KeyboardInterrupt):
        read_checkpoint(f'{host}/w.pth', cache_dir=tmp_path / 'cache', progress=False)
    assert not files(tmp_path / 'cache')


# --- names and shapes

WRAPPINGS = {
    'plain': lambda s: s, 'MMPose': lambda s: dict(meta=dict(), state_dict=s), 'official': to_official_state_dict,
    'official wrapped': lambda s: dict(state_dict={f'module.{k}': v for k, v in to_official_state_dict(s).items()}),
    'MMPose 0.x': lambda s: dict(state_dict={k.replace('head.', 'keypoint_head.'): v for k, v in s.items()}),
    'parallel': lambda s: {f'module.{k}': v for k, v in s.items()},
    'Lightning': lambda s: dict(state_dict={f'model.{k}': v for k, v in s.items()}),
    'model': lambda s: dict(model=s, optimizer=dict(), epoch=3), 'EMA alone': lambda s: dict(ema_state_dict=s),
    'EMA beside': lambda s: dict(ema_state_dict={k: v * 0 for k, v in s.items()}, state_dict=s),
    'twice': lambda s: dict(model=dict(state_dict=s))}


@pytest.mark.parametrize('name', WRAPPINGS)
def test_every_dialect_loads_strictly(published, name):
    model = tiny()
    assert load_checkpoint(model, WRAPPINGS[name](published.state_dict())).ok
    assert same(model, published.state_dict())


@pytest.mark.slow
def test_hrnet_w32_in_the_official_and_in_mmposes_layout(tmp_path):
    torch.manual_seed(0)
    source = TopdownPoseEstimator(HRNet(hrnet_extra(32)), head=HeatmapHead(32, 17, deconv_out_channels=None)).eval()
    state = source.state_dict()
    torch.save(to_official_state_dict(state), tmp_path / 'pose_hrnet_w32_256x192.pth',
               _use_new_zipfile_serialization=False)
    torch.save(dict(meta=dict(), state_dict=OrderedDict(state)), tmp_path / 'td-hm_hrnet-w32.pth')
    assert len(state) == 1754 and 'conv1.weight' in torch.load(tmp_path / 'pose_hrnet_w32_256x192.pth')
    x, outputs = torch.randn(1, 3, 64, 64), []
    for name in ('pose_hrnet_w32_256x192.pth', 'td-hm_hrnet-w32.pth'):
        model = TopdownPoseEstimator(HRNet(hrnet_extra(32)), head=HeatmapHead(32, 17, deconv_out_channels=None)).eval()
        report = load_checkpoint(model, tmp_path / name, strict=True)
        assert report.ok and len(report.loaded) == 1754
        with torch.no_grad():
            outputs.append(model(x))
    with torch.no_grad():
        want = source(x)
    assert torch.equal(outputs[0], want) and torch.equal(outputs[1], want) and want.abs().max() > 0


def test_simple_baseline_in_the_official_layout():
    def sb():
        return TopdownPoseEstimator(nn.Sequential(OrderedDict(conv1=nn.Conv2d(3, 8, 3))),
                                    head=HeatmapHead(8, 17, deconv_out_channels=(8, ), deconv_kernel_sizes=(4, )))
    source, model = sb(), sb()
    official = {k.removeprefix('backbone.').removeprefix('head.'): v for k, v in source.state_dict().items()}
    assert load_checkpoint(model, official).layout.startswith('official') and same(model, source.state_dict())


def backbone_of(state):
    return {k.removeprefix('backbone.'): v for k, v in state.items() if k.startswith('backbone.')}


IMAGENET = {'incre_modules.0.0.conv1.weight': torch.ones(2, 2), 'final_layer.0.weight': torch.ones(2),
            'classifier.weight': torch.ones(2, 2),
            'classifier.bias': torch.ones(2), 'stage4.0.fuse_layers.1.0.0.0.weight': torch.ones(2)}


@pytest.mark.parametrize('extra', [
    {'fc.weight': torch.ones(2, 2), 'fc.bias': torch.ones(2)}, {'head.fc.weight': torch.ones(2)},
    {'classifier.6.weight': torch.ones(2)}, {'heads.head.weight': torch.ones(2)}, IMAGENET])
def test_the_classifier_of_an_imagenet_backbone_is_no_mismatch(published, extra):
    backbone = tiny().backbone
    report = load_checkpoint(backbone, {**backbone_of(published.state_dict()), **extra})
    assert report.ok and sorted(report.ignored) == sorted(extra)


def test_counters_do_not_matter(published):
    state = {k: v for k, v in published.state_dict().items() if not k.endswith('num_batches_tracked')}
    report = load_checkpoint(tiny(), state)
    assert report.ok and len(report.ignored) == len(published.state_dict()) - len(state) > 0
    state = {'weight': torch.ones(1, 1), 'bias': torch.ones(1), 'num_batches_tracked': torch.tensor(1)}
    assert load_checkpoint(nn.Linear(1, 1), state).ok


def mismatches(published):
    state, renamed = published.state_dict(), {}
    for k, v in state.items():
        renamed[k.replace('conv1', 'convolution')] = v
    def without(part):
        return {k: v for k, v in state.items() if part not in k}
    resnet101 = {f'layer{i + 1}.{b}.conv{c}.weight': torch.zeros(1) for i, n in enumerate((3, 4, 23, 3))
                 for b in range(n) for c in (1, 2, 3)}

    class ResNet50(nn.Module):
        def __init__(self):
            super().__init__()
            for i, n in enumerate((3, 4, 6, 3)):
                blocks = [nn.ModuleDict({f'conv{c}': nn.Linear(1, 1, bias=False) for c in (1, 2, 3)}) for _ in range(n)]
                self.add_module(f'layer{i + 1}', nn.ModuleList(blocks))

    deconvolutions = TopdownPoseEstimator(HRNet(hrnet_extra(8, (1, 1, 1), 1)), head=HeatmapHead(8, 17))
    return {
        'keypoints': (tiny(14), state, 'your head has 14 keypoints, the checkpoint 17'),
        'width': (tiny(width=16), state, 'the checkpoint is HRNet-W8, your model HRNet-W16'),
        'depth': (ResNet50(), resnet101, 'the checkpoint is ResNet-101, your model ResNet-50'),
        'no head': (tiny(), backbone_of(state), 'load_checkpoint(model.backbone, ...)'),
        'estimator for a backbone': (tiny().backbone, state, "prefix='backbone.'"),
        'no name': (nn.Linear(2, 2), state, 'no name in common'),
        'deconvolutions': (deconvolutions, state, 'deconv_out_channels=None'),
        'grey': (nn.Sequential(OrderedDict(conv1=nn.Conv2d(1, 8, 3))),
                 {'conv1.weight': torch.ones(8, 3, 3, 3), 'conv1.bias': torch.ones(8)},
                 'your model takes 1 input channels, the checkpoint 3'),
        'one missing': (tiny(), without('backbone.stage2.0.branches.0.0.conv1'), ''), 'renamed': (tiny(), renamed, ''),
        'one more': (tiny(), {**state, 'backbone.surprise': torch.ones(1)}, '')}


@pytest.mark.parametrize('name', [
    'keypoints', 'width', 'depth', 'no head', 'estimator for a backbone', 'no name', 'deconvolutions', 'grey',
    'one missing', 'renamed', 'one more'])
def test_what_does_not_fit_raises_with_a_cause_and_changes_nothing(published, name):
    model, checkpoint, cause = mismatches(published)[name]
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(CheckpointMismatchError) as caught:
        load_checkpoint(model, checkpoint)
    report = caught.value.report
    assert isinstance(caught.value, ValueError) and not report.ok and same(model, before)
    assert any(cause in c for c in report.causes) or not cause, report
    for text in (str(caught.value), report._repr_html_().replace('&#x27;', "'")):
        assert all(c in text for c in report.causes) or '<' in text
    if report.loaded:
        with pytest.warns(UserWarning, match='loaded in part'):
            partial = load_checkpoint(model, checkpoint, strict=False)
        assert len(partial.loaded) == len(report.loaded)
        assert all(tuple(model.state_dict()[k].shape) == shapes[0] for k, shapes in partial.mismatched.items())
    else:
        with pytest.raises(CheckpointMismatchError):  # nothing at all is no partial load
            load_checkpoint(model, checkpoint, strict=False)


def test_prefix_and_revise_keys(published):
    state = published.state_dict()
    backbone = tiny().backbone
    for prefix in ('backbone', 'backbone.'):
        report = load_checkpoint(backbone, dict(state_dict=state), prefix=prefix)
        assert report.ok and same(backbone, published.backbone.state_dict()) and len(report.ignored) == 2
    with pytest.raises(ValueError, match="prefix='neck.': no entry begins .* has backbone., head."):
        load_checkpoint(backbone, state, prefix='neck')
    odd = {f'net.{k}'.replace('.head.', '.top.'): v for k, v in state.items()}
    assert load_checkpoint(tiny(), odd, revise_keys=[(r'^net\.', ''), (r'^top\.', 'head.')]).ok


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_dtypes_follow_the_model(published, dtype):
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in published.state_dict().items()}
    model = tiny()
    report = load_checkpoint(model, state)
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert report.ok and list(report.cast) == [(str(dtype)[6:], 'float32')] and str(dtype)[6:] in str(report)
    torch.testing.assert_close(model.head.final_layer.weight, published.head.final_layer.weight, atol=1e-2, rtol=1e-2)


def test_names_that_hooks_translate(published):
    """A wrapped network shows other names than its own, and accepts both."""
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(2, 2)

            def show(m, s, p, _):
                for k in list(s):
                    s[k.replace('inner.', 'shown.')] = s.pop(k)

            def accept(m, s, p, *_):
                m.note = p
                for k in [k for k in s if k.startswith(p + 'shown.')]:
                    s[k.replace('shown.', 'inner.')] = s.pop(k)
            self.register_state_dict_post_hook(show)
            self.register_load_state_dict_pre_hook(accept)
    source, model = Wrapped(), nn.ModuleDict(dict(backbone=Wrapped()))
    for state in (source.state_dict(), {'inner.' + k: v for k, v in source.inner.state_dict().items()}):
        model['backbone'].inner.weight.data.zero_()
        report = load_checkpoint(model['backbone'], state)
        assert report.ok and report.loaded == ['shown.weight', 'shown.bias']
        assert torch.equal(model['backbone'].inner.weight, source.inner.weight)
        assert load_checkpoint(model, {f'backbone.{k}': v for k, v in state.items()}).ok
    with pytest.raises(CheckpointMismatchError) as caught:
        load_checkpoint(model['backbone'], {'inner.weight': torch.ones(2, 2)})
    assert caught.value.report.missing == ['shown.bias'] and not hasattr(model['backbone'], 'note')


def test_no_tensors_is_said():
    endless = dict()
    endless['model'] = endless
    for content in (dict(), dict(meta=dict(), state_dict=dict()), dict(epoch=3), endless):
        with pytest.raises(ValueError, match='holds no tensors'):
            load_checkpoint(nn.Linear(1, 1), content)


# --- init_cfg

def with_init(path, level='backbone', **more):
    cfg = dict(type='Pretrained', checkpoint=str(path), **more)
    extra = hrnet_extra(8, num_modules=(1, 1, 1), num_blocks=1)
    return TopdownPoseEstimator(dict(type='HRNet', extra=extra, init_cfg=cfg if level == 'backbone' else None),
                                head=dict(type='HeatmapHead', in_channels=8, out_channels=17, deconv_out_channels=None),
                                init_cfg=[cfg] if level == 'model' else None)


def test_a_constructor_fetches_nothing(tmp_path):
    model = with_init(tmp_path / 'not there.pth')
    with pytest.raises(FileNotFoundError, match='not there'):
        init_weights(model)


def test_init_weights(tmp_path, published):
    path = save_checkpoint(published, tmp_path / 'w.pth')
    model = with_init(path, prefix='backbone.')
    reports = init_weights(model)
    assert list(reports) == ['backbone'] and reports['backbone'].ok
    assert same(model.backbone, published.backbone.state_dict())
    assert not torch.equal(model.head.final_layer.weight, published.head.final_layer.weight)
    model = with_init(path, level='model')
    assert list(init_weights(model)) == [''] and same(model, published.state_dict())
    torch.save({**backbone_of(published.state_dict()), 'surprise': torch.ones(1)}, tmp_path / 'b.pth')
    assert init_weights(with_init(tmp_path / 'b.pth'))['backbone'].unexpected == ['surprise']  # listed, no warning
    part = {k: v for k, v in backbone_of(published.state_dict()).items() if 'stage4' not in k}
    torch.save(part, tmp_path / 'part.pth')
    with pytest.warns(UserWarning, match='backbone was loaded in part'):
        init_weights(with_init(tmp_path / 'part.pth'))
    with pytest.raises(ValueError, match='Pretrained needs checkpoint'):
        init_weights(with_init(path, prefx='backbone.'))
    assert init_weights(tiny()) == {}


# --- numpy data: arrays of numbers and text, and nothing that holds addresses

@pytest.mark.parametrize('call, why', [
    (Runs(np.ndarray, (0, ), 'O', b''), 'calling numpy.ndarray'), (Runs(np.ndarray, (4, ), 'f8'), 'calling numpy.ndarray'),
    (Runs(np.dtype, 'O'), "type 'O' is not allowed"), (Runs(np.dtype, 'i4,O'), 'is not allowed'), (Runs(np.dtype, [('a', 'O')]), ''),
    (np.array([None, 1]), "type 'O8'"), (np.zeros(2, 'i4,f8'), "type 'V12'"), (np.ma.zeros(2), '')])
@pytest.mark.parametrize('zipped', [True, False])
def test_numpy_data_that_could_hold_addresses_is_refused(tmp_path, call, why, zipped):
    """`ndarray((2,), 'O', bytes)` takes bytes of the file for addresses of objects, and the process is whose file it is."""
    torch.save(dict(state_dict=dict(w=torch.ones(1)), meta=call), tmp_path / 'w.pth', _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=f'is not a checkpoint that can be read safely.*{why}'):
        read_checkpoint(tmp_path / 'w.pth')


@pytest.mark.parametrize('kind', '?bBhHiIlLqQefdU')
def test_numpy_data_comes_back(tmp_path, kind):
    """Empty arrays too: a data set without a skeleton has one in the metainfo of its checkpoints."""
    plain = np.array([0, 1, 2, 3, 4, 5]).astype(kind)
    kept = dict(a=plain, wide=plain.reshape(2, 3), turned=plain.reshape(2, 3).T, empty=plain[:0], flat=np.zeros((0, 3), kind), alone=np.array(plain[1]),
                big=plain.astype(plain.dtype.newbyteorder('>')), scalar=plain[1], skipping=plain[::2])
    torch.save(dict(meta=kept), tmp_path / 'w.pth')
    got = read_checkpoint(tmp_path / 'w.pth')['meta']
    torch.save(dict(meta=got), tmp_path / 'again.pth')
    assert repr(got['a']).split(', dtype')[0].rstrip(')') == repr(plain).split(', dtype')[0].rstrip(')')
    for back in (got, read_checkpoint(tmp_path / 'again.pth')['meta'], pickle.loads(pickle.dumps(got))):
        for name, value in kept.items():
            assert back[name].dtype == value.dtype.newbyteorder('=') and np.array_equal(back[name], value), name
    assert type(pickle.loads(pickle.dumps(got['a']))) is np.ndarray
    if kind != 'U' and kind not in 'HILQ':
        assert torch.as_tensor(got['a'])[3] == torch.as_tensor(plain)[3]


# --- by-products of training, and files under another name

@pytest.mark.parametrize('extra', [dict(steps=torch.tensor(7)), dict(n_averaged=torch.tensor(7)),
                                   {'ema_backbone_conv1_weight': torch.ones(1), 'ema_backbone_bn1_running_mean': torch.ones(1)}])
def test_counters_and_averages_beside_the_weights_do_not_matter(published, extra):
    model = tiny()
    report = load_checkpoint(model, dict(state_dict={**published.state_dict(), **extra}))
    assert report.ok and sorted(report.ignored) == sorted(extra) and same(model, published.state_dict())
    averaged = {f'module.{k}': v for k, v in published.state_dict().items()}
    assert load_checkpoint(tiny(), dict(ema_state_dict={**averaged, 'steps': torch.tensor(7)})).ok
    with pytest.raises(CheckpointMismatchError, match='unexpected'):
        load_checkpoint(tiny(), {**published.state_dict(), 'head.steps': torch.tensor(7)})


def test_a_file_under_another_name_is_told(tmp_path):
    save_checkpoint(nn.Linear(2, 2), tmp_path / 'a.safetensors')
    save_checkpoint(nn.Linear(2, 2), tmp_path / 'b.pth')
    (tmp_path / 'a.safetensors').rename(tmp_path / 'a.pth')
    (tmp_path / 'b.pth').rename(tmp_path / 'b.safetensors')
    for name, why in (('a.pth', 'a safetensors file under another name; call it a.safetensors'),
                      ('b.safetensors', 'a torch file under another name; call it b.pth')):
        with pytest.raises(ValueError, match=why):
            read_checkpoint(tmp_path / name)


def test_a_torchscript_program_is_told(tmp_path):
    with zipfile.ZipFile(tmp_path / 'w.pt', 'w', zipfile.ZIP_DEFLATED) as archive:
        for part in ('w/data.pkl', 'w/code/__torch__.py', 'w/version'):
            archive.writestr(part, b'3')
    with pytest.raises(ValueError, match='TorchScript program.*torch.jit.load'):
        read_checkpoint(tmp_path / 'w.pt')


@pytest.mark.parametrize('content, why', [
    (b'{"message": "Not Found"}', 'it is a text, which begins'), (b'%PDF-1.5', 'a PDF'), (b'\xff\xd8\xff\xe0' + b'0' * 50, 'a JPEG picture'), (b'\x89PNG\r\n', 'a PNG picture'),
    (b'\x1f\x8b\x08', 'a gzip file; unpack it'), (b'\x89HDF\r\n', 'an HDF5 file'), (b'junk\n', "a text, which begins 'junk"), (b'\x7fELF', 'a program'), (b'\0' * 600, 'it is damaged, or something else'),
    (b'a' * 257 + b'ustar', 'a tar archive'), (pickle.dumps(5), 'something else'), (pickle.dumps('text'), 'something else'), (pickle.dumps(None), 'something else'), (bytes(range(256)), 'damaged, or something else')])
def test_the_kind_of_a_file_is_told_truly(tmp_path, content, why):
    (tmp_path / 'w.pth').write_bytes(content)
    with pytest.raises(ValueError, match=rf'w.pth is not a checkpoint.*{why}') as caught:
        read_checkpoint(tmp_path / 'w.pth')
    assert not any(words in str(caught.value) for words in ('safetensors', 'Unsupported operand', 'KeyError', 'code to be run'))


def test_paths_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match='which is a folder'):
        read_checkpoint(tmp_path)
    for wrong in (None, 5, b'a.pth', ['a.pth']):
        with pytest.raises(ValueError, match='must be a path'):
            read_checkpoint(wrong)
        with pytest.raises(ValueError, match='load_checkpoint_file: path must be a path; got'):
            reader.load_checkpoint_file(wrong)


# --- damaged files

def mutated(data, rng):
    """The bytes of a file after an accident: bits, a byte, a hole, something more, a swap, an end."""
    data, kind, at = bytearray(data), rng.integers(6), int(rng.integers(len(data)))
    if kind == 0:
        data[at] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        data[at] = int(rng.integers(256))
    elif kind == 2:
        del data[at:at + int(rng.integers(1, 40))]
    elif kind == 3:
        data[at:at] = rng.integers(0, 256, int(rng.integers(1, 40)), dtype=np.uint8).tobytes()
    elif kind == 4:
        other = int(rng.integers(len(data)))
        data[at:at + 8], data[other:other + 8] = data[other:other + 8], data[at:at + 8]
    else:
        del data[at:]
    return bytes(data)


FUZZ = '''
import sys, warnings
sys.path.insert(0, 'tests')
from test_checkpoints import Path, load_checkpoint, mutated, nn, np, read_checkpoint, torch
warnings.simplefilter('ignore')
for path in sorted(Path(sys.argv[1]).iterdir()):
    whole, rng, refused = path.read_bytes(), np.random.default_rng(int(sys.argv[2])), 0
    state = read_checkpoint(path)
    state = state.get('state_dict', state)
    for i in range(int(sys.argv[3])):
        path.write_bytes(mutated(whole, rng))
        try:
            load_checkpoint(nn.Linear(6, 5), path)
            got = read_checkpoint(path)
            if path.name == 'zip.pth':  # checksums: what is read is right
                back = got['state_dict']
                assert all(torch.equal(back[k], v) for k, v in state.items() if k in back), (i, path)
        except ValueError as e:
            assert path.name in str(e) or 'checkpoint' in str(e), e
            refused += 1
    print(refused)
'''


@pytest.mark.slow
def test_a_damaged_file_is_refused_or_read_right_and_never_crashes(tmp_path):
    """In a process of its own, which a crash would end."""
    torch.manual_seed(0)
    model = nn.Linear(6, 5)
    torch.save(dict(state_dict=model.state_dict(), meta=dict(a=np.arange(3.))), tmp_path / 'legacy.pth', _use_new_zipfile_serialization=False)
    for name in ('zip.pth', 'w.safetensors'):
        save_checkpoint(model, tmp_path / name, meta=dict(note='x', sigmas=np.arange(3.)))
    done = in_a_process(FUZZ, tmp_path, '7', '300')
    assert done.returncode == 0, done.stderr[-2000:]
    assert all(int(n) > 100 for n in done.stdout.split()) and len(list(tmp_path.iterdir())) == 3


def in_a_process(code, *args):
    return subprocess.run([sys.executable, '-c', code, *map(str, args)], capture_output=True, text=True, cwd=Path(__file__).parent.parent,
                          env=dict(os.environ, PYTHONPATH=os.pathsep.join(p for p in sys.path if p)))


@pytest.mark.parametrize('mmap', [True, False])
def test_a_flipped_bit_in_the_weights_is_seen(tmp_path, mmap):
    """torch.load reads it as another weight."""
    path = save_checkpoint(nn.Linear(30, 30), tmp_path / 'w.pth')
    data = bytearray(path.read_bytes())
    at = data.index(nn.Module.state_dict(nn.Linear(1, 1)) and torch.load(path)['state_dict']['weight'].numpy().tobytes()[400:440])
    data[at] ^= 64
    path.write_bytes(data)
    assert torch.load(path, weights_only=True)
    with pytest.raises(ValueError, match='w.pth is not a checkpoint .* damaged: .*data/. does not fit its checksum'):
        read_checkpoint(path, mmap=mmap)


def test_files_that_were_written_without_checksums_are_read(tmp_path):
    model = nn.Linear(3, 3)
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(model.state_dict(), tmp_path / 'w.pth')
    finally:
        torch.serialization.set_crc32_options(True)
    assert load_checkpoint(nn.Linear(3, 3), tmp_path / 'w.pth').ok


def rezipped(path, change):
    """The zip file again, its parts (name, bytes) as `change` gives them."""
    with zipfile.ZipFile(path) as old:
        parts = [(n, old.read(n)) for n in old.namelist()]
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_STORED) as new:
        for name, data in change(parts):
            new.writestr(name, data)


@pytest.mark.filterwarnings('ignore:Duplicate name')
@pytest.mark.parametrize('mmap', [True, False])
def test_a_part_that_is_there_twice_is_refused(tmp_path, mmap):
    path = save_checkpoint(nn.Linear(3, 3), tmp_path / 'w.pth')
    rezipped(path, lambda parts: parts + [p for p in parts if p[0].endswith('data.pkl')])
    with pytest.raises(ValueError, match='lists a part twice'):
        read_checkpoint(path, mmap=mmap)


@pytest.mark.parametrize('length', [2**60, 2**63 - 1, 2**64 - 1, 10**9, 0, 1])
def test_a_safetensors_header_of_any_length(tmp_path, length):
    (tmp_path / 'w.safetensors').write_bytes(length.to_bytes(8, 'little') + b'{"a":{}}')
    with pytest.raises(ValueError, match='w.safetensors is not a checkpoint.*damaged'):
        read_checkpoint(tmp_path / 'w.safetensors')


class Claims:
    """An array of numpy that says it has more items than bytes."""

    def __init__(self, shape, kind):
        self.state = 1, shape, np.dtype(kind), False, b''

    def __reduce__(self):
        return np.zeros(0).__reduce__()[0], (np.ndarray, (0, ), b'b'), self.state


@pytest.mark.parametrize('shape, kind', [((10**12, ), 'U0'), ((10**6, 10**6), 'f8'), ((2**62, 4), 'i8'), ((-5, ), 'f4')])
def test_arrays_that_claim_more_than_they_bring(tmp_path, shape, kind):
    (tmp_path / 'w.pth').write_bytes(pickle.dumps(dict(a=Claims(shape, kind)), protocol=2))
    with pytest.raises(ValueError, match='w.pth is not a checkpoint'):
        read_checkpoint(tmp_path / 'w.pth')


# --- disks

FULL = '''
import resource, sys
from torch import nn
from posebook.checkpoints import save_checkpoint
for room in (40_000, 1000, 1, 0):
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    for path in sys.argv[1:]:
        try:
            save_checkpoint(nn.Linear(100, 100), path)
        except OSError as e:
            print(e.errno, e.filename)
'''


@pytest.mark.slow
@pytest.mark.skipif(os.name != 'posix', reason='a limit of size for files')
def test_a_full_disk_names_the_file_and_costs_nothing(tmp_path):
    paths = [save_checkpoint(nn.Linear(2, 2), tmp_path / f'w{suffix}') for suffix in ('.pth', '.safetensors')]
    old = [p.read_bytes() for p in paths]
    done = in_a_process(FULL, *paths)
    assert done.stdout.splitlines() == [f'27 {p}' for p in paths] * 4, done.stderr[-1000:]
    assert [p.read_bytes() for p in paths] == old and sorted(tmp_path.iterdir()) == sorted(paths)


@pytest.mark.skipif(os.name != 'posix', reason='rights and links of POSIX')
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_the_umask_links_and_rights_are_kept(tmp_path, suffix):
    before = os.umask(0o027)
    try:
        path = save_checkpoint(nn.Linear(2, 2), tmp_path / f'w{suffix}')
        (tmp_path / 'link').mkdir()
        (tmp_path / f'link/a{suffix}').symlink_to(f'../w{suffix}')
        (tmp_path / f'link/new{suffix}').symlink_to(f'../made{suffix}')
        assert path.stat().st_mode & 0o777 == 0o640
        path.chmod(0o604)
        for name in ('a', 'new'):
            save_checkpoint(nn.Linear(3, 3), tmp_path / f'link/{name}{suffix}')
            assert (tmp_path / f'link/{name}{suffix}').is_symlink()
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o604 and load_checkpoint(nn.Linear(3, 3), path).ok
    assert (tmp_path / f'made{suffix}').stat().st_mode & 0o777 == 0o640


# --- weights that are no numbers

NAN, INF = float('nan'), float('inf')


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.float8_e5m2])
def test_weights_that_are_no_numbers_are_said(dtype):
    state = nn.Linear(2, 2).state_dict()
    state = dict(weight=torch.tensor([[NAN, 1], [INF, NAN]]).to(dtype), bias=state['bias'].to(dtype))
    model = nn.Linear(2, 2)
    with pytest.warns(UserWarning, match='everything fits, but 1 entries hold NaN or infinite values') as caught:
        report = load_checkpoint(model, state)
    assert report.ok and not report.sound and report.not_finite == dict(weight=(2, 1))
    for text in (str(report), str(caught[0].message)):
        assert 'weight: 2 NaN, 1 infinite' in text and 'weight holds 2 NaN and 1 infinite values of 4' in text
    assert 'weight: 2 NaN' in report._repr_html_() and model.weight.isnan().sum() == 2


def test_values_that_a_half_model_cannot_hold_are_said():
    state = dict(weight=torch.tensor([[1e5, 65504.], [-3e38, 1e-9]]), bias=torch.zeros(2))
    with pytest.warns(UserWarning, match='1 entries overflow'):
        report = load_checkpoint(nn.Linear(2, 2).half(), state)
    assert report.overflow == dict(weight=2) and not report.not_finite and 'weight: 2 values' in str(report)
    assert any('up to 3e+38, that float16 of the model cannot hold' in c for c in report.causes)
    for model in (nn.Linear(2, 2), nn.Linear(2, 2).bfloat16(), nn.Linear(2, 2).double()):
        assert load_checkpoint(model, state).sound
    both = dict(state, bias=torch.tensor([NAN, 0]))
    with pytest.warns(UserWarning, match='entries hold NaN or infinite values and 1 entries overflow'):
        assert load_checkpoint(nn.Linear(2, 2).half(), both).not_finite == dict(bias=(1, 0))


def test_an_attention_mask_may_be_infinite():
    def masked(fill):
        model = nn.Linear(2, 2)
        model.register_buffer('mask', torch.tensor([[0., fill], [fill, 0.]]))
        return model
    assert load_checkpoint(masked(-INF), masked(-INF).state_dict()).sound
    with pytest.warns(UserWarning):
        assert load_checkpoint(masked(0.), masked(-INF).state_dict()).not_finite == dict(mask=(0, 2))


def test_a_backbone_of_nan_from_a_config_is_said(tmp_path, published):
    state = {k: v.clone() for k, v in published.state_dict().items()}
    state['backbone.conv1.weight'][0] = NAN
    torch.save(state, tmp_path / 'w.pth')
    with pytest.warns(UserWarning, match='backbone was loaded: .*hold NaN'):
        assert not init_weights(with_init(tmp_path / 'w.pth', prefix='backbone.'))['backbone'].sound


def odd_tensors():
    return {'nested': torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), 'jagged': torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged),
            'sparse': torch.ones(2, 2).to_sparse(), 'csr': torch.ones(2, 2).to_sparse_csr(), 'meta': torch.ones(2, 2, device='meta'), 'complex': torch.ones(2, 2, dtype=torch.complex64),
            'quantized': torch.quantize_per_tensor(torch.ones(2, 2), .1, 0, torch.qint8), 'lazy': nn.LazyLinear(2).weight, 'bits': torch.ones(2, 2, dtype=torch.uint8).view(torch.bits8)}


@pytest.mark.filterwarnings('ignore::UserWarning')
@pytest.mark.parametrize('kind', ['nested', 'jagged', 'sparse', 'csr', 'meta', 'complex', 'quantized', 'lazy', 'bits'])
def test_odd_tensors_are_named(kind):
    words = dict(jagged='nested', csr='sparse', meta='without memory', bits='bits8').get(kind, kind)
    with pytest.raises(ValueError, match=rf"checkpoint: entry 'weight' must be a dense tensor of real numbers under a name; got a.*{words}"):
        load_checkpoint(nn.Linear(2, 2), dict(bias=torch.ones(2), weight=odd_tensors()[kind]))


def test_a_model_without_shapes_is_told():
    with pytest.raises(ValueError, match="model must have shapes for all parameters; got 'weight' without"):
        load_checkpoint(nn.LazyLinear(2), dict(weight=torch.ones(2, 2)))


# --- what a checkpoint says of its data

def test_the_data_set_of_a_checkpoint_is_kept(tmp_path, published):
    info = dict(dataset_name='mine', sigmas=np.array([.1, .2]), flip_indices=[1, 0], nested=dict(a=(np.arange(2), 'x')))
    path = save_checkpoint(published, tmp_path / 'w.pth', meta=dict(dataset_meta=info))
    model = tiny()
    report = load_checkpoint(model, path)
    assert report.dataset_meta['dataset_name'] == 'mine' and type(report.dataset_meta['sigmas']) is np.ndarray
    assert model.dataset_meta['nested']['a'][0].tolist() == [0, 1]
    model.dataset_meta = dict(dataset_name='its own')
    load_checkpoint(model, path)
    assert model.dataset_meta == dict(dataset_name='its own')
    load_checkpoint(model.backbone, path, prefix='backbone.')
    assert not hasattr(model.backbone, 'dataset_meta') and load_checkpoint(tiny(), published.state_dict()).dataset_meta is None
    for meta in (None, 5, dict(dataset_meta=5), dict()):
        assert load_checkpoint(tiny(), dict(meta=meta, state_dict=published.state_dict())).dataset_meta is None


@pytest.mark.parametrize('convolutions', [1, 2])
def test_a_head_of_mmpose_0_with_convolutions(convolutions):
    """Its `final_layer` was a list: convolution, norm, activation, ..., and the last layer."""
    def model(n):
        extra = hrnet_extra(8, num_modules=(1, 1, 1), num_blocks=1)
        head = HeatmapHead(8, 17, deconv_out_channels=None, conv_out_channels=(8, ) * n or None, conv_kernel_sizes=(1, ) * n or None)
        return TopdownPoseEstimator(HRNet(extra), head=head).eval()
    source = model(convolutions)
    def name(key):
        return re.sub(r'^head\.conv_layers\.', 'keypoint_head.final_layer.',
                      re.sub(r'^head\.final_layer\.', f'keypoint_head.final_layer.{3 * convolutions}.', key))
    old = {name(k): v for k, v in source.state_dict().items()}
    assert 'keypoint_head.final_layer.0.weight' in old and f'keypoint_head.final_layer.{3 * convolutions}.bias' in old
    target = model(convolutions)
    assert load_checkpoint(target, dict(state_dict=old)).ok and same(target, source.state_dict())
    with pytest.raises(CheckpointMismatchError) as caught:
        load_checkpoint(model(0), dict(state_dict=old))
    causes = ' '.join(caught.value.report.causes)
    assert 'conv_out_channels' in causes and 'backbone only' not in causes


# --- the network: limits, hashes, plain http

class Sly(Server):
    """Sends what it should not."""

    def do_GET(self):
        self.asked.append(self.path)
        self.send_response(302 if 'on' in self.path else 206 if 'part' in self.path else 200)
        if 'on' in self.path:
            self.send_header('Location', dict(http='http://example.org/w.pth', ftp='ftp://example.org/w.pth', loop=self.path).get(self.path[4:-4], '/w.pth'))
        if 'gzip' in self.path:
            self.send_header('Content-Encoding', 'gzip')
        if 'more' in self.path:
            self.send_header('Content-Length', '100')
        self.end_headers()
        try:
            for _ in range(10**6 if 'endless' in self.path else 1):
                self.wfile.write(self.payload)
        except OSError:
            pass


@pytest.fixture
def sly(host):
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Sly)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize('name, how, text', [
    ('on-http.pth', {}, 'sends us on to http://example.org/w.pth: Over plain http'), ('on-ftp.pth', dict(allow_http=True), 'not allowed'), ('on-loop.pth', {}, '302'),
    ('gzip.pth', {}, r'sent it packed \(gzip\)'), ('part.pth', {}, 'answered 206'), ('endless.pth', dict(max_size=10**6), r'or more, and the limit is 1,000,000; .* max_size'),
    ('endless.pth', dict(max_time=.05), 'takes longer than 0 s.*max_time')])
@pytest.mark.slow
def test_what_a_server_may_not_do(sly, tmp_path, name, how, text):
    with pytest.raises(ConnectionError, match=text):
        read_checkpoint(f'{sly}/{name}', cache_dir=tmp_path / 'cache', progress=False, **how)
    assert not files(tmp_path / 'cache')


def test_more_than_was_announced_is_not_read(sly, tmp_path):
    path = sources.download(f'{sly}/more.pth', tmp_path / 'cache', progress=False)
    assert path.read_bytes() == Server.payload[:100]


@pytest.mark.parametrize('size, ok', [(1000, False), (10**6, True)])
def test_the_limit_of_size_can_be_raised(host, tmp_path, monkeypatch, size, ok):
    for how in (dict(max_size=size), {}):
        monkeypatch.setenv('POSEBOOK_MAX_DOWNLOAD', str(size) if not how else '7')
        if ok:
            assert read_checkpoint(f'{host}/{len(how)}.pth', cache_dir=tmp_path / 'cache', progress=False, **how)
        else:
            with pytest.raises(ConnectionError, match=r'it has \d,\d\d\d bytes or more, and the limit is 1,000'):
                read_checkpoint(f'{host}/{len(how)}.pth', cache_dir=tmp_path / 'cache', progress=False, **how)


@pytest.mark.parametrize('how', [dict(max_size=0), dict(max_size='1 GB'), dict(max_time=-1), dict(max_time=NAN), dict(timeout=0), dict(timeout=None)])
def test_limits_that_are_none(how, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match='download: .* must be a number above 0, in (bytes|seconds); got'):
        read_checkpoint('https://a.org/w.pth', cache_dir=tmp_path, **how)
    for name in ('POSEBOOK_MAX_DOWNLOAD', 'POSEBOOK_MAX_DOWNLOAD_TIME'):
        monkeypatch.setenv(name, 'much')
        with pytest.raises(ValueError, match=f'{name} must be a number above 0.*got much'):
            read_checkpoint('https://a.org/w.pth', cache_dir=tmp_path)
        monkeypatch.delenv(name)


def test_plain_http_is_refused_unless_told_otherwise(tmp_path, monkeypatch):
    for url in ('http://a.org/w.pth', 'HTTP://a.org/w.pth', 'http://127.0.0.1.a.org/w.pth', 'http://localhost@a.org/w.pth'):
        with pytest.raises(ValueError, match='download: url must be an https:// address; got .*Over plain http.*allow_http=True'):
            load_checkpoint(nn.Linear(1, 1), url, cache_dir=tmp_path)
    limits = sources.Limits(allow_http=True)
    assert not limits.refused('http://a.org/w.pth') and limits.refused('ftp://a.org/w.pth')
    monkeypatch.setenv('POSEBOOK_ALLOW_HTTP', '1')
    assert not sources.Limits().refused('http://a.org/w.pth')
    monkeypatch.setenv('POSEBOOK_ALLOW_HTTP', '0')
    assert sources.Limits().refused('http://a.org/w.pth') and not sources.Limits().refused('http://localhost:8000/w.pth')


@pytest.mark.parametrize('url', ['ftp://a.org/w.pth', 'file:///etc/passwd', 'data://text', 'gopher://a.org/w.pth', 'https:/a.org/w.pth'])
def test_other_schemes_are_refused_by_name(url, tmp_path):
    with pytest.raises(ValueError, match='download: url must be an https:// address; got'):
        sources.download(url, tmp_path)
    with pytest.raises(ValueError, match='a file of this machine'):
        read_checkpoint('file://server/share/w.pth')


def test_from_https_to_http_is_a_step_back():
    import urllib.error
    import urllib.request
    request = urllib.request.Request('https://a.org/w.pth')
    for allow in (False, True):
        with pytest.raises(urllib.error.URLError, match='sends us on to http://127.0.0.1/w.pth: from https to http'):
            sources._Redirects(sources.Limits(allow_http=allow)).redirect_request(request, None, 302, 'Found', {}, 'http://127.0.0.1/w.pth')
    assert sources._Redirects(sources.Limits()).redirect_request(request, None, 302, 'Found', {}, 'https://b.org/w.pth').full_url == 'https://b.org/w.pth'


@pytest.mark.parametrize('damage', [lambda d: d[:-1], lambda d: b'', lambda d: d[:50] + b'?' + d[51:], lambda d: b'<html>'])
@pytest.mark.parametrize('name', ['latest.pth', 'w-{}.pth'])
@pytest.mark.slow
def test_a_cached_file_that_is_not_what_it_was_is_fetched_again(host, tmp_path, name, damage):
    url = f'{host}/{name.format(hashlib.sha256(Server.payload).hexdigest()[:8])}'
    path = sources.download(url, tmp_path / 'cache', progress=False)
    path.write_bytes(damage(Server.payload))
    with pytest.warns(UserWarning, match='must be the file with the SHA-256 .* downloaded again'):
        assert load_checkpoint(nn.Linear(20, 30), url, cache_dir=tmp_path / 'cache', progress=False).ok
    assert path.read_bytes() == Server.payload and len(Server.asked) == 2


def test_hashes_beside_files(host, tmp_path):
    path = sources.download(f'{host}/latest.pth', tmp_path / 'cache', progress=False)
    digest = hashlib.sha256(Server.payload).hexdigest()
    assert sources.hash_file(path).read_text() == f'{digest}  latest.pth\n'  # as sha256sum -c reads it
    for text in ('', 'nonsense', digest[:10]):
        sources.hash_file(path).write_text(text)
        with pytest.warns(UserWarning, match='downloaded again'):
            sources.download(f'{host}/latest.pth', tmp_path / 'cache', progress=False)
    sources.hash_file(path).unlink()  # put there by hand, or before there were hashes
    assert sources.download(f'{host}/latest.pth', tmp_path / 'cache') == path and len(Server.asked) == 4


def test_a_hash_that_the_reader_knows(tmp_path):
    path = save_checkpoint(nn.Linear(1, 1), tmp_path / 'w.pth')
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for sha256 in (digest, digest[:8], ''):
        assert load_checkpoint(nn.Linear(1, 1), path, sha256=sha256).ok
    with pytest.raises(ValueError, match='must be the file with the SHA-256 00000000.*It is damaged, or another file'):
        read_checkpoint(path, sha256='0' * 8)
    for wrong in ('xyz', 5, 'A' * 8, '0' * 65):
        with pytest.raises(ValueError, match='checkpoint: sha256 must be'):
            read_checkpoint(path, sha256=wrong)


@pytest.mark.slow
def test_checkpoints_stand_below_models():
    code = 'import sys, posebook.checkpoints; print(sorted(m for m in sys.modules if m.startswith(("posebook.", "torchvision")) or m == "matplotlib"))'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True, env=dict(os.environ, PYTHONPATH=os.pathsep.join(p for p in sys.path if p)))
    loaded = eval(done.stdout)
    assert {m.split('.')[1] for m in loaded} == {'checkpoints', 'checks', 'files'}
