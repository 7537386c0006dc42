"""One reader for all that holds frames: videos, cameras, picture files, folders and arrays."""

import mimetypes
import os
import re
import warnings
from array import array
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from typing import Callable, Iterator, List, Optional, Sequence, Tuple, Union

import cv2
import numpy as np

PICTURE_SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.pbm', '.pgm', '.png', '.pnm', '.ppm', '.tif',
                    '.tiff', '.webp')
# Frames are evenly spaced where none is further than this from its place, in frame intervals [np].
# Containers round to milliseconds and phones vary by one or two; a frame that is missing is more.
EVEN_WITHIN = 0.25
# A video ended early where more frames than this are missing at its end [np]: some containers
# give a duration only, from which OpenCV estimates how many frames there are.
MISSING_FRAMES = 2

Picture = Union[str, Path, np.ndarray]


class UnreadableFrameError(ValueError):
    """A picture of a folder or list cannot be used; iteration can go on behind it.

    Attributes:
        index: Its number.
    """

    def __init__(self, index: int, message: str):
        super().__init__(message)
        self.index = index


class FrameSource:
    """Frames in order, one of them in memory at a time; made by :func:`open_frames`.

    Iterating gives ``(index, frame)`` with the frame as (H, W, 3) uint8 in OpenCV's channel order
    BGR, which the caller may draw into. Each iteration starts from the first frame and ends the one
    before, and gives the same frames; only a camera can be iterated once. After an
    :class:`UnreadableFrameError` the same iterator goes on with the next picture.

    Attributes:
        name: Name of the file, folder or camera ('webcam:0'), else what there is ('12 pictures').
        kind: 'video', 'webcam', 'images' (files) or 'arrays'.
        is_clip: The frames are of one clip, in order; False for independent stills.
        fps: Frames per second: as given, else what the file or camera says; None for stills.
        image_size: (width, height) in pixels; None where the sizes of stills differ, or where no
            picture's file says it.
        num_frames: Frames there are. For a video, what its container announces until a pass has
            come to the end; None for cameras and where the container does not say.
        truncated: (frames read, frames announced) after a pass in which a video ended early,
            because its end is damaged or missing; else None.
    """
    kind = ''

    def __init__(self, name: str, fps: Optional[float], is_clip: bool = True):
        self.name = name
        self.fps = fps
        self.is_clip = is_clip
        self.image_size: Optional[Tuple[int, int]] = None
        self.num_frames: Optional[int] = None
        self.truncated: Optional[Tuple[int, int]] = None
        self._pass = None

    @property
    def times(self) -> Optional[np.ndarray]:
        """(n,) seconds since the first frame, of the frames read so far, where uneven; else None.

        None also where ``fps`` was given to :func:`open_frames`, which takes the frames as even,
        and where the container has no increasing times.
        """
        return None

    @property
    def mean_fps(self) -> Optional[float]:
        """Mean rate of the frames read so far where they are unevenly spaced, else ``fps``."""
        times = self.times
        return self.fps if times is None else (len(times) - 1) / float(times[-1])

    def path_of(self, index: int) -> Optional[Path]:
        """File of one picture; None where frames are no files of their own."""
        return None

    def close(self) -> None:
        """End the running pass and release its file or camera."""
        if self._pass is not None:
            self._pass.close()
            self._pass = None

    def __iter__(self) -> Iterator[Tuple[int, np.ndarray]]:
        return self.select(None)

    def select(self, wanted: Optional[Callable[[int], bool]]
               ) -> Iterator[Tuple[int, Optional[np.ndarray]]]:
        """Iterate, with None in the place of frames that are not wanted.

        Those are not read (picture files) or not turned into pictures (videos).

        Args:
            wanted: Frame number to whether the frame is wanted; None for all.
        """
        self.close()
        self._pass = self._frames(wanted or (lambda index: True))
        return self._pass

    def readable(self, wanted: Optional[Callable[[int], bool]] = None
                 ) -> Iterator[Tuple[int, Optional[np.ndarray]]]:
        """As :meth:`select`, with None also for pictures that cannot be read, told in a warning."""
        frames = self.select(wanted)
        while True:
            try:
                index, frame = next(frames)
            except StopIteration:
                return
            except UnreadableFrameError as error:
                warnings.warn(f'{error}; it is left out')
                index, frame = error.index, None
            yield index, frame

    def __enter__(self) -> 'FrameSource':
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def _frames(self, wanted: Callable[[int], bool]):
        """An iterator with ``close()``."""
        raise NotImplementedError


