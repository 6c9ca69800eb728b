"""Encoders: cell (row, col) of the grid is that place of the photo, for every kind of backbone;
weights come from safetensors only; a saved captioner needs neither the folder nor the hub."""

import json
import subprocess
import sys

import pytest
import timm
import torch
import transformers as tf
from torch import nn

from captioner.decoder import DecoderConfig
from captioner.encoders import (
    HALF_MEAN,
    EncoderConfig,
    build_encoder,
    config_for,
    fold_batch_norm,
)
from captioner.errors import ModelError
from captioner.model import CaptionModel, ModelConfig
from captioner.tokenizer import CaptionTokenizer

from .conftest import CAPTIONS

VIT = {
    "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 37,
    "image_size": 32, "patch_size": 8,
}  # fmt: skip
SWIN = {"image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [1, 1], "window_size": 4}
STAGES = {"hidden_sizes": [8, 16], "depths": [1, 1]}
TEXT = {
    "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 37,
    "vocab_size": 50,
}  # fmt: skip

# Tiny models of transformers: the config, and the grid of a photograph of 32x32 pixels.
TOKENS = {
    "vit": (tf.ViTConfig(**VIT), 4),
    "deit": (tf.DeiTConfig(**VIT), 4),
    "vit_mae": (tf.ViTMAEConfig(**VIT), 4),
    "vit_msn": (tf.ViTMSNConfig(**VIT), 4),
    "ijepa": (tf.IJepaConfig(**VIT), 4),
    "beit": (tf.BeitConfig(**VIT), 4),
    "data2vec": (tf.Data2VecVisionConfig(**VIT), 4),
    "dinov2": (tf.Dinov2Config(**VIT), 4),
    "dinov2_registers": (tf.Dinov2WithRegistersConfig(**VIT, num_register_tokens=3), 4),
    "dinov3": (tf.DINOv3ViTConfig(**VIT, num_register_tokens=5), 4),
    "clip": (tf.CLIPVisionConfig(**VIT), 4),
    "chinese_clip": (tf.ChineseCLIPVisionConfig(**VIT), 4),
    "mlcd": (tf.MLCDVisionConfig(**VIT), 4),
    "siglip": (tf.SiglipVisionConfig(**VIT), 4),
    "siglip2": (tf.Siglip2VisionConfig(**{**VIT, "image_size": 32}, num_patches=16), 4),
}
MAPS = {
    "swin": (tf.SwinConfig(**SWIN, num_heads=[1, 1]), 4),
    "swinv2": (tf.Swinv2Config(**SWIN, num_heads=[1, 1]), 4),
    "focalnet": (tf.FocalNetConfig(image_size=32, patch_size=4, embed_dim=8, depths=[1, 1]), 4),
    "convnext": (tf.ConvNextConfig(num_stages=2, **STAGES), 4),
    "convnextv2": (tf.ConvNextV2Config(num_stages=2, **STAGES), 4),
    "dinov3_convnext": (tf.DINOv3ConvNextConfig(**STAGES), 4),
}
# CNNs whose cells also see much of their neighbours.
BLURRED = {
    "resnet": (tf.ResNetConfig(embedding_size=8, layer_type="basic", **STAGES), 8),
    "regnet": (tf.RegNetConfig(embedding_size=8, groups_width=8, **STAGES), 8),
    "bit": (tf.BitConfig(embedding_size=8, num_groups=2, **STAGES), 8),
}


def tiny(config, folder, model=tf.AutoModel):
    """A model with random weights from a transformers config, saved into `folder` and returned."""
    torch.manual_seed(0)
    net = (model.from_config if model is tf.AutoModel else model)(config)
    net.eval().save_pretrained(folder)
    return net


def timm_folder(folder, architecture, **model_args):
    """A timm model with random weights, saved as on the hub."""
    torch.manual_seed(0)
    net = timm.create_model(architecture, **model_args).eval()
    timm.models.save_for_hf(net, folder, model_args=model_args, safe_serialization=True)
    return net


def unfolded(library, name, size, **options):
    return EncoderConfig(library, str(name), size, fold_batch_norm=False, **options)


@torch.no_grad()
def places(encoder, size, side=None):
    """For every cell: which feature changes most when only the cell's square of the photo does.

    With `side`, for every square of side x side that the photo is divided into, features averaged.
    """
    height, width = (side, side) if side else encoder.grid
    high, wide = size // height, size // width
    generator = torch.Generator().manual_seed(1)
    photo = torch.randint(0, 256, (size, size, 3), generator=generator, dtype=torch.uint8)
    batch = photo.repeat(1 + height * width, 1, 1, 1)
    for cell in range(height * width):
        top, left = cell // width * high, cell % width * wide
        batch[1 + cell, top : top + high, left : left + wide] ^= 255
    features = encoder.eval()(batch).features
    rows, cols = encoder.grid
    assert features.shape == (1 + height * width, rows * cols, encoder.width)
    change = (features[1:] - features[:1]).norm(dim=-1).unflatten(1, encoder.grid)
    change = nn.functional.adaptive_avg_pool2d(change, (height, width))
    return change.flatten(1).argmax(dim=1).tolist()


@pytest.mark.parametrize("kind", [*TOKENS, *MAPS])
def test_each_cell_of_the_grid_is_its_place_of_the_photo(tmp_path, kind):
    config, side = (TOKENS | MAPS)[kind]
    tiny(config, tmp_path)
    encoder = build_encoder(unfolded("transformers", tmp_path, 32))
    assert encoder.grid == (side, side)
    assert places(encoder, 32) == list(range(side * side))


@pytest.mark.parametrize("kind", BLURRED)
def test_each_quarter_of_a_cnn_map_is_its_place_of_the_photo(tmp_path, kind):
    config, side = BLURRED[kind]
    tiny(config, tmp_path)
    encoder = build_encoder(unfolded("transformers", tmp_path, 64))
    assert encoder.grid == (side, side)
    assert places(encoder, 64, side=2) == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", TOKENS)
def test_a_size_other_than_the_pretraining_size(tmp_path, kind):
    tiny(TOKENS[kind][0], tmp_path)
    encoder = build_encoder(unfolded("transformers", tmp_path, 48))
    assert encoder.grid == (6, 6)
    assert places(encoder, 48) == list(range(36))


@pytest.mark.parametrize(
    ("kind", "registers"), [("dinov2_registers", 3), ("dinov3", 5), ("deit", 0), ("siglip", 0)]
)
def test_the_patches_are_the_last_tokens_of_the_pretrained_model(tmp_path, kind, registers):
    net = tiny(TOKENS[kind][0], tmp_path)
    encoder = build_encoder(unfolded("transformers", tmp_path, 32))
    pixels = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    with torch.no_grad():
        tokens = net(pixel_values=encoder.normalise(pixels)).last_hidden_state
        found = encoder.eval()(pixels).features
    assert torch.allclose(found, tokens[:, -16:], atol=1e-5)


@pytest.mark.parametrize(
    ("config", "model", "classes"),
    [
        (tf.CLIPConfig(vision_config=VIT, text_config=TEXT), tf.CLIPModel, 1),
        (tf.SiglipConfig(vision_config=VIT, text_config=TEXT), tf.SiglipModel, 0),
    ],
)
def test_of_two_towers_only_the_vision_tower_is_loaded(tmp_path, config, model, classes):
    net = tiny(config, tmp_path, model)
    encoder = build_encoder(unfolded("transformers", tmp_path, 32))
    assert not [name for name in encoder.state_dict() if "text" in name or "head" in name]
    pixels = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    with torch.no_grad():
        tokens = net.vision_model(pixel_values=encoder.normalise(pixels)).last_hidden_state
        assert torch.allclose(encoder.eval()(pixels).features, tokens[:, classes:], atol=1e-5)


def test_a_classifier_and_half_precision_weights_load_as_a_float32_backbone(tmp_path):
    net = tiny(tf.ViTConfig(**VIT), tmp_path, tf.ViTForImageClassification)
    net.bfloat16().save_pretrained(tmp_path)
    config = unfolded("transformers", tmp_path, 32)
    encoder = build_encoder(config)
    assert {p.dtype for p in encoder.parameters()} == {torch.float32}
    assert not [name for name in encoder.state_dict() if "pooler" in name]
    stored = unfolded("transformers", tmp_path, 32, backbone=config.to_dict()["backbone"])
    assert {p.dtype for p in build_encoder(stored).parameters()} == {torch.float32}
    weight = net.vit.embeddings.position_embeddings.float()
    assert torch.equal(encoder.backbone.embeddings.position_embeddings, weight)


def test_timm_transformers_drop_the_tokens_they_declare(tmp_path):
    timm_folder(tmp_path, "test_vit", reg_tokens=3, depth=1)
    encoder = build_encoder(unfolded("timm", tmp_path, 64))
    assert encoder.backbone.num_prefix_tokens == 4
    assert encoder.grid == (4, 4)
    assert places(encoder, 64) == list(range(16))


def test_timm_maps_with_channels_last_are_turned(tmp_path):
    small = {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4}
    timm_folder(tmp_path, "swin_tiny_patch4_window7_224", **small)
    encoder = build_encoder(unfolded("timm", tmp_path, 32))
    assert (encoder.grid, encoder.width) == ((4, 4), 16)
    assert places(encoder, 32) == list(range(16))


@pytest.mark.parametrize(
    "name", ["test_vit", "xcit_nano_12_p16_224", "test_efficientnet", "test_mambaout"]
)
def test_timm_features_are_what_the_model_computes_last(name):
    torch.manual_seed(0)
    encoder = build_encoder(unfolded("timm", name, 160))
    net, pixels = encoder.backbone, torch.randint(0, 256, (2, 160, 160, 3), dtype=torch.uint8)
    with torch.no_grad():
        found = encoder.eval()(pixels).features
        whole = net.forward_features(encoder.normalise(pixels))
    if whole.ndim == 3:
        whole = whole[:, net.num_prefix_tokens :]
    else:
        whole = whole.flatten(1, 2) if name == "test_mambaout" else whole.flatten(2).mT
    assert torch.equal(found, whole)


@pytest.mark.parametrize("name", ["pit_ti_224", "hiera_tiny_224"])
@pytest.mark.slow
def test_timm_makes_the_map_of_models_with_tokens_of_other_kinds(name):
    torch.manual_seed(0)
    encoder = build_encoder(unfolded("timm", name, 224))
    assert encoder.grid == (7, 7)
    assert places(encoder, 224, side=2) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("name", "count", "last"),
    [
        ("test_vit", 1 + 6, {"blocks.5.mlp.fc2.weight", "norm.weight"}),
        ("tf_efficientnet_lite0", 1 + 16, {"blocks.6.0.conv_pwl.weight", "conv_head.weight"}),
        ("resnet18", 1 + 8, {"layer4.1.conv1.weight", "layer4.1.conv2.weight"}),
        ("poolformer_s12", 4, {"stages.3.blocks.1.mlp.fc2.weight"}),  # timm has no groups for it
    ],
)
def test_the_blocks_of_a_timm_backbone_are_as_timm_groups_them(name, count, last):
    encoder = build_encoder(unfolded("timm", name, 64))
    names = {id(p): n for n, p in encoder.backbone.named_parameters()}
    blocks = encoder.blocks()
    assert len(blocks) == count
    assert last <= {names[id(p)] for p in blocks[-1]}


