"""Writing the report of a study."""

from pathlib import Path

from musicssl_training.study.config import Study
from musicssl_training.study.folder import StudyFolder, write_json, write_text
from musicssl_training.study.report.page import render_page
from musicssl_training.study.report.tables import tables
from musicssl_training.study.summary import summarize


def write_report(study: Study, folder: StudyFolder) -> Path:
    """Write report.json, report.md and index.html of what is finished.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    found = summarize(study, folder)
    write_json(folder.root / "report.json", found)
    write_text(folder.root / "report.md", tables(found))
    page = folder.root / "index.html"
    write_text(page, render_page(found))
    return page