def open_frames(source: Union[Picture, Sequence[Picture]], fps: Optional[float] = None,
                frames_of_a_video: bool = False) -> FrameSource:
    """Open whatever holds frames.

    Pictures in files become 8-bit BGR as OpenCV reads colour: turned as their EXIF data say, grey
    repeated, alpha dropped, of 16 bits the upper 8. Arrays are (H, W), (H, W, 1), BGR (H, W, 3) or
    BGRA (H, W, 4), and the same holds for them; floating-point ones must lie in [0, 1].

    Args:
        source: Video file, picture file, folder of pictures (numbers in names sort by value; other
            files in it are ignored), ``webcam`` or ``webcam:ID`` as in MMPose, one array, a
            (T, H, W, 1, 3 or 4) array, or a list of picture files and arrays.
        fps: Frames per second. Defaults to what a video or camera says; replaces its time stamps
            where given. Needed for pictures of a clip, wrong for stills.
        frames_of_a_video: The pictures of a folder, list or array are the frames of one clip.

    Raises:
        FileNotFoundError: No such file or folder.
        PermissionError: It may not be read.
        ValueError: No pictures, frames of one clip that differ in size, a file that is no video or
            picture, a video without frames, or a frame rate that is missing, not wanted or not
            positive.
        OSError: A camera that does not open or gives no picture.

    Errors of single pictures come up when they are read, as :class:`UnreadableFrameError`.
    """
    if fps is not None and not (isinstance(fps, Real) and 0 < fps < np.inf):
        raise ValueError(f'fps: expected a positive number, found {fps!r}')
    if isinstance(source, str) and re.match(r'webcam(:|$)', source, re.IGNORECASE):
        return _Webcam(source, fps)
    if isinstance(source, np.ndarray):
        pictures = list(source) if source.ndim == 4 else [source]
        return _Pictures(pictures, f'array {source.shape}', fps, frames_of_a_video)
    if isinstance(source, (list, tuple)):
        return _Pictures(list(source), f'{len(source)} pictures', fps, frames_of_a_video)
    if not isinstance(source, (str, Path)):
        raise ValueError('frames: expected a file, a folder, webcam:ID, an array or a list of '
                         f'pictures, found {type(source).__name__}')
    path = Path(source)
    _check_access(path)
    if path.is_dir():
        return _Pictures(_pictures_in(path), path.resolve().name, fps, frames_of_a_video)
    if path.stat().st_size == 0:
        raise ValueError(f'{path} is empty (0 bytes); was it copied or recorded to its end?')
    if cv2.haveImageReader(str(path)):  # by content, not by name
        return _Pictures([path], path.name, fps, frames_of_a_video)
    return _Video(path, fps)


def _check_access(path: Path) -> None:
    if not path.exists():
        raise FileNotFoundError(f'{path}: no such file or folder')
    if not os.access(path, os.R_OK | os.X_OK if path.is_dir() else os.R_OK):
        raise PermissionError(f'{path}: no permission to read it; change its mode or owner')


def _pictures_in(folder: Path) -> List[Path]:
    """Picture files of a folder, not of its subfolders, in natural order."""
    files = [path for path in folder.iterdir() if path.is_file()]
    # names with a leading dot are what systems leave beside pictures
    found = [path for path in files
             if path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith('.')]
    if not found:
        others = ', '.join(sorted(path.name for path in files)[:3])
        raise ValueError(f'folder {folder}: expected pictures ({" ".join(PICTURE_SUFFIXES)}), '
                         + (f'found {len(files)} other files ({others}, ...)' if files else
                            'found no files') + '; give a video by its own path')
    return sorted(found, key=lambda path: _natural(path.name))


