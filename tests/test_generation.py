"""The search, against brute force where that is possible."""

import itertools

import pytest
import torch

from captioner.errors import CaptionerError
from captioner.generation import Search, generate

BOS, EOS, PAD, VOCAB = 0, 1, 2, 6


class TableStep:
    """A model that is a table: the logits of the next token after every sequence, per photo."""

    def __init__(self, photos: int, seed: int = 0, sharp: float = 2.0):
        self.photos, self.seed, self.sharp = photos, seed, sharp
        self.rows: list[tuple[int, tuple[int, ...]]] = []

    def logits(self, photo: int, ids: tuple[int, ...]) -> torch.Tensor:
        generator = torch.Generator().manual_seed(hash((self.seed, photo, ids)) % 2**31)
        return torch.randn(VOCAB, generator=generator) * self.sharp

    def __call__(self, tokens, parents):
        if parents is None:
            self.rows = [(i, tuple(row[1:])) for i, row in enumerate(tokens.tolist())]
        else:
            before = [self.rows[p] for p in parents.tolist()]
            self.rows = [
                (p, (*ids, *new)) for (p, ids), new in zip(before, tokens.tolist(), strict=True)
            ]
        return torch.stack([self.logits(p, ids) for p, ids in self.rows])


def run(step, search, **options):
    return generate(step, step.photos, search, bos=BOS, eos=EOS, pad=PAD, **options)


def brute_force(step, photo, search):
    """Every caption up to the maximum length with its score, best first."""
    found = []
    for length in range(search.max_length + 1):
        for ids in itertools.product(range(3, VOCAB), repeat=length):
            if length < search.min_length:
                continue
            total = 0.0
            for t in range(length + 1):
                logprobs = torch.log_softmax(step.logits(photo, ids[:t]), dim=-1)
                total += float(logprobs[ids[t] if t < length else EOS])
            found.append((total / (length + 1) ** search.length_penalty, ids))
    return sorted(found, reverse=True)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("length_penalty", [0.0, 0.7, 1.5])
@pytest.mark.parametrize("min_length", [0, 2])
def test_a_wide_beam_finds_what_brute_force_finds(seed, length_penalty, min_length):
    step = TableStep(photos=2, seed=seed)
    search = Search(
        beams=200, returned=5, max_length=4, min_length=min_length,
        length_penalty=length_penalty, early_stop=False,
    )  # fmt: skip
    for photo, found in enumerate(run(step, search)):
        expected = brute_force(step, photo, search)[:5]
        assert [h.ids for h in found] == [ids for _, ids in expected]
        assert [h.score for h in found] == pytest.approx([s for s, _ in expected], abs=1e-4)


def test_one_beam_is_greedy():
    step = TableStep(photos=1, seed=3)
    ids: tuple[int, ...] = ()
    while len(ids) < 8:
        logits = step.logits(0, ids)
        logits[[BOS, PAD]] = -torch.inf
        if (best := int(logits.argmax())) == EOS and ids:
            break
        if best == EOS:
            logits[EOS] = -torch.inf
            best = int(logits.argmax())
        ids = (*ids, best)
    assert run(step, Search(beams=1, max_length=8))[0][0].ids == ids


@pytest.mark.parametrize(
    "search",
    [
        Search(beams=3, returned=3, max_length=7),
        Search(beams=1, max_length=7),
        Search(beams=4, returned=2, length_penalty=1.0, max_length=7),
        Search(sample=True, returned=3, max_length=7, seed=5, top_p=0.9, top_k=4),
    ],
)
def test_photos_of_a_batch_do_not_disturb_each_other(search):
    together = run(TableStep(photos=4), search)

    class Alone(TableStep):
        def logits(self, photo, ids):
            return super().logits(self.which, ids)

    for photo in range(4):
        step = Alone(photos=1)
        step.which = photo
        alone = run(step, search)[0]
        assert [h.ids for h in alone] == [h.ids for h in together[photo]]
        assert alone[0].score == pytest.approx(together[photo][0].score, abs=1e-5)


