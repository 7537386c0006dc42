"""That gloo works is tested with the command lines; here, that it would not work without us."""

import subprocess
import sys

import pytest
import torch

STOCK = """
import os
os.environ.update(RANK='0', LOCAL_RANK='0', WORLD_SIZE='1', MASTER_ADDR='127.0.0.1',
                  MASTER_PORT='29771')
{first}
from mmengine.dist import init_dist
init_dist('pytorch', backend='gloo')
print('started')
"""


@pytest.mark.skipif(torch.cuda.is_available(), reason='the flaw shows on machines without a GPU')
def test_still_needed():
    done = [subprocess.run([sys.executable, '-c', STOCK.format(first=first)], text=True,
                           capture_output=True) for first in ('', 'import mmpose_lift')]
    assert done[0].returncode != 0 and 'NVIDIA' in done[0].stderr
    assert done[1].returncode == 0 and 'started' in done[1].stdout
