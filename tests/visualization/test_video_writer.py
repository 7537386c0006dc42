"""Videos are whole or absent, whatever encodes them; ffmpeg is faked where it is not there."""

import shutil
import stat
import sys
import warnings

import cv2
import numpy as np
import pytest

from mmpose_lift.visualization import VideoWriter, video_writer, write_picture

SIZE = (96, 64)
IMAGE = np.zeros((64, 96, 3), dtype=np.uint8)
LISTED = "print(' V....D libx264  libx264 H.264')"
needs_posix = pytest.mark.skipif(sys.platform == 'win32', reason='fakes ffmpeg with a script')


@pytest.fixture
def fake_ffmpeg(tmp_path, monkeypatch):
    """Make an ffmpeg of the given body and the only one on PATH; None for none at all."""
    folder = tmp_path / 'bin'
    folder.mkdir()
    monkeypatch.setenv('PATH', str(folder))

    def make(body, encoders=LISTED):
        if body is not None:
            script = folder / 'ffmpeg'
            script.write_text(f'#!{sys.executable} -IS\nimport sys\n'
                              f"if '-encoders' in sys.argv:\n    {encoders}\n    sys.exit()\n"
                              + body)
            script.chmod(script.stat().st_mode | stat.S_IXUSR)

    video_writer._has_x264.cache_clear()
    video_writer._warn_without_ffmpeg.cache_clear()
    yield make
    video_writer._has_x264.cache_clear()
    video_writer._warn_without_ffmpeg.cache_clear()


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != 'bin')


def read(path):
    capture = cv2.VideoCapture(str(path))
    images = []
    while True:
        ok, image = capture.read()
        if not ok:
            return images, capture.get(cv2.CAP_PROP_FPS)
        images.append(image)


def write(path, images, **kwargs):
    with VideoWriter(path, 30, SIZE, **kwargs) as writer:
        for image in images:
            writer.write(image)


COPY = "open(sys.argv[-1], 'wb').write(sys.stdin.buffer.read())"


@needs_posix
def test_ffmpeg_gets_all_pixels_and_the_right_orders(tmp_path, fake_ffmpeg, rng):
    fake_ffmpeg(COPY + "\nopen(sys.argv[-1], 'ab').write(' '.join(sys.argv).encode())")
    images = rng.integers(0, 256, (3, 64, 192, 3), dtype=np.uint8)[:, :, ::2]  # not contiguous
    write(tmp_path / 'a.mp4', images)
    content = (tmp_path / 'a.mp4').read_bytes()
    assert content[:images.size] == images.tobytes()
    orders = content[images.size:].decode()
    for order in ('-f rawvideo -pix_fmt bgr24 -s 96x64 -r 30.0 -i -', '-c:v libx264',
                  '-pix_fmt yuv420p', '+faststart'):
        assert order in orders
    assert names(tmp_path) == ['a.mp4']


@needs_posix
@pytest.mark.parametrize('body, frames, message', [
    ("sys.stderr.write('no space left')\nsys.exit(3)", 200, 'code 3: no space left'),
    ("sys.stdin.buffer.read()\nsys.stderr.write('no codec')\nsys.exit(1)", 2, 'code 1: no codec'),
    ("sys.exit(4)", 200, 'code 4: it said nothing'),
])
def test_failing_ffmpeg_gives_one_error_and_keeps_the_old_file(tmp_path, fake_ffmpeg, body, frames,
                                                               message):
    fake_ffmpeg(body)
    (tmp_path / 'a.mp4').write_bytes(b'old')
    with pytest.raises(OSError, match='a.mp4.*' + message):
        write(tmp_path / 'a.mp4', [IMAGE] * frames)
    assert names(tmp_path) == ['a.mp4'] and (tmp_path / 'a.mp4').read_bytes() == b'old'


@needs_posix
def test_ffmpeg_is_stopped_with_the_block(tmp_path, fake_ffmpeg):
    fake_ffmpeg("import time\ntime.sleep(600)")
    with pytest.raises(KeyboardInterrupt):
        with VideoWriter(tmp_path / 'a.mp4', 30, SIZE) as writer:
            process = writer._encoder._process
            raise KeyboardInterrupt
    assert process.returncode is not None and names(tmp_path) == []


