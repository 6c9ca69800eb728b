"""Photos asked for at the same time are captioned together, each with its own answer."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import captioner
from captioner.errors import CaptionerError
from captioner.page.batching import MAX_BATCH, DynamicBatcher
from captioner.photos import load_photo
from captioner.request import Request


@pytest.fixture(scope="module")
def model(builtin):
    return captioner.load(builtin)


def test_many_at_once_get_their_own_captions(model, photos, monkeypatch):
    loaded = [load_photo(p, min_side=512) for p in photos]
    batcher, batches, gate = DynamicBatcher(1, 1), [], threading.Event()
    real = model.caption_photos

    def counted(batch, request):
        gate.wait(60)
        batches.append((len(batch), request.beams))
        return real(batch, request)

    monkeypatch.setattr(model, "caption_photos", counted)
    asked = [(n % 3, 1 if n % 4 == 0 else 3) for n in range(16)]

    def ask(pair):
        return batcher.caption(model, loaded[pair[0]], Request(beams=pair[1])).text

    with ThreadPoolExecutor(16) as pool:
        answers = pool.map(ask, asked)
        threading.Timer(0.5, gate.set).start()
        answers = list(answers)
    wanted = {(n, b): model.caption(photos[n], beams=b).text for n, b in set(asked)}
    assert answers == [wanted[pair] for pair in asked]
    sizes = [size for size, _ in batches[: -len(wanted)]]
    assert sum(sizes) == 16 and 1 < max(sizes) <= MAX_BATCH and len(sizes) < 8


def test_a_mistake_reaches_who_made_it_and_nobody_else(model, photos):
    photo = load_photo(photos[2], min_side=512)
    batcher = DynamicBatcher(1, 1)
    long = "word " * 40
    with ThreadPoolExecutor(4) as pool:
        wrong = pool.submit(batcher.caption, model, photo, Request(prefix=long))
        right = [pool.submit(batcher.caption, model, photo, Request()) for _ in range(3)]
        with pytest.raises(CaptionerError, match="leaves nothing to write"):
            wrong.result()
        assert {r.result().text for r in right} == {model.caption(photos[2]).text}
