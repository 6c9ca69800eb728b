"""Penn Treebank tokens as the COCO caption evaluation makes them, without Java.

The evaluation sends captions through Stanford's PTBTokenizer 3.4.1 (`-preserveLines -lowerCase`)
and then removes a list of punctuation tokens. `ptb_tokenize` gives the same tokens. The rules
below were found by asking that tokenizer, not by reading it: docs/scoring.md says how,
and what is known to differ.

That tokenizer is a longest-match scanner: at each position every rule is tried, the one that
reaches farthest wins (what it only looks at counts too), and of equals the first. So is this one.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

from captioner.metrics import ptb_words as words

PUNCTUATION = frozenset(
    {"''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-"}
    | {".", "?", "!", ",", ":", "-", "--", "...", ";"}
)
"""Tokens that the evaluation removes. Its brackets never match: the tokens are lower case."""


def ptb_tokenize(captions: Sequence[str]) -> list[str]:
    """Tokenize captions as `pycocoevalcap.tokenizer.ptbtokenizer.PTBTokenizer().tokenize` does.

    Returns for each caption its lower-case tokens joined by one space, punctuation removed.

    As there, the captions are lines of one text, so a last "plan B." keeps its full stop or not
    by how the next caption begins. Unlike there, a caption that holds another line break than
    "\\n" does not shift all that follow: its first line alone counts, for it alone.
    """
    known = _chunks
    out = []
    for at, caption in enumerate(captions):
        try:
            tokens = [known[chunk] for chunk in caption.split(" ")]
        except KeyError:
            caption = caption.replace("\n", " ")
            if _looks_beyond_spaces(caption):
                following = "".join("\n" + c.replace("\n", " ") for c in captions[at + 1 : at + 9])
                tokens = _scan(caption + following[:80])
            else:
                tokens = [_chunk_tokens(chunk) for chunk in caption.split(" ")]
        out.append(" ".join(filter(None, tokens)))
    return out


def _any_of(listed: str) -> str:
    """A pattern for one of the words listed, in any case."""
    return "(?i:" + "|".join(map(re.escape, sorted(listed.split(), key=len, reverse=True))) + ")"


# Nearly all captions can be cut at their spaces and the chunks looked up. The exceptions are what
# a token with a space in it ("2 1/2", a phone number, a <tag with attributes>) and a rule that
# looks past one ("No. 5", "plan B. The") can begin with, and blanks of other kinds.
_OTHER_BLANKS = r"[\x00-\x1f\x7f-\xa0\u1680\u2000-\u200f\u2028-\u202f\u205f\u3000]"
_LAST_WORDS = rf"(?<![A-Za-z])[A-Za-z]\.|{_any_of(words.ABBREVIATIONS_BEFORE_DIGITS)}\."
_looks_beyond_spaces = re.compile(
    r"[0-9)\u0660-\uffff] [0-9(\u0660-\uffff]|\. +[0-9\u0660-\uffff]|<"
    rf"|(?<![A-Za-z])[A-Za-z]\. |(?:{_LAST_WORDS})\Z|{_OTHER_BLANKS}"
).search
_may_look_beyond = re.compile(
    rf"[0-9(\u0660-\uffff]|[^<]*<|.*(?:{_LAST_WORDS})\Z|.*{_OTHER_BLANKS}"
).match

_chunks: dict[str, str] = {}  # chunks that are the same everywhere
_other_chunks: dict[str, str] = {}  # chunks that are the same unless the caption looks beyond
_MOST_CHUNKS = 500_000


def _chunk_tokens(chunk: str) -> str:
    """The tokens of what stands between two spaces; remembered, since most chunks come again."""
    tokens = _chunks.get(chunk)
    if tokens is None:
        tokens = _other_chunks.get(chunk)
    if tokens is None:
        tokens = " ".join(_scan(chunk + " "))
        memory = _other_chunks if _may_look_beyond(chunk) else _chunks
        if len(memory) < _MOST_CHUNKS:
            memory[chunk] = tokens
    return tokens


def _scan(text: str) -> list[str]:
    """The tokens of a text up to its first line break, punctuation removed."""
    shadow = text
    if not text.isascii():
        if _astral(text):
            text = "".join(map(chr, array("H", text.encode("utf-16", "surrogatepass")[2:])))
        shadow = text.translate(_shadows)
    tokens = [""]
    at, end = 0, len(text)
    while at < end:
        best, reach = None, at
        for rule in _rules_for(shadow[at]):
            match = rule.match(shadow, at)
            if match and match.end() > reach:
                best, found, reach = rule, match, match.end()
        if best is not None:
            token_end = found.end(best.group)
            tokens += best.tokens(text[at:token_end])
            at = token_end
        elif text[at] in "\n\r\x0b\x0c\u2028\u2029":
            break
        else:
            blanks = _blanks(text, at)
            at = blanks.end() if blanks else at + 1
    tokens[-1] = tokens[-1].rstrip()  # as pycocoevalcap does to each line
    return [_whole(t) for t in tokens if t and t not in PUNCTUATION]


# Java sees UTF-16, where a character beyond U+FFFF is two units that belong to no class.
_astral = re.compile("[\U00010000-\U0010ffff]").search
_blanks = re.compile("[ \t\xa0\u2000-\u200a\u3000]+").match


def _whole(token: str) -> str:
    """The token with surrogate pairs made characters again, and halves of them what Java prints."""
    if token.isascii():
        return token
    units = token.encode("utf-16", "surrogatepass")
    return units.decode("utf-16", "replace").replace("\ufffd", "?") if _half(token) else token


_half = re.compile("[\ud800-\udfff]").search


# Rules match a shadow of the text, in which one character stands for each class of non-ASCII
# characters; so their patterns stay small, and compile fast.

_LETTER, _MARK, _DIGIT, _SYMBOL, _NOTHING = "ª", "˂", "٣", "§", "\x01"

_NAMED = (
    "\x80\x85\x91\x92\x93\x94\x96\x97\xa0\xad\u058a\u066b\u066c\u2010\u2011\u2013\u2014\u2015"
    "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u3000\u3001"
    "‘’‚‛“”„‟‹›«»…⁄¢£¤€₠¼½¾⅓⅔²³¹⁰⁴⁵⁶⁷⁸⁹⁺⁻₀₁₂₃₄₅₆₇₈₉₊₋İıſK"
)
"""The non-ASCII characters that a rule names; all others go by their class."""


class _Shadows(dict[int, str]):
    """For `str.translate`: the character that stands for each code point, found when asked."""

    def __init__(self) -> None:
        super().__init__((code, chr(code)) for code in [*range(128), *map(ord, _NAMED)])
        self._ranges: list[tuple[int, int, str]] = []
        for listed, shadow in (
            (words.LETTERS, _LETTER),
            (words.MARKS, _MARK),
            (words.DIGITS, _DIGIT),
            (words.SYMBOLS, _SYMBOL),
        ):
            for part in listed.split():
                first, _, last = part.partition("-")
                self._ranges.append((int(first, 16), int(last or first, 16), shadow))
        self._ranges.sort()

    def __missing__(self, code: int) -> str:
        first, last, shadow = self._ranges[bisect_right(self._ranges, (code, 0x110000, "")) - 1]
        self[code] = shadow = shadow if first <= code <= last else _NOTHING
        return shadow


_shadows = _Shadows()


# What rules make of the text they matched


def _lower(text: str) -> str:
    """Lower case as Java makes it: what counts as a word decides which sigma is a final one."""
    if "Σ" in text:
        text = "".join(_sigma(text, at) if c == "Σ" else c for at, c in enumerate(text))
    return text.translate(_NEW_CAPITALS).lower() if not text.isascii() else text.lower()


# Capitals of Unicode 16, which today's Java knows and Python 3.11 does not.
_NEW_CAPITALS = str.maketrans("\u1c89\ua7cb\ua7cc\ua7da\ua7dc", "\u1c8a\u0264\ua7cd\ua7db\u019b")


def _sigma(text: str, at: int) -> str:
    after = _more_of_word(text, at + 1)
    before = _more_of_word(text[::-1], len(text) - at)
    return "ς" if before and _cased(before[0]) and not (after and _cased(after[0])) else "σ"


_PLAIN_LETTER = r"[^\W\d_\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff66-\uff9f]"
_more_of_word = re.compile(
    rf"(?:{_PLAIN_LETTER}|[\d_\u0300-\u036f\ufeff]"
    rf"|(?<={_PLAIN_LETTER})[-'\".\xad\u2010-\u2015\u2027](?={_PLAIN_LETTER}))*"
).match


def _cased(text: str) -> bool:
    return text.lower() != text.upper()


def _plain(text: str) -> list[str]:
    return [_lower(text)]


def _word(text: str) -> list[str]:
    """A word may hold soft hyphens, which go, and "&amp;"; nothing but soft hyphens is a hyphen."""
    return [_lower(_ampersands("&", text).replace("\xad", "")) or "-"]


_ampersands = re.compile("&amp;", re.IGNORECASE).sub


def _spaced(text: str) -> list[str]:
    """Spaces in a token become no-break spaces, parentheses their names."""
    text = text.replace(" ", "\xa0").replace("(", "-lrb-").replace(")", "-rrb-")
    return [_lower(text)]


def _tag(text: str) -> list[str]:
    return [_lower(text.replace(" ", "\xa0"))]


def _clitic(text: str) -> list[str]:
    """Curly apostrophes are made straight in the endings that are cut off a word."""
    text = text.replace("&apos;", "'")
    return [_lower("".join({"’": "'", "\x92": "'"}.get(c) or _QUOTE_NAMES.get(c, c) for c in text))]


_QUOTE_NAMES = {
    **dict.fromkeys("‘‛‹\x91", "`"),
    **dict.fromkeys("’›\x92", "'"),
    **dict.fromkeys("“«\x93", "``"),
    **dict.fromkeys("”»\x94", "''"),
}


def _quotes(text: str) -> list[str]:
    return ["".join(_QUOTE_NAMES.get(c, c) for c in text)]


def _as(*tokens: str) -> Callable[[str], list[str]]:
    return lambda text: list(tokens)


_removed = _as("-")  # punctuation of any kind: what it is called makes no difference

_NAMES = {
    **{"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"},
    **{"€": "$", "¤": "$", "₠": "$", "\x80": "$", "¢": "cents", "£": "#"},
    **{"¼": "1/4", "½": "1/2", "¾": "3/4", "⅓": "1/3", "⅔": "2/3"},
}


def _named(text: str) -> list[str]:
    return [_NAMES.get(text, text)]


# The rules. First their parts: classes as the inside of [...], then pieces of patterns.

_LET = f"A-Za-z{_LETTER}İıſK"
_DIG = f"0-9{_DIGIT}"
_WORDLIKE = f"{_LET}{_MARK}\xad"  # what can begin a word
_ACCENT = "&(?i:[aeiou](?:acute|grave|uml));"
_W = f"(?:[{_WORDLIKE}]|{_ACCENT})"
_WD = f"(?:[{_WORDLIKE}{_DIG}]|{_ACCENT})"
_WORD = f"{_W}{_WD}*(?:[.!?]{_W}{_WD}*)*"

_QUOTE = "'’\x92&"  # what an apostrophe can begin with
_APOS = "(?:['’\x92]|&(?i:apos);)"
_APOS_LIKE = "(?:['’\x92`‘‛\x91]|&(?i:apos);)"
_CLITIC = f"{_APOS}(?:[msdMSD]|(?i:re|ve|ll))"
_NOT = f"[nN]{_APOS_LIKE}[tT]"

_SPACE = "[\t-\r \x85\xa0\u2000-\u200a\u2028\u2029\u3000]"
_AN = f"[{_LET}{_DIG}]"
_PREFIX = f"(?:[dDoOlL]{_APOS_LIKE}{_AN})?"  # d'Artagnan, O'Brien, l'eau
_COMPOUND = f"{_PREFIX}{_AN}+(?:[-_\u058a\u2010\u2011]{_PREFIX}{_AN}+)*"
_ACRONYM = r"[A-Za-z](?:\.[A-Za-z])+\."
_HYPHENATED = rf"[A-Za-z0-9][A-Za-z0-9.,\xad]*(?:-(?:{_ACRONYM}|[A-Za-z0-9\xad]+))+"
_SLASHED = r"[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}(?:\\?/[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}){1,2}"
_LETTERS_AND = "[A-Z]+(?:(?:&(?i:amp);|[+&])[A-Z]+)+"
_FILE_STEM = rf"{_WD}+(?:\.{_WD}+)*"
_NUMBER = f"[-+]?(?:[{_DIG}]*(?:[.,:\xad\u066b\u066c][{_DIG}]+)+|[{_DIG}]+)"
_FRACTION = rf"[{_DIG}]{{1,4}}(?:\\?/|⁄)[{_DIG}]{{1,4}}"

_ABBREVIATION = (
    f"(?:{_any_of(words.ABBREVIATIONS)}"
    f"|(?=[A-Z]){_any_of(words.CAPITALIZED_ABBREVIATIONS)}"
    r"|[Pp]{1,2}[Tt][ey][Ss]?|(?i:(?:ph|ed)\.d))\."
)
_TITLE = rf"(?:{_any_of(words.TITLES)}|[Mm][ft][Gg])\."

_NAME = "[A-Za-z][A-Za-z0-9.:_-]*"
_VALUE = "(?: *= *(?:\"[^\"\n]*\"|'[^'\n]*'))?"
_TAG = rf"<(?:/?{_NAME}|{_NAME}(?: +{_NAME}{_VALUE})* */?|[!?][A-Za-z-][^>\r\n]*) *>"

_NO_URL = ' \t\n\r\x0c"<>|()'  # none of these in a web address
_NO_MAIL = f"{_NO_URL}{{}}\xa0"
_NO_HOST = f"{_NO_URL}!?{{}}`'$,-_"  # a range: commas to underscores, and so capitals and digits
_PATH = f"/[^{_NO_URL}]+[^{_NO_URL}.!?,{{}}-]"
_WWW = rf"(?i:www)\.(?:[^{_NO_URL}.!?,{{}}]+\.)"
_HOST = rf"(?:[^{_NO_HOST}]+\.)"
_SITE = "(?i:com|net|org|edu)"

_PHONE = (
    r"(?:\([0-9]{2,3}\)[ \xa0]?|(?:\+\+?)?(?:[0-9]{2,4}[- \xa0])?[0-9]{2,4}[- \xa0])"
    r"[0-9]{3,4}[- \xa0]?[0-9]{3,5}"
)
_EYE = "[-^x=~<>']"  # of a face like ^_^


class _Rule(NamedTuple):
    begins: Callable[[str], re.Match[str] | None]
    match: Callable[[str, int], re.Match[str] | None]
    group: int
    """1 where the token is the pattern's group and the rest only looked at, else 0."""
    tokens: Callable[[str], list[str]]