def test_the_blocks_of_a_transformers_backbone_are_its_layers(tmp_path):
    net = tiny(tf.ViTConfig(**{**VIT, "num_hidden_layers": 3}), tmp_path)
    blocks = build_encoder(unfolded("transformers", tmp_path, 32)).blocks()
    assert [[p.shape for p in block] for block in blocks] == [
        [p.shape for p in layer.parameters()] for layer in net.layers
    ]


def test_a_timm_folder_gives_its_weights_and_position_embeddings_of_the_size(tmp_path):
    net = timm_folder(tmp_path, "test_vit", depth=1)
    own = build_encoder(unfolded("timm", tmp_path, 160))
    state = net.state_dict()
    assert all(torch.equal(t, state[n]) for n, t in own.backbone.state_dict().items())
    other = build_encoder(unfolded("timm", f"local-dir:{tmp_path}", 64))
    assert other.backbone.pos_embed.shape[1] == 17
    assert torch.equal(other.backbone.patch_embed.proj.weight, net.patch_embed.proj.weight)


def test_a_timm_name_with_a_tag_asks_the_hub_for_safetensors(tmp_path, monkeypatch):
    asked = []

    def download(repo, file, revision=None):
        asked.append((repo, file))
        return str(tmp_path / file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    net = timm_folder(tmp_path, "test_resnet")
    for name in ("test_resnet.r160_in1k", "hf-hub:timm/test_resnet.r160_in1k"):
        encoder = build_encoder(unfolded("timm", name, 64))
        assert torch.equal(encoder.backbone.conv1[0].weight, net.conv1[0].weight)
    repo = "timm/test_resnet.r160_in1k"
    assert asked == [
        (repo, "model.safetensors"), (repo, "config.json"), (repo, "model.safetensors"),
    ]  # fmt: skip


@torch.no_grad()
def folding_error(net, size):
    """Largest change of the output, relative to it, that folding makes with trained-like norms."""
    generator = torch.Generator().manual_seed(0)
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.2, generator=generator)
            norm.running_var.uniform_(0.5, 1.5, generator=generator)
            norm.weight.uniform_(0.5, 1.5, generator=generator)
            norm.bias.normal_(0, 0.2, generator=generator)
    x = torch.rand(2, 3, size, size, generator=generator)
    run = getattr(net, "forward_features", net)
    norms = sum(isinstance(m, nn.BatchNorm2d) for m in net.modules())
    before = run(x)
    fold_batch_norm(net)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in net.modules()) < norms
    after = run(x)
    if not isinstance(before, torch.Tensor):
        before, after = before.last_hidden_state, after.last_hidden_state
    return float((before - after).abs().max() / before.abs().max())


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "test_resnet", "repvit_m0_9"])
def test_timm_cnns_fold_to_the_same_function(name):
    assert folding_error(timm.create_model(name, num_classes=0).eval(), 64) < 1e-4


