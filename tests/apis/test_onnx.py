"""Exported networks give what PyTorch gives, alone and inside the lifter; others are refused."""

import importlib.util
import sys

import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmpose_lift.apis.clip_lifter import ClipLifter, MissingWeightsError
from mmpose_lift.apis.inferencer import PoseLiftInferencer
from mmpose_lift.apis.onnx_export import export_onnx

onnx = pytest.importorskip('onnx', reason='the extra "onnx" is not installed')
ort = pytest.importorskip('onnxruntime', reason='the extra "onnx" is not installed')

SIZE = (1000, 800)


def mixste(frames=9, skeleton='h36m', joints=17, **backbone):
    codec = dict(type='PoseSequenceLabel', num_keypoints=joints, root_index=0)
    return Config(dict(
        model=dict(type='SequencePoseLifter', skeleton=skeleton,
                   backbone=dict(type='MixSTE', num_frames=frames, num_keypoints=joints,
                                 embed_dims=16, num_heads=2, depth=2, **backbone),
                   head=dict(type='LiftingHead', in_channels=16, num_keypoints=joints,
                             decoder=codec),
                   test_cfg=dict(flip_test=True)),
        test_dataloader=dict(dataset=dict(seq_len=frames))))


def ampose(**backbone):
    config = mixste(1)
    config.model.backbone = dict(type='AMPose', embed_dims=16, num_heads=2, depth=2, **backbone)
    config.model.head.norm = False
    config.model.test_cfg.zero_root = True
    return config


def scored():
    config = mixste(in_channels=3)
    config.model.head.decoder.with_score = True
    return config


def uplift(frames=9, step=5, **backbone):
    codec = dict(type='KeyFrameSequenceLabel', num_keypoints=17, root_index=0)
    options = dict(num_tokens=frames, spatial_dims=8, temporal_dims=16, spatial_depth=1,
                   temporal_depth=2, strides=(3, 3), paddings=None, num_heads=2)
    return Config(dict(
        model=dict(type='SequencePoseLifter',
                   backbone=dict(type='UpliftUpsampleTransformer', **{**options, **backbone}),
                   head=dict(type='UpliftUpsampleHead', in_channels=16, num_keypoints=17,
                             with_sequence=backbone.get('temporal_depth') != 0, decoder=codec),
                   test_cfg=dict(flip_test=True)),
        test_dataloader=dict(dataset=dict(seq_len=frames, seq_step=step,
                                          input_strides=(step, 4 * step)))))


def build(config, **options):
    """A lifter in which every parameter and every statistic shows in the output."""
    torch.manual_seed(0)
    lifter = ClipLifter(config, device='cpu', allow_random_weights=True, **options)
    with torch.no_grad():
        for parameter in lifter.model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
        for module in lifter.model.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.running_mean.normal_(std=0.3)
                module.running_var.uniform_(0.5, 2)
    return lifter


CONFIGS = dict(
    mixste=mixste(), separate=mixste(variant='separate'), scored=scored(),
    other_joints=mixste(skeleton='h36m_16', joints=16), ampose=ampose(),
    ampose_layers=ampose(gcn_design='transformer'), uplift=uplift(),
    uplift_no_spatial=uplift(spatial_depth=0), uplift_strided_only=uplift(temporal_depth=0),
    uplift_centre_token=uplift(strides=()), uplift_all_frames=uplift(upsample_token=False))


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    """Name of a config to the lifter in PyTorch and its exported file; each is made once."""
    made, folder = {}, tmp_path_factory.mktemp('onnx')

    def get(name):
        if name not in made:
            lifter = build(CONFIGS[name])
            export_onnx(lifter, folder / f'{name}.onnx')
            made[name] = lifter, str(folder / f'{name}.onnx')
        return made[name]
    return get


def clip(frames, joints=17, seed=0):
    return np.random.default_rng(seed).uniform(100, 700, (frames, joints, 2)).astype(np.float32)


def inputs(lifter, batch, channels=2):
    generator = torch.Generator().manual_seed(batch)
    return torch.rand(batch, lifter.window, lifter.skeleton.num_joints, channels,
                      generator=generator) * 2 - 1


@pytest.mark.parametrize('flip', [False, True])
@pytest.mark.parametrize('name', ['mixste', 'separate', 'scored', 'other_joints', 'ampose',
                                  'ampose_layers'])
def test_windows_are_those_of_pytorch(exported, name, flip):
    lifter, path = exported(name)
    other = ClipLifter(CONFIGS[name], path, flip_test=flip)
    lifter.model.test_cfg['flip_test'] = flip
    assert (lifter.backend, other.backend) == ('torch', 'onnx')
    for batch in (1, 2, 7):
        x = inputs(lifter, batch, 3 if name == 'scored' else 2)
        expected = lifter.forward(x)
        assert np.ptp(expected, axis=0).max() > 0.1 or batch == 1
        np.testing.assert_allclose(other.forward(x), expected, atol=1e-5)


