"""tools/convert_body_model.py: official files to one clean .npz."""

import runpy

import numpy as np
import pytest

from mmpose_lift.models.body import BodyModel
from tests.smpl_files import make_regressor, make_smpl, save_official


@pytest.fixture
def run(root_dir, tmp_path):
    """Run the tool; {0} is the folder of the test."""
    main = runpy.run_path(str(root_dir / 'tools/convert_body_model.py'))['main']
    return lambda *words: main([str(word).format(tmp_path) for word in words])


def test_from_the_official_pickle(run, tmp_path, monkeypatch, capsys):
    save_official(tmp_path / 'basicModel_f_lbs_10_207_0_v1.0.0.pkl', make_smpl(), monkeypatch)
    np.save(tmp_path / 'r.npy', make_regressor('h36m'))
    words = ('{0}/basicModel_f_lbs_10_207_0_v1.0.0.pkl', '{0}/new.npz', '--h36m-regressor',
             '{0}/r.npy')
    assert run(*words, '--regressor-skeleton', 'h36m') == 0
    printed = capsys.readouterr().out
    assert 'new.npz: female, 60 vertices, 12 shape directions, with a regressor' in printed
    body = BodyModel.from_file(tmp_path / 'new.npz', 'female', num_betas=12)
    expected = make_regressor('h36m') @ make_smpl()['v_template']
    np.testing.assert_allclose(body.h36m_joints(body.template.T), expected, atol=1e-6)
    for more, message in ((('--gender', 'neutral'), 'a female body, expected a neutral one'),
                          ((), 'r.npy: .*left_hip.* on the right of the body')):
        with pytest.raises(SystemExit, match='error: .*' + message):
            run(*words, *more)


def test_a_folder_that_cannot_be_made(run, tmp_path):
    np.savez(tmp_path / 'body.npz', **make_smpl())
    for dst in ('body.npz/new.npz', 'body.npz/deeper/new.npz'):
        with pytest.raises(SystemExit, match=f'error: output .*{dst}: its folder cannot be made'):
            run('{0}/body.npz', '{0}/' + dst)


def test_a_regressor_inside_the_file_is_checked_too(run, tmp_path):
    swapped = make_regressor('h36m')
    np.savez(tmp_path / 'body.npz', **make_smpl(), J_regressor_h36m=swapped)
    with pytest.raises(SystemExit, match='body.npz: .*left_hip.* on the right of the body'):
        run('{0}/body.npz', '{0}/new.npz')
    assert not (tmp_path / 'new.npz').exists()
    assert run('{0}/body.npz', '{0}/new.npz', '--regressor-skeleton', 'h36m',
               '--gender', 'male') == 0
    assert np.load(tmp_path / 'new.npz')['gender'] == 'male'