def test_a_transformers_resnet_folds_to_the_same_function():
    assert folding_error(tf.ResNetModel(BLURRED["resnet"][0]).eval(), 64) < 1e-4


def test_the_trunk_and_the_head_make_the_whole():
    pixels = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    torch.manual_seed(0)
    whole = build_encoder(EncoderConfig(name="tf_efficientnet_lite0", size=64)).eval()
    with torch.no_grad():
        expected = whole(pixels).features
        for stages in (1, 5, 7):
            split = build_encoder(
                EncoderConfig(name="tf_efficientnet_lite0", size=64, frozen_stages=stages)
            ).eval()
            split.load_state_dict(whole.state_dict())
            trunk = split.trunk(split.normalise(pixels))
            assert torch.equal(split.head(trunk), expected)
            frozen = {id(p) for p in split.trunk_parameters()}
            head = [n for n, p in split.backbone.named_parameters() if id(p) not in frozen]
            assert head[0].startswith(f"blocks.{stages}." if stages < 7 else "conv_head")


def test_models_saved_before_still_load():
    """The encoder of the model in the box: what its config.json says, and its tensors' names."""
    config = EncoderConfig(name="tf_efficientnet_lite2", size=260, frozen_stages=5)
    assert json.loads(json.dumps(config.to_dict())) == {
        "library": "timm", "name": "tf_efficientnet_lite2", "size": 260,
        "mean": [127 / 255] * 3, "std": [128 / 255] * 3, "fold_batch_norm": True,
        "frozen_stages": 5, "backbone": None,
    }  # fmt: skip
    encoder = build_encoder(config)
    names = {name: tuple(t.shape) for name, t in encoder.state_dict().items()}
    assert len(names) == 128
    assert (encoder.grid, encoder.width) == ((9, 9), 1280)
    assert names["backbone.conv_stem.bias"] == (32,)
    assert names["backbone.blocks.6.0.conv_pwl.weight"] == (352, 1248, 1, 1)
    assert names["backbone.conv_head.bias"] == (1280,)
    assert json.dumps(config.to_dict()) == json.dumps(EncoderConfig(**config.to_dict()).to_dict())


