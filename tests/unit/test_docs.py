"""Documentation names every setting, metric, error code and close code, and nothing that is not."""

import re
from pathlib import Path

import pytest
from prometheus_client import Counter, Gauge, Histogram

from chatsync import errors
from chatsync.model import CloseCode
from chatsync.settings import variables
from chatsync.telemetry import metrics

DOCS = Path(__file__).parents[2] / "docs"


def first_column(name: str) -> set[str]:
    """What stands in backticks in the first column of a document's tables."""
    rows = re.findall(r"^\|([^|]*)\|", (DOCS / name).read_text(encoding="utf-8"), re.MULTILINE)
    return {code for row in rows for code in re.findall(r"`([^`]+)`", row)}


def test_every_setting_is_documented():
    names = {name for each in variables().values() for name in each}
    assert first_column("settings.md") == names


def test_every_metric_is_documented():
    kinds = (Counter, Gauge, Histogram)
    found = [value for value in vars(metrics).values() if isinstance(value, kinds)]
    names = {
        sample.name + ("_total" if sample.type == "counter" else "")
        for metric in found
        for sample in metric.describe()
    }
    assert first_column("metrics.md") == names


def test_every_error_code_and_close_code_is_documented():
    def tree(base: type[errors.ChatsyncError]) -> set[str]:
        return {base.code}.union(*(tree(child) for child in base.__subclasses__()))

    documented = first_column("errors.md")
    assert {str(int(code)) for code in CloseCode} <= documented
    assert {code for code in documented if code.isdigit()} <= {str(int(c)) for c in CloseCode}
    assert tree(errors.ChatsyncError) <= documented


@pytest.mark.parametrize(
    "path", sorted(DOCS.parent.glob("*.md")) + sorted(DOCS.rglob("*.md")), ids=str
)
def test_every_link_leads_somewhere(path: Path):
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path.name} links to {target}"
