"""Frames from videos, cameras, pictures and arrays."""

import os
import struct
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mmpose_lift.io import frames as frames_module
from mmpose_lift.io.frames import UnreadableFrameError, open_frames, to_bgr

SIZE = (64, 48)


def level(i: int) -> int:
    return 20 + 5 * i


def write_video(path: Path, count: int = 12, codec: str = 'MJPG', fps: float = 25) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), fps, SIZE)
    noise = np.random.default_rng(0).integers(0, 9, (SIZE[1], SIZE[0], 3))
    for i in range(count):
        writer.write((noise + level(i)).astype(np.uint8))
    writer.release()
    return path


def write_picture(path: Path, value: int = 100, size=SIZE) -> Path:
    assert cv2.imwrite(str(path), np.full((size[1], size[0], 3), value, np.uint8))
    return path


def stretch_frames(path: Path, durations) -> None:
    """Give the frames of an mp4 uneven durations, with the same sum: another table of times."""
    data = path.read_bytes()
    assert data.find(b'moov') > data.find(b'mdat')  # no offsets into the samples change
    at = data.index(b'stts') - 4
    old, = struct.unpack('>I', data[at:at + 4])
    table = b''.join(struct.pack('>II', 1, d) for d in durations)
    new = struct.pack('>I4sII', 16 + len(table), b'stts', 0, len(durations)) + table
    data = bytearray(data[:at] + new + data[at + old:])
    for box in (b'moov', b'trak', b'mdia', b'minf', b'stbl'):
        start = data.index(box) - 4
        size, = struct.unpack('>I', data[start:start + 4])
        data[start:start + 4] = struct.pack('>I', size + len(new) - old)
    path.write_bytes(data)


class FakeCamera:
    """Stands in for cv2.VideoCapture: a camera of 30 fps that gives 5 pictures."""
    opens, rate, pictures = True, 30., 5

    def __init__(self, number):
        self.number, self.open, self.left = number, self.opens, self.pictures

    def isOpened(self):
        return self.open

    def get(self, prop):
        return self.rate

    def read(self):
        self.left -= 1
        return (True, np.zeros((48, 64, 3), np.uint8)) if self.left >= 0 else (False, None)

    def release(self):
        self.open = False


def test_video(tmp_path):
    path = write_video(tmp_path / 'clip.avi')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        with open_frames(path) as source:
            assert (source.kind, source.name, source.fps, source.image_size, source.num_frames,
                    source.is_clip) == ('video', 'clip.avi', 25, SIZE, 12, True)
            first = list(source)
            again = list(source)
    assert [i for i, _ in first] == list(range(12))
    assert all(f.shape == (48, 64, 3) and f.dtype == np.uint8 for _, f in first)
    assert all(abs(f.mean() - level(i) - 4) < 3 for i, f in first)
    assert all(np.array_equal(f, g) for (_, f), (_, g) in zip(first, again))
    assert source.times is None and source.truncated is None and source.mean_fps == 25
    assert source.path_of(3) is None


def test_a_new_pass_starts_at_the_first_frame(tmp_path):
    source = open_frames(write_video(tmp_path / 'clip.avi'))
    before = iter(source)
    next(before), next(before)
    assert next(iter(source))[0] == 0
    with pytest.raises(StopIteration):
        next(before)


def test_given_rate_replaces_that_of_the_video(tmp_path):
    path = write_video(tmp_path / 'clip.mp4', codec='mp4v')
    stretch_frames(path, [256] * 6 + [768] * 6)
    source = open_frames(path, fps=50)
    assert len(list(source)) == 12
    assert source.fps == source.mean_fps == 50 and source.times is None


def test_variable_frame_rate(tmp_path):
    path = write_video(tmp_path / 'clip.mp4', codec='mp4v')
    with open_frames(path) as even:
        list(even)
        assert even.times is None
    timescale = 25 * 512
    durations = np.array([1, 1, 1, 6, 1, 1, 4, 2, 2, 1, 2, 2]) * 256
    stretch_frames(path, durations)
    source = open_frames(path)
    assert len(list(source)) == 12 and source.truncated is None
    expected = np.cumsum([0, *durations[:-1]]) / timescale
    np.testing.assert_allclose(source.times, expected, atol=1e-3)
    assert source.mean_fps == pytest.approx(11 / expected[-1], rel=1e-3)
    passing = iter(source)
    next(passing)
    assert len(source.times) == 12  # a second pass takes nothing away


def test_damaged_end(tmp_path):
    path = write_video(tmp_path / 'clip.avi', 40)
    path.write_bytes(path.read_bytes()[:int(path.stat().st_size * 0.6)])
    source = open_frames(path)
    assert source.num_frames == 40
    with pytest.warns(UserWarning, match=r'clip.avi.*announces 40 frames') as told:
        first = [f for _, f in source]
    assert len(told) == 1 and 15 < len(first) < 30
    assert source.truncated == (len(first), 40) and source.num_frames == len(first)
    with warnings.catch_warnings():
        warnings.simplefilter('error')  # told once
        assert all(np.array_equal(f, g) for f, (_, g) in zip(first, source))


