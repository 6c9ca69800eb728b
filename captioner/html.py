"""HTML from the templates in a package's folder `templates`; whatever is put in is escaped."""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from .texts import readable


def render(package: str, template: str, **values: object) -> str:
    """A template of a package with these values.

    Filters: `x100` and `signed_x100` write a score as papers print it, times 100; `thousands` puts
    commas into a count.
    """
    return readable(_environment(package).get_template(template).render(values))


@cache
def _environment(package: str) -> Environment:
    made = Environment(
        loader=PackageLoader(package), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    made.filters["x100"] = lambda score: f"{100 * score:.1f}"
    made.filters["signed_x100"] = lambda score: f"{100 * score:+.1f}"
    made.filters["thousands"] = lambda count: f"{count:,}"
    return made
