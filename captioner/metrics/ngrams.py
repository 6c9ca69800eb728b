"""N-grams of captions as integers, so that CIDEr and BLEU are a few sorts over numpy arrays.

`ReferenceNgrams` reads the references once: words become numbers, n-grams become numbers, and each
image gets a sorted list of the n-grams of its references. `CandidateNgrams` does the same for the
captions to be scored, in the references' numbering, and pairs every n-gram of a candidate with the
same n-gram of the references of its image. What is done with the pairs is the business of
`cider.py` and `bleu.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from captioner.metrics.tokens import prepare

MAX_N = 4

_NO_POSITIONS = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class ReferenceLevel:
    """All n-grams of one length n in the references.

    keys: (G,) sorted, one per distinct n-gram; its place in this array is the n-gram's id.
    image_grams: (K,) sorted `image * G + gram`, one per n-gram that an image's references hold.
    starts: (K + 1,) where the occurrences of each of them begin in `sentence` and `count`.
    sentence: (E,) the reference that holds the n-gram. gram: (E,) the n-gram's id.
    count: (E,) how often it holds it.
    """

    keys: np.ndarray
    image_grams: np.ndarray
    starts: np.ndarray
    sentence: np.ndarray
    gram: np.ndarray
    count: np.ndarray

    @property
    def size(self) -> int:
        """G, the number of distinct n-grams."""
        return max(1, len(self.keys))

    def document_frequency(self) -> np.ndarray:
        """(G,) in how many images' references each n-gram occurs."""
        return np.bincount(self.image_grams % self.size, minlength=len(self.keys))


class ReferenceNgrams:
    """The n-grams (n = 1..4) of the references of all images.

    Args:
        references: for each image its tokenized references, tokens separated by white space.
    """

    def __init__(self, references: Sequence[Sequence[str]]) -> None:
        per_image = np.array([len(captions) for captions in references], dtype=np.int64)
        self.references_per_image = per_image  # (images,)
        self.first_sentence = np.concatenate([[0], np.cumsum(per_image)])  # (images + 1,)
        self.vocabulary: dict[str, int] = {}
        words, lengths = _number_words(
            [caption for captions in references for caption in captions],
            self.vocabulary,
            learn=True,
        )
        self.lengths = lengths  # (sentences,) in words

        image_of_sentence = np.repeat(np.arange(len(per_image)), per_image)
        self.image_of_sentence = image_of_sentence
        widest = int(per_image.max(initial=1))
        self.levels: list[ReferenceLevel] = []
        for sentence, gram, keys in _walk(words, lengths):
            image = image_of_sentence[sentence]
            grams = max(1, len(keys))
            # One sort orders the occurrences by image, then n-gram, then reference.
            place = (image * grams + gram) * widest + (sentence - self.first_sentence[image])
            place, count = np.unique(place, return_counts=True)
            image_gram, reference = np.divmod(place, widest)
            starts = np.flatnonzero(np.diff(image_gram, prepend=-1))
            distinct = image_gram[starts]
            image, gram = np.divmod(image_gram, grams)
            self.levels.append(
                ReferenceLevel(
                    keys=keys,
                    image_grams=distinct,
                    starts=np.append(starts, len(image_gram)),
                    sentence=self.first_sentence[image] + reference,
                    gram=gram,
                    count=count,
                )
            )

    @property
    def images(self) -> int:
        """How many images there are."""
        return len(self.references_per_image)

    def texts(self, n: int) -> list[str]:
        """Every distinct n-gram of length n as its words joined by spaces, in the order of ids."""
        words = list(self.vocabulary)
        texts = words
        for level in self.levels[1:n]:
            previous, word = level.keys >> 32, level.keys & 0xFFFFFFFF
            texts = [
                f"{texts[p]} {words[w]}"
                for p, w in zip(previous.tolist(), word.tolist(), strict=True)
            ]
        return texts


@dataclass(frozen=True)
class CandidateLevel:
    """All n-grams of one length n in the candidates, and where the references have them too.

    candidate, gram, count: (E,) as in ReferenceLevel, sorted by candidate; ids from G on are
    n-grams that no reference has. entry, occurrence: (P,) pairs: position in this level's arrays,
    position in the reference level's, of the same n-gram in a candidate and in a reference of its
    image; sorted by entry. new_positions: (new,) for each id from G on, where in the text of all
    candidates one such n-gram ends. n: the length.
    """

    n: int

    candidate: np.ndarray
    gram: np.ndarray
    count: np.ndarray
    entry: np.ndarray
    occurrence: np.ndarray
    new_positions: np.ndarray


