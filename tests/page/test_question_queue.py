"""Whose turn it is when many ask."""

import asyncio
import threading

import pytest

pytest.importorskip("gradio", reason="the page needs gradio: pip install -e '.[demo]'")

from captioner.errors import CaptionerError
from captioner.page.caption import CaptionService, concurrency
from captioner.page.models import Models
from captioner.page.question_queue import QuestionQueue, SupersededError
from captioner.page.uploads import Upload

from .conftest import run_apart

WAITING = 32


def run(scenario):
    run_apart(scenario())


class Work:
    """Work that goes on until it is told to end."""

    def __init__(self):
        self.begun: list[str] = []
        self.end = threading.Event()

    def __call__(self, name: str):
        def work() -> str:
            self.begun.append(name)
            self.end.wait(60)
            return name

        return work


async def asked(queue, work, *pages):
    tasks = []
    for page in pages:
        tasks.append(asyncio.create_task(queue.run(page, work(page))))
        await asyncio.sleep(0)
    return tasks


def test_questions_are_answered_in_their_order():
    async def scenario():
        queue, work = QuestionQueue(running=1, waiting=3), Work()
        tasks = await asked(queue, work, "a", "b", "c", "d")
        assert [queue.before(page) for page in "abcd"] == [0, 1, 2, 3]
        work.end.set()
        assert await asyncio.gather(*tasks) == ["a", "b", "c", "d"]
        assert work.begun == ["a", "b", "c", "d"]

    run(scenario)


def test_who_comes_when_the_queue_is_full_is_told_how_many_are_before():
    async def scenario():
        queue, work = QuestionQueue(running=1, waiting=1), Work()
        tasks = await asked(queue, work, "a", "b")
        with pytest.raises(CaptionerError, match="busy: 2 photos are before yours"):
            await queue.run("c", work("c"))
        work.end.set()
        assert await asyncio.gather(*tasks) == ["a", "b"]
        assert await queue.run("c", work("c")) == "c"

    run(scenario)


def test_a_page_that_asks_anew_gives_up_what_it_asked_before():
    async def scenario():
        queue, work = QuestionQueue(running=1, waiting=5), Work()
        tasks = await asked(queue, work, "a", "b", "c", "b")
        with pytest.raises(SupersededError):
            await tasks[1]
        assert queue.before("c") == 1 and queue.before("b") == 2
        work.end.set()
        assert [await tasks[0], await tasks[2], await tasks[3]] == ["a", "c", "b"]
        assert work.begun == ["a", "c", "b"], "the older question was not worked on"

    run(scenario)


def test_who_leaves_and_what_fails_give_their_place_to_the_next():
    async def scenario():
        queue, work = QuestionQueue(running=1, waiting=5), Work()
        tasks = await asked(queue, work, "a", "b", "c")
        tasks[1].cancel()
        await asyncio.sleep(0)
        assert queue.before("c") == 1
        work.end.set()
        assert [await tasks[0], await tasks[2]] == ["a", "c"]

        def fails():
            raise CaptionerError("No.")

        with pytest.raises(CaptionerError, match="No"):
            await queue.run("d", fails)
        assert await queue.run("e", lambda: 1) == 1

    run(scenario)


# With a model -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def service(tiny):
    return CaptionService(Models([str(tiny)]), waiting=WAITING)


@pytest.fixture(scope="module")
def item(photos):
    return Upload(photos[2], "cat.png").item


def test_twenty_people_with_three_photos_each_get_all_their_captions(service, item):
    async def person(number: int):
        return [await service.ask({"page": f"{number}"}, lambda: item) for _ in range(3)]

    async def scenario():
        for answers in await asyncio.gather(*map(person, range(20))):
            assert len({answer["id"] for answer in answers}) == 3

    run(scenario)


def test_of_eighty_at_once_each_gets_a_caption_or_is_told_how_many_are_before(service, item):
    async def scenario():
        questions = [service.ask({"page": f"{n}"}, lambda: item) for n in range(80)]
        answers = await asyncio.gather(*questions)
        served = WAITING + concurrency()
        assert all("captions" in answer for answer in answers[:served])
        for answer in answers[served:]:
            assert answer["error"].startswith(
                f"The server is busy: {served} photos are before yours"
            )

    run(scenario)
