"""Names and aliases of the plugin's models in MMPose's inferencers."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import mmpose_lift  # noqa: F401  (installs the compat items)
from mmpose_lift.compat import model_index

MODEL = 'video-pose-lift_mixste-243frm-cpn_1xb4-160e_h36m'


@pytest.fixture(scope='module')
def inferencer():
    """MMPose's 3D inferencer, not initialised: enough to resolve names."""
    from mmpose.apis.inferencers import Pose3DInferencer
    inferencer = object.__new__(Pose3DInferencer)
    inferencer.scope = 'mmpose'
    return inferencer


@pytest.fixture(scope='module')
def stock_models():
    """Names and aliases of MMPose itself, in lower case."""
    from mmengine.infer import BaseInferencer
    folder = BaseInferencer._get_repo_or_mim_dir('mmpose')
    own = model_index.list_models()
    names = set()
    for model in BaseInferencer._get_models_from_metafile(folder):
        if model['Name'] not in own:
            names |= {n.lower() for n in (model['Name'], *model_index._aliases(model))}
    return names


def test_every_model_has_a_config_of_its_name():
    assert MODEL in model_index.list_models()
    for name in model_index.list_models():
        config = Path(model_index.find_model(name)['Config'])
        assert config.is_absolute() and config.is_file()
        assert config.stem == name


def test_names_are_unique_and_none_hides_one_of_mmpose(stock_models):
    assert 'human3d' in stock_models
    names = [n.lower() for name, aliases in model_index.list_models().items()
             for n in (name, *aliases)]
    assert len(names) == len(set(names))
    assert not stock_models & set(names)


@pytest.mark.parametrize('name', ['mixste_h36m', 'mixste', 'MixSTE_H36M', MODEL])
def test_find_model(name):
    assert model_index.find_model(name)['Name'] == MODEL


def test_find_model_of_another_name():
    assert model_index.find_model('no such model') is None


def test_mmpose_resolves_the_alias(inferencer):
    cfg, weights = inferencer._load_model_from_metafile('mixste_h36m')
    assert weights is None
    assert Path(cfg.filename).stem == MODEL


def test_listings_of_mmpose_contain_it():
    from mmpose.apis.inferencers import get_model_aliases
    assert get_model_aliases('mmpose')['mixste_h36m'] == MODEL


def test_other_packages_do_not_get_our_models():
    from mmengine.infer import BaseInferencer
    folder = BaseInferencer._get_repo_or_mim_dir('mmdet')
    names = {model['Name'] for model in BaseInferencer._get_models_from_metafile(folder)}
    assert names and MODEL not in names


def test_a_second_install_changes_nothing():
    from mmengine.infer import BaseInferencer
    before = BaseInferencer._get_models_from_metafile
    model_index.install()
    assert BaseInferencer._get_models_from_metafile is before


def test_the_copy_inside_the_package_is_used_without_a_checkout(tmp_path, monkeypatch, root_dir):
    package = tmp_path / 'site-packages' / 'mmpose_lift'
    metafile = 'configs/body_3d_keypoint/mixste/metafile.yml'
    monkeypatch.setattr(model_index, 'PACKAGE', package)
    with pytest.raises(FileNotFoundError, match='install the package again'):
        model_index.index_root()
    # what another package left beside us is not ours
    (package.parent / 'configs').mkdir(parents=True)
    (package.parent / 'model-index.yml').write_text('Import: [other.yml]')
    (package / '.mim' / metafile).parent.mkdir(parents=True)
    shutil.copyfile(root_dir / 'model-index.yml', package / '.mim' / 'model-index.yml')
    shutil.copyfile(root_dir / metafile, package / '.mim' / metafile)
    assert model_index.find_model('mixste')['Config'].startswith(str(package / '.mim' / 'configs'))


def test_this_is_still_needed(tmp_path):
    """Fails when MMEngine lets a plugin name its models: then this item can go."""
    code = '''
from mmpose.apis.inferencers import Pose3DInferencer
inferencer = object.__new__(Pose3DInferencer)
inferencer.scope = 'mmpose_lift'
try:
    inferencer._load_model_from_metafile('mixste_h36m')
except AssertionError as error:
    print('not in', 'mmpose_lift' in str(error))
'''
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], cwd=tmp_path,
                          capture_output=True, text=True)
    assert done.stdout.strip() == 'not in True', done.stderr
