"""The runbook has a section for each of the template's alarms, and each says what to do."""

import re

from tests.pages.alarms import alarms, sections
from tests.pages.blocks import DOCS

PAGE = (DOCS / "runbook.md").read_text()


def test_every_alarm_has_a_section_and_no_section_is_of_none() -> None:
    assert sorted(sections(PAGE)) == sorted(alarms())


def test_every_section_says_something_to_do() -> None:
    parts = re.split(r"^### `\w+Alarm`$", PAGE, flags=re.MULTILINE)[1:]

    assert all(len(part.split("\n## ")[0].strip()) > 100 for part in parts)


def test_every_alarm_leads_to_a_page_that_is_there() -> None:
    for name, given in alarms().items():
        for path in re.findall(r"shared/docs/\w+\.md", given["AlarmDescription"]):
            assert (DOCS.parents[1] / path).exists(), name