@pytest.mark.parametrize('body, encoders', [(None, ''), (COPY, 'pass')])
@pytest.mark.skipif(sys.platform == 'win32', reason='fakes ffmpeg with a script')
def test_without_ffmpeg_or_x264_opencv_writes_and_says_so_once(tmp_path, fake_ffmpeg, body,
                                                               encoders):
    fake_ffmpeg(body, encoders)
    with pytest.warns(UserWarning, match='H.264 needs the program ffmpeg') as said:
        write(tmp_path / 'a.mp4', [IMAGE] * 3)
        write(tmp_path / 'b.mp4', [IMAGE] * 3)
    assert len(said) == 1
    assert len(read(tmp_path / 'a.mp4')[0]) == 3


@pytest.mark.skipif(shutil.which('ffmpeg') is None, reason='the program ffmpeg is not on PATH')
def test_h264_of_the_real_ffmpeg(tmp_path):
    video_writer._has_x264.cache_clear()
    if not video_writer._has_x264(shutil.which('ffmpeg')):
        pytest.skip('this ffmpeg has no libx264')
    levels = range(20, 240, 20)
    write(tmp_path / 'a.mp4', [np.full_like(IMAGE, level) for level in levels])
    images, fps = read(tmp_path / 'a.mp4')
    assert fps == 30
    np.testing.assert_allclose([image.mean() for image in images], levels, atol=4)
    content = (tmp_path / 'a.mp4').read_bytes()
    assert b'avc1' in content and content.index(b'moov') < content.index(b'mdat')


def test_avi_needs_no_ffmpeg(tmp_path, fake_ffmpeg):
    fake_ffmpeg(None)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        write(tmp_path / 'a.avi', [IMAGE] * 4)
    assert len(read(tmp_path / 'a.avi')[0]) == 4


@pytest.mark.parametrize('suffix', ['.mp4', '.avi'])
@pytest.mark.filterwarnings('ignore:videos are written as MPEG-4')
def test_finish_early_keeps_what_was_written(tmp_path, suffix):
    path = tmp_path / f'a{suffix}'
    with pytest.raises(KeyboardInterrupt):
        with VideoWriter(path, 30, SIZE) as writer:
            try:
                for _ in range(5):
                    writer.write(IMAGE)
                raise KeyboardInterrupt
            except KeyboardInterrupt:
                writer.finish_early()
                assert len(read(path)[0]) == 5
                with pytest.raises(RuntimeError, match='not open'):
                    writer.write(IMAGE)
                raise
    assert names(tmp_path) == [path.name] and writer.num_frames == 5
    with pytest.raises(ValueError, match='no frame was written'):
        with VideoWriter(tmp_path / 'b.mp4', 30, SIZE) as writer:
            writer.finish_early()
    assert names(tmp_path) == [path.name]


@pytest.mark.filterwarnings('ignore:videos are written as MPEG-4')
def test_writer_by_hand(tmp_path):
    with VideoWriter(tmp_path / 'a.mp4', 30, SIZE) as writer:
        writer.write(IMAGE)
        with pytest.raises(ValueError, match=r'\(64, 96, 3\).*\(10, 96, 3\)'):
            writer.write(IMAGE[:10])
    assert len(read(tmp_path / 'a.mp4')[0]) == 1
    with pytest.raises(ValueError, match='no frame was written'):
        write(tmp_path / 'b.mp4', [])
    with pytest.raises(RuntimeError, match='not open'):
        writer.write(IMAGE)
    assert names(tmp_path) == ['a.mp4']
    for arguments, message in (((0, SIZE), 'fps'), ((30, (97, 64)), 'even width')):
        with pytest.raises(ValueError, match=message):
            VideoWriter(tmp_path / 'c.mp4', *arguments)


def test_pictures(tmp_path, rng):
    image = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    path = write_picture(image, tmp_path / 'new' / 'a.png')
    np.testing.assert_array_equal(cv2.imread(str(path)), image)
    with pytest.raises(ValueError, match=r"'\.gif'.*use one of .png"):
        write_picture(image, tmp_path / 'a.gif')
