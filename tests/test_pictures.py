"""Reading pictures: unusual ones as OpenCV reads them, damaged ones never in silence, large ones not at all."""
import io
import os
import struct
import warnings
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from posebook.datasets.transforms import LoadImage, read_image
from posebook.datasets.transforms.loading import MAX_PIXELS, picture_header

W, H = 64, 48


def picture(seed=0):
    """A smooth colour picture (H, W, 3) BGR that is nowhere black."""
    noise = np.random.default_rng(seed).integers(40, 255, (H, W, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (5, 5), 2)


def pil(kind, mode='RGB', **options):
    stream = io.BytesIO()
    Image.fromarray(picture()[..., ::-1].copy()).convert(mode).save(stream, kind, **options)
    return stream.getvalue()


FILES = {name: cv2.imencode('.' + name.split()[0], picture(), flags)[1].tobytes() for name, flags in [
    ('png', []), ('jpg', []), ('jpg progressive', [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]), ('bmp', []), ('ppm', []),
    ('webp', []), ('webp lossy', [cv2.IMWRITE_WEBP_QUALITY, 80]), ('tiff', []), ('gif', []), ('jp2', [])]}
FILES.update({f'tiff {c}': pil('TIFF', compression=c)
              for c in ('raw', 'tiff_lzw', 'tiff_adobe_deflate', 'packbits', 'jpeg')})
FILES['webp with metadata'] = pil('WEBP', exif=b'Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0', quality=70)
EXACT = {'png', 'bmp', 'ppm', 'webp', 'tiff', 'tiff raw', 'tiff tiff_lzw', 'tiff tiff_adobe_deflate', 'tiff packbits'}


def read(data, **options):
    """(array or None, the message of the error or the warning or '')."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        try:
            img = read_image(data, **options)
        except ValueError as e:
            return None, str(e)
    return img, ' '.join(str(w.message) for w in caught)


@pytest.mark.parametrize('name', FILES)
def test_a_whole_file_is_read_as_opencv_reads_it(name):
    data = FILES[name]
    img, said = read(data)
    assert said == '' and img.shape == (H, W, 3) and img.dtype == np.uint8
    np.testing.assert_array_equal(img, cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
    if name in EXACT:
        np.testing.assert_array_equal(img, picture())
    assert picture_header(data)[1:] == (W, H)


@pytest.mark.parametrize('name', FILES)
def test_a_file_that_ends_too_early_is_refused(name):
    data = FILES[name]
    for share in np.linspace(0, .97, 25):
        img, said = read(data[:int(share * len(data))])
        assert img is None and said.startswith('read_image: source must be '), (share, said)


@pytest.mark.parametrize('name', FILES)
def test_a_tail_of_zeros_is_never_read_in_silence(name):
    data = FILES[name]
    for share in np.linspace(.02, .95, 25):
        cut = int(share * len(data))
        img, said = read(data[:cut] + bytes(len(data) - cut))
        if img is not None and np.array_equal(img, read_image(data)):
            continue  # what is gone is no part of the picture
        assert said, (share, 'silence')
        if name in ('bmp', 'ppm', 'tiff raw', 'webp lossy', 'webp with metadata') and img is not None:
            assert 'may be cut off' in said and 'zeros' in said  # black pixels prove nothing
        else:
            assert img is None and ' must be ' in said


@pytest.mark.parametrize('name', FILES)
def test_flipped_bits_give_an_error_or_an_array_of_the_right_size(name):
    data, rng = FILES[name], np.random.default_rng(len(name))
    for _ in range(30):
        changed = bytearray(data)
        for place in rng.integers(0, len(data), rng.integers(1, 4)):
            changed[place] ^= 1 << rng.integers(8)
        img, said = read(bytes(changed))
        if img is None:
            assert said.startswith('read_image: source must be ')
        else:
            assert img.dtype == np.uint8 and img.ndim == 3 and img.shape[:2] == picture_header(changed)[:0:-1]
            if name == 'png' and img.shape == (H, W, 3):  # it has checksums
                np.testing.assert_array_equal(img, picture())


def test_a_black_end_is_no_damage_where_the_beginning_is_black_too():
    framed = picture()
    framed[:8] = framed[-8:] = 0
    for kind in ('.bmp', '.ppm', '.tiff', '.webp', '.jpg'):
        assert read(cv2.imencode(kind, framed)[1].tobytes())[1] == ''
    below = cv2.resize(picture(), (400, 300))
    below[150:] = 0
    for quality in (20, 80):  # a long even part is coded as zeros
        assert read(cv2.imencode('.webp', below, [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes())[1] == ''
    for level in (0, 255, 37):
        for kind in ('.webp', '.jpg', '.png', '.tiff', '.gif'):
            assert read(cv2.imencode(kind, np.full((300, 400, 3), level, np.uint8))[1].tobytes())[1] == '', kind


# ---- size ----------------------------------------------------------------------------------------

def png(w, h):
    def chunk(kind, body):
        return struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))
    return (b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', w, h, 8, 2, 0, 0, 0))
            + chunk(b'IDAT', zlib.compress(b'')) + chunk(b'IEND', b''))


def jpeg(w, h):
    data = bytearray(FILES['jpg'])
    at = data.index(b'\xff\xc0') + 5
    data[at:at + 4] = struct.pack('>HH', h, w)
    return bytes(data)


def resized(name, at, form, w, h):
    data = bytearray(FILES[name])
    struct.pack_into(form, data, at, w, h)
    return bytes(data)


HUGE = {'png': png(20000, 20000), 'png 2**31': png(2**31 - 1, 2**31 - 1), 'jpg': jpeg(20000, 20000),
        'jpg largest': jpeg(65500, 65500), 'bmp': resized('bmp', 18, '<ii', 20000, -20000),
        'gif': resized('gif', 6, '<HH', 65535, 65535), 'ppm': b'P6\n20000 20000\n255\n' + bytes(99),
        'ppm text': b'P3 # huge\n999999999 999999999 255\n0 0 0', 'pam': b'P7\nWIDTH 20000\nHEIGHT 20000\nDEPTH 3\n',
        'webp': FILES['webp'][:21] + struct.pack('<I', 16382 | 16382 << 14) + FILES['webp'][25:],
        'webp lossy': resized('webp lossy', 26, '<HH', 16383, 16383)}

at = FILES['jp2'].index(b'\xff\x4f\xff\x51') + 8
HUGE['jp2'] = FILES['jp2'][:at] + struct.pack('>II', 20000, 20000) + FILES['jp2'][at + 8:]
at = struct.unpack_from('<I', FILES['tiff'], 4)[0] + 2  # the table of a TIFF; each entry has 12 bytes
HUGE['tiff'] = bytearray(FILES['tiff'])
for entry in range(at, at + 24, 12):
    tag = struct.unpack_from('<H', FILES['tiff'], entry)[0]
    if tag in (256, 257):  # width, height
        struct.pack_into('<HHII', HUGE['tiff'], entry, tag, 4, 1, 20000)


@pytest.mark.parametrize('name', HUGE)
def test_a_header_cannot_order_more_memory_than_the_limit(name, tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, 'imdecode', lambda *_: pytest.fail('decoded before the limit was looked at'))
    (tmp_path / 'huge.img').write_bytes(HUGE[name])
    with pytest.raises(ValueError, match=r'LoadImage: img_path must be a picture of at most .* pixels; got .*huge.img'):
        LoadImage()(dict(img_path=str(tmp_path / 'huge.img')))
    assert LoadImage(ignore_empty=True)(dict(img_path=str(tmp_path / 'huge.img'))) is None


def test_the_limit_can_be_raised_and_lowered(monkeypatch, tmp_path):
    data = FILES['png']
    assert W * H <= MAX_PIXELS
    assert read(data, max_pixels=W * H)[0] is not None
    assert '64 x 48' in read(data, max_pixels=W * H - 1)[1]
    monkeypatch.setenv('POSEBOOK_MAX_PIXELS', '100')
    assert 'at most 100 pixels' in read(data)[1]
    assert read(data, max_pixels=10**9)[0] is not None        # an argument wins over the environment
    monkeypatch.setenv('POSEBOOK_MAX_PIXELS', str(W * H))
    assert read(data)[0] is not None
    monkeypatch.setenv('POSEBOOK_MAX_PIXELS', 'many')
    assert 'POSEBOOK_MAX_PIXELS must be a whole number' in read(data)[1]
    monkeypatch.delenv('POSEBOOK_MAX_PIXELS')
    for wrong in (0, -1, 1.5, 'x', True):
        with pytest.raises(ValueError, match='LoadImage: max_pixels must be a whole number'):
            LoadImage(max_pixels=wrong)
    with open(tmp_path / 'long.bmp', 'wb') as file:           # sparse: no disk is filled
        file.write(FILES['bmp'])
        file.truncate(2**31)
    with pytest.raises(ValueError, match='a file of at most .* bytes; got .*long.bmp'):
        read_image(tmp_path / 'long.bmp', max_pixels=10**6)


# ---- what becomes of unusual pictures ------------------------------------------------------------

def test_colour_types():
    deep = np.random.default_rng(0).integers(0, 2**16, (H, W), dtype=np.uint16)
    data = cv2.imencode('.png', deep)[1].tobytes()
    np.testing.assert_array_equal(read_image(data, 'unchanged'), deep)
    np.testing.assert_array_equal(read_image(data), np.repeat((deep >> 8).astype(np.uint8)[..., None], 3, -1))
    assert read_image(FILES['jpg'], 'grayscale').shape == (H, W)
    grey = pil('PNG', 'L')
    assert read_image(grey).shape == (H, W, 3) and read_image(grey, 'unchanged').shape == (H, W)
    clear = pil('PNG', 'RGBA')
    np.testing.assert_array_equal(read_image(clear), picture())
    assert read_image(clear, 'unchanged').shape == (H, W, 4)
    assert read_image(pil('JPEG', 'CMYK')).shape == (H, W, 3)
    palette = pil('PNG', 'P')
    want = np.asarray(Image.open(io.BytesIO(palette)).convert('RGB'))[..., ::-1]
    np.testing.assert_array_equal(read_image(palette), want)
    assert read_image(pil('PNG', '1')).shape == (H, W, 3)
    with pytest.raises(ValueError, match="color_type must be one of 'color', .*; got 'colour'. Did you mean 'color'"):
        read_image(FILES['png'], 'colour')


def test_orientation():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = pil('JPEG', exif=exif.tobytes())
    assert read_image(data).shape == (W, H, 3) and read_image(data, 'grayscale').shape == (W, H)
    for kind in ('unchanged', 'color_ignore_orientation'):
        assert read_image(data, kind).shape == (H, W, 3)
    assert read_image(data, 'grayscale_ignore_orientation').shape == (H, W)


@pytest.mark.parametrize('kind', ['GIF', 'PNG', 'WEBP'])
def test_of_a_moving_picture_the_first_frame_is_read(kind):
    stream = io.BytesIO()
    frames = [Image.new('RGB', (W, H), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    frames[0].save(stream, kind, save_all=True, append_images=frames[1:], duration=100)
    img = read_image(stream.getvalue())
    assert img.shape == (H, W, 3)
    assert abs(img[5, 5].astype(int) - [0, 0, 255]).max() < 12


# ---- files ---------------------------------------------------------------------------------------

@pytest.mark.parametrize('data', [b'', b'\0' * 99, b'<html>', b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n', b'RIFF', b'BM',
                                  b'GIF89a', b'II*\0', b'MM\0*\0\0\0\x08', b'P6 1', b'P6\n0 0\n255\n', b'P7 x',
                                  b'\xff\x4f\xff\x51', b'\0\0\0\x0cjP  ', b'\0\0\0 ftypavif', b'II+\0' + b'\xff' * 30,
                                  b'II*\0\x08\0\0\0' + b'\xff' * 400, b'PK\x03\x04'])
def test_what_is_no_picture_is_refused_by_name(data, tmp_path):
    path = tmp_path / 'thing.jpg'
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r'LoadImage: img_path must be a picture .*; got .*thing.jpg'):
        LoadImage()(dict(img_path=path))


def test_paths(tmp_path):
    path = tmp_path / ('ein Bild \u4eba ' + 'x' * 150 + '.png')
    path.write_bytes(FILES['png'])
    for source in (path, str(path), FILES['png'], bytearray(FILES['png']), np.frombuffer(FILES['png'], np.uint8)):
        np.testing.assert_array_equal(read_image(source), picture())
    with pytest.raises(FileNotFoundError, match='x' * 150 + r'2.png.*no such file.*data_prefix'):
        read_image(str(path)[:-4] + '2.png')
    with pytest.raises(FileNotFoundError, match='must be a file'):
        read_image(tmp_path)
    os.mkfifo(tmp_path / 'pipe.png')
    with pytest.raises(FileNotFoundError, match='must be a file'):  # and no waiting for a writer
        read_image(tmp_path / 'pipe.png')
    for wrong in (None, 3, ['a.png']):
        with pytest.raises(TypeError, match='must be a path or bytes'):
            read_image(wrong)
