"""Write videos and pictures so that a file under its name is always a whole one."""

import shutil
import subprocess
import warnings
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import Iterable, Optional, Tuple, Union

import cv2
import numpy as np

from ..io.atomic import atomic_write

VIDEO_SUFFIXES = ('.mp4', '.avi')
PICTURE_SUFFIXES = ('.png', '.jpg', '.jpeg')
# x264: 18 to 23 are usual; lines and text stay sharp at 20, and veryfast keeps up with drawing [np]
H264 = ('-c:v', 'libx264', '-preset', 'veryfast', '-crf', '20', '-pix_fmt', 'yuv420p',
        '-movflags', '+faststart', '-f', 'mp4')


def check_target(path: Union[str, Path], suffixes: Iterable[str]) -> Path:
    """The path of a file to write; its folder is created.

    Raises:
        ValueError: Another suffix.
        OSError: The path is a folder, or its folder cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in suffixes:
        raise ValueError(f'{path}: unsupported suffix {path.suffix!r}; use one of '
                         f'{", ".join(suffixes)}')
    if path.is_dir():
        raise IsADirectoryError(f'{path} is a folder; choose a file name')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise OSError(f'{path}: cannot write into the folder {path.parent} ({error}); choose '
                      'another folder') from error
    return path


def write_picture(image: np.ndarray, path: Union[str, Path]) -> Path:
    """Write (H, W, 3) uint8 BGR as ``.png`` or ``.jpg``, under a temporary name first.

    Raises:
        ValueError: Another suffix.
        OSError: It cannot be written.
    """
    path = check_target(path, PICTURE_SUFFIXES)
    with atomic_write(path) as temporary:
        if not cv2.imwrite(str(temporary), image):
            raise OSError(f'{path}: OpenCV could not encode the picture')
    return path


class VideoWriter:
    """Write frames to a video that appears under its name only when all of them are written.

    ``.mp4`` is H.264 (yuv420p, index at the start: plays in browsers) by the program ``ffmpeg``
    where it is on PATH with libx264, otherwise MPEG-4 part 2 by OpenCV, which a warning says once;
    ``.avi`` is motion JPEG. Use it as a context manager::

        with VideoWriter('out.mp4', 25, (960, 540)) as writer:
            for image in images:
                writer.write(image)

    When the block raises, also by Ctrl-C, nothing is left behind and an older file stays. To keep
    what was written so far leave the loop in order, or catch the exception and call
    :meth:`finish_early`. Ctrl-C in a terminal does not reach ``ffmpeg``.

    Args:
        path: ``.mp4`` or ``.avi``.
        fps: Frames per second.
        size: Width and height in pixels, even numbers.

    Attributes:
        num_frames: Frames written so far.

    Raises:
        ValueError: Unsupported suffix, odd or small size, ``fps`` not positive, no frame written.
        OSError: The folder cannot be written, or the encoder fails.
    """

    def __init__(self, path: Union[str, Path], fps: float, size: Tuple[int, int]):
        width, height = int(size[0]), int(size[1])
        if width < 64 or height < 64 or width % 2 or height % 2:
            raise ValueError(f'size: expected an even width and height of at least 64, found '
                             f'{tuple(size)}')
        if not 0 < fps < np.inf:
            raise ValueError(f'fps: expected more than 0, found {fps}')
        self.path = check_target(path, VIDEO_SUFFIXES)
        self.size = (width, height)
        self.num_frames = 0
        self._fps = float(fps)
        self._target = atomic_write(self.path)
        self._encoder: Union[_Ffmpeg, _OpenCV, None] = None

    def __enter__(self) -> 'VideoWriter':
        temporary = self._target.__enter__()
        try:
            self._encoder = self._open(temporary)
        except BaseException as error:
            self._target.__exit__(type(error), error, None)
            raise
        return self

    def _open(self, temporary: Path) -> Union['_Ffmpeg', '_OpenCV']:
        if self.path.suffix.lower() == '.avi':
            return _OpenCV(temporary, self.path, self._fps, self.size, 'MJPG')
        ffmpeg = shutil.which('ffmpeg')
        if ffmpeg is not None and _has_x264(ffmpeg):
            return _Ffmpeg(ffmpeg, temporary, self.path, self._fps, self.size)
        _warn_without_ffmpeg()
        return _OpenCV(temporary, self.path, self._fps, self.size, 'mp4v')

    def write(self, image: np.ndarray) -> None:
        """Append one (H, W, 3) uint8 BGR frame; it may be changed afterwards.

        Raises:
            ValueError: Other size or type than the video.
            OSError: The encoder has stopped.
            RuntimeError: Outside the with block, or after ``finish_early``.
        """
        if image.shape != (self.size[1], self.size[0], 3) or image.dtype != np.uint8:
            raise ValueError(
                f'{self.path}: expected uint8 frames of shape {(self.size[1], self.size[0], 3)}, '
                f'found {image.dtype} {image.shape}')
        if self._encoder is None:
            raise RuntimeError(f'{self.path}: the video is not open; use the writer in a with '
                               'block')
        self._encoder.write(image)
        self.num_frames += 1

    def finish_early(self) -> None:
        """Complete the video now with the frames written so far; the block may raise afterwards.

        Raises:
            ValueError: No frame was written.
            OSError: The encoder failed.
        """
        self.__exit__(None, None, None)

    def __exit__(self, kind, error, traceback) -> None:
        encoder, self._encoder = self._encoder, None
        if encoder is None:  # finished early
            return
        try:
            if kind is not None:
                encoder.abandon()
            elif self.num_frames == 0:
                raise ValueError(f'{self.path}: no frame was written; the video would be empty')
            else:
                encoder.finish()
        except BaseException as failure:
            encoder.abandon()
            self._target.__exit__(type(failure), failure, None)
            raise
        self._target.__exit__(kind, error, traceback)


@cache
def _has_x264(ffmpeg: str) -> bool:
    """Whether this ffmpeg was built with libx264; some are not, for its licence."""
    listed = subprocess.run([ffmpeg, '-hide_banner', '-encoders'], capture_output=True, text=True,
                            stdin=subprocess.DEVNULL)
    return 'libx264' in listed.stdout.split()


@cache
def _warn_without_ffmpeg() -> None:
    warnings.warn('videos are written as MPEG-4 part 2, which browsers do not play: H.264 needs '
                  'the program ffmpeg (with libx264) on PATH', stacklevel=4)


class _Ffmpeg:
    """An ffmpeg process that takes raw frames."""

    def __init__(self, ffmpeg: str, temporary: Path, path: Path, fps: float,
                 size: Tuple[int, int]):
        self._path = path
        self._messages = TemporaryFile()  # a pipe that nobody reads could fill up
        command = [ffmpeg, '-hide_banner', '-loglevel', 'error', '-y', '-f', 'rawvideo',
                   '-pix_fmt', 'bgr24', '-s', f'{size[0]}x{size[1]}', '-r', repr(fps), '-i', '-',
                   *H264, str(temporary.resolve())]
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._messages,
                start_new_session=True)  # Ctrl-C in the terminal is ours to handle
        except OSError as error:
            self._messages.close()
            raise OSError(f'{path}: {ffmpeg} does not run ({error}); repair it or take it off '
                          'PATH') from error

    def write(self, image: np.ndarray) -> None:
        try:
            self._process.stdin.write(np.ascontiguousarray(image))
        except OSError as error:  # a broken pipe
            raise self._failure() from error

    def finish(self) -> None:
        try:
            self._process.stdin.close()
        except OSError as error:
            raise self._failure() from error
        if self._process.wait():
            raise self._failure()
        self._messages.close()

    def abandon(self) -> None:
        self._process.kill()
        self._close()

    def _failure(self) -> OSError:
        code = self._process.wait()
        self._messages.seek(0)
        said = self._messages.read().decode(errors='replace').strip().splitlines()
        self._close()
        return OSError(f'{self._path}: ffmpeg stopped with code {code}: '
                       f'{" / ".join(said[-3:]) or "it said nothing"}; repair it, or write .avi')

    def _close(self) -> None:
        try:
            self._process.stdin.close()
        except OSError:
            pass  # what was buffered for a process that is gone
        self._process.wait()
        self._messages.close()


class _OpenCV:
    """OpenCV's own encoders."""

    def __init__(self, temporary: Path, path: Path, fps: float, size: Tuple[int, int],
                 codec: str):
        self._writer: Optional[cv2.VideoWriter] = cv2.VideoWriter(
            str(temporary), cv2.VideoWriter_fourcc(*codec), fps, size)
        if not self._writer.isOpened():
            other = next(suffix for suffix in VIDEO_SUFFIXES if suffix != path.suffix.lower())
            raise OSError(f'{path}: OpenCV {cv2.__version__} cannot encode {path.suffix} at '
                          f'{size[0]}x{size[1]}; try {other}')

    def write(self, image: np.ndarray) -> None:
        self._writer.write(image)

    def finish(self) -> None:
        self._writer.release()

    abandon = finish