MASKS = dict(all=np.ones(9), none=np.zeros(9), ends=np.eye(9)[0] + np.eye(9)[8],
             centre=np.eye(9)[4], others=np.arange(9) % 2)


@pytest.mark.parametrize('name', ['uplift', 'uplift_no_spatial', 'uplift_strided_only',
                                  'uplift_centre_token'])
def test_masks_of_key_frames(exported, name):
    lifter, path = exported(name)
    other = ClipLifter(CONFIGS[name], path)
    x = inputs(lifter, len(MASKS), 3)
    x[..., 2] = torch.from_numpy(np.stack(list(MASKS.values())))[..., None]
    expected = lifter.forward(x)
    assert expected.shape == (len(MASKS), 1, 17, 3)
    assert np.abs(expected[1:] - expected[:1]).max(axis=(1, 2, 3)).min() > 1e-2
    np.testing.assert_allclose(other.forward(x), expected, atol=1e-5)
    for i, mask in enumerate(MASKS):  # alone too; coordinates of other frames are not read
        hidden = torch.where(x[i:i + 1, ..., 2:] == 1, x[i:i + 1], torch.nan)
        hidden[..., 2] = x[i:i + 1, ..., 2]
        np.testing.assert_allclose(other.forward(hidden), expected[i:i + 1], atol=1e-5,
                                   err_msg=mask)


@pytest.mark.parametrize('name', ['mixste', 'ampose'])
def test_clips(exported, name):
    lifter, path = exported(name)
    lifter.model.test_cfg['flip_test'] = True
    other = ClipLifter(CONFIGS[name], path, backend='onnx', batch_size=3)
    people = [clip(frames, seed=frames) for frames in (1, 9, 50)]
    for mine, theirs in zip(other.lift_people(people, SIZE), lifter.lift_people(people, SIZE)):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)
    np.testing.assert_allclose(other.lift_at(people[2], SIZE, fps=30),
                               lifter.lift_at(people[2], SIZE, fps=30), atol=1e-5)


def test_sparse_clips(exported):
    lifter, path = exported('uplift')
    people = [clip(frames, seed=frames) for frames in (1, 45, 203)]
    masks = [np.arange(len(k)) % 10 == 0 for k in people]
    masks[2][50:100:5] = True
    for stride, key_frames in ((5, None), (20, None), (20, masks)):
        for flip in (False, True):
            lifter.model.test_cfg['flip_test'] = flip
            other = ClipLifter(CONFIGS['uplift'], path, input_stride=stride, flip_test=flip,
                               batch_size=7)
            lifter.input_stride = stride
            for mine, theirs in zip(other.lift_people(people, SIZE, key_frames),
                                    lifter.lift_people(people, SIZE, key_frames)):
                np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_a_model_of_all_frames_refuses_gaps(exported):
    lifter, path = exported('uplift_all_frames')
    other = ClipLifter(CONFIGS['uplift_all_frames'], path)
    x = torch.cat([inputs(lifter, 2), torch.ones(2, 9, 17, 1)], -1)
    np.testing.assert_allclose(other.forward(x), lifter.forward(x), atol=1e-5)
    with pytest.raises(ValueError, match='no upsampling token'):
        other.lift(clip(40), SIZE, np.arange(40) % 10 == 0)


def test_the_inferencer_runs_it(exported):
    lifter, path = exported('mixste')
    lifter.model.test_cfg['flip_test'] = True
    found = PoseLiftInferencer(CONFIGS['mixste'], path)(clip(30), SIZE)
    np.testing.assert_allclose(found['keypoints_3d'], lifter.lift(clip(30), SIZE), atol=1e-5)


def test_the_network_without_weights_cannot_be_run(exported):
    other = ClipLifter(CONFIGS['mixste'], exported('mixste')[1])
    with pytest.raises((RuntimeError, NotImplementedError)):
        other.model.head.decode(other.model.head.lift(other.model.extract_feat(inputs(other, 1))))


def test_what_the_file_says(exported):
    lifter, path = exported('uplift')
    file = onnx.load(path)
    assert file.opset_import[0].version == 17
    data = {entry.key: entry.value for entry in file.metadata_props}
    assert data['backbone'] == 'UpliftUpsampleTransformer' and data['skeleton'] == 'h36m'
    assert (data['frames'], data['fps'], data['output_stride']) == ('9', '50', '5')
    assert data['units'] == 'metre' and data['frame'].startswith('camera axes')
    assert data['joint_names'].split(',') == list(lifter.skeleton.joint_names)
    session = ort.InferenceSession(path)
    (x, ), (y, ) = session.get_inputs(), session.get_outputs()
    assert (x.name, x.shape, x.type) == ('keypoints', ['batch', 9, 17, 3], 'tensor(float)')
    assert (y.name, y.shape[0], y.shape[2:]) == ('poses', 'batch', [17, 3])


