"""What is shown of results: figures as PDF, PNG and the numbers behind them; tables as Markdown, LaTeX and CSV."""

from drlhash_jax.report.code_maps import embed_codes, plot_bit_correlation, plot_tsne
from drlhash_jax.report.curves import (
    Level,
    Series,
    plot_learning,
    plot_map_bits,
    plot_precision_at_n,
    plot_precision_radius2,
    plot_precision_recall,
    plot_robustness,
)
from drlhash_jax.report.photos import Retrieval, choose_examples, plot_copies, plot_retrievals
from drlhash_jax.report.table_files import save_tables, to_latex, to_markdown
from drlhash_jax.report.tables import (
    Cell,
    Group,
    Method,
    Run,
    Table,
    panels_of,
    published_tables,
    read_run,
    result_tables,
    side_by_side,
)
from drlhash_jax.report.write import write_report

__all__ = [
    "Cell",
    "Group",
    "Level",
    "Method",
    "Retrieval",
    "Run",
    "Series",
    "Table",
    "choose_examples",
    "embed_codes",
    "panels_of",
    "plot_bit_correlation",
    "plot_copies",
    "plot_learning",
    "plot_map_bits",
    "plot_precision_at_n",
    "plot_precision_radius2",
    "plot_precision_recall",
    "plot_retrievals",
    "plot_robustness",
    "plot_tsne",
    "published_tables",
    "read_run",
    "result_tables",
    "save_tables",
    "side_by_side",
    "to_latex",
    "to_markdown",
    "write_report",
]
