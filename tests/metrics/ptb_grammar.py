"""Captions made of what is hard to tokenize.

`captions(seed, count)` joins words, hard pieces and odd characters in ways people and machines
do and in ways nobody does. To compare many of them with the Java tokenizer:

    python -m tests.metrics.ptb_grammar SEED COUNT     # prints what differs
    python -m tests.metrics.ptb_grammar record         # has Java fill golden_ptb.json again
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path

GOLDEN = Path(__file__).with_name("golden_ptb.json")

_LISTED = {
    "words": """
a an the A The man woman dogs Person standing on in of with and And is are riding surfboard
skateboard pizza New York street sign reads STOP I i It it He this That they we you What who
street's cat's café naïve jalapeño Zoë El Niño façade Über straße пляж собака 犬 狗 서울 ชาย
नमस्ते أب שלום ελλάδας ΟΔΟΣ İstanbul ﬁsh ａｂｃ Ｋ o O x X b C d D l n N y Y s t m re ve ll
""",
    "abbreviations": """
Mr. Mrs. Ms. Dr. St. st. Ave. ave. Blvd. Jr. Sr. Inc. Co. Corp. Ltd. No. no. Nos. fig. Fig.
pp. art. Art. op. ca. prop. vs. v. etc. e.g. i.e. a.m. p.m. A.M. P.M. U.S. u.s. U.S.A. U.K.
D.C. L.A. N.Y. Ph.D. B.A. M.Sc. Jan. Feb. Sept. sept. Tues. Mon. Calif. Mass. mass. Miss.
miss. Wash. wash. La. la. Pa. pa. Ill. ill. Ore. Tex. Del. Ark. Az. MFG. mfg. mtg. pty. Pty.
PTE. Bancorp. Messrs. Gen. gen. Sen. Rep. rep. Prof. Hon. Rev. Capt. est. est dept. Dept.
approx. oz. lb. lbs. ft. in. sq. yd. R.I.P. J.R.R. a.k.a. O.K. w.c. A. B. I. i. x. Z. é. cf.
al. Alex. Sun. Sat. Thurs. mt. Mt. Ft. Rd. Hwy. Apt. Gov.
""",
    "apostrophes": """
don't Don't DON'T can't cannot Cannot CANNOT won't shan't ain't isn't doesn't wasn't n't it's
It's he'll she'd I'm we've they're y'all Y'all ya'll ma'am o'clock O'Clock rock'n'roll rock
'n' roll 'n' 'n ol' somethin' Dunkin' dunkin' playin' 'em 'Em 'til 'till 'tis 'Tis 'twas 'TWAS
'twere 'cause 'bout '70s '80s '10s 70's 1970's '99 '09 '5 gonna Gonna gotta wanna gimme lemme
dunno gonna's d'oeuvre l'eau D'Angelo O'Brien O'Neil's Ba'ath Hawai'i Qur'an qu'il c'est j'ai
s'mores p't boys' dogs's James' x's 's 'S 's 'd 'll 're 've 'm 't n'T c'mon d'you should've
wouldn't've I'd've whatcha jack-o'-lantern will-o'-the-wisp 'nothing' 'no' 'so' nothin' more'n
a'n'b Xi'an t'other 'round 'n'y
""",
    "numbers": """
0 1 2 5 7 12 24 50 99 100 555 2010 1950 1,000 10,000,000 1.5 .5 -5 +5 3.14 1/2 3/4 11/2 1/2/3
24/7 12/25/2010 12-25-2010 2010-12-25 5:30 5:30pm 10:15:30 5pm 6am 1st 2nd 3rd 20th
21st-century 3-D 3D 2-D 4x4 5'10" 6' 6" 5ft 10% 50° 50°F $5 $5.00 $.50 US$5 C$5 A$ NT$ 5$ €10
£5 ¥100 5¢ ½ 1½ ¼ 2¾ ⅓ ⅔ ⅛ #1 #5 No.5 5-10 5–10 1990s 90s 1e5 0x1F 555-1212 555-555-1212
1-800-555-1212 (555) 555 1212 +1 +44 20 7946 0958 555.555.1212 10,5 1;2 1.2.3 ٣٤ ०१ ５ x² m³
H₂O 10⁵ 1⁄2 5\\/8 1\\/2 5/8" 8x10 100th 1000s -1/2 1-1/2 5.c
""",
    "web": """
