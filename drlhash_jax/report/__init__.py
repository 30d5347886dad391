"""What is shown of finished runs: tables as Markdown, LaTeX and CSV, and one page with everything."""

from drlhash_jax.report.table_files import save_tables
from drlhash_jax.report.tables import panels_of, published_tables, result_tables, side_by_side
from drlhash_jax.report.write import write_report

__all__ = ["panels_of", "published_tables", "result_tables", "save_tables", "side_by_side", "write_report"]
