"""Random hands on the Caption and the Folder tab: clicks, double clicks, files, stops, reloads, tab
changes, zips with sheets, and a connection that comes and goes. Each sequence follows from its
seed."""

import random

from .test_hands import looks_like, wait_for_caption

REST = """part => {
  const found = document.querySelector(part);
  return !found || found.dataset.state !== 'busy';
}"""
GALLERY = """cards => cards.map((card) => [
  card.querySelector('small span').title, card.querySelector('b').textContent,
])"""


class Hands:
    """One person at a page. captions: the model's own of every sample photo."""

    def __init__(self, page, photos, captions, seed):
        self.page, self.photos, self.captions = page, photos, captions
        self.random = random.Random(seed)
        self.done: list[str] = []

    def act(self, steps: int) -> None:
        for _ in range(steps):
            name = self.random.choice(
                [
                    "sample", "sample", "double", "again", "choose", "choose", "folder", "stop",
                    "tab", "offline", "online", "reload", "word", "other", "back", "home",
                    "gallery", "sheets", "sheets",
                ]
            )  # fmt: skip
            self.done.append(name)
            getattr(self, name)()
            self.page.wait_for_timeout(self.random.choice([0, 0, 30, 120, 300, 800]))

    def end(self) -> None:
        """What must hold at the end: both tabs come to rest, every caption belongs to its photo,
        and the page answers the next question."""
        page = self.page
        page.context.set_offline(False)
        page.wait_for_function(REST, arg=".c-folder")
        names = [photo.name for photo in self.photos]
        for name, said in page.eval_on_selector_all(".c-photo", GALLERY):
            assert said == self.captions[names.index(name)][0], "another photo's, in the gallery"
        self.open_tab("Caption")
        page.wait_for_function(REST, arg=".c-viewer")
        if page.get_attribute(".c-viewer", "data-state") == "shown":
            said = page.inner_text("#c-viewer [data-part=caption]")
            [number] = [i for i, caption in enumerate(self.captions) if said in caption]
            assert looks_like(page, self.photos[number]), "another photo's caption"
        number = self.random.randrange(6)
        page.locator("[data-sample]").nth(number).click()
        wait_for_caption(page, self.captions[number][0])
        assert looks_like(page, self.photos[number])

    # What hands do; what is not there to be clicked is passed over.

    def sample(self) -> None:
        self.click(self.page.locator("[data-sample]").nth(self.random.randrange(6)))

    def double(self) -> None:
        self.click(self.page.locator("[data-sample]").nth(self.random.randrange(6)), twice=True)

    def again(self) -> None:
        self.click(self.page.locator("#c-viewer [data-do=again]"), self.random.random() < 0.5)

    def choose(self) -> None:
        self.page.set_input_files(
            "#c-viewer [data-part=file]", str(self.photos[self.random.randrange(6)])
        )

    def folder(self) -> None:
        self.open_tab("Folder")
        some = self.random.sample(range(6), 2)
        if self.page.locator("#c-folder [data-part=files]").count():
            self.page.set_input_files(
                "#c-folder [data-part=files]", [str(self.photos[i]) for i in some]
            )

    def stop(self) -> None:
        self.click(self.page.locator("#c-folder [data-do=stop]"))

    def gallery(self) -> None:
        self.click(self.page.locator(".c-photo-open").first)

    def sheets(self) -> None:
        self.open_tab("Folder")
        for switch in self.page.locator("#c-folder [data-part=sheets]").all():
            switch.evaluate("part => part.checked = true")
            self.click(self.page.locator("#c-folder [data-do=zip]"))

    def tab(self) -> None:
        self.open_tab(self.random.choice(["Caption", "Folder"]))

    def word(self) -> None:
        self.click(self.page.locator("#c-viewer .c-word").last)

    def other(self) -> None:
        self.click(self.page.locator("#c-viewer .c-other").last)

    def back(self) -> None:
        self.click(self.page.locator("[data-visit]").last)

    def home(self) -> None:
        self.click(self.page.locator("[data-do=home]"))

    def offline(self) -> None:
        self.page.context.set_offline(True)

    def online(self) -> None:
        self.page.context.set_offline(False)

    def reload(self) -> None:
        self.page.context.set_offline(False)
        self.page.reload()
        self.page.wait_for_selector(".c-viewer", state="attached")

    def click(self, part, twice: bool = False) -> None:
        if part.count() and part.is_visible():
            part.evaluate("part => part.click()")
            if twice:
                part.evaluate("part => part.click()")

    def open_tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name).click()