http://www.foo.com https://t.co/AbC123 http://a.b/c?d=e&f=g#h http://foo www.foo.com
www.foo.co.uk www.flickr.com/photos/12 foo.com foo.org/bar.html foo-bar.com foo.net/ ftp://x.y
a@b.com john.doe@x.co.uk @user @user_1 @1x #tag #tag1 #1tag #été mailto:a@b.c photo.jpg
IMG_1234.JPG DSC-001.jpg file.tar.gz x.c index.html, a.b.c foo.bar Foo.Bar example.com. u@x
youtube.com/watch?v=1 .com com. a..b
""",
    "marks": """
. . . , , ! ? ; : ... .... .. … !! !!! ?? ?! !? ' '' " "" ` `` ‘ ’ “ ” « » ‹ › ‚ „ ‛ ‟ ( ) [ ]
{ } < > << >> - -- --- ---- ----- – — ― / // \\ | ~ ^ & && * ** *** \\* \\/ + ++ = == _ __ ___ @
@@ # ## $ $$ % ° © ® ™ • · § ¶ † ′ ″ → ← ★ ♥ ☺ ¡ ¿ × ÷ ± µ º ª ¨ ´ ¯ ¬ ¦ ¤ ₤ ₠ €
""",
    "faces": """
:) :( :-) :-( ;) ;-) :D :-D :P :p :-P :o :O :-O :/ :\\ :| :] :[ :} :{ :* :3 =) =( =D =] :'( :')
>:( <:) 8) XD xD <3 </3 ^_^ -_- o_o O_O T_T >_< (^_^) (^^) (-_-) (--) (^.^) =_= ~_~ ^.^ :-*
:o) :*) =P ;D ;P
""",
    "tags": """
<b> </b> <br/> <br> <i>x</i> <unk> <s> </s> <pad> <start> <end> <person> <PERSON> [UNK] [CLS]
<|end|> <a href="x"> <img src='y' alt="z z"/> <!-- c --> <?xml?> <a b c> <3 <- -> => <a,b> <1>
<x@y.z> &amp; &AMP; &lt; &gt; &quot; &apos; &nbsp; &mdash; &#39; &#x27; &eacute; &foo; & AT&T
R&B Q&A M&M's B&amp;B a&b A&W&C A+B C++ c++ C# F# g++ -LRB- -RRB- -lrb- -LSB- (LRB)
""",
    "joined": """