def test_logprobs_are_those_of_the_model():
    step = TableStep(photos=1)
    for found in run(step, Search(beams=3, returned=3, max_length=6))[0]:
        assert len(found.logprobs) == len(found.ids) + 1
        for t, token in enumerate((*found.ids, EOS)):
            own = torch.log_softmax(step.logits(0, found.ids[:t]), dim=-1)
            assert found.logprobs[t] == pytest.approx(float(own[token]), abs=1e-5)


def test_lengths_are_kept():
    for sample in (False, True):
        search = Search(beams=3, returned=3, sample=sample, min_length=4, max_length=5)
        for found in run(TableStep(photos=3), search):
            assert all(4 <= len(h.ids) <= 5 for h in found)


def test_no_ngram_comes_twice():
    step = TableStep(photos=5, sharp=0.3)
    for found in run(step, Search(beams=2, max_length=9, min_length=9, no_repeat=2)):
        pairs = list(itertools.pairwise(found[0].ids))
        assert len(pairs) == len(set(pairs))
    free = run(step, Search(beams=2, max_length=9, min_length=9))
    assert any(len(set(itertools.pairwise(f[0].ids))) < 8 for f in free)


def test_a_prefix_is_kept_and_costs_nothing():
    found = run(TableStep(photos=2), Search(beams=3, max_length=6), prefix=[4, 3, 5])
    for row in found:
        assert row[0].ids[:3] == (4, 3, 5)
        assert row[0].logprobs[:3] == (0.0, 0.0, 0.0)
        assert row[0].score == pytest.approx(sum(row[0].logprobs), abs=1e-5)


@pytest.mark.slow
def test_sampling_draws_from_the_distribution():
    class Coin(TableStep):
        def logits(self, photo, ids):
            table = torch.full((VOCAB,), -torch.inf)
            table[[3, 4]] = torch.log(torch.tensor([0.7, 0.3]))
            return table if not ids else torch.where(torch.arange(VOCAB) == EOS, 0.0, -torch.inf)

    found = run(Coin(photos=1), Search(sample=True, returned=4000, max_length=3, seed=1))[0]
    assert len(found) == 4000
    assert sum(h.ids == (3,) for h in found) / 4000 == pytest.approx(0.7, abs=0.03)
    cut = run(Coin(photos=1), Search(sample=True, returned=200, top_p=0.6, max_length=3))[0]
    assert {h.ids for h in cut} == {(3,)}
    hot = Search(sample=True, returned=4000, max_length=3, temperature=100.0)
    assert sum(h.ids == (3,) for h in run(Coin(photos=1), hot)[0]) / 4000 == pytest.approx(
        0.5, abs=0.03
    )


def test_a_seed_repeats_and_another_differs():
    def drawn(seed):
        search = Search(sample=True, returned=3, seed=seed, max_length=9)
        return [h.ids for found in run(TableStep(photos=3), search) for h in found]

    assert drawn(1) == drawn(1) != drawn(2)


@pytest.mark.parametrize(
    "settings",
    [
        {"beams": 0}, {"returned": 4}, {"min_length": 9, "max_length": 3}, {"temperature": 0},
        {"top_p": 0}, {"top_p": 1.5}, {"top_k": -1}, {"no_repeat": -1}, {"max_length": 0},
    ],
)  # fmt: skip
def test_senseless_settings_are_refused(settings):
    with pytest.raises(CaptionerError):
        Search(**settings)


def test_a_prefix_that_fills_the_caption_is_refused():
    with pytest.raises(CaptionerError, match="prefix"):
        run(TableStep(photos=1), Search(max_length=3), prefix=[3, 3, 3])


def test_seeds_of_their_own_make_photos_draw_apart():
    class Same(TableStep):
        def logits(self, photo, ids):
            return super().logits(0, ids)

    search = Search(sample=True, returned=2, max_length=9)
    alike = run(Same(photos=4, sharp=0.3), search)
    apart = run(Same(photos=4, sharp=0.3), search, seeds=[1, 2, 3, 4])
    assert len({h.ids for found in alike for h in found}) == 2
    assert len({h.ids for found in apart for h in found}) > 4
