"""What an installation consists of: versions, files that travel along, messages of make."""

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import mmpose_lift
from mmpose_lift.version import __version__

IGNORED = shutil.ignore_patterns('.*', '__pycache__', 'build', '*.egg-info')
WEIGHTS = 'assets/rendered_human.safetensors'
MODEL = 'configs/body_3d_keypoint/mixste/h36m/video-pose-lift_mixste-243frm-cpn_1xb4-160e_h36m.py'


def run(*command, **kwargs) -> subprocess.CompletedProcess:
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, **kwargs)


@pytest.fixture(scope='module')
def source(tmp_path_factory) -> Path:
    """A copy of the sources with what older builds may have left in it."""
    root = Path(__file__).resolve().parents[1]
    copy = tmp_path_factory.mktemp('packaging') / 'source'
    copy.mkdir()
    for item in sorted(root.iterdir()):
        if item.is_file():
            shutil.copyfile(item, copy / item.name)
        elif item.name in ('mmpose_lift', 'configs', 'tools'):
            shutil.copytree(item, copy / item.name, ignore=IGNORED)
    for stale in ('mmpose_lift/.mim/configs/gone.py', 'build/lib/mmpose_lift/gone.py',
                  'build/lib/mmpose_lift/.mim/configs/gone.py'):
        (copy / stale).parent.mkdir(parents=True, exist_ok=True)
        (copy / stale).write_text('')
    return copy


@pytest.fixture(scope='module')
def built(source) -> Path:
    """The tree that a wheel is packed from."""
    done = run(sys.executable, 'setup.py', '-q', 'build_py', cwd=source)
    assert done.returncode == 0, done.stderr
    return source / 'build' / 'lib'


def test_the_version_is_in_one_place(source):
    assert mmpose_lift.__version__ == __version__
    done = run(sys.executable, 'setup.py', '-q', '--version', cwd=source)
    assert done.stdout.strip().splitlines()[-1] == __version__


def test_a_wheel_carries_configs_tools_and_model_index(built):
    mim = built / 'mmpose_lift' / '.mim'
    assert (mim / MODEL).is_file() and not (mim / 'configs').is_symlink()
    assert (mim / 'tools' / 'train.py').is_file() and (mim / 'model-index.yml').is_file()
    assert (built / 'mmpose_lift/compat/stand_ins/mmcv_ops/mmcv/_ext.py').is_file()
    assert (built / 'mmpose_lift' / WEIGHTS).is_file()
    assert not list(built.rglob('gone.py')), 'left over from an older build'
    assert {p.name for p in built.iterdir()} == {'mmpose_lift'}


def test_a_wheel_carries_every_module(source, built):
    def modules(root: Path) -> set:
        return {p.relative_to(root) for p in (root / 'mmpose_lift').rglob('*.py')
                if '.mim' not in p.parts and 'stand_ins' not in p.parts}
    assert modules(source) == modules(built), 'a folder without __init__.py?'


def test_the_built_package_finds_its_models(built, tmp_path):
    code = ('import mmpose_lift; from mmpose_lift.compat.model_index import find_model; '
            'print(mmpose_lift.__file__); print(find_model("mixste_h36m")["Config"]); '
            'print(find_model("rendered_human")["Weights"])')
    done = run(sys.executable, '-W', 'ignore', '-c', code, cwd=tmp_path,
               env=dict(os.environ, PYTHONPATH=str(built)))
    assert done.returncode == 0, done.stderr
    package, config, weights = done.stdout.split()
    assert Path(package).is_relative_to(built)
    assert config == str(built / 'mmpose_lift' / '.mim' / MODEL) and Path(config).is_file()
    assert weights == str(built / 'mmpose_lift' / WEIGHTS) and Path(weights).is_file()


def test_an_sdist_builds_the_same(source):
    done = run(sys.executable, 'setup.py', '-q', 'sdist', cwd=source)
    assert done.returncode == 0, done.stderr
    with tarfile.open(next((source / 'dist').glob('*.tar.gz'))) as archive:
        names = {name.split('/', 1)[1] for name in archive.getnames() if '/' in name}
    assert names >= {MODEL, 'tools/train.py', 'model-index.yml', 'requirements.txt', 'LICENSE',
                     'NOTICE', 'mmpose_lift/compat/stand_ins/mmcv_ops/mmcv/_ext.py',
                     'mmpose_lift/compat/stand_ins/chumpy/pyproject.toml',
                     f'mmpose_lift/{WEIGHTS}'}
    assert not [name for name in names if '.mim' in name]


