"""Joint trees driven by rotations: what BVH and ASF/AMC files hold once they are parsed.

Both formats become the same thing, a tree of points: a node stands at its parent plus the parent's
rotation times its offset, and has a rotation of its own.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...geometry.rotations import matrix_to_quaternion, quaternion_to_matrix, slerp
from ...geometry.skeletons import get_skeleton

CMU_UNIT = 0.0254 / 0.45  # metres; CMU's skeletons are in inches divided by 0.45


class MotionFileError(ValueError):
    """A motion file is malformed: names file, line and what was expected."""

    def __init__(self, path: str | Path, line: int, message: str):
        super().__init__(f'{path}, line {line}: {message}')


@dataclass
class JointMotion:
    """Rotations of a joint tree over time; y up, in the length unit of the file.

    Attributes:
        names: J node names; parents come before children.
        parents: J indices, -1 for the root.
        offsets: (J, 3) from the parent, in the parent's axes.
        rotations: (F, J, 3, 3) local rotations; those of the root are global.
        positions: (F, 3) of the root node.
        fps: Frames per second.
    """

    names: list[str]
    parents: list[int]
    offsets: np.ndarray
    rotations: np.ndarray
    positions: np.ndarray
    fps: float

    def resample(self, fps: float) -> 'JointMotion':
        """Change the frame rate: spherical interpolation of rotations, linear of the root.

        The first frame is kept, and no frame lies after the last one. Bones keep their length,
        which interpolated positions would not.
        """
        if not fps > 0:
            raise ValueError(f'fps: expected more than 0, found {fps}')
        frames = len(self.positions)
        # The margin keeps a last frame that rounding would push out.
        count = int(np.floor((frames - 1) * fps / self.fps + 1e-6)) + 1
        times = np.minimum(np.arange(count) * (self.fps / fps), frames - 1)
        before = np.minimum(np.floor(times).astype(int), max(frames - 2, 0))
        after = np.minimum(before + 1, frames - 1)
        part = times - before
        quaternions = matrix_to_quaternion(self.rotations)
        mixed = slerp(quaternions[before], quaternions[after], part[:, None])
        positions = self.positions[before] * (1 - part[:, None])
        positions += self.positions[after] * part[:, None]
        rotations = quaternion_to_matrix(mixed)
        return JointMotion(self.names, self.parents, self.offsets, rotations, positions, fps)

    def points(self) -> np.ndarray:
        """(F, J, 3) node positions by forward kinematics, y up, in the unit of the file."""
        points = np.empty((len(self.positions), len(self.names), 3))
        rotations = np.empty_like(self.rotations)
        for node, parent in enumerate(self.parents):
            if parent < 0:
                points[:, node] = self.positions
                rotations[:, node] = self.rotations[:, node]
            else:
                step = rotations[:, parent] @ self.offsets[node]
                points[:, node] = points[:, parent] + step
                rotations[:, node] = rotations[:, parent] @ self.rotations[:, node]
        return points


def h36m_joints(motion: JointMotion, nodes: dict[str, tuple[str, ...]], unit: float) -> np.ndarray:
    """Pick the 17 Human3.6M joints: each the mean of the nodes listed for it.

    Args:
        motion: y up.
        nodes: Node names by H36M joint name.
        unit: Metres per length unit of the file.

    Returns:
        (F, 17, 3) float32 world metres, z up: x and z of y-up data become x and -y.
    """
    points = motion.points()
    index = {name: i for i, name in enumerate(motion.names)}
    joints = [
        points[:, [index[node] for node in nodes[joint]]].mean(axis=1)
        for joint in get_skeleton('h36m').joint_names
    ]
    x, y, z = np.moveaxis(np.stack(joints, axis=1) * unit, -1, 0)
    return np.stack([x, -z, y], axis=-1).astype(np.float32)


def read_numbers(path: Path, line: int, words: list[str]) -> list[float]:
    """Words as finite numbers.

    Raises:
        MotionFileError: a word is not a finite number.
    """
    try:
        values = [float(word) for word in words]
    except ValueError:
        raise MotionFileError(path, line, f'expected numbers, found {" ".join(words)!r}') from None
    if not np.isfinite(values).all():
        raise MotionFileError(path, line, 'a value is not finite (NaN or infinite)')
    return values


def read_lines(path: Path) -> list[str]:
    """Lines of a text file.

    Raises:
        MotionFileError: not a text file.
    """
    try:
        return path.read_text(encoding='ascii').splitlines()
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b'\n') + 1
        raise MotionFileError(path, line, 'not a text file; is it the right file?') from None
