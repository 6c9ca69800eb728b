"""Language errors in captions, which CIDEr-D hardly minds: the reward can (`train.reward`)."""

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence

ARTICLES = ("a", "an")
RARE = 0.02  # a word has an article so seldom (or not at all) that it is an error
KNOWN = 5  # occurrences of a word from which on its articles are judged

# What a good caption may say twice.
_SMALL = """
a an the and or of in on at to with by from for into onto over under near next up down out off
through behind beside between around across along against above below while as is are be has have
it its his her their there that who which this one other another each some two three
"""
SMALL = frozenset(_SMALL.split())


class LanguagePenalty:
    """Which article each word takes is learnt from captions that people wrote."""

    def __init__(self, captions: Iterable[str]):
        self.words: Counter[str] = Counter()
        self.behind = {article: Counter[str]() for article in ARTICLES}
        for caption in captions:
            words = caption.split()
            self.words.update(words)
            for before, word in itertools.pairwise(words):
                if before in self.behind:
                    self.behind[before][word] += 1

    def count(self, words: Sequence[str]) -> int:
        """How often `words` (lower case) have an article that the next word does not take or that
        nothing follows, or say a word of content twice."""
        return self.wrong_articles(words) + self.said_twice(words)

    def wrong_articles(self, words: Sequence[str]) -> int:
        """How often `words` have an article that the next word does not take."""
        return sum(
            self.wrong_article(article, word)
            for article, word in itertools.pairwise([*words, ""])
            if article in self.behind
        )

    def said_twice(self, words: Sequence[str]) -> int:
        """How often `words` say a word of content once more."""
        content = [word for word in words if word not in SMALL]
        return len(content) - len(set(content))

    def wrong_article(self, article: str, word: str) -> bool:
        """Whether `word` ("" for the end) does not take `article`: people write the other one
        before it, or hardly ever one at all."""
        if not word or word in ARTICLES:
            return True
        found = {a: self.behind[a][word] for a in ARTICLES}
        if self.words[word] < KNOWN:
            return False
        most = max(found.values())
        return found[article] < most / 2 or most < RARE * self.words[word]
