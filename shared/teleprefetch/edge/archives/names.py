"""In whose name an archive is asked for what a reader misses: the node's, or the reader's."""

import hashlib
from collections.abc import Callable, Mapping

from teleprefetch.edge.archives.breaker import Breaker
from teleprefetch.edge.archives.located import GuardedOrigin, Located
from teleprefetch.edge.archives.retrieving import Source
from teleprefetch.edge.store.rows import series_key
from teleprefetch.ports import Origin

AsReader = Callable[[str, str], Origin | None]
"""An archive by its id, asked with a reader's token; None if the node asks it as itself."""


class Names:
    """Has archives asked as their settings say.

    Args:
        as_reader: gives those that are asked in readers' names.
        breakers: what every request passes, by the archive's id.
    """

    def __init__(self, as_reader: AsReader, breakers: Mapping[str, Breaker]) -> None:
        self._as_reader = as_reader
        self._breakers = breakers

    def located(self, bearer: str, found: Located) -> Located:
        """The same series, from the archive as it is to be asked.

        Raises:
            AccessDeniedError: it is asked in readers' names, and there is no token.
        """
        origin_id = found.source.origin_id
        origin = self._as_reader(origin_id, bearer)
        if origin is None:
            return found
        guarded = GuardedOrigin(lambda: origin, self._breakers[origin_id])
        asker = hashlib.sha256(bearer.encode()).hexdigest()
        return Located(Source(origin_id, guarded, asker), found.series)


def flight_of(what: str, located: Located) -> tuple[str, ...]:
    """What a fetch is known by: as warming knows it, unless it is made in a reader's name.

    Readers about whom the archive is to decide share no fetch.
    """
    source = located.source
    key = (what, series_key(source.origin_id, located.series))
    return (*key, source.asker) if source.asker else key
