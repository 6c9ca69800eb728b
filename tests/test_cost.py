"""The formulas of docs/cross-attention.md hold for real tensors, and eval.cost measures them."""

import contextlib
import io
import json

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from captioner.decoder import DecoderConfig, TextDecoder
from eval import cost

SMALL = DecoderConfig(vocab_size=50, width=32, layers=2, heads=4, positions=32)


@pytest.fixture(scope="module")
def decoder() -> TextDecoder:
    torch.manual_seed(0)
    return TextDecoder(SMALL).eval()


@pytest.fixture(scope="module")
def quick() -> dict:
    """What the command prints."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert cost.main(["--quick", "--json"]) == 0
    return json.loads(printed.getvalue())


@pytest.mark.parametrize(("photos", "beams", "tokens", "patches"), [(1, 1, 1, 1), (3, 2, 5, 7)])
@torch.inference_mode()
def test_the_memory_formulas_are_exact(decoder, photos, beams, tokens, patches):
    memory = decoder.photo_memory(torch.randn(photos, patches, SMALL.width))
    ids = torch.randint(50, (photos * beams, tokens))
    held = sum(t.numel() for pair in memory for t in pair)
    assert held == cost.memory_numbers(SMALL, photos, patches)
    _, weights = decoder.explain(ids, memory)
    assert weights.numel() == cost.weight_numbers(SMALL, photos * beams, tokens, patches)


@pytest.mark.parametrize(("photos", "beams", "tokens", "patches"), [(1, 1, 1, 1), (3, 2, 5, 7)])
@torch.inference_mode()
def test_the_operation_formulas_are_those_that_torch_counts(
    decoder, photos, beams, tokens, patches
):
    features = torch.randn(photos, patches, SMALL.width)
    x = torch.randn(photos * beams, tokens, SMALL.width)
    with FlopCounterMode(display=False) as counted:
        memory = decoder.photo_memory(features)
    # torch counts a multiplication and an addition as two.
    assert counted.get_total_flops() == 2 * cost.memory_operations(SMALL, photos, patches)
    expected = 2 * cost.attention_operations(SMALL, photos * beams, tokens, patches)
    for path in ("forward", "explicit"):
        # Not every torch counts its fused attention on a CPU; the plain one is counted by all.
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counted:
            for layer, pair in zip(decoder.layers, memory, strict=True):
                getattr(layer.cross_attention, path)(x, pair)
        assert counted.get_total_flops() == expected


@torch.inference_mode()
def test_all_ways_of_keeping_the_memory_write_the_same(decoder):
    patches = torch.randn(2, 9, SMALL.width)
    ids = torch.randint(50, (6, 5))
    expected = cost.write(decoder, patches, ids, kept=True, shared=True)
    for kept, shared in ((True, False), (False, True), (False, False)):
        logits = cost.write(decoder, patches, ids, kept=kept, shared=shared)
        torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)


def test_the_peak_counts_what_lives_at_one_moment():
    def one_after_another():
        for _ in range(3):
            torch.empty(250_000)

    def side_by_side():
        return [torch.empty(250_000) for _ in range(3)]

    assert cost.peak_bytes(one_after_another) == 1_000_000
    assert cost.peak_bytes(side_by_side) == 3_000_000


@torch.inference_mode()
def test_the_peak_of_keys_and_values_is_the_formula(decoder):
    patches = torch.randn(2, 9, SMALL.width)
    peak = cost.peak_bytes(lambda: decoder.photo_memory(patches))
    assert peak == 4 * cost.memory_numbers(SMALL, 2, 9)


def test_growth_is_the_exponent():
    sizes = [10, 20, 40, 80]
    assert cost.growth(sizes, [5.0] * 4) == pytest.approx(0, abs=1e-9)
    assert cost.growth(sizes, [3.0 * s for s in sizes]) == pytest.approx(1)
    assert cost.growth(sizes, [7 + 0.5 * s * s for s in sizes], 7) == pytest.approx(2)
    assert cost.growth(sizes, [7.0, 7.1, 6.9, 7.2], 7) is None


@pytest.mark.slow
def test_the_report_has_every_table(quick):
    settings = quick["settings"]
    assert settings["rounds"] == 1 and settings["cores"] >= 1 and settings["torch"]
    assert {k: settings["decoder"][k] for k in ("width", "layers", "heads")} == {
        "width": 384,
        "layers": 3,
        "heads": 6,
    }
    assert [t["axis"] for t in quick["tables"]] == ["patches", "tokens"] * 3 + ["beams"]
    for table in quick["tables"]:
        for row in table["rows"]:
            assert set(row["arms"]) == set(table["growth"])
            for arm in row["arms"].values():
                assert arm["ms"] > 0 and arm["ratio"] > 0 and arm["peak_bytes"] > 0
        assert table["axis"] not in table["case"]
        assert (table["one_patch"] is not None) == (table["axis"] == "patches")


def test_memory_is_ordered_as_it_must_be(quick):
    attention, attention_tokens, *_, writing, _, beams = quick["tables"]
    for name, exponent in (("fast", 0), ("keys and values", 1)):
        assert attention["growth"][name]["peak_bytes"] == pytest.approx(exponent, abs=0.02)
    assert attention_tokens["growth"]["fast"]["peak_bytes"] == pytest.approx(1, abs=0.05)
    assert attention["growth"]["explicit"]["peak_bytes_above_one"] == pytest.approx(1, abs=0.2)
    config = DecoderConfig()
    for row in attention["rows"]:
        peak = {name: arm["peak_bytes"] for name, arm in row["arms"].items()}
        case = attention["case"]
        held = cost.memory_numbers(config, case["photos"], row["size"])
        weights = cost.weight_numbers(config, case["photos"], case["tokens"], row["size"])
        assert peak["keys and values"] == 4 * held
        assert peak["explicit"] > max(peak["fast"], 4 * weights)
    for table in (writing, beams):
        for row in table["rows"]:
            peak = {name: arm["peak_bytes"] for name, arm in row["arms"].items()}
            assert peak["once, shared"] < peak["once, copied"]
            assert peak["each step, shared"] < peak["once, shared"]


def test_keys_and_values_at_every_step_take_longer(quick):
    """The one ordering in time that no noise can turn: T times the largest product."""
    writing = next(t for t in quick["tables"] if "Writing" in t["title"])
    ratio = writing["rows"][-1]["arms"]["each step, copied"]["ratio"]
    assert ratio > 1.1


def test_the_page_is_updated_between_its_markers(tmp_path, monkeypatch, quick):
    monkeypatch.setattr(cost, "report", lambda *_: quick)
    page = tmp_path / "page.md"
    page.write_text(f"before\n{cost.BEGIN}\nold\n{cost.END}\nafter\n", encoding="utf-8")
    cost.main(["--markdown", str(page)])
    text = page.read_text(encoding="utf-8")
    assert text == f"before\n{cost.BEGIN}\n{cost.markdown(quick)}{cost.END}\nafter\n"
    cost.main(["--markdown", str(page)])
    assert page.read_text(encoding="utf-8") == text


def test_a_page_without_markers_is_refused_before_measuring(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("nothing here\n", encoding="utf-8")
    with pytest.raises(SystemExit):
        cost.main(["--markdown", str(page)])
    assert cost.BEGIN in capsys.readouterr().err
