import runpy

import pytest

TOOLS = ['analyze.py', 'average_checkpoints.py', 'benchmark.py', 'convert_body_model.py',
         'convert_checkpoint.py', 'demo.py', 'detect_2d.py', 'export_onnx.py',
         'fit_joint_conventions.py', 'infer.py', 'prepare_data.py', 'render_people.py', 'test.py',
         'train.py']


def test_the_list_is_complete(root_dir):
    assert sorted(p.name for p in (root_dir / 'tools').glob('*.py')) == TOOLS


@pytest.mark.parametrize('name', TOOLS)
def test_every_tool_explains_itself(root_dir, monkeypatch, capsys, name):
    monkeypatch.setattr('sys.argv', [name, '--help'])
    monkeypatch.syspath_prepend(str(root_dir / 'tools'))  # as Python does for a script
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(root_dir / 'tools' / name), run_name='__main__')
    assert left.value.code == 0 and 'usage' in capsys.readouterr().out
