import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS
from mmengine.runner import Runner

from mms_plugin.evaluation import ImageNetVariant
from mms_plugin.evaluation.imagenet_variant import class_of_folder, imagenet_wnids


def test_wnids():
    wnids = imagenet_wnids()
    assert len(set(wnids)) == len(wnids) == 1000
    assert list(wnids) == sorted(wnids)
    # Labels that are known from elsewhere: tench, Egyptian cat, toilet tissue.
    for label, wnid in ((0, "n01440764"), (285, "n02124075"), (999, "n15075141")):
        assert wnids[label] == wnid


@pytest.fixture
def make(tmp_path):
    def make(names, images=("b.JPEG", "a.jpg")):
        for name in names:
            (tmp_path / name).mkdir()
            for image in images:
                (tmp_path / name / image).touch()
            (tmp_path / name / "README.txt").touch()
        (tmp_path / "README.txt").touch()
        (tmp_path / ".cache").mkdir(exist_ok=True)
        return str(tmp_path)

    return make


def labels_of(dataset):
    return [dataset.get_data_info(i)["gt_label"] for i in range(len(dataset))]


def test_folders_by_wordnet_id_keep_imagenets_labels(make):
    """Two of the 1,000: mmpretrain's CustomDataset would call them 0 and 1."""
    dataset = DATASETS.build(
        dict(type="ImageNetVariant", data_root=make(["n15075141", "n02124075"]))
    )
    assert isinstance(dataset, ImageNetVariant)
    assert labels_of(dataset) == [285, 285, 999, 999]
    assert dataset.metainfo["class_indices"] == (285, 999)
    assert dataset.get_data_info(0)["img_path"].endswith("n02124075/a.jpg")


def test_folders_by_label_are_numbers(make):
    """ImageNet-V2: sorted as text, 10 would come before 2."""
    dataset = ImageNetVariant(make(["10", "2", "999"]), num_classes=3)
    assert labels_of(dataset) == [2, 2, 10, 10, 999, 999]


@pytest.mark.parametrize(
    "names, images, arguments, text",
    [
        (["n00000000"], ["a.jpg"], {}, "'n00000000' is no class"),
        (["1000"], ["a.jpg"], {}, "'1000' is no class"),
        (["0", "n01440764"], ["a.jpg"], {}, "0 and n01440764 are the same class, 0"),
        (["1", "2"], ["a.jpg"], dict(num_classes=200), "must hold 200 .* holds 2"),
        (["1"], [], {}, "holds no image"),
        ([], [], {}, "holds no class folder"),
    ],
)
def test_bad_folders(make, names, images, arguments, text):
    with pytest.raises(ValueError, match=text):
        ImageNetVariant(make(names, images), **arguments)


def test_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        ImageNetVariant(str(tmp_path / "nowhere"))


def test_class_of_folder():
    labels = {"n01440764": 0}
    assert class_of_folder("n01440764", labels) == 0
    assert class_of_folder("7", labels) == 7
    with pytest.raises(ValueError, match="-1"):
        class_of_folder("-1", labels)


@pytest.mark.parametrize("name", ["v2", "sketch", "r", "a"])
def test_configs(name, make):
    """Each config with four of its classes: labels of 1,000, evaluated among them."""
    pytest.importorskip("mmpretrain")
    from pathlib import Path

    import cv2
    import numpy as np
    from mmengine.registry import init_default_scope

    root = Path(__file__).resolve().parents[2]
    config = Config.fromfile(root / f"configs/_base_/datasets/imagenet_{name}.py")
    dataset = config.test_dataloader.dataset
    assert dataset.num_classes == (200 if name in "ra" else 1000)
    names = ["0", "7", "10", "999"] if name == "v2" else list(imagenet_wnids()[5:9])
    data_root = make(names, [])
    for number, folder in enumerate(names):
        image = np.full((60, 50, 3), 40 * number, np.uint8)
        cv2.imwrite(f"{data_root}/{folder}/x.png", image)
    dataset.update(data_root=data_root, num_classes=4)
    config.test_dataloader.num_workers = 0
    init_default_scope("mmpretrain")
    loader = Runner.build_dataloader(config.test_dataloader)
    evaluator = config.test_evaluator
    (batch,) = list(loader)
    found = [int(sample.gt_label) for sample in batch["data_samples"]]
    assert found == ([0, 7, 10, 999] if name == "v2" else [5, 6, 7, 8])
    assert all(tuple(image.shape) == (3, 224, 224) for image in batch["inputs"])
    assert (evaluator.type == "ClassSubset") == (name in "ra")