@pytest.mark.parametrize('config, text', [
    (mixste(27), 'frames is 9, expected 27'),
    (mixste(skeleton='mpi_inf_3dhp'), 'skeleton is h36m, expected mpi_inf_3dhp'),
    (scored(), 'channels is 2, expected 3'),
    (mixste(skeleton='h36m_16', joints=16), 'joints is 17, expected 16'),
    (uplift(), 'backbone is MixSTE, expected UpliftUpsampleTransformer'),
])
def test_files_of_other_models_are_refused(exported, config, text):
    with pytest.raises(ValueError, match=f'mixste.onnx.*{text}.*export'):
        ClipLifter(config, exported('mixste')[1])


def test_files_of_other_strides_are_refused(exported):
    with pytest.raises(ValueError, match='output_stride is 5, expected 2'):
        ClipLifter(uplift(step=2), exported('uplift')[1])


def test_files_that_are_something_else(exported, tmp_path):
    path = tmp_path / 'other.onnx'
    with pytest.raises(FileNotFoundError, match='other.onnx'):
        ClipLifter(mixste(), str(path))
    path.write_bytes(b'no network')
    with pytest.raises(ValueError, match='other.onnx.*cannot read'):
        ClipLifter(mixste(), str(path))
    file = onnx.load(exported('mixste')[1])
    del file.metadata_props[:]
    onnx.save(file, str(path))
    with pytest.raises(ValueError, match='backbone is not stated, expected MixSTE'):
        ClipLifter(mixste(), str(path))


@pytest.mark.parametrize('options, text', [
    (dict(weights='a.pth', backend='onnx'), "an .onnx file; .*export_onnx.*'a.pth'"),
    (dict(backend='onnx'), 'found None'),
    (dict(weights='a.onnx', backend='torch'), 'a checkpoint'),
    (dict(weights='a.onnx', backend='tensorrt'), "expected one of .*'tensorrt'"),
    (dict(weights='a.onnx', device='cuda'), "found device 'cuda'"),
    (dict(weights='a.onnx', precision='bfloat16'), "precision 'bfloat16'"),
])
def test_options_that_do_not_fit(options, text):
    with pytest.raises(ValueError, match=text):
        ClipLifter(mixste(), **options)


def test_missing_packages_are_named(exported, monkeypatch, tmp_path):
    lifter, path = exported('mixste')
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(ImportError, match='pip install "onnxruntime'):
        ClipLifter(mixste(), path)
    monkeypatch.setitem(sys.modules, 'onnx', None)
    with pytest.raises(ImportError, match='pip install "onnx>='):
        export_onnx(lifter, tmp_path / 'a.onnx')


def test_exports_that_are_refused_leave_nothing(exported, tmp_path):
    with pytest.raises(ValueError, match='ends in .onnx'):
        export_onnx(exported('mixste')[0], tmp_path / 'a.pth')
    with pytest.raises(MissingWeightsError):
        export_onnx(ClipLifter(mixste(), device='cpu'), tmp_path / 'a.onnx')
    with pytest.raises(ValueError, match='bfloat16'):
        export_onnx(build(mixste(), precision='bfloat16'), tmp_path / 'a.onnx')
    with pytest.raises(ValueError, match="'meta'"):
        export_onnx(ClipLifter(mixste(), exported('mixste')[1]), tmp_path / 'a.onnx')
    assert not list(tmp_path.iterdir())


def test_the_tool(exported, root_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(root_dir / 'tools'))
    spec = importlib.util.spec_from_file_location('tool', root_dir / 'tools' / 'export_onnx.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    config, out = tmp_path / 'small.py', str(tmp_path / 'out' / 'small.onnx')
    CONFIGS['uplift'].dump(config)
    checkpoint = tmp_path / 'small.pth'
    lifter = exported('uplift')[0]
    torch.save(lifter.model.state_dict(), checkpoint)
    assert tool.main([str(config), str(checkpoint), out, '--check', '--benchmark',
                      '--repeats', '1']) == 0
    shown = capsys.readouterr().out
    assert 'key-frames every [5, 10, 20] frames and none), below 0.0001 m' in shown
    assert 'model: small' in shown and 'batch 1, key-frames every 20 frames' in shown
    # the weights are the given ones, and a file of other weights is noticed
    x = tool.windows(lifter, 2, 10)
    lifter.model.test_cfg['flip_test'] = True
    np.testing.assert_allclose(ClipLifter(str(config), out).forward(x), lifter.forward(x),
                               atol=1e-5)
    other = build(CONFIGS['uplift'])
    with torch.no_grad():
        other.model.head.center_head.bias += 2e-4
    assert not tool.check(other, ClipLifter(str(config), out))
    assert 'ABOVE' in capsys.readouterr().out
    with pytest.raises(SystemExit, match='no published weights'):
        tool.main([str(config), out])
