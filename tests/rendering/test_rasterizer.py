import numpy as np
import pytest

from mmpose_lift.rendering.rasterizer import rasterize


def make_sphere(rings=40, sectors=60):
    """Closed unit sphere with outward faces: vertices (V, 3), faces (F, 3)."""
    polar = np.linspace(0, np.pi, rings + 1)[1:-1, None]
    around = np.arange(sectors) * 2 * np.pi / sectors
    middle = np.stack([np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around),
                       np.cos(polar) + 0 * around], -1).reshape(-1, 3)
    vertices = np.concatenate([[[0, 0, 1.]], middle, [[0, 0, -1.]]])
    number = 1 + np.arange(len(middle)).reshape(rings - 1, sectors)
    a, b = number, np.roll(number, -1, axis=1)
    top = np.stack([np.zeros(sectors, int), a[0], b[0]], -1)
    bottom = np.stack([a[-1], np.full(sectors, len(vertices) - 1), b[-1]], -1)
    sides = [np.stack([a[:-1], a[1:], b[:-1]], -1), np.stack([b[:-1], a[1:], b[1:]], -1)]
    return vertices, np.concatenate([top, bottom, *(s.reshape(-1, 3) for s in sides)])


def look_at_sphere(size=(160, 120), focal=200., distance=4.):
    vertices, faces = make_sphere()
    vertices = vertices @ np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    if np.dot(np.cross(*(vertices[faces[200]][1:] - vertices[faces[200]][0])),
              vertices[faces[200]].mean(axis=0)) < 0:
        faces = faces[:, ::-1]  # the random rotation was a reflection
    vertices = vertices + [0, 0, distance]
    xy = vertices[:, :2] / vertices[:, 2:] * focal + np.array(size) / 2
    return xy, vertices[:, 2], faces


def test_a_triangle_covers_the_pixels_whose_centres_it_holds():
    # the right angle at (0, 0) and the legs of 4 pixels: 4 + 3 + 2 + 1 centres, those on the
    # diagonal (x + y = 4, an edge on the right) left out
    raster = rasterize([[0, 0], [4, 0], [0, 4]], [1, 1, 1], np.array([[0, 1, 2]]), (5, 5))
    rows, columns = np.indices((5, 5))
    np.testing.assert_array_equal(raster.face >= 0, rows + columns + 1 < 4)


def test_the_nearer_of_two_triangles_wins_and_they_cut_each_other():
    xy = np.array([[0, 0], [40, 0], [0, 20], [40, 20]] * 2, float)
    depth = np.array([1, 3, 1, 3, 2, 2, 2, 2.])
    faces = np.array([[0, 1, 2], [1, 3, 2], [4, 5, 6], [5, 7, 6]])
    raster = rasterize(xy, depth, faces, (40, 20))
    tilted = 1 / (1 + (np.arange(40) + 0.5) / 40 * (1 / 3 - 1))  # 1 / depth is linear
    np.testing.assert_array_equal(raster.face < 2, np.tile(tilted < 2, (20, 1)))
    np.testing.assert_allclose(raster.depth, np.tile(np.minimum(tilted, 2), (20, 1)), rtol=1e-6)


def test_depth_of_a_sphere():
    size, focal, distance = (160, 120), 200., 4.
    raster = rasterize(*look_at_sphere(size, focal, distance), size)
    columns, rows = np.meshgrid(np.arange(160) + 0.5 - 80, np.arange(120) + 0.5 - 60)
    ray = np.stack([columns, rows, np.full_like(rows, focal)], -1) / focal
    # |t ray - (0, 0, distance)| = 1, with ray_z = 1 so that t is the depth
    a, b, c = (ray**2).sum(-1), -2 * distance, distance**2 - 1
    root = b * b - 4 * a * c
    expected = np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / (2 * a), np.inf)
    inner = root > 2  # at the rim the facets differ from the sphere
    np.testing.assert_allclose(raster.depth[inner], expected[inner], atol=0.01)
    assert np.isinf(raster.depth[root < 0]).all()


