"""Refinement of a lifted pose by its 2D keypoints (Cai et al., ICCV 2019, "pose refinement")."""

import torch
from torch import Tensor, nn

from ...geometry import back_project


class PoseRefiner(nn.Module):
    """Choose, for every joint, between the predicted x, y and those on the ray of the 2D keypoint.

    With p the predicted pose and q the 2D keypoints moved back to the predicted depths (relative to
    q's root), a small network on both gives scores s in (0, 1) for x and y of every joint; the
    refined pose has x, y = s * p + (1 - s) * q and p's z. Per joint the network reads p's x, y, z,
    then q's; the order of these 6 K numbers is [np].

    Nothing is divided by a depth: joints at or behind the camera (a wrong root depth) give a finite
    q, which the scores may leave out.

    Args:
        num_keypoints: Joints K.
        hidden_dims: Width of the hidden layer.
        drop_rate: Dropout behind it.
        root_index: Joint that is the origin of the poses.
    """

    def __init__(self, num_keypoints: int = 17, hidden_dims: int = 1024, drop_rate: float = 0.5,
                 root_index: int = 0) -> None:
        super().__init__()
        if not 0 <= root_index < num_keypoints:
            raise ValueError(f'PoseRefiner: expected a root_index of 0 to {num_keypoints - 1}, '
                             f'found {root_index}')
        self.num_keypoints = num_keypoints
        self.root_index = root_index
        self.fc1 = nn.Linear(num_keypoints * 6, hidden_dims)
        self.drop = nn.Dropout(drop_rate)
        self.fc2 = nn.Linear(hidden_dims, num_keypoints * 2)

    def back_projected(self, pred: Tensor, uv: Tensor, root_depth: Tensor, focal: Tensor,
                       center: Tensor) -> Tensor:
        """The pose q (N, K, 3); arguments as for :meth:`forward`."""
        points = back_project(uv, pred[..., 2] + root_depth[:, None], focal, center)
        return points - points[:, self.root_index:self.root_index + 1]

    def scores(self, pred: Tensor, projected: Tensor) -> Tensor:
        """Scores (N, K, 2) of the predicted x, y, from p and q (N, K, 3)."""
        x = torch.cat([pred, projected], -1).flatten(1)  # [N, K, 6] -> [N, 6 K]
        x = self.fc1(x.to(self.fc1.weight.dtype)).relu()
        score = self.fc2(self.drop(x)).sigmoid()
        return score.to(pred.dtype).unflatten(1, (self.num_keypoints, 2))

    def forward(self, pred: Tensor, uv: Tensor, root_depth: Tensor, focal: Tensor,
                center: Tensor) -> Tensor:
        """Refine poses.

        Args:
            pred: (N, K, 3) root-relative camera-frame metres, root at 0.
            uv: (N, K, 2) screen-normalised keypoints.
            root_depth: (N,) distance of the root along the camera axis, metres.
            focal: (N, 2) normalised like the keypoints, see ``normalize_intrinsics``.
            center: (N, 2) likewise.

        Returns:
            (N, K, 3) refined poses, root at 0.

        Raises:
            ValueError: a shape is another one.
        """
        count = len(pred)
        for name, value, shape in (
                ('pred', pred, (count, self.num_keypoints, 3)),
                ('uv', uv, (count, self.num_keypoints, 2)), ('root_depth', root_depth, (count, )),
                ('focal', focal, (count, 2)), ('center', center, (count, 2))):
            if tuple(value.shape) != shape:
                raise ValueError(f'PoseRefiner: expected {name} {shape}, found '
                                 f'{tuple(value.shape)}')
        projected = self.back_projected(pred, uv, root_depth, focal, center)
        score = self.scores(pred, projected)
        xy = score * pred[..., :2] + (1 - score) * projected[..., :2]
        return torch.cat([xy, pred[..., 2:]], -1)
