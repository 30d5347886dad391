"""Tables as Markdown, LaTeX and CSV."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from drlhash_jax.figures import write_csv
from drlhash_jax.files import write_atomically
from drlhash_jax.report.tables import Cell, Table, best_cells

_LATEX = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
}
_MEASURED, _PUBLISHED = "Measured", "Published values, not measured here"
PUBLISHED_NOTE = "How these break ties, and what they divide by, is up to their sources: no comparison digit by digit."


class Text(NamedTuple):
    """What stands in a cell.

    Attributes:
      text: as it is read.
      bold: whether it is among the best of its column.
    """

    text: str
    bold: bool = False


def _number(cell: Cell | None, common_n: bool) -> str:
    """A number with its spread, and with its seeds unless the title says how many there are."""
    if cell is None or cell.mean is None:
        return "-"
    text = f"{cell.mean:.3f}" if cell.sd is None else f"{cell.mean:.3f} ± {cell.sd:.3f}"
    if cell.interval is not None:
        text += f" [{cell.interval[0]:.3f}, {cell.interval[1]:.3f}]"
    if cell.draws_sd is not None:
        text += f" (draws ± {cell.draws_sd:.3f})"
    return text if common_n else f"{text} (n={cell.n})"


def _source_numbers(table: Table) -> dict[str, int]:
    """Sources of a table, numbered in order of appearance."""
    sources = dict.fromkeys(method.source for method in table.methods if method.source)
    return {source: number for number, source in enumerate(sources, 1)}


def heads(table: Table) -> list[str]:
    """What stands above the columns; the dataset only where there are several."""
    several = len(table.groups) > 1
    return ["method"] + [
        f"{group.dataset}, {bits} bits" if several else f"{bits} bits" for group, bits in table.columns
    ]


def lines(table: Table) -> list[list[Text]]:
    """Cells of a table's rows, methods first."""
    common_n = len({cell.n for cell in table.cells.values()}) == 1
    numbers, best = _source_numbers(table), best_cells(table)
    rows = []
    for method in table.methods:
        mark = f" [{numbers[method.source]}]" if method.source else ""
        keys = [(method, group, bits) for group, bits in table.columns]
        cells = [Text(_number(table.cells.get(key), common_n), key in best) for key in keys]
        rows.append([Text(method.name + mark), *cells])
    return rows


def below(table: Table) -> list[str]:
    """What must be said under a table: how to read its numbers, and where published ones were printed."""
    cells = table.cells.values()
    said = {
        "Bold: the highest mean of a column, and all whose mean ± sd reaches its mean - sd.": best_cells(table),
        "Nothing is bold: one seed tells no best.": len(table.methods) > 1 and all(cell.n == 1 for cell in cells),
        "[a, b]: 95 % interval over queries, see map_interval.": any(cell.interval is not None for cell in cells),
        "draws ±: standard deviation (n - 1) over random selections.": any(cell.draws_sd is not None for cell in cells),
    }
    sources = [f"[{number}] {source}" for source, number in _source_numbers(table).items()]
    return [text for text, holds in said.items() if holds] + sources


def to_markdown(table: Table) -> str:
    """A table as Markdown, its title above, and below it how to read it and its sources."""
    escape = lambda text: text.replace("|", "\\|")
    mark = lambda cell: f"**{escape(cell.text)}**" if cell.bold else escape(cell.text)
    head = list(map(escape, heads(table)))
    rows = [head, ["---"] + ["---:"] * (len(head) - 1), *(list(map(mark, row)) for row in lines(table))]
    body = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    notes = "".join(f"\n{line}  " for line in below(table))
    return f"{table.title}\n\n{body}\n" + (f"{notes}\n" if notes else "")


def _escape(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def to_latex(table: Table) -> str:
    """A table as LaTeX's table environment, with the rules of the package booktabs."""
    spans, rules, start = [""], [], 2
    for group in table.groups:
        width = sum(other == group for other, _ in table.columns)
        spans.append(f"\\multicolumn{{{width}}}{{c}}{{{_escape(str(group))}}}")
        rules.append(f"\\cmidrule(lr){{{start}-{start + width - 1}}}")
        start += width
    bits = [f"{bits} bits" for _, bits in table.columns]
    mark = lambda cell: rf"\textbf{{{_escape(cell.text)}}}" if cell.bold else _escape(cell.text)
    rows = [" & ".join(map(mark, row)) + r" \\" for row in lines(table)]
    return "\n".join(
        [
            r"\begin{table}",
            f"\\caption{{{_escape(table.title)}}}",
            f"\\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
            r"\toprule",
            " & ".join(spans) + r" \\",
            " ".join(rules),
            " & ".join(["method", *bits]) + r" \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            *(f"\\par {_escape(line)}" for line in below(table)),
            r"\end{table}",
            "",
        ]
    )


_HEADER = (
    *("block", "value", "dataset", "protocol", "map_at", "method", "bits", "mean", "sd", "n"),
    *("draws_sd", "low", "high", "source"),
)


def _csv_rows(table: Table) -> list[tuple]:
    block = "published" if table.published else "measured"
    return [
        (block, table.value, *group, method.name, bits, *cell[:4], *(cell.interval or (None, None)), method.source)
        for (method, group, bits), cell in table.cells.items()
    ]


def save_tables(stem: Path, measured: Sequence[Table], published: Sequence[Table] = ()) -> tuple[Path, Path, Path]:
    """Writes tables to ``stem.md``, ``stem.tex`` and ``stem.csv``, published ones in a part of their own.

    Args:
      stem: path without ending; its folder is created if needed.
      measured: as `result_tables` or `side_by_side` gives them.
      published: as `published_tables` gives them.

    Returns:
      The three paths.
    """
    stem = Path(stem)
    paths = tuple(stem.with_name(f"{stem.name}.{ending}") for ending in ("md", "tex", "csv"))
    markdown = [f"## {_MEASURED}\n", *map(to_markdown, measured)]
    latex = list(map(to_latex, measured))
    if published:
        markdown += [f"## {_PUBLISHED}\n", f"{PUBLISHED_NOTE}\n", *map(to_markdown, published)]
        latex += [f"% {_PUBLISHED}. {PUBLISHED_NOTE}\n", *map(to_latex, published)]
    for path, parts in zip(paths, (markdown, latex)):
        write_atomically(path, lambda file, parts=parts: file.write("\n".join(parts).encode()))
    write_csv(paths[2], _HEADER, [row for table in (*measured, *published) for row in _csv_rows(table)])
    return paths
