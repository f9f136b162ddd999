"""What MkDocs leaves undone in the site of docs/: links within notebooks."""

import re
from typing import Any


def on_post_page(output: str, *, page: Any, **_: object) -> str:
    """Lead a notebook's links to the pages of the site; in the notebook they name the files, as GitHub and Jupyter do.

    Args:
        output: the page's HTML.
        page: the page of MkDocs.
    """
    if not page.file.src_uri.endswith(".ipynb"):
        return output
    return re.sub(r'href="(?![a-z]+:)([^"#]+)\.(?:md|ipynb)(#[^"]*)?"', r'href="\1.html\2"', output)