def captioner_of(config):
    tokenizer = CaptionTokenizer.train(CAPTIONS, 300)
    decoder = DecoderConfig(vocab_size=len(tokenizer), width=16, layers=1, heads=2, positions=8)
    return CaptionModel(ModelConfig(encoder=config, decoder=decoder), tokenizer).eval()


@pytest.mark.parametrize(
    "kind", ["vit", "vit_mae", "dinov2_registers", "clip", "siglip2", "swin", "convnext", "resnet"]
)
def test_a_saved_captioner_needs_no_folder_and_saves_the_same_bytes(tmp_path, kind):
    tiny((TOKENS | MAPS | BLURRED)[kind][0], tmp_path / "hub")
    config = EncoderConfig("transformers", str(tmp_path / "hub"), 32, [0.5] * 3, [0.25] * 3)
    check_round_trip(config, tmp_path)


@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet", "folder"])
def test_a_saved_captioner_with_a_timm_encoder_saves_the_same_bytes(tmp_path, name):
    timm_folder(tmp_path / "hub", "test_vit", reg_tokens=2)
    name = str(tmp_path / "hub") if name == "folder" else name
    check_round_trip(EncoderConfig("timm", name, 64, (0.5, 0.5, 0.5), [1, 1, 1]), tmp_path)