def _natural(name: str) -> tuple:
    """Sort key by which frame2 comes before frame10."""
    parts = re.split(r'([0-9]+)', name.lower())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


def to_bgr(picture: np.ndarray, where: str = 'picture') -> np.ndarray:
    """A copy as (H, W, 3) uint8 BGR.

    Args:
        picture: (H, W), (H, W, 1), (H, W, 3) BGR or (H, W, 4) BGRA, of uint8, uint16 (the upper 8
            bits are kept) or floating-point values in [0, 1].
        where: Name for messages.

    Raises:
        ValueError: Another shape or type, no pixels, or floating-point values outside [0, 1].
    """
    shape = picture.shape
    if not (picture.ndim == 2 or picture.ndim == 3 and shape[2] in (1, 3, 4)) or not picture.size:
        raise ValueError(f'{where}: expected a picture (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), '
                         f'found shape {shape}; several frames have the shape (T, H, W, 3)')
    if picture.ndim == 3 and shape[2] == 4:
        picture = picture[..., :3]
    if picture.dtype == np.uint16:
        picture = (picture >> 8).astype(np.uint8)
    elif picture.dtype.kind == 'f':
        low, high = float(picture.min()), float(picture.max())
        if not (low >= 0 and high <= 1):  # NaN fails both
            raise ValueError(f'{where}: expected floating-point values in [0, 1], found {low:g} to '
                             f'{high:g}; divide by the largest value, or convert to uint8')
        picture = np.rint(picture * 255).astype(np.uint8)
    elif picture.dtype != np.uint8:
        raise ValueError(f'{where}: expected uint8, uint16 or floating-point values, found '
                         f'{picture.dtype}; convert to uint8')
    if picture.ndim == 2 or shape[2] == 1:
        return cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_GRAY2BGR)
    return np.array(picture, order='C')


