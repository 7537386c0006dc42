import pytest

TOOLS = ['analyze.py', 'average_checkpoints.py', 'benchmark.py', 'convert_body_model.py',
         'convert_checkpoint.py', 'demo.py', 'detect_2d.py', 'export_onnx.py',
         'fit_joint_conventions.py', 'infer.py', 'prepare_data.py', 'render_people.py', 'test.py',
         'train.py']


def test_the_list_is_complete(root_dir):
    assert sorted(p.name for p in (root_dir / 'tools').glob('*.py')) == TOOLS


@pytest.mark.parametrize('name', TOOLS)
def test_every_tool_explains_itself(tool, name):
    assert 'usage' in tool(name, '--help').stdout