def check_round_trip(config, tmp_path):
    model = captioner_of(config)
    again = captioner_of(config)  # the same config gives the pretrained weights once more
    if (tmp_path / "hub").name in config.name:
        weights = again.encoder.state_dict()
        assert all(torch.equal(t, weights[n]) for n, t in model.encoder.state_dict().items())
    model.save(tmp_path / "one")
    (tmp_path / "hub").rename(tmp_path / "gone")
    loaded = CaptionModel.load(tmp_path / "one")
    loaded.save(tmp_path / "two")
    for file in ("config.json", "model.safetensors"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    size = config.size
    pixels = torch.randint(0, 256, (2, size, size, 3), dtype=torch.uint8)
    with torch.no_grad():
        first, second = (m.encoder(pixels).features for m in (model, loaded))
    assert torch.allclose(first, second, atol=1e-5)


def test_mean_and_std_as_lists_or_tuples_are_the_same_config():
    lists = EncoderConfig(mean=[0, 0.5, 1], std=[1, 1, 1])
    assert lists == EncoderConfig(mean=(0.0, 0.5, 1.0), std=(1.0, 1.0, 1.0))
    assert json.dumps(lists.to_dict()) == json.dumps(EncoderConfig(**lists.to_dict()).to_dict())


CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)


def test_config_for_takes_mean_std_and_size_from_the_preprocessor(tmp_path):
    tiny(tf.CLIPConfig(vision_config=VIT, text_config=TEXT), tmp_path / "clip", tf.CLIPModel)
    with pytest.raises(ModelError, match=r"preprocessor_config\.json"):
        config_for("transformers", str(tmp_path / "clip"))
    crop = {"height": 32, "width": 32}
    tf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=crop).save_pretrained(
        tmp_path / "clip"
    )
    config = config_for("transformers", str(tmp_path / "clip"))
    assert config.mean == pytest.approx(CLIP_MEAN)
    assert config.size == 32
    assert build_encoder(config).grid == (4, 4)

    tiny(tf.SiglipVisionConfig(**VIT), tmp_path / "siglip")
    tf.SiglipImageProcessor(size=crop).save_pretrained(tmp_path / "siglip")
    config = config_for("transformers", str(tmp_path / "siglip"), size=40)
    assert (config.mean, config.std, config.size) == ((0.5,) * 3, (0.5,) * 3, 40)


def test_config_for_knows_timm(tmp_path):
    config = config_for("timm", "tf_efficientnet_lite2", frozen_stages=5)
    assert (config.size, config.frozen_stages, config.mean) == (260, 5, (0.5,) * 3)
    config = config_for("timm", "vit_base_patch16_clip_224.openai")
    assert config.mean == pytest.approx(CLIP_MEAN)
    timm_folder(tmp_path, "test_vit")
    config = config_for("timm", str(tmp_path))
    assert (config.size, config.std) == (160, (0.5,) * 3)
    assert EncoderConfig().mean == HALF_MEAN