def _rule(begins: str, pattern: str, tokens: Callable[[str], list[str]]) -> _Rule:
    compiled = re.compile(pattern)
    return _Rule(re.compile(f"[{begins}]").match, compiled.match, compiled.groups, tokens)


@cache
def _rules() -> list[_Rule]:
    return [
        # Tags, addresses and entities
        _rule("<", _TAG, _tag),
        _rule(
            "<&A-Za-z0-9",
            rf"(?:<|&(?i:lt);)?[A-Za-z0-9][^{_NO_MAIL}]*@(?:[^{_NO_MAIL}.]+\.)*[^{_NO_MAIL}.]+>?",
            _plain,
        ),
        _rule("&", "&(?i:amp;)?", _as("&")),
        _rule("&", "&(?i:lt);", _as("<")),
        _rule("&", "&(?i:gt);", _as(">")),
        _rule("&", "&(?i:nbsp);", _as()),
        _rule("&", "&(?:(?i:mdash|ndash|md)|quot|apos);", _removed),
        _rule("&", "&(?i:ht|tl|ur|lr|qc|ql|qr|odq|cdq|#[0-9]+|quot|apos);", _plain),
        # Words, and what is cut from them
        *[
            _rule(word[0] + word[0].upper(), f"((?i:{word[:3]}))(?i:{word[3:]})", _plain)
            for word in words.SPLIT_WORDS.split()
        ],
        _rule(f"{_WORDLIKE}&", _WORD, _word),
        _rule("A-Za-zİıſK", rf"({_ABBREVIATION})[\s\S]{{0,2}}", _plain),
        _rule(f"{_WORDLIKE}&", f"({_WORD}){_CLITIC}", _word),
        _rule("A-Za-z\xad", rf"([A-Za-z\xad]*[A-MO-Za-mo-z]\xad*){_NOT}", _word),
        _rule("nN", _NOT, _clitic),
        _rule(_QUOTE, rf"({_CLITIC})(?:[^A-Za-z]|\Z)", _clitic),
        _rule("'", "('[tT])(?i:is|was)", _plain),
        _rule(
            f"{_QUOTE}oOlLdDjJsScCıſ",
            f"{_APOS}[nN]{_APOS}|[oO]{_APOS_LIKE}[oO]|[lLdDjJ]{_APOS}"
            f"|(?i:dunkin|somethin|ol){_APOS}|{_APOS}(?i:em|till?|cause)"
            f"|(?i:c'mon|s'mores|c{_APOS}est)",
            _plain,
        ),
        _rule("A-HJ-XZn", f"[A-HJ-XZn]{_APOS_LIKE}[{_LET}]{{2,}}", _plain),
        _rule(_QUOTE, f"{_APOS}[2-9]0[sS]", _plain),
        _rule(_QUOTE, rf"({_APOS}[0-9]{{2}})(?:{_SPACE}|\Z)", _plain),
        _rule("'", "(')[A-Za-z][^ \t-\r\xa0\u2028\u2029]", _removed),
        _rule(_QUOTE, _CLITIC, _clitic),
        _rule(_QUOTE, f"{_APOS}[nN]", _plain),
        _rule(_LET, f"[{_LET}]+[aeiouyAEIOUY]{_APOS_LIKE}[aeiouA-Z][{_LET}]*", _plain),
        _rule("yY", f"([yY]{_APOS})[{_LET}]", _plain),
        # The web
        _rule("hH", f"(?i:https?)://[^{_NO_URL}{{}}]+[^{_NO_URL}.!?,{{}}-]", _plain),
        _rule("wW", f"{_WWW}+[A-Za-z]{{2,4}}", _plain),
        _rule("wW", f"{_WWW}+?[A-Za-z]{{2,4}}{_PATH}", _plain),
        _rule(f"^{_NO_HOST}", f"{_HOST}+{_SITE}", _plain),
        _rule(f"^{_NO_HOST}", f"{_HOST}+?{_SITE}{_PATH}", _plain),
        _rule("@", "@[A-Za-z_][A-Za-z0-9_]*", _plain),
        _rule("#", f"#{_W}+", _plain),
        # Numbers, money, telephones
        _rule(f"-+{_DIG}.,:\xad\u066b\u066c", _NUMBER, _word),
        _rule(_DIG, rf"(?:[{_DIG}]{{1,4}}[- \xa0])?{_FRACTION}", _spaced),
        _rule(_DIG, f"[{_DIG}]{{1,2}}[-/][{_DIG}]{{1,2}}[-/][{_DIG}]{{2,4}}", _plain),
        _rule("+(0-9", _PHONE, _spaced),
        _rule("A-Z$", r"[A-Z]*\$", _plain),
        # Compounds
        _rule(f"{_LET}{_DIG}", _COMPOUND, _word),
        _rule("A-Z", _LETTERS_AND, _word),
        _rule("A-Za-z0-9", _SLASHED, _plain),
        _rule("CcFf", r"[CcFf]#|[Cc]\+\+", _plain),
        # Abbreviations
        _rule("A-Za-zſK", _TITLE, _plain),
        _rule("A-Za-z", _ACRONYM, _plain),
        _rule(
            "A-Za-z",
            rf"[A-Za-z]\.(?!{_SPACE}+"
            rf"(?:(?=[A-Z]){_any_of(words.SENTENCE_STARTERS)}|{_TAG}){_SPACE})",
            _plain,
        ),
        _rule(
            "A-Za-z",
            rf"({_any_of(words.ABBREVIATIONS_BEFORE_DIGITS)}\.){_SPACE}?[{_DIG}]",
            _plain,
        ),
        _rule(f"{_LET}{_DIG}", rf"({_COMPOUND}\.)[,;:\u3001]", _word),
        _rule("A-Z", rf"({_LETTERS_AND}\.)[,;:\u3001]", _word),
        _rule("A-Za-z0-9", rf"({_HYPHENATED}\.)[,;:\u3001]", _word),
        _rule(f"{_WORDLIKE}&", rf"({_WORD}\.)[,;:\u3001]", _word),
        _rule("A-Za-z0-9", _HYPHENATED, _word),
        _rule(
            f"{_WORDLIKE}{_DIG}&",
            rf"({_FILE_STEM}\.{_any_of(words.FILE_ENDINGS)})(?:[.,!?]|{_SPACE}|\Z)",
            _plain,
        ),
        # Faces
        _rule("<>:;=", r"([<>]?[:;=][-o*']?[()DdPpO\]\[{|\\@])(?:[^A-Za-z0-9]|\Z)", _spaced),
        _rule("-^x=~<>'", f"{_EYE}_{_EYE}", _plain),
        _rule(r"(", rf"\((?:{_EYE}[_.]?{_EYE}|[\^x=~<>']-[\^x=~<>'])\)", _spaced),
        # Brackets by their names, quotes, runs of one character, and single characters
        _rule("-", "-(?i:[lr][rcs]b)-", _plain),
        _rule("'", "''", _removed),
        _rule("\x91-\x94‘’‛“”‹›«»‚„‟`", "[\x91-\x94‘’‛“”‹›«»‚„‟`]{1,2}", _quotes),
        _rule("-", "--+", lambda text: [text] if len(text) > 4 else ["--"]),
        _rule(".", r"\.\.\.+|\. \. \.(?: \.)*", _removed),
        _rule("!?", "[!?]+", _plain),
        _rule(
            r"_\\*@#<>²³¹⁰⁴-⁹⁺⁻₀-₉₊₋",
            r"_+|\\\*|\*+|@+|#+|<<|>>|[⁺⁻₊₋]?(?:[²³¹⁰⁴-⁹]+|[₀-₉]+)",
            _plain,
        ),
        _rule("][(){}€¤₠\x80¢£¼½¾⅓⅔", "[][(){}€¤₠\x80¢£¼½¾⅓⅔]", _named),
        _rule(rf"$%~^|/\\=+<>\u3001⁄⁺⁻₊₋{_SYMBOL}{_MARK}", r"[\s\S]", _plain),
        _rule("\"'.,:;…\x85\x96\x97\u2013-\u2015-", r"[\s\S]", _removed),
    ]


@cache
def _rules_for(char: str) -> list[_Rule]:
    """The rules that can match where the shadow has this character, in their order."""
    return [rule for rule in _rules() if rule.begins(char)]