def test_an_editable_install_links_instead_of_copying(source):
    code = ('import setuptools; setuptools.setup = lambda **k: None; import setup, pathlib; '
            'setup.fill_mim(pathlib.Path("mmpose_lift/.mim"), link=True)')
    done = run(sys.executable, '-c', code, cwd=source)
    assert done.returncode == 0, done.stderr
    mim = source / 'mmpose_lift' / '.mim'
    assert {p.name for p in mim.iterdir()} == {'configs', 'tools', 'model-index.yml'}
    assert all(p.is_symlink() and p.exists() for p in mim.iterdir())
    assert (source / 'configs').is_dir() and not (source / 'configs' / 'gone.py').exists()


def pins(root_dir):
    for line in (root_dir / 'requirements.txt').read_text().splitlines():
        line = line.split('#')[0].strip()
        if line and not line.startswith('.'):
            yield Requirement(line)


def allowed(source):
    run(sys.executable, 'setup.py', '-q', 'egg_info', cwd=source)
    info = source / 'mmpose_lift.egg-info' / 'requires.txt'
    for line in info.read_text().splitlines():
        if line and not line.startswith('['):
            yield Requirement(line)


def test_the_tested_versions_are_allowed_ones(root_dir, source):
    tested = {}
    for pin in pins(root_dir):
        tested.setdefault(pin.name, []).append(pin.specifier)
    ranges = {r.name: r.specifier for r in allowed(source)}
    assert 'torch' in ranges and 'smplx' in ranges
    assert not {'mmcv', 'mmcv-lite'} & set(ranges), 'would overwrite the other one'
    for name, specifier in ranges.items():
        for pin in tested[name]:
            exact = [s.version for s in pin if s.operator == '==']
            assert pin == specifier or name == 'setuptools' or exact and exact[0] in specifier, name


def test_the_installed_versions_are_the_tested_ones(root_dir):
    """A run on other versions is legitimate; it only must not pass for the tested one."""
    others = {p.name: importlib.metadata.version(p.name) for p in pins(root_dir)
              if (p.marker is None or p.marker.evaluate())
              and importlib.metadata.version(p.name).split('+')[0] not in p.specifier}
    if others:
        pytest.skip(f'this environment has other versions than requirements.txt: {others}')


def test_pip_finds_no_conflict():
    if importlib.util.find_spec('pip') is None:
        pytest.skip('no pip in this environment')
    done = run(sys.executable, '-m', 'pip', 'check')
    assert done.returncode == 0, done.stdout + done.stderr


def test_importing_the_package_stays_light(tmp_path):
    code = ('import sys, mmpose_lift; print([m for m in ("smplx", "mmpose_lift.apis", '
            '"mmpose_lift.visualization", "chumpy", "tensorboard") if m in sys.modules])')
    done = run(sys.executable, '-W', 'ignore', '-c', code, cwd=tmp_path)
    assert done.stdout.strip() == '[]', done.stdout + done.stderr


def test_chumpy_is_empty():
    assert importlib.metadata.version('chumpy')
    if 'empty' in importlib.metadata.version('chumpy'):
        assert importlib.util.find_spec('chumpy') is None


@pytest.mark.skipif(shutil.which('make') is None, reason='no make here')
@pytest.mark.parametrize('version', ['3.9', '3.13'])
def test_make_names_the_supported_versions(root_dir, tmp_path, version):
    python = tmp_path / 'python'
    python.write_text(f'#!/bin/sh\necho {version}\n')
    python.chmod(0o755)
    done = run('make', 'install', f'PYTHON={python}', f'VENV={tmp_path}/venv', cwd=root_dir)
    assert done.returncode != 0
    assert f'is Python {version}' in done.stderr and '3.10, 3.11 and 3.12' in done.stderr
    assert 'make PYTHON=python3.11 install' in done.stderr
    assert not (tmp_path / 'venv').exists()


def test_legal_files(root_dir):
    assert 'Version 2.0, January 2004' in (root_dir / 'LICENSE').read_text()
    notice = ' '.join((root_dir / 'NOTICE').read_text().split())
    assert ('The data used in this project was obtained from mocap.cs.cmu.edu. The database was '
            'created with funding from NSF EIA-0196217.') in notice
    citation = yaml.safe_load((root_dir / 'CITATION.cff').read_text())
    papers = {i['value'] for r in citation['references'] for i in r['identifiers']}
    assert papers == {f'arXiv:{n}' for n in ('2203.00859', '2210.06110', '2210.04216', '2302.04774',
                                             '2011.14672', '1907.11346', '2211.13357', '2012.09760',
                                             '1908.10357')}