t-shirt T-shirt black-and-white state-of-the-art and/or a/b/c red/white/blue w/ w/o n/a b/w
x-ray X-Ray's 10-year-old one-year-old's half-eaten man/woman man-made/built sit-ups/push-ups
foo_bar a_b_c _x_ U.S.-based e.g.-x co.-owner word.-word word.Word end.Start end,start
end;start end:start (in) [in] {in} a--b a---b word-- --word word- -word 'word' "word" “word”
‘word’ word... ...word word!word word?word Yahoo! Yahoo!'s Jeopardy!, Jell-O 7-Eleven 7Up 3M's
A-1 B-52s F-16's X-Y-Z a‑b a‐b a­b co­op
""",
}

LISTS = {name: listed.split() for name, listed in _LISTED.items()}
BLANKS = [" "] * 12 + [
    "  ",
    "\t",
    "\xa0",
    "\u3000",
    "\u2009",
    "\u200b",
    "\x85",
    "\x1c",
    "\x00",
    "\ufeff",
]

ODD_RANGES = [
    (1, 9),
    (14, 32),
    (127, 160),
    (160, 256),
    (256, 0x250),
    (0x2B0, 0x370),
    (0x370, 0x600),
    (0x600, 0x700),
    (0x900, 0xA00),
    (0x1E00, 0x2000),
    (0x2000, 0x2028),
    (0x202A, 0x2070),
    (0x2070, 0x20D0),
    (0x2100, 0x2200),
    (0x2500, 0x27C0),
    (0x3000, 0x3100),
    (0xA640, 0xA900),
    (0xF900, 0xFB50),
    (0xFE00, 0xFE70),
    (0xFF00, 0xFFF0),
    (0x1F300, 0x1F680),
]

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
ASCII = "".join(chr(c) for c in range(33, 127))


def _odd(rng: random.Random) -> str:
    return chr(rng.randrange(*rng.choice(ODD_RANGES)))


def _noise(rng: random.Random) -> str:
    alphabet = rng.choice(
        [ASCII, "abA1.'-", "aB.-/&+'", "12/-.,:$ ", ".-!?'\"` ", "(=:;-_^<>)", "xn't’`s"]
    )
    return "".join(rng.choice(alphabet) for _ in range(rng.randint(1, 8)))


def _phone(rng: random.Random) -> str:
    return "".join(
        rng.choice(["", "", "+", "(", ")", "-", " ", ".", "/", "\xa0"])
        + "".join(rng.choice("0123456789") for _ in range(rng.randint(1, 5)))
        + rng.choice(["", "", ")", ") ", " ", "-"])
        for _ in range(rng.randint(1, 5))
    )


def _tag(rng: random.Random) -> str:
    parts = ["<", rng.choice(["", "/", "!", "?"])]
    for _ in range(rng.randint(1, 6)):
        parts.append(
            rng.choice(
                [
                    "a",
                    "img",
                    "B1",
                    " ",
                    "=",
                    '"x y"',
                    "'z'",
                    "-",
                    ":",
                    "_",
                    ".",
                    "/",
                    '"',
                    "5",
                    "é",
                    "&",
                ]
            )
        )
    return "".join(parts) + rng.choice([">", ">", ">", " >", "/>", ""])


def _piece(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.75:
        return rng.choice(rng.choice(list(LISTS.values())))
    if kind < 0.80:
        return _odd(rng)
    if kind < 0.84:
        return _noise(rng)
    if kind < 0.87:
        return "".join(rng.choice(LETTERS) for _ in range(rng.randint(1, 5)))
    if kind < 0.90:
        return _phone(rng)
    if kind < 0.92:
        return _tag(rng)
    return rng.choice(rng.choice(list(LISTS.values()))).swapcase()


def _caption(rng: random.Random) -> str:
    style = rng.random()
    if style < 0.3:  # as people write, one or two hard pieces
        pieces = [rng.choice(LISTS["words"]) for _ in range(rng.randint(2, 8))]
        for _ in range(rng.randint(1, 3)):
            pieces.insert(rng.randint(0, len(pieces)), _piece(rng))
        return " ".join(pieces) + rng.choice(["", ".", " .", "!", "..."])
    if style < 0.7:  # hard pieces, often run together
        tight = rng.random()
        return "".join(
            _piece(rng) + ("" if rng.random() < tight else rng.choice(BLANKS))
            for _ in range(rng.randint(1, 8))
        )
    if style < 0.9:  # two pieces and a character between
        return _piece(rng) + rng.choice([*"-/.,'’&_:;!?+@#*\"() ", _odd(rng)]) + _piece(rng)
    return "".join(
        _odd(rng) if rng.random() < 0.3 else _noise(rng) for _ in range(rng.randint(1, 6))
    )


def captions(seed: int, count: int) -> list[str]:
    """`count` captions, the same for the same seed; none holds a line break."""
    rng = random.Random(seed)
    return [_caption(rng) for _ in range(count)]


def differences(
    asked: Sequence[str], ours: Sequence[str], theirs: Sequence[str]
) -> list[tuple[str, str, str]]:
    """Each caption whose tokens differ, with ours and theirs."""
    return [row for row in zip(asked, ours, theirs, strict=True) if row[1] != row[2]]


def main() -> None:
    from captioner.metrics.ptb import ptb_tokenize
    from tests.metrics.reference import java_tokens

    if sys.argv[1] == "record":
        asked = list(json.loads(GOLDEN.read_text()))
        golden = dict(zip(asked, java_tokens(asked), strict=True))
        GOLDEN.write_text(json.dumps(golden, indent=0, ensure_ascii=True) + "\n")
        return
    asked = captions(int(sys.argv[1]), int(sys.argv[2]))
    found = differences(asked, ptb_tokenize(asked), java_tokens(asked))
    for caption, ours, theirs in found:
        print(f"{caption!a}\n  ours   {ours!a}\n  theirs {theirs!a}")
    print(f"{len(found)} of {len(asked)} differ")


if __name__ == "__main__":
    main()
