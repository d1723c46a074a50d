"""Our block in a model version's description: between two comment markers, the user's own text around it untouched.

Pure text; reading and writing the description through MLflow is in `results.py`.
"""

import re

START = "<!-- mlflow-ext:promotion -->"
END = "<!-- /mlflow-ext:promotion -->"
LIMIT = 5_000
"""Characters that MLflow's column holds."""

# MLflow's list of versions shows a description's first words as they are, so the start marker stands at the end of our
# first line; a start marker whose end a user deleted must not swallow the text up to the next block's end
_BLOCK = re.compile(rf"\n*[^\n]*{re.escape(START)}(?:(?!{re.escape(START)}).)*?{re.escape(END)}\n*", re.DOTALL)


def with_block(description: str, block: str) -> str:
    """Put our block at the end of a description, in place of the one that was there.

    A block that does not fit is shortened; where the user's own text leaves no room at all, there is no block.

    Args:
        description: The description as it is.
        block: Markdown without markers.
    """
    own = without_block(description).rstrip("\n")
    gap = "\n\n" if own else ""
    room = LIMIT - len(own) - len(gap) - len(START) - len(END) - 3
    text = _harmless(block)
    if len(text) > room:
        text = text[: max(room - 2, 0)].rstrip() + " …" if room > 2 else ""
    if not text:
        return own
    first, _, others = text.partition("\n")
    return f"{own}{gap}{first} {START}\n{others}\n{END}"


def without_block(description: str) -> str:
    """Give the user's own text."""
    parts = [part for part in _BLOCK.split(description or "") if part]
    return "\n\n".join(parts)


def _harmless(block: str) -> str:
    return block.strip().replace("<!--", "<!- -").replace("-->", "- ->")