def test_closed_surface_has_no_hole_and_covers_each_pixel_twice():
    size = (160, 120)
    xy, depth, faces = look_at_sphere(size)
    front, back = (rasterize(xy, depth, f, size, cull_back=True).face >= 0
                   for f in (faces, faces[:, ::-1]))
    np.testing.assert_array_equal(front, back)
    for line in (*front, *front.T):  # a convex silhouette: every row and column is one run
        assert np.abs(np.diff(line.astype(int))).sum() in (0, 2)
    # every pixel belongs to exactly one face of the front: no seam is drawn twice
    parts = sum((rasterize(xy, depth, part, size, cull_back=True).face >= 0).astype(int)
                for part in np.array_split(faces, 7))
    np.testing.assert_array_equal(parts, front)


def test_barycentric_weights_are_perspective_correct():
    focal, size = 100., (64, 48)
    corners = np.array([[-1, -0.5, 2], [2.5, -1, 6], [0, 1, 3.]])
    xy = corners[:, :2] / corners[:, 2:] * focal + np.array(size) / 2
    raster = rasterize(xy, corners[:, 2], np.array([[0, 1, 2]]), size)
    rows, columns = np.nonzero(raster.face >= 0)
    points = raster.interpolate(corners, np.array([[0, 1, 2]]))
    assert len(points) > 300
    np.testing.assert_allclose(raster.barycentric[rows, columns].sum(-1), 1, atol=1e-6)
    # the point of space with these weights projects onto the pixel's centre, at its depth
    np.testing.assert_allclose(points[:, :2] / points[:, 2:] * focal + np.array(size) / 2,
                               np.stack([columns, rows], -1) + 0.5, atol=1e-3)
    np.testing.assert_allclose(points[:, 2], raster.depth[rows, columns], rtol=1e-5)


def test_faces_behind_the_camera_or_outside_are_left_out_and_the_rest_is_cut():
    xy = np.array([[-1e5, -1e5], [1e5, -1e5], [0, 1e5], [5, 5], [6, 5], [5, 6.]])
    faces = np.array([[0, 1, 2], [3, 4, 5]])
    assert (rasterize(xy, [1, 1, 1, 1, 1, -1], faces, (9, 7)).face == 0).all()
    assert (rasterize(xy, [1, 1, 0, 1, 1, 1], faces, (9, 7)).face == 1).sum() == 0
    assert (rasterize(xy + [20, 0], np.ones(6), faces[1:], (9, 7)).face == -1).all()
    assert np.isinf(rasterize(np.zeros((0, 2)), [], np.zeros((0, 3), int), (4, 4)).depth).all()


def test_order_of_the_faces_does_not_matter(rng):
    xy, depth, faces = rng.uniform(0, 50, (60, 2)), rng.uniform(1, 5, 60), rng.integers(60,
                                                                                     size=(90, 3))
    order = rng.permutation(90)
    one, two = rasterize(xy, depth, faces, (50, 50)), rasterize(xy, depth, faces[order], (50, 50))
    np.testing.assert_array_equal(one.depth, two.depth)
    np.testing.assert_array_equal(one.face[one.face >= 0], order[two.face[two.face >= 0]])


@pytest.mark.parametrize('change, message', [
    (dict(xy=np.zeros((3, 3))), r'\(V, 2\)'),
    (dict(depth=np.ones(2)), r'\(V,\)'),
    (dict(faces=np.array([[0, 1, 3]])), '0 to 2'),
    (dict(faces=np.array([[0., 1, 2]])), 'float64'),
    (dict(size=(0, 4)), 'at least one pixel'),
    (dict(xy=np.array([[0, 0], [np.nan, 1], [1, 1]])), 'NaN'),
])
def test_wrong_input_is_named(change, message):
    arguments = dict(xy=np.eye(3)[:, :2], depth=np.ones(3), faces=np.array([[0, 1, 2]]),
                     size=(4, 4))
    with pytest.raises(ValueError, match=message):
        rasterize(**{**arguments, **change})