def test_a_folder_with_only_a_pickle_is_refused(tmp_path):
    tiny(tf.ViTConfig(**VIT), tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no \.safetensors weights\.$"):
        build_encoder(unfolded("transformers", tmp_path, 32))
    (tmp_path / "pytorch_model.bin").write_bytes(b"anything")
    for library in ("transformers", "timm"):
        with pytest.raises(ModelError, match=r"pytorch_model\.bin is a pickle"):
            build_encoder(unfolded(library, tmp_path, 32))


def test_weights_that_are_damaged_or_of_another_model_are_refused(tmp_path):
    tiny(tf.ViTConfig(**VIT), tmp_path / "vit")
    tiny(tf.ConvNextConfig(num_stages=2, **STAGES), tmp_path / "convnext")
    weights = tmp_path / "vit" / "model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes((tmp_path / "convnext" / "model.safetensors").read_bytes())
    with pytest.raises(ModelError, match="lacks the weights"):
        build_encoder(unfolded("transformers", tmp_path / "vit", 32))
    weights.write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError, match="cannot be used"):
        build_encoder(unfolded("transformers", tmp_path / "vit", 32))

    timm_folder(tmp_path / "timm", "test_vit")
    (tmp_path / "timm" / "model.safetensors").write_bytes(data)
    with pytest.raises(ModelError, match="test_vit"):
        build_encoder(unfolded("timm", tmp_path / "timm", 160))


def test_code_in_a_folder_is_never_run(tmp_path):
    tiny(tf.ViTConfig(**VIT), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "strange", "auto_map": {"AutoConfig": "code.Strange"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ModelError, match="cannot be used"):
        build_encoder(unfolded("transformers", tmp_path, 32))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (EncoderConfig("keras"), "no encoder library 'keras'"),
        (EncoderConfig("timm", "resnet19"), "no model named 'resnet19'"),
        (EncoderConfig("timm", "resnet18.no_such_tag"), "no model named"),
        (EncoderConfig("timm", "test_resnet", 64, frozen_stages=2), "has no such blocks"),
        (EncoderConfig("timm", "tf_efficientnet_lite0", 64, frozen_stages=8), "has 7 blocks"),
        (EncoderConfig("timm", "test_vit", 100), "test_vit at 100x100 pixels cannot be used"),
        (EncoderConfig("torchvision", "resnet18"), "no encoder library 'torchvision'"),
        (EncoderConfig("transformers", "/no/such/folder"), "no encoder folder /no/such/folder"),
        (EncoderConfig("transformers", "no/such"), "no/such cannot be used"),
        (EncoderConfig("transformers", "x", backbone={"model_type": "bert"}), "'bert'"),
        (EncoderConfig("timm", "x", backbone={"model_type": "vit"}), "names no timm"),
    ],
)
def test_an_encoder_that_cannot_be_is_a_sentence(config, sentence):
    with pytest.raises(ModelError, match=sentence):
        build_encoder(config)


def test_a_timm_model_without_a_feature_map_is_refused(monkeypatch):
    def tokens_only(self, x, **options):
        return self.forward_features(x), [self.forward_features(x)]

    monkeypatch.setattr(timm.models.VisionTransformer, "forward_intermediates", tokens_only)
    with pytest.raises(ModelError, match="test_vit has no feature map"):
        build_encoder(EncoderConfig("timm", "test_vit", 160))


def test_a_size_that_leaves_a_strip_of_the_photo_unseen_is_refused(tmp_path):
    tiny(tf.ViTConfig(**VIT), tmp_path)
    with pytest.raises(ModelError, match="must be a multiple of 8, not 45: 40 or 48"):
        build_encoder(unfolded("transformers", tmp_path, 45))


@pytest.mark.parametrize(
    "options", [{"mean": (0.5,)}, {"std": (0, 1, 1)}, {"size": 0}, {"frozen_stages": -1}]
)
def test_settings_that_cannot_be_are_refused(options):
    with pytest.raises(ModelError):
        EncoderConfig(**options)


@pytest.mark.slow
def test_the_libraries_are_imported_only_when_they_are_used():
    code = "import sys, captioner.encoders; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"timm", "transformers", "torchvision"} & set(out.stdout.split())
