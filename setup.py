"""Build and install mmpose_lift; tested pins are in requirements.txt, allowed ranges are here."""

import os
import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel

ROOT = Path(__file__).resolve().parent
PACKAGE = 'mmpose_lift'
MIM_ITEMS = ('configs', 'tools', 'model-index.yml')  # OpenMMLab's convention: <package>/.mim


def read_version() -> str:
    """The version of mmpose_lift/version.py, without importing the package."""
    text = (ROOT / PACKAGE / 'version.py').read_text(encoding='utf-8')
    return re.search(r"^__version__ = '([^']+)'", text, re.MULTILINE).group(1)


def fill_mim(mim: Path, link: bool) -> None:
    """Put configs, tools and the model index into ``mim``, replacing what an earlier build left."""
    if mim.is_symlink():
        mim.unlink()
    shutil.rmtree(mim, ignore_errors=True)
    mim.mkdir(parents=True)
    for name in MIM_ITEMS:
        source, target = ROOT / name, mim / name
        if link:
            target.symlink_to(os.path.relpath(source, mim))
        elif source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns('__pycache__', '.*'))
        else:
            shutil.copyfile(source, target)


class BuildPy(build_py):
    """Wheels carry a copy of configs, tools and model-index.yml, and nothing of older builds."""

    def run(self) -> None:
        if self.editable_mode:
            super().run()
            return
        target = Path(self.build_lib) / PACKAGE
        shutil.rmtree(target, ignore_errors=True)
        super().run()
        fill_mim(target / '.mim', link=False)


class EditableWheel(editable_wheel):
    """An editable install links to them, so that they never go stale."""

    def run(self) -> None:
        # Windows allows links only to some users; the checkout itself is searched first anyway
        fill_mim(ROOT / PACKAGE / '.mim', link=os.name != 'nt')
        super().run()


setup(
    name='mmpose-lift',
    version=read_version(),
    description='3D human pose lifting and body meshes for MMPose 1.x',
    license='Apache-2.0',
    python_requires='>=3.10,<3.13',  # numpy 1.26 has no wheel for 3.13
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    package_data={PACKAGE: ['compat/stand_ins/mmcv_ops/mmcv/_ext.py', 'assets/*.safetensors']},
    # mmcv is missing on purpose: mmcv-lite and a compiled mmcv share one folder, and naming one
    # here would overwrite the other. requirements.txt installs mmcv-lite.
    install_requires=[
        'torch>=2.6,<2.16',
        'torchvision>=0.21,<0.30',
        'numpy>=1.24,<2',  # xtcocotools' wheels are built against numpy 1
        'opencv-python<4.12',  # 4.12 requires numpy 2
        'matplotlib<3.10',  # MMPose's 3D visualiser uses tostring_rgb
        'setuptools<81',  # MMPose imports pkg_resources
        'mmengine>=0.10.5,<0.11',
        'mmdet>=3.2,<3.4',
        'mmpose>=1.3.2,<1.4',
        'scipy>=1.10',
        'rich>=13',
        'safetensors>=0.4.3',
        'h5py>=3.9',
        'fast-simplification>=0.2,<0.3',  # coarse meshes
        'tensorboard>=2.14',
    ],
    extras_require={
        'mesh': ['smplx>=0.1.28'],  # non-commercial licence; the oracle of tests and benchmarks
        'onnx': ['onnx>=1.17', 'onnxruntime>=1.20'],
        'rerun': ['rerun-sdk>=0.22,<0.23', 'pyarrow<22'],  # newer ones need numpy 2
    },
    cmdclass={'build_py': BuildPy, 'editable_wheel': EditableWheel},
    zip_safe=False,
)