class _Pictures(FrameSource):
    """Picture files and arrays: frames of one clip, or stills."""

    def __init__(self, items: list, name: str, fps: Optional[float], is_clip: bool):
        super().__init__(name, fps, is_clip)
        if not items:
            raise ValueError('frames: expected at least one picture, found none')
        if is_clip and fps is None:
            raise ValueError(f'fps: {name} gives the frames of one clip, which need a frame rate: '
                             'give fps= (--fps)')
        if not is_clip and fps is not None:
            raise ValueError(f'fps: {name} is stills, which have no frame rate; leave it out, or '
                             'say that they are one clip: frames_of_a_video=True')
        for number, item in enumerate(items):
            if isinstance(item, (str, Path)):
                items[number] = Path(item)
                _check_access(items[number])
            elif not isinstance(item, np.ndarray):
                raise ValueError(f'frames: expected picture files or arrays, found '
                                 f'{type(item).__name__} as number {number}')
        self._items = items
        self.kind = 'images' if all(isinstance(item, Path) for item in items) else 'arrays'
        self.num_frames = len(items)
        sizes = [_size_of(item) for item in items]
        known = [(number, size) for number, size in enumerate(sizes) if size]
        other = next(((number, size) for number, size in known if size != known[0][1]), None)
        if other and is_clip:
            raise ValueError(self._differs(known[0], other))
        if known and not other:
            self.image_size = known[0][1]
            self._first = known[0]

    def path_of(self, index: int) -> Optional[Path]:
        item = self._items[index]
        return item if isinstance(item, Path) else None

    def _title(self, index: int) -> str:
        return str(self.path_of(index) or f'{self.name}: picture {index}')

    def _differs(self, one: Tuple[int, tuple], other: Tuple[int, tuple]) -> str:
        (first, (w, h)), (second, (w2, h2)) = one, other
        return (f'{self._title(first)} is {w}x{h} pixels and {self._title(second)} {w2}x{h2}; '
                'frames of one clip have one size: resize them, or take the pictures as stills '
                '(frames_of_a_video=False)')

    def _frames(self, wanted: Callable[[int], bool]) -> '_PictureIterator':
        return _PictureIterator(self, wanted)

    def read(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8 BGR of one picture."""
        item, title = self._items[index], self._title(index)
        if isinstance(item, np.ndarray):
            try:
                frame = to_bgr(item, title)
            except ValueError as error:
                raise UnreadableFrameError(index, str(error)) from error
        else:
            try:
                content = np.fromfile(item, np.uint8)  # imread fails on some names on Windows
            except OSError as error:
                raise UnreadableFrameError(index, f'{title}: {error.strerror}') from error
            frame = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
            if frame is None:
                raise UnreadableFrameError(
                    index, f'{title}: no picture that OpenCV reads as 8-bit colour (damaged, not a '
                    'picture, or floating-point values); replace or remove it')
        size = frame.shape[1::-1]
        if self.is_clip and self.image_size is None:  # no header said it
            self.image_size, self._first = size, (index, size)
        if self.is_clip and size != self.image_size:
            raise UnreadableFrameError(index, self._differs(self._first, (index, size)))
        return frame


class _PictureIterator:
    """Unlike a generator it can go on after an error."""

    def __init__(self, source: _Pictures, wanted: Callable[[int], bool]):
        self._source, self._wanted = source, wanted
        self._next = 0

    def __iter__(self) -> '_PictureIterator':
        return self

    def __next__(self) -> Tuple[int, Optional[np.ndarray]]:
        index = self._next
        if index >= self._source.num_frames:
            raise StopIteration
        self._next += 1
        return index, self._source.read(index) if self._wanted(index) else None

    def close(self) -> None:
        self._next = self._source.num_frames


def _size_of(item: Union[Path, np.ndarray]) -> Optional[Tuple[int, int]]:
    """(width, height) without decoding; None where it cannot be told, which reading will report."""
    if isinstance(item, np.ndarray):
        return item.shape[1::-1] if item.ndim >= 2 else None
    from PIL import Image  # OpenCV does not read headers alone
    try:
        with Image.open(item) as picture:
            turned = picture.getexif().get(0x0112, 1) >= 5  # EXIF orientation: a quarter turn
            return picture.size[::-1] if turned else picture.size
    except Exception:  # whatever a damaged header leads to
        return None


class _Video(FrameSource):
    """A video file, read with OpenCV."""
    kind = 'video'

    def __init__(self, path: Path, fps: Optional[float]):
        super().__init__(path.name, fps)
        self._path = path
        self._given_fps = fps is not None
        self._seconds = array('d')
        self._ended = False
        kind = mimetypes.guess_type(path.name)[0] or ''
        if kind.startswith('text/'):  # FFmpeg would show text as a film
            raise ValueError(f'{path}: expected a video or a picture, found a text file')
        capture = self._open()
        try:
            announced, rate = (capture.get(cv2.CAP_PROP_FRAME_COUNT),
                               capture.get(cv2.CAP_PROP_FPS))
            okay, frame = capture.read()
        finally:
            capture.release()
        if not okay:
            raise ValueError(f'{path} has no frame that can be decoded; is it damaged, '
                             'or was its recording stopped at once?')
        if not 0 < rate < np.inf:  # NaN fails
            if fps is None:
                raise ValueError(f'{path} does not say its frame rate; give fps= (--fps)')
            rate = fps
        self._rate = float(rate)
        self.fps = float(fps or rate)
        self.image_size = frame.shape[1::-1]
        self.num_frames = int(announced) if announced > 0 else None  # wild values where unknown

    def _open(self) -> cv2.VideoCapture:
        with _quiet():
            capture = cv2.VideoCapture(str(self._path))
        if not capture.isOpened():
            raise ValueError(f'{self._path}: no video or picture that OpenCV can read; is it '
                             'complete and of a common format (for example H.264 in .mp4)?')
        return capture

    def _frames(self, wanted: Callable[[int], bool]):
        capture = self._open()
        index = 0
        try:
            while True:
                okay, frame = capture.read() if wanted(index) else (capture.grab(), None)
                if not okay:
                    break
                if frame is not None and frame.shape[1::-1] != self.image_size:
                    raise ValueError(f'{self._path}: frame {index} is {frame.shape[1]}x'
                                     f'{frame.shape[0]} pixels, the first one {self.image_size[0]}'
                                     f'x{self.image_size[1]}; convert the video to one size')
                if index == len(self._seconds):  # not yet read by an earlier pass
                    self._seconds.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
                yield index, frame
                index += 1
        finally:
            capture.release()
        self._end(index)

    def _end(self, read: int) -> None:
        """Tell once whether the video is shorter than announced."""
        if self._ended:
            return
        self._ended = True
        announced, self.num_frames = self.num_frames, read
        if announced is None or read >= announced:
            return
        # Frames that are missing in between leave a hole in the times, not at the end.
        times = _increasing(self._seconds)
        played = read / self._rate if times is None else times[-1] + 1 / self._rate
        if announced / self._rate - played > (MISSING_FRAMES + 0.5) / self._rate:
            self.truncated = (read, announced)
            warnings.warn(f'{self._path}: the video ends after frame {read - 1}, but announces '
                          f'{announced} frames: its end is damaged or missing (or its sound is '
                          'longer than its pictures); the frames before are used')

    @property
    def times(self) -> Optional[np.ndarray]:
        times = None if self._given_fps else _increasing(self._seconds)
        if times is None:
            return None
        even = np.linspace(0, times[-1], len(times))
        return times if np.abs(times - even).max() > EVEN_WITHIN * even[1] else None


def _increasing(seconds: array) -> Optional[np.ndarray]:
    """Seconds since the first frame, None with fewer than 2 frames or where they do not increase.

    OpenCV reports 0 for all frames of raw streams, which have no time stamps.
    """
    times = np.array(seconds)  # a copy: a view would keep the array from growing
    if len(times) < 2 or not (np.diff(times) > 0).all():
        return None
    return times - times[0]


class _Webcam(FrameSource):
    """A camera; its frames can be read once."""
    kind = 'webcam'

    def __init__(self, source: str, fps: Optional[float]):
        camera = source.partition(':')[2] if ':' in source else '0'
        if not re.fullmatch('[0-9]+', camera):
            raise ValueError(f'camera {source!r}: expected webcam or webcam:ID with a number, for '
                             'example webcam:0')
        super().__init__(f'webcam:{int(camera)}', fps)
        with _quiet():
            self._capture = cv2.VideoCapture(int(camera))
        if not self._capture.isOpened():
            raise OSError(f'{self.name} does not open: is the camera connected, not in use by '
                          'another program, and may this user read it? Other cameras have other '
                          'numbers: webcam:1')
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        okay, frame = self._capture.read()
        if not okay:
            self.close()
            raise OSError(f'{self.name} opens but gives no picture; is it in use by another '
                          'program?')
        if fps is None and not 0 < rate < np.inf:
            self.close()
            raise ValueError(f'{self.name} does not say its frame rate; give fps= (--fps)')
        self.fps = float(fps or rate)
        self.image_size = frame.shape[1::-1]

    def select(self, wanted: Optional[Callable[[int], bool]]
               ) -> Iterator[Tuple[int, Optional[np.ndarray]]]:
        if self._pass is not None or not self._capture.isOpened():
            raise RuntimeError(f'{self.name}: the frames of a camera can be read once; open it '
                               'again')
        self._pass = self._frames(wanted or (lambda index: True))
        return self._pass

    def _frames(self, wanted: Callable[[int], bool]):
        index = 0
        while True:
            okay, frame = self._capture.read()
            if not okay:
                break
            yield index, to_bgr(frame, self.name) if wanted(index) else None  # infrared is grey
            index += 1
        warnings.warn(f'{self.name} gives no more pictures after frame {index - 1}; was it '
                      'disconnected?')
        self._capture.release()

    def close(self) -> None:
        super().close()
        self._capture.release()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep OpenCV's and FFmpeg's own messages off the terminal; errors here say what is wrong."""
    # FFmpeg's level is read when the process opens its first video; a user's own setting stays
    os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')
    level = cv2.getLogLevel()
    cv2.setLogLevel(0)
    try:
        yield
    finally:
        cv2.setLogLevel(level)
