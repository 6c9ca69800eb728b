"""CIDEr and CIDEr-D: how much a caption says what the references of its photo agree on.

Both weigh every n-gram (n = 1..4) of a caption by tf-idf, the idf counted over the photos whose
references hold the n-gram, and take the cosine with each reference, averaged over n and over the
references, times 10 (Vedantam, Zitnick, Parikh: CIDEr, CVPR 2015, sections 3 and 4.2).

CIDEr-D is what everyone's "CIDEr" is: the COCO evaluation and pycocoevalcap's `Cider` compute it.
It clips each weight of the caption at the reference's, and multiplies by a Gaussian of the
difference in length (sigma 6). Details that the paper does not say and the numbers depend on, kept
as in the reference code (tylin/coco-caption, cider_scorer.py):

- the tf is the raw count, and the "length" counts bigrams;
- idf = log(number of photos) - log(max(1, df)), so an n-gram no reference has weighs most;
- an n-gram length for which the caption or the reference has nothing counts as 0, not left out.

Plain CIDEr has neither clipping nor penalty (vrama91/cider, cider_scorer.py, factor 10 included;
like that code and unlike the paper's text it does not stem).
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from captioner.errors import DataError
from captioner.metrics.ngrams import MAX_N, CandidateNgrams, ReferenceNgrams, ranges
from captioner.metrics.tokens import prepare_candidates, prepare_references

SIGMA = 6.0
DF_FORMAT = "captioner-df-1"


def cider_d(
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    tokenize: bool = True,
    df: DocumentFrequency | None = None,
) -> tuple[float, np.ndarray]:
    """CIDEr-D of captions, one per image: the mean, and (images,) each image's own, 0 to 10.

    Raises:
        DataError: with one image and no `df` (idf is undefined), and for lists that do not fit.
    """
    scores = CiderD(references, tokenize=tokenize, df=df).scores(candidates)
    return float(np.mean(scores)), scores


def cider(
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    tokenize: bool = True,
    df: DocumentFrequency | None = None,
) -> tuple[float, np.ndarray]:
    """Plain CIDEr (no clipping, no length penalty), otherwise as `cider_d`."""
    scores = Cider(references, tokenize=tokenize, df=df).scores(candidates)
    return float(np.mean(scores)), scores


@dataclass(frozen=True)
class DocumentFrequency:
    """In how many of `images` photos' references each n-gram occurs (words joined by a space)."""

    images: int
    counts: dict[str, int]
    source: str = "given"  # what the signature line calls them: the file's name, when loaded

    def described(self) -> str:
        """For the signature line."""
        return f"{self.source}({self.images} images)"

    @classmethod
    def of(
        cls,
        references: Sequence[Sequence[str]],
        *,
        tokenize: bool = True,
        end_token: str | None = None,
    ) -> DocumentFrequency:
        """Counts the n-grams (n = 1..4) of the references of many images."""
        ngrams = ReferenceNgrams(
            prepare_references(references, tokenize=tokenize, end_token=end_token)
        )
        counts: dict[str, int] = {}
        for n, level in enumerate(ngrams.levels, 1):
            frequency = level.document_frequency().tolist()
            counts.update(zip(ngrams.texts(n), frequency, strict=True))
        return cls(images=ngrams.images, counts=counts)

    def save(self, path: str | Path) -> None:
        """Writes JSON, compressed when the name ends with .gz."""
        content = {
            "format": DF_FORMAT,
            "images": self.images,
            "document_frequency": self.counts,
        }
        data = json.dumps(content, ensure_ascii=False).encode()
        path = Path(path)
        path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)

    @classmethod
    def load(cls, path: str | Path) -> DocumentFrequency:
        """Reads what `save` wrote.

        Raises:
            DataError: for a file that is missing, broken or of another format.
        """
        path = Path(path)
        try:
            data = path.read_bytes()
            content = json.loads(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
        except OSError as error:
            raise DataError(
                f"The document frequencies in {path} cannot be read: {error.strerror or error}."
            ) from error
        except (ValueError, EOFError, RecursionError, zlib.error) as error:
            raise DataError(
                f"{path} is not valid JSON ({error}); write the document frequencies again."
            ) from error
        if not isinstance(content, dict) or content.get("format") != DF_FORMAT:
            raise DataError(
                f"{path} does not hold document frequencies: a file of them has "
                f'"format": "{DF_FORMAT}".'
            )
        images, counts = content.get("images"), content.get("document_frequency")
        if (
            type(images) is not int
            or images < 2
            or not isinstance(counts, dict)
            or not all(type(count) is int and 0 <= count <= images for count in counts.values())
        ):
            raise DataError(
                f'{path} is damaged: "images" must be a whole number from 2 on, and every '
                "document frequency a whole number up to it; write the file again."
            )
        return cls(images=images, counts=counts, source=path.name)

    def of_texts(self, texts: Sequence[str]) -> np.ndarray:
        """(texts,) the document frequency of each n-gram, 0 for those never seen."""
        get = self.counts.get
        return np.array([get(text, 0) for text in texts], dtype=np.int64)


def is_document_frequency(path: Path) -> bool:
    """Whether a file begins as `DocumentFrequency.save` writes it."""
    try:
        with path.open("rb") as file, gzip.open(file) as packed:
            start = file.read(2)
            file.seek(0)
            head = (packed if start == b"\x1f\x8b" else file).read(100)
    except (OSError, EOFError, zlib.error):
        return False
    return head.startswith(f'{{"format": "{DF_FORMAT}"'.encode())


class CiderD:
    """CIDEr-D against references that are prepared once: for scores, and as a training reward.

    Args:
        references: for each image its captions.
        tokenize: whether to run the PTB tokenizer over references and candidates. Without it the
            strings are taken as tokens separated by white space.
        df: document frequencies from elsewhere, say of the whole training set; by default they
            are counted over these references.
        end_token: a token put behind every reference, and behind every candidate that ended by
            itself, so that a reward can tell a finished caption from one that was cut off (self-
            critical training otherwise learns to leave out endings; Hu et al. 2023, SacreEOS).
            Scores with and without it are not comparable.

    Raises:
        DataError: with one image and no `df`: every idf would be log 1 - log 1 = 0.
    """

    clipped = True  # candidate weights clipped at the reference's, and the length penalty

    def __init__(
        self,
        references: Sequence[Sequence[str]],
        *,
        tokenize: bool = True,
        df: DocumentFrequency | None = None,
        end_token: str | None = None,
    ) -> None:
        self.tokenize = tokenize
        self.end_token = end_token
        prepared = prepare_references(references, tokenize=tokenize, end_token=end_token)
        self._prepare(ReferenceNgrams(prepared), df)

    @classmethod
    def from_ngrams(cls, ngrams: ReferenceNgrams, df: DocumentFrequency | None = None) -> CiderD:
        """From n-grams that are already counted, so that several scores can share them."""
        scorer = cls.__new__(cls)
        scorer.tokenize, scorer.end_token = False, None
        scorer._prepare(ngrams, df)
        return scorer

    def _prepare(self, ngrams: ReferenceNgrams, df: DocumentFrequency | None) -> None:
        self.ngrams = ngrams
        if df is None and ngrams.images < 2:
            raise DataError(
                "CIDEr of one image is undefined, because its idf counts over many images: "
                "give more images, or document frequencies from a larger set by `df`."
            )
        if df is None:
            frequencies = [level.document_frequency() for level in ngrams.levels]
            self.log_images = float(np.log(float(ngrams.images)))
        else:
            frequencies = [df.of_texts(ngrams.texts(n)) for n in range(1, MAX_N + 1)]
            self.log_images = float(np.log(float(df.images)))
        self._df = df
        self._idf = [self._idf_of(frequency) for frequency in frequencies]  # (G,) each
        self._norms = [
            np.sqrt(
                _sums(level.sentence, (level.count * idf[level.gram]) ** 2, len(ngrams.lengths))
            )
            for level, idf in zip(ngrams.levels, self._idf, strict=True)
        ]  # (sentences,) each

    def scores(
        self,
        candidates: Sequence[str],
        indices: Sequence[int] | np.ndarray | None = None,
        *,
        ended: Sequence[bool] | np.ndarray | None = None,
    ) -> np.ndarray:
        """The score of each candidate: (candidates,) float64, 0 to 10.

        Args:
            candidates: captions, any number per image.
            indices: which image each candidate belongs to; by default the first candidate to the
                first image and so on.
            ended: with `end_token`, whether each candidate came to its end (default: all did).

        Raises:
            DataError: for lists of different lengths or an index that is no image.
        """
        return self.scores_of(self.candidates(candidates, indices, ended))

    def candidates(
        self,
        candidates: Sequence[str],
        indices: Sequence[int] | np.ndarray | None = None,
        ended: Sequence[bool] | np.ndarray | None = None,
    ) -> CandidateNgrams:
        """The n-grams of candidates, counted once for several metrics. Arguments as `scores`."""
        images = _image_indices(len(candidates), indices, self.ngrams.images)
        captions = prepare_candidates(candidates, tokenize=self.tokenize)
        if ended is not None and self.end_token is None:
            raise DataError("`ended` means something only with an end token: give `end_token`.")
        if self.end_token is not None:
            finished = np.ones(len(captions), bool) if ended is None else np.asarray(ended, bool)
            if len(finished) != len(captions):
                raise DataError(
                    f"`ended` has {len(finished)} values for {len(captions)} candidates; "
                    "give one per candidate."
                )
            captions = [
                f"{caption} {self.end_token}" if whole else caption
                for caption, whole in zip(captions, finished.tolist(), strict=True)
            ]
        return CandidateNgrams(self.ngrams, captions, images)

    def scores_of(self, candidates: CandidateNgrams) -> np.ndarray:
        """The same for candidates whose n-grams are already counted."""
        refs, images = self.ngrams, candidates.images
        many = refs.references_per_image[images]  # (candidates,) references of each
        first_pair = np.cumsum(many) - many  # pairs (candidate, reference), ordered by candidate
        pair_candidate = np.repeat(np.arange(len(images)), many)  # (pairs,)
        pair_sentence = ranges(refs.first_sentence[images], many)  # (pairs,)

        penalty = np.ones(len(pair_candidate))
        if self.clipped:
            bigrams = np.maximum(0, candidates.lengths - 1)[pair_candidate]
            delta = bigrams - np.maximum(0, refs.lengths - 1)[pair_sentence]
            penalty = np.e ** (-(delta.astype(np.float64) ** 2) / (2 * SIGMA**2))

        total = np.zeros(len(images))
        for level, ref_level, idf, ref_norm in zip(
            candidates.levels, refs.levels, self._idf, self._norms, strict=True
        ):
            if self._df is None:
                new = np.full(len(level.new_positions), self.log_images)  # df 0
            else:
                new = self._idf_of(self._df.of_texts(candidates.new_texts(level)))
            weight = level.count * np.concatenate([idf, new])[level.gram]  # (E,)
            norm = np.sqrt(_sums(level.candidate, weight**2, len(images)))  # (candidates,)
            ours = weight[level.entry]  # (P,)
            gram = ref_level.gram[level.occurrence]
            theirs = ref_level.count[level.occurrence] * idf[gram]  # (P,)
            product = (np.minimum(ours, theirs) if self.clipped else ours) * theirs
            candidate = level.candidate[level.entry]
            reference = (
                ref_level.sentence[level.occurrence] - refs.first_sentence[images[candidate]]
            )
            dot = _sums(first_pair[candidate] + reference, product, len(pair_candidate))  # (pairs,)
            norms = norm[pair_candidate] * ref_norm[pair_sentence]
            cosine = np.divide(dot, norms, out=dot, where=norms != 0) * penalty
            total += _sums(pair_candidate, cosine, len(images))
        scores: np.ndarray = total / MAX_N / many * 10.0
        return scores

    def _idf_of(self, frequency: np.ndarray) -> np.ndarray:
        idf: np.ndarray = self.log_images - np.log(np.maximum(1.0, frequency))
        return idf


class Cider(CiderD):
    """Plain CIDEr, without clipping and length penalty; used like `CiderD`."""

    clipped = False


def _sums(place: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    """(size,) the sum of the values at each place; float64 also when there are none."""
    return np.bincount(place, weights=values, minlength=size).astype(np.float64, copy=False)


def _image_indices(
    candidates: int, indices: Sequence[int] | np.ndarray | None, images: int
) -> np.ndarray:
    """(candidates,) each candidate's image, checked."""
    if indices is None:
        if candidates != images:
            raise DataError(
                f"There are {candidates} candidates for {images} images; give one per image, or "
                "say with `indices` which image each belongs to."
            )
        return np.arange(images)
    result = np.asarray(indices, dtype=np.int64).reshape(-1)
    if len(result) != candidates:
        raise DataError(
            f"`indices` has {len(result)} values for {candidates} candidates; "
            "give one per candidate."
        )
    if len(result) and (result.min() < 0 or result.max() >= images):
        raise DataError(
            f"`indices` must lie between 0 and {images - 1}, the positions of the {images} images."
        )
    return result
