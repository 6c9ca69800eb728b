"""A folder job as a person asks for it: its options, declared once, and what follows from them.

spec = JobSpec(paths=("photos",), output=Path("captions.csv"))
guard = spec.check()
spec.records            # captions.jsonl: the journal, which the table is made from
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from captioner.errors import CaptionerError, SettingError
from captioner.options import DEVICE, DTYPE, MODEL, RUNTIME, SERVER
from captioner.outputs import Guard, begins, check_here
from captioner.photos import PHOTO_SUFFIXES
from captioner.request import Request
from captioner.settings import setting

from .archives import is_tar
from .decode import Captioned
from .engine import EngineConfig
from .items import Item
from .journal import Journal, is_journal, is_run_file
from .names import with_stems
from .sources import Ignored, annotated_items, check_paths, find_items, read_list
from .storage import is_storage
from .wording import Wording
from .writers import FORMATS, SUFFIXES, TABLE_STARTS, TABLES, check_format

ENGINES = ("local", "ray")


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """Which photos to caption, how, and where the captions go."""

    paths: tuple[str, ...] = setting(
        (), "Photos, folders, patterns, archives, addresses (https://, s3://); - is stdin.",
        flag="PATHS",
    )  # fmt: skip
    from_list: str | None = setting(
        None, "Read the paths from this list, by lines or NULs; - is standard input.",
        flag="--from", value="FILE", group="Which photos",
    )  # fmt: skip
    annotations: Path | None = setting(
        None, "Caption the photos that this COCO or Karpathy file names, in PATHS.",
        value="FILE",
    )  # fmt: skip
    split: str | None = setting(
        None, "Caption these splits of a Karpathy file, such as val,test.", value="NAMES",
        otherwise="all",
    )  # fmt: skip
    samples: bool = setting(
        False, "Caption the sample photos that come with scikit-image."
    )  # fmt: skip
    retry_failed: bool = setting(False, "Try the photos again that failed before.")
    skip_captioned: bool = setting(
        False, "Leave out photos that have a text file or a description."
    )
    overwrite: bool = setting(False, "Caption all again and replace the captions that are there.")
    watch: bool = setting(False, "Go on until Ctrl-C, and caption what arrives.")
    dry_run: bool = setting(False, "List the photos that would be captioned, and do nothing.")
    output: Path | None = setting(
        None, "Write to this file; its suffix says in which format.", flag="-o --output",
        value="FILE", group="Where captions go", otherwise="they are printed",
    )  # fmt: skip
    format: str | None = setting(
        None, "Write jsonl, csv, tsv, coco, parquet, html (img with alt), or txt: a text file for "
        "each photo, beside it or in the folder that -o names.", value="NAME",
        otherwise="as the suffix of -o says",
    )  # fmt: skip
    extension: str = setting(
        ".txt", "Give the text files of --format txt this suffix.", value="SUFFIX"
    )
    as_json: bool = setting(
        False, "Print each caption as JSON with all that is known of it.",
        flag="--json",
    )  # fmt: skip
    sheets: Path | None = setting(
        None, "Write a contact sheet (PNG) of each photo into this folder.", flag="--heatmaps",
        value="FOLDER",
    )  # fmt: skip
    write_metadata: bool = setting(
        False, "Write the caption into the photo; NAME_original keeps it as it was.",
    )  # fmt: skip
    alt_text: bool = setting(False, "Let --write-metadata write an alternative text, too.")
    sidecar: bool = setting(False, "Write the caption into NAME.xmp, and keep what is there.")
    ordered: bool = setting(False, "Write the captions in the order of the input.")
    quiet: bool = setting(False, "Show no progress and no summary.", flag="--quiet -q")
    wording: Wording = field(default_factory=Wording)
    request: Request = field(default_factory=Request)
    batch_size: int = setting(
        EngineConfig.batch_size, "How many photos the model takes at once.", value="N",
        group="The model and the machine",
    )  # fmt: skip
    time_limit: float = setting(
        EngineConfig.seconds, "How many seconds decoding a photo may take.",
        value="X",
    )  # fmt: skip
    engine: str = setting(
        ENGINES[0], "Run the model on this machine (local) or in a cluster (ray).",
        value="NAME",
    )  # fmt: skip
    workers: int | None = setting(
        None, "How many models --engine ray starts.", value="N",
        otherwise="one for each GPU or 4 cores",
    )  # fmt: skip
    model: str | None = setting(None, MODEL)
    revision: str | None = setting(
        None, "The branch, tag or commit of a model of the hub.", value="NAME", otherwise="newest"
    )  # fmt: skip
    server: str | None = setting(None, SERVER)
    device: str | None = setting(None, DEVICE)
    dtype: str | None = setting(None, DTYPE)
    runtime: str | None = setting(None, RUNTIME)
    threads: int | None = setting(
        None, "How many cores the model uses, and how many processes decode beside it.",
        value="N", otherwise="all",
    )  # fmt: skip

    # What is captioned.

    @cached_property
    def named(self) -> tuple[str, ...]:
        """The paths that are named, the sample photographs among them."""
        if not self.samples:
            return self.paths
        from captioner.samples import sample_photos

        return (*self.paths, *map(str, sample_photos()))

    def find(self, ignored: Ignored, known: Container[str] = ()) -> Iterator[Item]:
        """The photos, from the first each time; what is ignored is counted. known: names of
        photos that were found before."""
        if self.annotations:
            items = annotated_items(self.annotations, self.named, split=self.split, ignored=ignored)
        else:
            listed = read_list(self.from_list) if self.from_list else ()
            paths = itertools.chain(self.named, listed)
            items = find_items(paths, ignored=ignored, known=known)
        texts = self.kind == "txt" or self.skip_captioned
        return with_stems(items, self.text_folder) if texts else items

    @property
    def countable(self) -> bool:
        """Whether the photos can be counted beforehand: standard input is read once, and archives
        are not unpacked or fetched for it."""
        costly = (
            is_tar(p) and (is_storage(p) or not p.lower().endswith(".tar")) for p in self.named
        )
        return not (self.watch or self.from_list == "-" or "-" in self.named or any(costly))

    # Where the captions go.

    @property
    def kind(self) -> str:
        """The format of what is written; "" for none, when captions are printed or go into the
        photos, and where the suffix says nothing."""
        if self.format or self.output is None:
            return self.format or ""
        return SUFFIXES.get(self.output.suffix.lower(), "")

    @property
    def records(self) -> Path | None:
        """The file of the records, which is the journal; None without one."""
        if self.output is None:
            return None
        if self.kind == "txt":
            return self.output / "captions.jsonl"
        return self.output if self.kind in ("jsonl", "") else self.output.with_suffix(".jsonl")

    @property
    def table(self) -> Path | None:
        """The table that is made from the records, where one is asked for."""
        return self.output if self.kind in TABLES else None

    @property
    def text_folder(self) -> Path | None:
        """The folder of the text files; None puts them beside the photos."""
        return self.output if self.kind == "txt" else None

    @property
    def in_place(self) -> bool:
        """Whether text files or descriptions beside and in the photos are all that is written: they
        themselves then say what is done."""
        return self.records is None and (self.kind == "txt" or self.write_metadata or self.sidecar)

    @property
    def printed(self) -> str | None:
        """How captions are printed: "json", "text", "words" (with the probability of each word), or
        None for not at all."""
        if self.records or self.in_place:
            return None
        if self.as_json:
            return "json"
        return "words" if self.request.explain else "text"

    # How they are made.

    @property
    def skip(self) -> Captioned | None:
        """Which photos are left out."""
        if self.skip_captioned:
            return Captioned(
                folder=self.text_folder, inside=True, sidecars=self.sidecar,
                extension=self.extension,
            )  # fmt: skip
        if self.in_place and not self.overwrite:
            return Captioned(
                texts=self.kind == "txt", inside=self.write_metadata, sidecars=self.sidecar,
                extension=self.extension,
            )  # fmt: skip
        return None

    @property
    def config(self) -> EngineConfig:
        return EngineConfig(
            request=self.request if self.sheets else self.request.with_(heatmaps=""),
            wording=self.wording,
            batch_size=self.batch_size, seconds=self.time_limit, skip=self.skip,
            ordered=self.ordered or self.records is None, steady=self.records is not None,
            model=self.model, revision=self.revision, server=self.server, device=self.device,
            dtype=self.dtype, runtime=self.runtime, threads=self.threads,
        )  # fmt: skip

    # What makes no sense.

    def check(self) -> Guard:
        """Whether the job can begin; returns the guard of its outputs.

        Raises:
            CaptionerError: the options contradict one another, something that they need is not
                installed, or an output would replace what it must not.
            PhotoError: a path leads nowhere.
        """
        if not self.named and not self.from_list and not self.annotations:
            raise SettingError("Name at least one photograph or folder, or give `samples`.")
        check_paths(self.named)
        self._check_numbers()
        self._check_destination()
        if self.engine == "ray":
            from .ray_engine import check_ray

            check_ray()
        guard = self._guard()
        if self.output and not self.kind:
            raise SettingError(
                f"`output` {self.output} has no suffix that names a format: take one of "
                f"{', '.join(SUFFIXES)}, or name the format with `format`. `format` txt writes a "
                "text file for each photo, into the folder that `output` names."
            )
        return guard

    def _check_numbers(self) -> None:
        if self.batch_size < 1:
            raise SettingError("`batch_size` must be at least 1.")
        if not self.time_limit > 0:
            raise SettingError("`time_limit` must be above 0.")
        if self.engine not in ENGINES:
            raise SettingError(f"There is no engine {self.engine!r}: choose local or ray.")
        if self.workers and self.engine != "ray":
            raise SettingError("`workers` goes with `engine` ray.")
        if self.threads is not None and self.threads < 1:
            raise SettingError("`threads` must be at least 1.")
        if self.threads and self.engine == "ray":
            raise SettingError("`threads` is for this machine; `engine` ray has `workers`.")
        if self.from_list == "-" and "-" in self.named:
            raise SettingError("Standard input is a photo or a list: give - once.")
        if not re.fullmatch(r"\.\w+", self.extension) or self.extension in PHOTO_SUFFIXES:
            raise SettingError("`extension` is a suffix for text files, such as .caption.")
        if self.extension != ".txt" and self.kind != "txt" and not self.skip_captioned:
            raise SettingError("`extension` goes with `format` txt.")
        if self.watch and not self.output:
            raise SettingError("`watch` needs a file that says what is done: give `output`.")
        if self.watch and "-" in (self.from_list, *self.named):
            raise SettingError("`watch` looks at folders again and again: name them, and no -.")
        if self.annotations and self.from_list:
            raise SettingError("`annotations` names the photos itself: leave `from_list` out.")
        if self.split and not self.annotations:
            raise SettingError("`split` goes with `annotations`.")
        if self.request.alternatives and self.in_place and not self.sheets:
            raise SettingError(
                "`alternatives` have no place in a photo's text file or description: give `output` "
                "captions.jsonl, or `sheets`, which shows them."
            )
        if self.alt_text and not self.write_metadata:
            raise SettingError("`alt_text` goes with `write_metadata`.")

    def _check_destination(self) -> None:
        output, kind = self.output, self.kind
        if kind and kind not in FORMATS:
            raise SettingError(f"There is no format {kind!r}: choose {', '.join(FORMATS)}.")
        for place, name in ((self.sheets, "`sheets`"), (output, "`output`")):
            if place:
                check_here(place, name)
        if self.sheets and self.sheets.exists() and not self.sheets.is_dir():
            raise SettingError(f"`sheets` {self.sheets} is to be a folder for contact sheets.")
        if self.request.heatmaps != Request.heatmaps and not self.sheets:
            raise SettingError("`heatmaps` goes with `sheets`, which says where they are drawn.")
        if output is None:
            if sum((kind == "txt", self.write_metadata, self.sidecar)) > 1:
                raise SettingError(
                    "Text files and metadata together, or sidecars with them, need a file that "
                    "says what is done: add `output` captions.jsonl, or leave one of them out."
                )
            if kind not in ("", "txt"):
                raise SettingError(f"`format` {kind} needs a file: give `output`.")
            return
        if self.as_json:
            raise SettingError("`as_json` prints the captions; with `output`, choose a `format`.")
        if kind == "txt":
            if output.exists() and not output.is_dir():
                raise SettingError(f"`output` {output} is to be a folder for the text files.")
            return
        if output.is_dir():
            raise SettingError(
                f"`output` {output} is a folder; name a file in it, or add `format` txt."
            )
        if kind in TABLES and output.suffix.lower() == ".jsonl":
            raise CaptionerError(f"{output} is a name for the jsonl format; take another suffix.")
        check_format(kind)

    def _guard(self) -> Guard:
        """The guard, with the outputs checked that are known before the work begins."""
        model = Path(self.model) if self.model else None
        inputs = [*self.named, *(model.iterdir() if model and model.is_dir() else ())]
        inputs += [x for x in (self.from_list, self.annotations) if x]
        guard = Guard(inputs, overwrite=self.overwrite, more=self._files)
        if self.records:
            run = Journal.run_file(self.records)
            if self.table:
                start = begins(TABLE_STARTS[self.kind])
                guard.check(self.table, "-o", lambda p: start(p) and is_run_file(run))
            journal = "-o" if self.records == self.output else f"The journal of -o {self.output}"
            guard.check(self.records, journal, is_journal)
            guard.check(
                Journal.errors_file(self.records), f"The errors of -o {self.output}", is_journal
            )
            guard.check(run, f"The settings of -o {self.output}", is_run_file)
        return guard

    def _files(self) -> Iterator[str]:
        """The files that the photos are in."""
        if self.from_list == "-":
            raise CaptionerError(
                "Files that are there already are not replaced while the photos come from standard "
                "input, for they may be among them."
            )
        return (item.path for item in self.find(Ignored()) if item.path)