class CandidateNgrams:
    """The n-grams of candidates, matched against the references of their images.

    Args:
        references: the prepared references.
        candidates: tokenized captions, tokens separated by white space.
        images: (candidates,) the position of each candidate's image in the references.
    """

    def __init__(
        self, references: ReferenceNgrams, candidates: Sequence[str], images: np.ndarray
    ) -> None:
        self.images = images
        self.captions = candidates
        words, lengths = _number_words(candidates, references.vocabulary, learn=False)
        self.lengths = lengths
        self.levels: list[CandidateLevel] = []
        walk = _walk(words, lengths, [level.keys for level in references.levels])
        for n, (sentence, gram, new) in enumerate(walk, 1):
            level = references.levels[n - 1]
            grams = int(gram.max(initial=level.size)) + 1
            place, count = np.unique(sentence * grams + gram, return_counts=True)
            candidate, gram = np.divmod(place, grams)
            entry, occurrence = _pair(level, images[candidate], gram)
            self.levels.append(CandidateLevel(n, candidate, gram, count, entry, occurrence, new))

    def new_texts(self, level: CandidateLevel) -> list[str]:
        """The n-grams of a level that no reference has, words joined by spaces, in order of ids."""
        words = [word for caption in self.captions for word in caption.split()]
        return [
            " ".join(words[end - level.n + 1 : end + 1]) for end in level.new_positions.tolist()
        ]


def count_ngrams(
    candidates: Sequence[str], references: Sequence[Sequence[str]], *, tokenize: bool
) -> tuple[ReferenceNgrams, CandidateNgrams]:
    """The n-grams of one caption per image and of its references.

    Raises:
        DataError: for lists that do not fit.
    """
    captions, groups = prepare(candidates, references, tokenize=tokenize)
    ngrams = ReferenceNgrams(groups)
    return ngrams, CandidateNgrams(ngrams, captions, np.arange(len(captions)))


def _pair(
    level: ReferenceLevel, image: np.ndarray, gram: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs each (image, n-gram) with its occurrences in the image's references."""
    if not len(level.image_grams):
        return _NO_POSITIONS, _NO_POSITIONS
    wanted = image * level.size + gram
    place = np.searchsorted(level.image_grams, wanted)
    place[place == len(level.image_grams)] = 0
    # A new n-gram's id, from G on, would run into the next image's range: hence the second test.
    entry = np.flatnonzero((level.image_grams[place] == wanted) & (gram < len(level.keys)))
    place = place[entry]
    first = level.starts[place]
    many = level.starts[place + 1] - first
    return np.repeat(entry, many), ranges(first, many)


def ranges(first: np.ndarray, many: np.ndarray) -> np.ndarray:
    """first[0], first[0]+1, ... many[0] numbers; then the same from first[1]; and so on."""
    before = np.cumsum(many) - many
    return np.repeat(first - before, many) + np.arange(int(many.sum()))


def _number_words(
    captions: Iterable[str], vocabulary: dict[str, int], *, learn: bool
) -> tuple[np.ndarray, np.ndarray]:
    """All words of all captions as numbers in one array, and each caption's number of words.

    With `learn` new words are added to the vocabulary; without, they get numbers behind it that
    hold for this call only.
    """
    numbering: defaultdict[str, int] = defaultdict(None, vocabulary)
    numbering.default_factory = numbering.__len__  # a new word gets the next number, without Python
    numbers: list[int] = []
    lengths: list[int] = []
    number = numbering.__getitem__
    for caption in captions:
        words = caption.split()
        lengths.append(len(words))
        numbers.extend(map(number, words))
    if learn:
        vocabulary.update(numbering)
    return np.array(numbers, dtype=np.int64), np.array(lengths, dtype=np.int64)


def _walk(
    words: np.ndarray, lengths: np.ndarray, known_keys: Sequence[np.ndarray] | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For n = 1..4: of every n-gram in the text its sentence and its id, and what is new in it.

    The key of a word is its number; the key of a longer n-gram is
    (id of its first n-1 words) << 32 | (number of its last word). Without `known_keys` the text's
    own keys are numbered in order, and the third array holds them, sorted. With them, n-grams that
    are not among them get ids behind them, and the third array says for each where one ends.
    """
    sentence = np.repeat(np.arange(len(lengths)), lengths)  # (words,)
    left = ranges(np.zeros_like(lengths), lengths)  # (words,) how many stand before it
    position = np.arange(len(words))  # of the last word of each n-gram
    gram_at = words  # (words,) id of the n-gram that ends at each word
    for n in range(1, MAX_N + 1):
        if n == 1:
            key = words
        else:
            position = position[left[position] >= n - 1]
            key = (gram_at[position - 1] << 32) | words[position]
        if known_keys is None and n == 1:
            new, gram = np.arange(int(words.max(initial=-1)) + 1), words  # numbered already
        elif known_keys is None:
            new, gram = np.unique(key, return_inverse=True)
        else:
            gram, first = _look_up(known_keys[n - 1], key)
            new = position[first]
        gram_at = np.zeros_like(words)
        gram_at[position] = gram
        yield sentence[position], gram, new


def _look_up(keys: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The place of each wanted key in the sorted keys; new ones are numbered on from the end.

    Also the position in `wanted` of the first of each new key.
    """
    place = np.searchsorted(keys, wanted)
    found = np.zeros(len(wanted), bool)
    if len(keys):
        found = keys[np.minimum(place, len(keys) - 1)] == wanted
    new = np.flatnonzero(~found)
    _, first, number = np.unique(wanted[new], return_index=True, return_inverse=True)
    place[new] = len(keys) + number
    return place, new[first]
