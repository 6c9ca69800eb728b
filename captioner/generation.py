"""Search over captions: greedy, beam, and sampling, over any step function.

The model behind is one callable, a `Step`:

    step(tokens (R, t), parents (R,) or None) -> logits (R, V)

It keeps its own state (the cache). The first call carries the beginning of the caption for every
photo (R = B rows, parents None); each further call one token a row, and says by `parents` which row
of the call before each row continues. Rows of one photo stand side by side, equally many for each
photo; photos may drop out as they finish.

Every caption ends with the end token: at the maximum length the search may only write that, so no
caption is returned unfinished. Models that come from another library may keep its `Conventions`.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from .errors import SettingError


class Step(Protocol):
    def __call__(self, tokens: Tensor, parents: Tensor | None) -> Tensor: ...


# (ids of the caption so far (R, t) without the begin token, logits (R, V)) -> logits
Processor = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Search:
    """How captions are searched for.

    beams: width of the beam search; 1 is greedy.
    returned: captions a photo, best first; at most `beams` (or samples drawn).
    length_penalty: a finished caption's score is its log-probability / length ** length_penalty,
        its length counted in tokens with the end token (Wu et al. 2016 in its simple form).
    early_stop: stop a photo once `beams` captions are finished and no open one has a better score
        at its present length; False searches on until none can ever overtake.
    min_length, max_length: in tokens, the prefix counted and the end token not.
    no_repeat: no n-gram of this size occurs twice; 0 is off.
    sample: draw from the distribution instead of searching, after temperature, top_k (0: all)
        and top_p. Each photo draws from its own generator seeded with `seed`, so that a photo's
        captions do not depend on what else is in the batch.
    """

    beams: int = 3
    returned: int = 1
    length_penalty: float = 0.0
    early_stop: bool = True
    min_length: int = 1
    max_length: int = 30
    no_repeat: int = 0
    sample: bool = False
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = [
            (self.beams < 1, "`beams` must be at least 1"),
            (self.returned < 1, "At least one caption must be returned"),
            (
                not self.sample and self.returned > self.beams,
                f"{self.returned} captions cannot be returned from {self.beams} beams",
            ),
            (self.min_length < 0, "`min_length` must not be negative"),
            (self.max_length < 1, "`max_length` must be at least 1"),
            (self.min_length > self.max_length, "`min_length` is longer than `max_length`"),
            (self.no_repeat < 0, "`no_repeat` must not be negative"),
            (not self.temperature > 0, "`temperature` must be above 0"),
            (self.top_k < 0, "`top_k` must not be negative"),
            (not 0 < self.top_p <= 1, "`top_p` must be above 0 and at most 1"),
        ]
        for bad, message in wrong:
            if bad:
                raise SettingError(f"{message}.")

    def with_(self, **changes: Any) -> "Search":
        """A copy with some settings changed; None leaves a setting as it is."""
        return replace(self, **{k: v for k, v in changes.items() if v is not None})

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Conventions:
    """Where libraries search differently, for models that are to write what they write there.

    cut: a caption of `max_length` tokens is returned as it is, without its end token; else it is
        closed there.
    prefix_counts: the length that a score is divided by has the prefix in it.
    stop_when_full: a photo's search is over once `beams` captions are finished, whatever is open.
    """

    cut: bool = False
    prefix_counts: bool = True
    stop_when_full: bool = False


@dataclass(frozen=True)
class Hypothesis:
    """A finished caption: its token ids (no begin or end token), the log-probability of each and,
    last, of the end token (so one more than ids, unless it was cut), and the score that it was
    ranked by.

    A given prefix has log-probability 0: it was not the model's choice.
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    score: float


OURS = Conventions()


@torch.inference_mode()
def generate(
    step: Step,
    photos: int,
    search: Search,
    *,
    bos: int,
    eos: int,
    pad: int,
    never: Sequence[int] | None = None,
    prompt: Sequence[int] = (),
    prefix: Sequence[int] = (),
    conventions: Conventions = OURS,
    processors: Sequence[Processor] = (),
    seeds: Sequence[int] | None = None,
    device: torch.device | str = "cpu",
) -> list[list[Hypothesis]]:
    """Captions of `photos` photos: for each a list of hypotheses, best first.

    `prompt` ids are read before every caption, `prefix` ids begin it. `never` ids are not written:
    begin and padding without it. `seeds` gives every photo a seed of its own for sampling, in place
    of `search.seed` for all: photos that share one draw alike.

    Raises SettingError when the prefix leaves no room.
    """
    if len(prefix) >= search.max_length:
        raise SettingError(
            f"The prefix has {len(prefix)} tokens, which leaves nothing to write within the "
            f"maximum length of {search.max_length}; raise `max_length` or shorten the prefix."
        )
    start = torch.tensor([[bos, *prompt, *prefix]], device=device).expand(photos, -1)
    banned = (bos, pad) if never is None else never
    rules: tuple[Processor, ...] = (_Rules(search, eos, banned), *processors)
    writing = _Writing(step, start, len(prefix), eos, search, conventions, rules)
    return _sample(writing, seeds or [search.seed] * photos) if search.sample else _beam(writing)


