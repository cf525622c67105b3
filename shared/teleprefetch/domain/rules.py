"""A site's own rules as validated data, in the terms of dcm4chee and IMPAX."""

import tomllib
from typing import Annotated, Final, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from teleprefetch.domain.regions import MODALITIES, regions
from teleprefetch.errors import InvalidPayloadError
from teleprefetch.model import Value

RuleName = Annotated[str, StringConstraints(min_length=1, max_length=64)]
TermName = Literal[
    "anatomy", "modality", "side", "text", "contrast", "vessel", "procedure", "recency"
]


class Selector(Value):
    """Which current exam and which prior a rule is about; what is not given is any.

    Regions and modalities are those of the packaged tables, such as CHEST and CT.
    """

    name: RuleName
    current_region: str | None = None
    current_modality: str | None = None
    prior_region: str | None = None
    prior_modality: str | None = None

    @model_validator(mode="after")
    def _codes_are_known(self) -> Self:
        for field, known in (("region", regions()), ("modality", MODALITIES)):
            for side in ("current", "prior"):
                if getattr(self, f"{side}_{field}") not in {None, *known}:
                    raise ValueError(f"{side}_{field} of rule {self.name} is not in the tables")
        return self


class WarmRule(Selector):
    """Which of the selected priors may be warmed; what is not named is not restricted.

    `max_number` counts from the most useful; `max_age_days` is counted back from the current
    study; `oldest` keeps the oldest relevant prior whatever its age and number, as IMPAX's
    "oldest relevant" does; `never` warms none.
    """

    max_number: int | None = Field(default=None, ge=0)
    max_age_days: int | None = Field(default=None, ge=0)
    same_modality: bool = False
    oldest: bool = False
    never: bool = False


class ViewerRule(Selector):
    """Which of the selected priors the site's hanging protocols show beside the current study."""

    number: int = Field(default=1, ge=1)
    max_age_days: int | None = Field(default=None, ge=0)
    same_modality: bool = False
    oldest: bool = False


class ExtraPair(Selector):
    """What a prior region is worth for a current region at this site, from 0 to 1."""

    current_region: str
    prior_region: str
    value: float = Field(default=0.9, ge=0, le=1)


class SiteRules(Value):
    """What a site changes; the default changes nothing.

    `floor` is the probability below which a prior is not worth its bytes; `mute` names terms
    that score nothing for this site; `procedure_codes` gives the description that a code of the
    site's ProcedureCodeSequence stands for.
    """

    floor: float = Field(default=0.45, ge=0, le=1)
    warm_doubtful: bool = False
    warm: tuple[WarmRule, ...] = ()
    viewer: tuple[ViewerRule, ...] = ()
    pairs: tuple[ExtraPair, ...] = ()
    mute: tuple[TermName, ...] = ()
    procedure_codes: dict[str, str] = Field(default_factory=dict)


DEFAULT_RULES: Final = SiteRules()


def parse_rules(text: str, *, at: str = "rules") -> SiteRules:
    """Read a site's rules from TOML.

    Args:
        text: the document; an empty one changes nothing.
        at: the setting or option it came by, put first in errors.

    Raises:
        InvalidPayloadError: the text is not TOML, or a key is unknown or out of range; the
            message names the key or the place.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        _, _, place = str(error).rpartition("(at ")
        raise InvalidPayloadError(f"{at}: not a TOML document at {place.rstrip(')')}") from error
    return SiteRules.parse(document, at=at)
