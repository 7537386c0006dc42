"""The data set of rendered people: what the tool writes, resuming, refusals."""

import json
import runpy
import sys

import cv2
import numpy as np
import pytest
from mmpose.datasets.datasets import CocoDataset

from mmpose_lift.datasets import rendered_people
from mmpose_lift.datasets.rendered_people import RenderedPeopleWriter, motion_pool
from mmpose_lift.datasets.synthetic_motion import synthetic_store, write_synthetic_store
from mmpose_lift.io.pose_store import PoseStoreWriter

SIZE = (128, 96)


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    """A data set of three pictures and its folder's writer."""
    writer = RenderedPeopleWriter(tmp_path_factory.mktemp('people'), seed=3, size=SIZE)
    writer.write('train', 3)
    return writer


def files(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.glob('*.jpg'))}


def test_pictures_and_annotations_belong_together(written):
    content = json.loads((written.out / 'train.json').read_text())
    assert [image['id'] for image in content['images']] == [0, 1, 2]
    assert len(content['annotations']) >= 2, 'people are seen in most pictures'
    assert len(content['categories'][0]['keypoints']) == 17
    for image in content['images']:
        picture = cv2.imread(str(written.out / 'train' / image['file_name']))
        assert picture.shape == (SIZE[1], SIZE[0], 3) and picture.std() > 5
    for annotation in content['annotations']:
        x, y, w, h = annotation['bbox']
        assert 0 <= x < x + w <= SIZE[0] and 0 <= y < y + h <= SIZE[1]
        assert 0 < annotation['area'] <= w * h
        keypoints = np.reshape(annotation['keypoints'], (17, 3))
        labelled = keypoints[:, 2] > 0
        assert annotation['num_keypoints'] == labelled.sum()
        assert (keypoints[~labelled] == 0).all()
        assert (keypoints[labelled, :2] <= SIZE).all() and (keypoints >= 0).all()
        seen = keypoints[keypoints[:, 2] == 2, :2]
        margin = 0.3 * max(w, h)  # a joint lies inside the limb, its box may be cut by an occluder
        assert ((seen > [x - margin, y - margin]) & (seen < [x + w + margin, y + h + margin])).all()


def test_mmpose_reads_it(written):
    dataset = CocoDataset(ann_file='train.json', data_root=str(written.out),
                          data_prefix=dict(img='train/'), test_mode=True)
    content = json.loads((written.out / 'train.json').read_text())
    assert len(dataset) == len(content['annotations'])
    assert dataset[0]['keypoints'].shape == (1, 17, 2)


def test_a_picture_depends_on_its_number_and_seed_only(written, tmp_path, monkeypatch):
    monkeypatch.setattr(rendered_people, 'PART', 1)
    again = RenderedPeopleWriter(tmp_path / 'again', seed=3, size=SIZE)
    again.write('train', 2)
    first, second = files(written.out / 'train'), files(again.out / 'train')
    assert set(second) == {'000000.jpg', '000001.jpg'}
    assert all(first[name] == content for name, content in second.items())
    again.write('val', 1)
    assert files(again.out / 'val')['000000.jpg'] != second['000000.jpg']
    # a stopped run: one part is there, the next one is not
    part = again.out / 'train' / 'parts' / '000001-000002.json'
    part.unlink()
    kept = (again.out / 'train' / '000000.jpg').stat().st_mtime_ns
    before = (again.out / 'train.json').read_text()
    RenderedPeopleWriter(again.out, seed=3, size=SIZE).write('train', 2)
    assert (again.out / 'train' / '000000.jpg').stat().st_mtime_ns == kept and part.is_file()
    assert (again.out / 'train.json').read_text() == before


def test_other_settings_and_other_folders_are_left_alone(written, tmp_path):
    with pytest.raises(FileExistsError, match='--overwrite'):
        RenderedPeopleWriter(written.out, seed=4, size=SIZE)
    (tmp_path / 'notes.txt').write_text('mine')
    with pytest.raises(FileExistsError, match='not written by this tool'):
        RenderedPeopleWriter(tmp_path, overwrite=True)
    copy = tmp_path / 'copy'
    RenderedPeopleWriter(copy, seed=3, size=SIZE)
    (copy / 'train' / 'parts').mkdir(parents=True)
    RenderedPeopleWriter(copy, seed=4, size=SIZE, overwrite=True)
    assert not (copy / 'train').exists()


def test_recorded_motion_is_three_quarters(tmp_path):
    write_synthetic_store(tmp_path / 'store', 20, 400, seed=9, actions=['waving'])
    recorded = synthetic_store(20, 400, seed=9, actions=['waving']).keypoints_3d
    pool = motion_pool((str(tmp_path / 'store'), ), 0)
    known = {pose.tobytes() for pose in recorded}
    assert np.mean([pose.tobytes() in known for pose in pool]) == pytest.approx(0.75, abs=0.01)
    assert not {pose.tobytes() for pose in motion_pool((), 0)} & {
        pose.tobytes() for pose in motion_pool((), 1)}


def test_wrong_input(tmp_path, written):
    store = tmp_path / 'store'
    clips = synthetic_store(1, 10)
    with PoseStoreWriter(store, source='test', frame='world', skeleton='h36m_l_first') as writer:
        writer.add_sequence(clips.sequences[0], clips.keypoints_3d)
    with pytest.raises(ValueError, match='found h36m_l_first in world axes'):
        RenderedPeopleWriter(tmp_path / 'out', motion=dict(train=[store]))
    with pytest.raises(ValueError, match='at least 64 x 64'):
        RenderedPeopleWriter(tmp_path / 'out', size=(32, 128))
    for arguments, message in ((('test', 1), 'split'), (('val', 0), 'num_images'),
                               (('val', 1, 0), 'processes')):
        with pytest.raises(ValueError, match=message):
            written.write(*arguments)


def test_the_command_line(tmp_path, root_dir, monkeypatch, capsys):
    def run(*options):
        monkeypatch.setattr(sys, 'argv', ['render_people.py', '--images', '1', '--val-images', '1',
                                          '--size', '96', '96', '--processes', '1', '--out',
                                          str(tmp_path / 'out'), *options])
        runpy.run_path(str(root_dir / 'tools' / 'render_people.py'), run_name='__main__')

    with pytest.raises(SystemExit, match='^error: .*no store'):
        run('--motion', str(tmp_path / 'no store'))
    run()
    assert capsys.readouterr().out.count('wrote') == 2
    assert {p.name for p in (tmp_path / 'out').iterdir()} == {
        'settings.json', 'train', 'train.json', 'val', 'val.json'}
