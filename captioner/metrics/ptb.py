"""Penn Treebank tokens as the COCO caption evaluation makes them, without Java.

The evaluation sends captions through Stanford's PTBTokenizer 3.4.1 (`-preserveLines -lowerCase`)
and then removes a list of punctuation tokens. `ptb_tokenize` gives the same tokens. The rules
below were found by asking that tokenizer, not by reading it: docs/scoring-tokenizer.md says how,
and what is known to differ.

The tokenizer is a longest-match scanner: at each position every rule is tried, the one that
reaches farthest wins (what it only looks at counts), and of equals the first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from captioner.metrics import ptb_words as words

PUNCTUATION = frozenset(
    ["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-"]
    + [".", "?", "!", ",", ":", "-", "--", "...", ";"]
)
"""Tokens that the evaluation removes. Its brackets never match: the tokens are lower case."""


def ptb_tokenize(captions: Sequence[str]) -> list[str]:
    """Tokenize captions as `pycocoevalcap.tokenizer.ptbtokenizer.PTBTokenizer().tokenize` does.

    Returns for each caption its lower-case tokens joined by one space, punctuation removed.
    """
    known = _KNOWN_CHUNKS
    out = []
    for at, caption in enumerate(captions):
        caption = caption.replace("\n", " ")
        if _looks_beyond_spaces(caption):
            following = "".join("\n" + c.replace("\n", " ") for c in captions[at + 1 : at + 9])
            out.append(" ".join(_scan(caption + following[:80])))
            continue
        try:
            tokens = [known[chunk] for chunk in caption.split(" ")]
        except KeyError:
            tokens = [_chunk_tokens(chunk) for chunk in caption.split(" ")]
        out.append(" ".join(filter(None, tokens)))
    return out


def _any_case(listed: str) -> str:
    return "(?i:" + "|".join(sorted(listed.split(), key=len, reverse=True)) + ")"


# Nearly all captions can be cut at their spaces and the pieces looked up. The exceptions are what
# tokens with a space in them ("2 1/2", phone numbers, <tags with attributes>) and rules that
# look past one ("No. 5", "plan B. The") begin with, and blanks of other kinds.
_looks_beyond_spaces = re.compile(
    r"[0-9)] [0-9(]|\.[ ]+[0-9]|<|(?<![A-Za-z])[A-Za-z]\.(?: |\Z)"
    rf"|{_any_case(words.ABBREVIATIONS_BEFORE_DIGITS)}\.\Z"
    "|[\x00-\x1f\x7f-\xa0\u1680\u2000-\u200f\u2028-\u202f\u205f\u3000]"
).search

_KNOWN_CHUNKS: dict[str, str] = {}
_MOST_KNOWN_CHUNKS = 500_000


def _chunk_tokens(chunk: str) -> str:
    tokens = _KNOWN_CHUNKS.get(chunk)
    if tokens is None:
        tokens = " ".join(_scan(chunk + " "))
        if len(_KNOWN_CHUNKS) < _MOST_KNOWN_CHUNKS:
            _KNOWN_CHUNKS[chunk] = tokens
    return tokens


def _scan(text: str) -> list[str]:
    """All tokens of a text up to its first line break, punctuation removed."""
    if not text.isascii():
        text = "".join(
            c if c <= "\uffff" else c.encode("utf-16-be").decode("utf-16-be", "surrogatepass")
            for c in text
        )
    tokens = [""]
    at, end = 0, len(text)
    while at < end:
        best, reach = None, at
        for rule in _rules_for(text[at]):
            match = rule.match(text, at)
            if match and match.end() > reach:
                best, found, reach = rule, match, match.end()
        if best is None:
            if text[at] in "\n\r\x0b\x0c\u2028\u2029":
                break
            at += 1
            continue
        group = 1 if best.looks_ahead else 0
        at = max(found.end(group), at + 1)
        tokens += best.tokens(found.group(group))
    tokens[-1] = tokens[-1].rstrip()
    return [t for t in tokens if t and t not in PUNCTUATION]


# Character classes, as the inside of [...]


def _char_class(ranges: str) -> str:
    out = []
    for part in ranges.split():
        first, _, last = part.partition("-")
        out.append(f"\\u{int(first, 16):04x}")
        if last:
            out.append(f"-\\u{int(last, 16):04x}")
    return "".join(out)


LET = _char_class(words.LETTERS)
MARK = _char_class(words.MARKS)
DIG = _char_class(words.DIGITS) + "0-9"
SYM = _char_class(words.SYMBOLS)
ENT = "&(?i:[aeiou](?:acute|grave|uml));"
WC = f"(?:[{LET}{MARK}\\xad]|{ENT})"
WCD = f"(?:[{LET}{MARK}\\xad{DIG}]|{ENT})"
WORD = f"{WC}{WCD}*(?:[.!?]{WC}{WCD}*)*"
AN = f"[{LET}{DIG}]"
APO = "(?:['’\\x92]|&(?i:apos);)"
APOX = "(?:['’\\x92`‘‛\\x91]|&(?i:apos);)"
ANS = f"[{LET}{DIG}\\xad]"
HY = "[-_\\u058a\\u2010\\u2011]"
CLITIC = f"{APO}(?:[msdMSD]|[rR][eE]|[vV][eE]|[lL][lL])"
NOT = f"[nN]{APOX}[tT]"
NUM = f"(?:[{DIG}]*(?:[.,:\\xad\\u066b\\u066c][{DIG}]+)+|[{DIG}]+)"
DPRE = f"(?:[dDoOlL]{APOX}{AN})?"
THING = f"{DPRE}{AN}+(?:{HY}{DPRE}{AN}+)*"
HACRO = "[A-Za-z](?:\\.[A-Za-z])+\\."
HTHING = f"[A-Za-z0-9][A-Za-z0-9.,\\xad]*(?:-(?:[A-Za-z0-9\\xad]+|{HACRO}))+"
ACRO = "[A-Za-z](?:\\.[A-Za-z])*\\."


ABBR = (
    f"(?:{_any_case(words.ABBREVIATIONS)}"
    f"|(?=[A-Z]){_any_case(words.CAPITALIZED_ABBREVIATIONS)}"
    "|[Pp]{1,2}[Tt][ey][Ss]?|(?i:(?:ph|ed)\\.d))\\."
)
TITLE = f"(?:{_any_case(words.TITLES)}|[Mm][ft][Gg])\\."
QUOTES = "[\x91-\x94‘’‛“”‹›«»‚„‟`]"
SPACE = "[\\t-\\r \\x85\\xa0\\u2000-\\u200a\\u2028\\u2029\\u3000]"
URLX = ' \\t\\n\\r\\x0c"<>|()'
PATH = f"(?:/[^{URLX}]+[^{URLX}.!?,{{}}-])?"
NAME = "[A-Za-z][A-Za-z0-9.:_-]*"
VALUE = "(?:[ ]*=[ ]*(?:\"[^\"\\n]*\"|'[^'\\n]*'))?"
EMX = URLX + "{}\\xa0"


class _Rule(NamedTuple):
    match: Callable[[str, int], re.Match[str] | None]
    begins: Callable[[str], re.Match[str] | None]
    looks_ahead: bool
    tokens: Callable[[str], list[str]]


def _rule(begins: str, pattern: str, tokens: Callable[[str], list[str]]) -> _Rule:
    compiled = re.compile(pattern)
    return _Rule(compiled.match, re.compile(f"[{begins}]").match, compiled.groups > 0, tokens)


def _keep(text: str) -> list[str]:
    return [_lower(text).replace(" ", "\xa0").replace("(", "-lrb-").replace(")", "-rrb-")]


def _clitic(text: str) -> list[str]:
    return [_lower(_APOX.sub("`", _APOS.sub("'", text)))]


_PLAIN_QUOTES = {
    **dict.fromkeys("‘‛‹\x91", "`"),
    **dict.fromkeys("’›\x92", "'"),
    **dict.fromkeys("“«\x93", "``"),
    **dict.fromkeys("”»\x94", "''"),
}


def _quotes(text: str) -> list[str]:
    return ["".join(_PLAIN_QUOTES.get(c, c) for c in text)]


def _raw(text):
    return [_lower(text).replace(" ", "\xa0")]


_APOS = re.compile("[’\\x92]|&apos;")
_APOX = re.compile("[‘‛\\x91]")


def _lower(text: str) -> str:
    return text.lower()


def _word(text: str) -> list[str]:
    text = re.sub("&[aA][mM][pP];", "&", text)
    return [t for t in _keep(text.replace("\xad", "")) if t] or ["-"]


def _as(*tokens: str) -> Callable[[str], list[str]]:
    return lambda text: list(tokens)


def _split(text: str) -> list[str]:
    at = words.SPLIT_WORDS[text.lower()]
    return [text[:at].lower(), text[at:].lower()]


_none = _as()

_RULES: list[_Rule] = [
    _rule(
        "<", f"<(?:/?{NAME}|{NAME}(?:[ ]+{NAME}{VALUE})*[ ]*/?|[!?][A-Za-z-][^>\\r\\n]*)[ ]*>", _raw
    ),
    _rule("<A-Za-z0-9", f"<?[A-Za-z0-9][^{EMX}]*@(?:[^{EMX}.]+\\.)*[^{EMX}.]+>?", _raw),
    _rule("&", "&(?:[aA][mM][pP];)?", _as("&")),
    _rule("&", "&[lL][tT];", _as("<")),
    _rule("&", "&[gG][tT];", _as(">")),
    _rule("&", "&(?i:nbsp);", _none),
    _rule("&", "&(?:(?i:mdash|ndash|md)|quot|apos);", _none),
    _rule("&", "&(?i:ht|tl|ur|lr|qc|ql|qr|odq|cdq|#[0-9]+|quot|apos);", _keep),
    _rule("A-Za-z", _any_case(" ".join(words.SPLIT_WORDS)), _split),
    _rule(f"{LET}{MARK}\\xad&", WORD, _word),
    _rule("A-Za-z", f"({ABBR})[\\s\\S]{{0,2}}", _keep),
    _rule(f"{LET}{MARK}\\xad&", f"({WORD}){CLITIC}", _word),
    _rule("A-Za-z\\xad", f"([A-Za-z\\xad]*[A-MO-Za-mo-z]\\xad*){NOT}", _word),
    _rule("nN", NOT, _clitic),
    _rule("'’\\x92&", f"({CLITIC})(?:[^A-Za-z]|\\Z)", _clitic),
    _rule("'", "('[tT])(?:[iI][sS]|[wW][aA][sS])", _keep),
    _rule(
        "'’\\x92&lLdDjJsSoOcC",
        f"{APO}[nN]{APO}|[oO]{APOX}[oO]|[lLdDjJ]{APO}|[dD][uU][nN][kK][iI][nN]{APO}|[sS][oO][mM][eE][tT][hH][iI][nN]{APO}|[oO][lL]{APO}|{APO}[eE][mM]|{APO}[tT][iI][lL][lL]?|{APO}[cC][aA][uU][sS][eE]|(?i:c'mon|s'mores|c{APO}est)",
        _keep,
    ),
    _rule("A-HJ-XZn", f"[A-HJ-XZn]{APOX}[{LET}]{{2}}[{LET}]*", _keep),
    _rule("'’\\x92&", f"{APO}[2-9]0[sS]", _keep),
    _rule("'’\\x92&", f"({APO}[0-9]{{2}})(?:{SPACE}|\\Z)", _keep),
    _rule("'", f"(')[A-Za-z](?!{SPACE})[\\s\\S]", _none),
    _rule("'’\\x92&", CLITIC, _clitic),
    _rule("'’\\x92&", f"{APO}[nN]", _keep),
    _rule(LET, f"[{LET}]+[aeiouyAEIOUY]{APOX}[aeiouA-Z][{LET}]*", _keep),
    _rule("yY", f"([yY]{APO})[{LET}]", _keep),
    _rule("hH", f"(?i:https?)://[^{URLX}{{}}]+[^{URLX}.!?,{{}}-]", _raw),
    _rule("w", f"www\\.(?:[^{URLX}.!?,{{}}]+\\.)+[A-Za-z]{{2,4}}{PATH}", _raw),
    _rule(
        f"^{URLX}!{{}}`'$,-_",
        f"(?:[^{URLX}!?{{}}`'$,-_]+\\.)+(?:com|net|org|edu){PATH}",
        _raw,
    ),
    _rule("@", "@[A-Za-z_][A-Za-z0-9_]*", _keep),
    _rule("#", f"#{WC}+", _keep),
    _rule("CcFf", "[CcFf]#|[Cc]\\+\\+", _keep),
    _rule(f"-+{DIG}.,:\\xad\\u066b\\u066c", f"[-+]?{NUM}", _word),
    _rule("0-9", "[0-9]{1,4}[- \\xa0][0-9]{1,4}(?:\\\\?/|\\u2044)[0-9]{1,4}", _keep),
    _rule("0-9", "[0-9]{1,4}(?:\\\\?/|\\u2044)[0-9]{1,4}", _keep),
    _rule("0-9", "[0-9]{1,2}[-/][0-9]{1,2}[-/][0-9]{2,4}", _keep),
    _rule(f"{LET}{DIG}\\xad", THING, _word),
    _rule("A-Z", "[A-Z]+(?:(?:[+&]|&amp;)[A-Z]+)+", _word),
    _rule(
        "A-Za-z0-9",
        r"[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}(?:\\?/[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}){1,2}",
        _keep,
    ),
    _rule("A-Za-z", TITLE, _keep),
    _rule("A-Za-z", HACRO, _keep),
    _rule(
        "A-Za-z",
        f"[A-Za-z]\\.(?!{SPACE}+(?=[A-Z]){_any_case(words.SENTENCE_STARTERS)}{SPACE})",
        _keep,
    ),
    _rule("A-Za-z", f"({_any_case(words.ABBREVIATIONS_BEFORE_DIGITS)}\\.)\\s?[{DIG}]", _keep),
    _rule(f"{LET}{DIG}\\xad", f"({THING}\\.)[,;:\\u3001]", _word),
    _rule(f"{LET}{MARK}\\xad&", f"({WORD}\\.)[,;:\\u3001]", _word),
    _rule("A-Za-z0-9", HTHING, _word),
    _rule(
        f"{LET}{DIG}\\xad",
        f"({ANS}+(?:\\.{ANS}+)*\\.{_any_case(words.FILE_ENDINGS)})(?:[.,!?]|{SPACE}|\\Z)",
        _raw,
    ),
    _rule(
        "+(0-9",
        r"(?:\([0-9]{2,3}\)[ \xa0]?|(?:\+\+?)?(?:[0-9]{2,4}[- \xa0])?[0-9]{2,4}[- \xa0])[0-9]{3,4}[- \xa0]?[0-9]{3,5}",
        _keep,
    ),
    _rule("A-Z$", "[A-Z]*\\$", _keep),
    _rule(
        "<>:;=",
        r"([<>]?[:;=][-o*']?[()DdPpO\]\[{|\\@])(?:[^A-Za-z0-9]|\Z)",
        _keep,
    ),
    _rule("-^x=~<>'", r"[-^x=~<>']_[-^x=~<>']", _keep),
    _rule("!?", "[!?]+", _keep),
    _rule(
        "_\\\\*@#<>\\xb2\\xb3\\xb9\\u2070-\\u2089",
        "_+|\\\\\\*|\\*+|@+|#+|<<|>>|[\\xb2\\xb3\\xb9\\u2070\\u2074-\\u2079\\u2080-\\u2089]+",
        _keep,
    ),
    _rule("$%~^|/\\\\=+<>", "[$%~^|/\\\\=+<>]", _keep),
    _rule("(", "\\(", _as("-lrb-")),
    _rule(")", "\\)", _as("-rrb-")),
    _rule("\\[", "\\[", _as("-lsb-")),
    _rule("\\]", "\\]", _as("-rsb-")),
    _rule("{", "\\{", _as("-lcb-")),
    _rule("}", "\\}", _as("-rcb-")),
    _rule("€¤₠\\x80", "[€¤₠\\x80]", _as("$")),
    _rule("¢", "¢", _as("cents")),
    _rule("£", "£", _as("#")),
    _rule("¼", "¼", _as("1/4")),
    _rule("½", "½", _as("1/2")),
    _rule("¾", "¾", _as("3/4")),
    _rule("⅓", "⅓", _as("1/3")),
    _rule("⅔", "⅔", _as("2/3")),
    _rule(".", "\\.\\.\\.+|\\. \\. \\.(?: \\.)*", _none),
    _rule("'", "''", _none),
    _rule("\\x91-\\x94‘’‛“”‹›«»‚„‟`", f"{QUOTES}{{1,2}}", _quotes),
    _rule("(", "\\([-^x=~<>'][_.]?[-^x=~<>']\\)", _keep),
    _rule("-", "-(?i:[lr][rcs]b)-", _keep),
    _rule("-", "--+", lambda text: [text] if len(text) > 4 else []),
    _rule(SYM, f"[{SYM}]", _keep),
    _rule(MARK, f"[{MARK}]", _keep),
]

_FOR: dict[str, list[_Rule]] = {}


def _rules_for(char: str) -> list[_Rule]:
    rules = _FOR.get(char)
    if rules is None:
        rules = _FOR[char] = [rule for rule in _RULES if rule.begins(char)]
    return rules
