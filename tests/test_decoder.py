"""The decoder's quick ways give what the plain way gives."""

import pytest
import torch

from captioner.decoder import DecoderConfig, TextDecoder
from captioner.model import CachedStep


@pytest.fixture
def decoder() -> TextDecoder:
    torch.manual_seed(0)
    decoder = TextDecoder(DecoderConfig(vocab_size=50, width=32, layers=3, heads=4, dropout=0.2))
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.mul_(5)
    return decoder.eval()


def test_cached_decoding_equals_uncached(decoder):
    memory = decoder.photo_memory(torch.randn(2, 9, 32))
    ids = torch.randint(0, 50, (2, 12))
    whole, _ = decoder(ids, memory)
    past = None
    for t in range(ids.shape[1]):
        logits, past = decoder(ids[:, t : t + 1], memory, past)
        torch.testing.assert_close(logits[:, 0], whole[:, t], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("learns", [True, False])
def test_fast_attention_equals_explicit(decoder, learns):
    """With gradients (on a CPU) attention goes another way than without."""
    ids = torch.randint(0, 50, (6, 7))  # two rows a photo
    with torch.set_grad_enabled(learns):
        memory = decoder.photo_memory(torch.randn(3, 9, 32))
        fast, _ = decoder(ids, memory)
        explicit, weights = decoder.explain(ids, memory)
    torch.testing.assert_close(explicit, fast, atol=1e-5, rtol=1e-5)
    assert weights.shape == (6, 3, 4, 7, 9)
    torch.testing.assert_close(weights.sum(-1), torch.ones(6, 3, 4, 7))


def test_gradients_of_attention_are_those_of_the_fused_one(decoder, monkeypatch):
    decoder.double()
    patches, ids = torch.randn(2, 9, 32).double(), torch.randint(0, 50, (4, 7))

    def gradients():
        decoder.zero_grad()
        decoder.hidden(ids, decoder.photo_memory(patches)).sin().sum().backward()
        return {k: p.grad for k, p in decoder.named_parameters() if p.grad is not None}

    plain = gradients()

    def fused(q, k, v, causal):
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)

    monkeypatch.setattr("captioner.decoder._attend", fused)
    for name, gradient in gradients().items():
        torch.testing.assert_close(plain[name], gradient, atol=1e-9, rtol=1e-9)


def test_rows_of_a_photo_share_its_memory(decoder):
    patches = torch.randn(3, 9, 32)
    ids = torch.randint(0, 50, (6, 7))
    shared, shared_weights = decoder.explain(ids, decoder.photo_memory(patches))
    copied, copied_weights = decoder.explain(
        ids, decoder.photo_memory(patches.repeat_interleave(2, dim=0))
    )
    torch.testing.assert_close(shared, copied, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(shared_weights, copied_weights, atol=1e-6, rtol=1e-5)


def test_no_token_sees_a_later_one(decoder):
    memory = decoder.photo_memory(torch.randn(1, 9, 32))
    ids = torch.randint(0, 50, (1, 8))
    changed = ids.clone()
    changed[0, 5] = (ids[0, 5] + 1) % 50
    before, after = decoder(ids, memory)[0], decoder(changed, memory)[0]
    torch.testing.assert_close(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 5:], after[:, 5:])


def test_the_photo_changes_the_logits(decoder):
    ids = torch.randint(0, 50, (1, 4))
    one, _ = decoder(ids, decoder.photo_memory(torch.randn(1, 9, 32)))
    other, _ = decoder(ids, decoder.photo_memory(torch.randn(1, 9, 32)))
    none, _ = decoder(ids, None)
    assert not torch.allclose(one, other) and not torch.allclose(one, none)


def test_a_step_follows_its_rows_when_photos_drop_out(decoder):
    """Beams reorder, the first photo finishes: the rows left must go on as if alone."""
    patches = torch.randn(3, 9, 32)
    start = torch.randint(0, 50, (3, 2))
    step = CachedStep(decoder, decoder.photo_memory(patches))
    step(start, None)
    step(torch.tensor([[4], [5], [6], [7], [8], [9]]), torch.tensor([0, 0, 1, 1, 2, 2]))
    logits = step(torch.tensor([[10], [11], [12], [13]]), torch.tensor([3, 2, 5, 5]))
    rows = [(1, [7, 10]), (1, [6, 11]), (2, [9, 12]), (2, [9, 13])]
    for got, (photo, tail) in zip(logits, rows, strict=True):
        ids = torch.tensor([[*start[photo].tolist(), *tail]])
        alone, _ = decoder(ids, decoder.photo_memory(patches[photo : photo + 1]))
        torch.testing.assert_close(got, alone[0, -1], atol=1e-5, rtol=1e-5)