def test_files_that_are_no_videos(tmp_path, capfd):
    with pytest.raises(FileNotFoundError, match='absent.mp4: no such file'):
        open_frames(tmp_path / 'absent.mp4')
    for name, content, message in (('empty.mp4', b'', 'empty'), ('cut.mp4', None, 'complete'),
                                   ('noise.mp4', b'hello' * 999, 'no video'),
                                   ('notes.txt', b'hello\nyou\n' * 99, 'text file')):
        path = tmp_path / name
        if content is None:
            content = write_video(path, codec='mp4v').read_bytes()[:-600]  # the index is at the end
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f'{name}.*{message}'):
            open_frames(str(path))
    with pytest.raises(ValueError, match='zero.avi has no frame'):
        open_frames(write_video(tmp_path / 'zero.avi', 0))
    assert capfd.readouterr().err.count('OpenCV') == 0


def test_video_without_a_rate(tmp_path, monkeypatch):
    path = write_video(tmp_path / 'clip.avi')
    real = cv2.VideoCapture

    class NoRate:
        def __init__(self, name):
            self._real = real(name)

        def __getattr__(self, name):
            return getattr(self._real, name)

        def get(self, prop):
            return 0. if prop == cv2.CAP_PROP_FPS else self._real.get(prop)

    monkeypatch.setattr(cv2, 'VideoCapture', NoRate)
    with pytest.raises(ValueError, match='does not say its frame rate; give fps='):
        open_frames(path)
    assert open_frames(path, fps=25).fps == 25


def test_no_permission(tmp_path, monkeypatch):
    path = write_picture(tmp_path / 'a.png')
    monkeypatch.setattr(frames_module.os, 'access', lambda *a: False)
    with pytest.raises(PermissionError, match='a.png: no permission'):
        open_frames(path)


def test_folder_in_natural_order(tmp_path):
    for i in (10, 9, 2, 1):
        name = 'Frame9.PNG' if i == 9 else f'frame{i}.png'
        write_picture(tmp_path / name, level(i))
    (tmp_path / 'notes.txt').write_text('x')
    (tmp_path / '._frame1.png').write_text('x')
    (tmp_path / 'folder.png').mkdir()
    source = open_frames(tmp_path)
    assert (source.kind, source.fps, source.num_frames, source.image_size, source.is_clip) == (
        'images', None, 4, SIZE, False)
    assert [int(f.mean()) for _, f in source] == [level(i) for i in (1, 2, 9, 10)]
    assert source.path_of(2).name == 'Frame9.PNG' and source.name == tmp_path.name
    clip = open_frames(tmp_path, fps=30, frames_of_a_video=True)
    assert clip.fps == 30 and clip.is_clip and clip.image_size == SIZE


def test_folders_without_pictures(tmp_path):
    with pytest.raises(ValueError, match='found no files'):
        open_frames(tmp_path)
    write_video(tmp_path / 'clip.avi', 2)
    with pytest.raises(ValueError, match=r'found 1 other files \(clip.avi'):
        open_frames(tmp_path)


def test_mixed_sizes(tmp_path):
    files = [write_picture(tmp_path / 'a.png'), write_picture(tmp_path / 'b.jpg', size=(32, 40))]
    source = open_frames(files)
    assert source.image_size is None and source.num_frames == 2
    assert [f.shape[:2] for _, f in source] == [(48, 64), (40, 32)]
    with pytest.raises(ValueError, match=r'a.png is 64x48 pixels and .*b.jpg 32x40'):
        open_frames(files, fps=25, frames_of_a_video=True)


def test_unreadable_picture_in_the_middle(tmp_path):
    files = [write_picture(tmp_path / f'{i}.jpg') for i in range(4)]
    files[1].write_bytes(b'no jpeg')
    files[2].write_bytes(b'')
    source = open_frames(tmp_path, fps=25, frames_of_a_video=True)
    assert source.image_size == SIZE
    passing = iter(source)
    assert next(passing)[0] == 0
    for index in (1, 2):
        with pytest.raises(UnreadableFrameError, match=f'{index}.jpg.*damaged') as error:
            next(passing)
        assert error.value.index == index
    assert [i for i, _ in passing] == [3]  # nothing else is lost


