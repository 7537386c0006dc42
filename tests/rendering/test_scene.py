import numpy as np
import pytest
from test_rasterizer import make_sphere

from mmpose_lift.rendering.scene import Light, Mesh, cast_shadow, render, vertex_normals

SIZE, FOCAL, CENTER = (80, 60), 90., (40, 30)


def ball(x=0., z=4., radius=1., colour=(0.8, 0.4, 0.2)):
    vertices, faces = make_sphere(24, 36)
    return Mesh(radius * vertices + [x, 0, z], faces, np.tile(colour, (len(vertices), 1)))


def test_vertex_normals_of_a_sphere_point_outwards():
    vertices, faces = make_sphere()
    np.testing.assert_allclose(vertex_normals(vertices, faces), vertices, atol=0.02)


def test_light_falls_on_the_side_of_the_lamp():
    light = Light(direction=(-1, 0, -0.2), strength=0.8, ambient=0.1, shadows=False)
    picture = render([ball()], FOCAL, CENTER, SIZE, light)
    left, right = picture.image[30, 22], picture.image[30, 57]
    assert (left > 2 * right.astype(int)).all() and (right > 0).all()
    # a surface that faces the lamp shows light times colour
    lit = render([ball()], FOCAL, CENTER, SIZE, Light((0, 0, -1), 0.9, 0.1, shadows=False))
    expected = 255 * np.array([0.8, 0.4, 0.2])
    np.testing.assert_allclose(lit.image[30, 40], expected, atol=2)


def test_colours_of_faces():
    mesh = ball()
    colours = np.zeros((len(mesh.faces), 3))
    colours[:, 2] = 1
    by_face = render([ball(x=-1.5), Mesh(mesh.vertices, mesh.faces, colours)], FOCAL, CENTER, SIZE)
    by_vertex = render([ball(x=-1.5), ball(colour=(0, 0, 1))], FOCAL, CENTER, SIZE)
    assert np.abs(by_face.image.astype(int) - by_vertex.image).max() <= 1


def test_segmentation_depth_and_order_of_the_meshes():
    near, far = ball(x=0.5, z=4), ball(x=-0.5, z=5, colour=(0.1, 0.9, 0.3))
    one, two = (render(meshes, FOCAL, CENTER, SIZE, background=(9, 8, 7))
                for meshes in ([near, far], [far, near]))
    np.testing.assert_array_equal(one.image, two.image)
    np.testing.assert_array_equal(one.segmentation, np.choose(two.segmentation + 1, [-1, 1, 0]))
    assert set(np.unique(one.segmentation)) == {-1, 0, 1}
    assert one.segmentation[30, 46] == 0 and one.depth[30, 50] == pytest.approx(3, abs=0.05)
    outside = one.segmentation == -1
    assert (one.image[outside] == (9, 8, 7)).all() and np.isinf(one.depth[outside]).all()


def test_a_ball_before_the_lamp_throws_a_shadow_on_the_one_behind():
    light = Light(direction=(-0.82, 0, -0.57), strength=0.9, ambient=0.1)
    alone = render([ball(x=1)], FOCAL, CENTER, SIZE, light)
    both = render([ball(x=1), ball(x=-0.56, z=2.92, radius=0.4)], FOCAL, CENTER, SIZE, light)
    of_ball = (alone.segmentation == 0) & (both.segmentation == 0)
    darker = both.image.astype(int).sum(-1) < 0.7 * alone.image.sum(-1)
    share = (darker & of_ball).sum() / of_ball.sum()
    assert 0.07 < share < 0.25  # a disc of radius 0.4 on one of radius 1, seen at an angle
    # and no ball shades its own lit side
    without = render([ball(x=1)], FOCAL, CENTER, SIZE,
                     Light((-0.82, 0, -0.57), 0.9, 0.1, shadows=False))
    assert np.abs(alone.image.astype(int) - without.image).max() <= 12


def test_cast_shadow_lies_on_the_ground_away_from_the_lamp():
    background = np.full((60, 80, 3), 200, np.uint8)
    light = Light(direction=(-1, -1, 0), up=(0, -1, 0))
    shaded = cast_shadow(background, [ball(z=6, radius=0.4)], FOCAL, CENTER, light,
                         ground=np.array([0, 1., 0]), darkness=0.5, softness=1)
    rows, columns = np.nonzero(shaded[..., 0] < 150)
    # the ball's centre is 1 m above the ground, so is its shadow's to the right
    assert columns.mean() == pytest.approx(40 + FOCAL / 6, abs=1.5)
    assert rows.mean() == pytest.approx(30 + FOCAL / 6, abs=1.5)
    with pytest.raises(ValueError, match='above the ground'):
        cast_shadow(background, [], FOCAL, CENTER, Light((0, 1, 0)), np.array([0, 1., 0]))


def test_wrong_input_is_named():
    vertices, faces = make_sphere(6, 8)
    with pytest.raises(ValueError, match='colours of vertices'):
        Mesh(vertices, faces, np.zeros((5, 3)))
    with pytest.raises(ValueError, match=r'\(60, 80, 3\)'):
        render([ball()], FOCAL, CENTER, SIZE, background=np.zeros((80, 60, 3), np.uint8))
    assert render([], FOCAL, CENTER, SIZE).image.shape == (60, 80, 3)
