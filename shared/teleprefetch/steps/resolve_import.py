"""State `ResolveImport`: from an event to the studies to prefetch and the image sets to purge."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from teleprefetch.domain.correlation import event_id_of
from teleprefetch.domain.import_events import ImportEvent, read_import_event
from teleprefetch.domain.import_manifest import ImportManifest, read_manifest
from teleprefetch.errors import (
    InvalidPayloadError,
    OriginUnavailableError,
    StudyNotFoundError,
)
from teleprefetch.model import PurgeOrder, StudyRecord
from teleprefetch.ports import Documents, ImageSets, Origin
from teleprefetch.prefetch import (
    ImportedStudies,
    ImportResolution,
    PrefetchRequest,
    PurgeMessage,
    prefetch_id_of,
)
from teleprefetch.settings import Routing


def run(
    event: object,
    *,
    origins: Mapping[str, Origin],
    image_sets: Mapping[str, ImageSets],
    documents: Documents,
    routing: Routing,
    import_locations: tuple[str, ...],
    historical_after_days: int,
    now: datetime,
) -> ImportResolution:
    """Resolve an import event.

    Raises:
        InvalidPayloadError: the event is foreign or malformed, or names an unknown data store.
        OriginUnavailableError: the manifest is not there yet, or the archive is still busy.
        CorruptPayloadError: the manifest is cut short.
    """
    imported = read_import_event(event)
    if imported.origin_id not in image_sets:
        raise InvalidPayloadError("detail.datastoreId: not in ORIGINS")
    manifest = _manifest_of(imported, documents)
    uids, missing = _study_uids(manifest.image_set_ids, image_sets[imported.origin_id])
    studies = _studies_of(uids, origins[imported.origin_id])
    recent = [study for study in studies if _is_recent(study, historical_after_days, now)]
    event_id = event_id_of(event) or imported.import_id
    requests = ImportedStudies(
        requests=tuple(_request(imported, study, import_locations, event_id) for study in recent)
    )
    return ImportResolution(
        import_id=imported.import_id,
        kind=imported.kind,
        requests=documents.put(f"imports/{imported.import_id}/studies.json", requests),
        studies=len(recent),
        historical=len(studies) - len(recent),
        missing=missing,
        files_failed=manifest.files_failed,
        purges=_purges(imported, routing),
    )


def _manifest_of(imported: ImportEvent, documents: Documents) -> ImportManifest:
    if imported.kind in {"deleted", "import failed"}:
        return ImportManifest(image_set_ids=(), files_failed=0)
    if imported.image_set_id is not None:
        return ImportManifest(image_set_ids=(imported.image_set_id,), files_failed=0)
    for pointer in imported.manifests:
        try:
            return read_manifest(documents.get_bytes(pointer))
        except OriginUnavailableError:
            continue
    raise OriginUnavailableError("detail.outputS3Uri: no job-output-manifest.json there yet")


def _study_uids(image_set_ids: Iterable[str], image_sets: ImageSets) -> tuple[dict[str, None], int]:
    """The studies of the image sets, each once, and how many image sets are gone."""
    found: dict[str, None] = {}
    missing = 0
    for image_set_id in image_set_ids:
        try:
            found[image_sets.study_of(image_set_id)] = None
        except StudyNotFoundError:
            missing += 1
    return found, missing


def _studies_of(study_instance_uids: Iterable[str], origin: Origin) -> tuple[StudyRecord, ...]:
    try:
        return tuple(origin.search_for_study(uid) for uid in study_instance_uids)
    except StudyNotFoundError as error:
        # Its image set was read a moment ago, so the search index is behind.
        raise OriginUnavailableError("study: imported, but not searchable yet") from error


def _is_recent(study: StudyRecord, historical_after_days: int, now: datetime) -> bool:
    """A study without a readable date counts as recent: a reader may be about to get it."""
    if historical_after_days == 0:
        return True
    try:
        study_date = datetime.strptime(study.study_date, "%Y%m%d").replace(tzinfo=now.tzinfo)
    except ValueError:
        return True
    return study_date >= now - timedelta(days=historical_after_days)


def _request(
    imported: ImportEvent, study: StudyRecord, import_locations: tuple[str, ...], event_id: str
) -> PrefetchRequest:
    return PrefetchRequest(
        prefetch_id=prefetch_id_of(
            origin_id=imported.origin_id,
            study_instance_uid=study.study_instance_uid,
            series=(series.pointer for series in study.series),
        ),
        origin_id=imported.origin_id,
        study_instance_uid=study.study_instance_uid,
        reading_locations=import_locations,
        cause="import",
        of=imported.import_id,
        event_id=event_id,
    )


def _purges(imported: ImportEvent, routing: Routing) -> tuple[PurgeMessage, ...]:
    if imported.kind not in {"changed", "deleted"} or imported.image_set_id is None:
        return ()
    below = imported.version_id if imported.kind == "changed" else None
    if imported.kind == "changed" and below is None:
        return ()
    return tuple(
        PurgeMessage(
            queue_url=queue_url,
            order=PurgeOrder(
                node=node,
                origin_id=imported.origin_id,
                image_set_id=imported.image_set_id,
                below_version=below,
            ),
        )
        for node, queue_url in routing.nodes.items()
    )