def test_picture_turned_by_exif(tmp_path):
    picture = Image.fromarray(np.full((48, 64, 3), 90, np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / 'phone.jpg', exif=exif)
    source = open_frames(tmp_path / 'phone.jpg')
    (_, frame), = source
    assert source.image_size == (48, 64) == frame.shape[1::-1]


def test_picture_files_become_bgr(tmp_path, rng):
    grey = rng.integers(0, 2**16, (48, 64), dtype=np.uint16)
    colour = rng.integers(0, 256, (48, 64, 4), dtype=np.uint8)
    for name, picture in (('grey16', grey), ('grey', colour[..., 0]), ('bgra', colour),
                          ('colour16', rng.integers(0, 2**16, (48, 64, 3), dtype=np.uint16))):
        path = tmp_path / f'{name}.png'
        cv2.imwrite(str(path), picture)
        (_, frame), = open_frames(path)
        assert frame.dtype == np.uint8
        np.testing.assert_array_equal(frame, to_bgr(picture))  # one rule for files and arrays
    cv2.imwrite(str(tmp_path / 'float.tiff'), np.zeros((48, 64), np.float32))
    with pytest.raises(UnreadableFrameError, match='float.tiff.*floating-point'):
        list(open_frames(tmp_path / 'float.tiff'))


def test_arrays_become_bgr():
    bgra = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    np.testing.assert_array_equal(to_bgr(bgra), bgra[..., :3])
    np.testing.assert_array_equal(to_bgr(bgra[..., 0]), bgra[..., [0, 0, 0]])
    np.testing.assert_array_equal(to_bgr(bgra[..., :1]), bgra[..., [0, 0, 0]])
    np.testing.assert_array_equal(to_bgr(np.array([[0, 255, 256, 65535]], np.uint16))[0, :, 0],
                                  [0, 0, 1, 255])
    np.testing.assert_array_equal(to_bgr(np.array([[0, .5, 1]]))[0, :, 2], [0, 128, 255])
    for wrong, message in ((np.full((2, 2), 200.), r'\[0, 1\], found 200 to 200'),
                           (np.full((2, 2), np.nan), 'found nan'),
                           (np.zeros((2, 2), np.int64), 'found int64'),
                           (np.zeros((9, 2, 5), np.uint8), r'shape \(9, 2, 5\)'),
                           (np.zeros((0, 2), np.uint8), r'shape \(0, 2\)')):
        with pytest.raises(ValueError, match=message):
            to_bgr(wrong)


def test_arrays_are_not_drawn_into():
    video = np.zeros((3, 48, 64, 3), np.uint8)
    source = open_frames(video, fps=50, frames_of_a_video=True)
    assert (source.kind, source.num_frames, source.image_size) == ('arrays', 3, SIZE)
    for _, frame in source:
        frame[:] = 7
    assert not video.any() and all(not f.any() for _, f in source)
    assert open_frames(video[0]).num_frames == 1
    assert open_frames([video[0], video[1, ..., 0]]).num_frames == 2


def test_arguments(tmp_path):
    path = write_picture(tmp_path / 'a.png')
    for source, options, message in (
            ([], {}, 'at least one picture'),
            ([path, 3], {}, 'found int as number 1'),
            (3, {}, 'found int'),
            ([path], dict(frames_of_a_video=True), 'need a frame rate'),
            ([path], dict(fps=25), 'stills, which have no frame rate'),
            (path, dict(fps=-1), 'fps: expected a positive number, found -1')):
        with pytest.raises(ValueError, match=message):
            open_frames(source, **options)


def test_webcam(monkeypatch):
    monkeypatch.setattr(cv2, 'VideoCapture', FakeCamera)
    source = open_frames('WebCam:2')
    assert (source.kind, source.name, source.fps, source.image_size, source.num_frames,
            source._capture.number) == ('webcam', 'webcam:2', 30, SIZE, None, 2)
    with pytest.warns(UserWarning, match='webcam:2 gives no more pictures'):
        assert [i for i, _ in source] == [0, 1, 2, 3]  # one was read to know the size
    with pytest.raises(RuntimeError, match='read once'):
        iter(source)
    with open_frames('webcam', fps=15) as source:
        assert source.name == 'webcam:0' and source.fps == 15
    assert not source._capture.isOpened()


@pytest.mark.parametrize('fault, error, message', [
    (dict(opens=False), OSError, 'webcam:0 does not open'),
    (dict(pictures=0), OSError, 'gives no picture'),
    (dict(rate=0.), ValueError, 'give fps='),
])
def test_webcams_that_do_not_work(monkeypatch, fault, error, message):
    monkeypatch.setattr(cv2, 'VideoCapture', type('Faulty', (FakeCamera, ), fault))
    with pytest.raises(error, match=message):
        open_frames('webcam:0')
    with pytest.raises(ValueError, match='webcam:ID with a number'):
        open_frames('webcam:front')


def test_own_level_of_messages_stays(tmp_path, monkeypatch):
    monkeypatch.setenv('OPENCV_FFMPEG_LOGLEVEL', '16')
    level_before = cv2.getLogLevel()
    open_frames(write_video(tmp_path / 'clip.avi'))
    assert os.environ['OPENCV_FFMPEG_LOGLEVEL'] == '16' and cv2.getLogLevel() == level_before