class _Writing(NamedTuple):
    """What both ways of writing are given; the last `given` tokens (B, t) of `start` are the
    prefix, which is part of the caption."""

    step: Step
    start: Tensor
    given: int
    eos: int
    search: Search
    conventions: Conventions
    rules: tuple[Processor, ...]

    def logprobs(self, logits: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities (R, V): those to choose by, where rules put -inf, and the model's
        own."""
        own = torch.log_softmax(logits.float(), dim=-1)
        allowed = own
        for rule in self.rules:
            allowed = rule(ids, allowed)
        return allowed, own


class _Rules:
    """Minimum and maximum length, repeated n-grams, and tokens that are never written."""

    def __init__(self, search: Search, eos: int, never: Sequence[int]):
        self.search = search
        self.eos = eos
        self.never = list(never)

    def __call__(self, ids: Tensor, logits: Tensor) -> Tensor:
        logits = logits.clone()
        logits[:, self.never] = -torch.inf
        length = ids.shape[1]
        if self.search.no_repeat:
            for row, banned in enumerate(repeats(ids.tolist(), self.search.no_repeat)):
                logits[row, banned] = -torch.inf
        if length < self.search.min_length:
            logits[:, self.eos] = -torch.inf
        if length >= self.search.max_length:
            end = logits[:, self.eos].clone()
            logits.fill_(-torch.inf)
            logits[:, self.eos] = end
        return logits


def repeats(rows: list[list[int]], n: int) -> list[list[int]]:
    """For each row the tokens that would complete an n-gram which it already has."""
    banned = []
    for ids in rows:
        tail = ids[len(ids) - n + 1 :] if n > 1 else []
        banned.append(
            [ids[i + n - 1] for i in range(len(ids) - n + 1) if ids[i : i + n - 1] == tail]
        )
    return banned


def _beam(writing: _Writing) -> list[list[Hypothesis]]:
    step, start, given, eos, search, conventions, _ = writing
    photos, beams, device = len(start), search.beams, start.device
    uncounted = 0 if conventions.prefix_counts else given
    longest = search.max_length + (not conventions.cut) - uncounted
    ids = start[:, start.shape[1] - given :]  # (rows, t), the caption so far
    allowed, own = writing.logprobs(step(start, None), ids)
    width = 1  # rows a photo; `beams` after the first step
    scores = torch.zeros(photos, 1, device=device)
    logprobs = torch.zeros(photos, given, device=device)
    active = list(range(photos))
    finished: list[list[Hypothesis]] = [[] for _ in range(photos)]

    while active:
        live = len(active)
        vocab = allowed.shape[-1]
        total = (scores.view(-1, 1) + allowed).view(live, width * vocab)
        # 2 * beams candidates hold at least `beams` that do not end (each row has one end token).
        top, flat = total.topk(min(2 * beams, width * vocab), dim=-1)
        offset = torch.arange(live, device=device).unsqueeze(1) * width
        rows = flat // vocab + offset  # (live, 2 beams): the row that each candidate continues
        tokens = flat % vocab
        gained = own[rows, tokens]
        written = ids.shape[1] + 1
        length = written - uncounted
        last = conventions.cut and written == search.max_length

        ends = ((tokens == eos) | last) & (top > -torch.inf)
        # Only an end among the first `beams` candidates is taken: one further down has lost to
        # as many open captions, as in the usual beam search.
        for i, j in ends[:, :beams].nonzero().tolist():
            row, token = int(rows[i, j]), int(tokens[i, j])
            score = float(top[i, j]) / length**search.length_penalty
            own_logprobs = (*logprobs[row].tolist(), float(gained[i, j]))
            own_ids = (*ids[row].tolist(), *([] if token == eos else [token]))
            finished[active[i]].append(Hypothesis(own_ids, own_logprobs, score))
        if last:
            break

        # Open candidates, best first; ended ones go behind every open one.
        order = torch.where(tokens == eos, -torch.inf, top)
        open_top, pick = order.topk(min(beams, order.shape[1]), dim=-1)
        alive = [
            i
            for i in range(live)
            if not _settled(
                finished[active[i]], float(open_top[i, 0]), (length, longest), search, conventions
            )
        ]
        if not alive:
            break
        if len(open_top[0]) < beams:  # a vocabulary smaller than the beam
            missing = beams - open_top.shape[1]
            open_top = torch.nn.functional.pad(open_top, (0, missing), value=-torch.inf)
            pick = torch.nn.functional.pad(pick, (0, missing))
        keep = torch.tensor(alive, device=device)
        pick = pick[keep]
        parents = rows[keep].gather(1, pick).flatten()
        chosen = tokens[keep].gather(1, pick).flatten()
        ids = torch.cat([ids[parents], chosen.unsqueeze(1)], dim=1)
        new_logprobs = gained[keep].gather(1, pick).flatten().unsqueeze(1)
        logprobs = torch.cat([logprobs[parents], new_logprobs], dim=1)
        scores = open_top[keep]
        active = [active[i] for i in alive]
        width = beams
        allowed, own = writing.logprobs(step(chosen.unsqueeze(1), parents), ids)

    return [
        sorted(found, key=lambda h: h.score, reverse=True)[: search.returned] for found in finished
    ]


def _settled(
    finished: list[Hypothesis],
    best_open: float,
    lengths: tuple[int, int],
    search: Search,
    conventions: Conventions,
) -> bool:
    """Whether a photo's search is over: `beams` captions are finished and no open one is better.
    lengths: the present one, and the longest that may be."""
    if best_open == -torch.inf:
        return True
    if len(finished) < search.beams:
        return False
    if conventions.stop_when_full:
        return True
    worst = sorted((h.score for h in finished), reverse=True)[search.beams - 1]
    # Scores only fall as a caption grows, but dividing by a longer length may raise them.
    reach = lengths[0 if search.early_stop or search.length_penalty <= 0 else 1]
    best: float = best_open / reach**search.length_penalty
    return best <= worst


def _sample(writing: _Writing, seeds: Sequence[int]) -> list[list[Hypothesis]]:
    step, start, given, eos, search, conventions, _ = writing
    photos, draws, device = len(start), max(search.returned, 1), start.device
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    ids = start[:, start.shape[1] - given :].repeat_interleave(draws, dim=0)
    # The first call has one row a photo; the draws continue it.
    origin: Tensor | None = torch.arange(photos, device=device).repeat_interleave(draws)
    logits = step(start, None)[origin]  # (photos * draws, V)
    logprobs = torch.zeros(ids.shape, device=device)
    finished: list[list[Hypothesis]] = [[] for _ in range(photos)]
    done = torch.zeros(photos * draws, dtype=torch.bool)
    owner = list(range(photos))
    while True:
        allowed, own = writing.logprobs(logits, ids)
        probabilities = _truncate(allowed / search.temperature, search)
        uniform = torch.stack([torch.rand(draws, generator=generators[p]) for p in owner])
        cumulative = probabilities.cumsum(-1)
        point = uniform.flatten().to(device).unsqueeze(1) * cumulative[:, -1:]
        chosen = torch.searchsorted(cumulative, point, right=True).squeeze(1)
        chosen = chosen.clamp(max=probabilities.shape[-1] - 1)
        # Rounding at the end of the sum may land on a token of probability 0.
        landed = probabilities.gather(1, chosen.unsqueeze(1)).squeeze(1) > 0
        chosen = torch.where(landed, chosen, probabilities.argmax(-1))
        gained = own.gather(1, chosen.unsqueeze(1))
        last = conventions.cut and ids.shape[1] + 1 == search.max_length
        for row in (((chosen == eos) | last).cpu() & ~done).nonzero().flatten().tolist():
            token = int(chosen[row])
            values = (*logprobs[row].tolist(), float(gained[row]))
            own_ids = (*ids[row].tolist(), *([] if token == eos else [token]))
            finished[owner[row // draws]].append(Hypothesis(own_ids, values, sum(values)))
            done[row] = True
        alive = [i for i in range(len(owner)) if not bool(done[i * draws : (i + 1) * draws].all())]
        if not alive:
            break
        keep = torch.tensor([i * draws + k for i in alive for k in range(draws)])
        done = done[keep]
        keep = keep.to(device)
        ids = torch.cat([ids[keep], chosen[keep].unsqueeze(1)], dim=1)
        logprobs = torch.cat([logprobs[keep], gained[keep]], dim=1)
        owner = [owner[i] for i in alive]
        logits = step(chosen[keep].unsqueeze(1), keep if origin is None else origin[keep])
        origin = None
    return [sorted(found, key=lambda h: h.score, reverse=True) for found in finished]


def _truncate(logits: Tensor, search: Search) -> Tensor:
    """Probabilities (R, V) after top-k and top-p (nucleus, Holtzman et al. 2020)."""
    if search.top_k and search.top_k < logits.shape[-1]:
        least = logits.topk(search.top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    probabilities = torch.softmax(logits, dim=-1)
    if search.top_p < 1:
        ordered, places = probabilities.sort(dim=-1, descending=True)
        # A token stays while what stands before it is still below top_p.
        drop = ordered.cumsum(-1) - ordered >= search.top_p
        ordered = ordered.masked_fill(drop, 0.0)
        probabilities = torch.zeros_like(probabilities).scatter(1, places, ordered)
    return probabilities
