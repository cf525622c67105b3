"""Who may log in at a local stack's issuer; nobody of them is real."""

from dataclasses import dataclass
from typing import Final

SITE: Final = "home"
READERS: Final = "readers"
OPERATORS: Final = "operators"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a name for the login page; tokens carry the subject, groups and site."""

    subject: str
    name: str
    groups: tuple[str, ...]
    site: str


READER: Final = Person("reader-1", "Robin Reader", (READERS,), SITE)
"""To whom the local stack assigns its studies."""
COLLEAGUE: Final = Person("reader-2", "Charlie Colleague", (READERS,), SITE)
"""A reader at the same place, who is assigned nothing."""
OPERATOR: Final = Person("operator-1", "Olive Operator", (OPERATORS,), SITE)
PEOPLE: Final = (READER, COLLEAGUE, OPERATOR)
