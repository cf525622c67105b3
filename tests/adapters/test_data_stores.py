"""What HealthImaging alone has is made for each data store, with the client of its Region."""

import threading
from typing import Any, cast

import pytest

from teleprefetch.adapters.data_stores import of_data_stores
from teleprefetch.operate import site as operators
from teleprefetch.operate.site import Site, Stack
from teleprefetch.settings import DicomwebOrigin, HealthImagingOrigin
from tests.builders import PIPELINE_ENVIRONMENT

ORIGINS = {
    "east": HealthImagingOrigin(kind="healthimaging", region="us-east-1"),
    "old-archive": DicomwebOrigin(kind="dicomweb", url="http://127.0.0.1:9"),
    "west": HealthImagingOrigin(kind="healthimaging", region="us-west-2"),
}


def test_each_data_store_gets_one_of_its_region_and_other_archives_none() -> None:
    made = of_data_stores(
        ORIGINS,
        lambda client, datastore_id: (client, datastore_id),
        client=lambda region: cast("Any", f"client of {region}"),
    )

    assert made == {
        "east": ("client of us-east-1", "east"),
        "west": ("client of us-west-2", "west"),
    }


def test_an_operators_site_makes_the_clients_of_data_stores_one_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    origins = '{"east": {"kind": "healthimaging", "region": "us-east-1"}}'
    variables = PIPELINE_ENVIRONMENT | {"ORIGINS": origins}
    site = Site(Stack(name="", variables=variables, outputs={}, resources={}), {})
    is_alone: list[bool] = []

    def made(service: str, *, region_name: str, config: Any) -> object:
        is_alone.append(operators._MAKING.locked())
        assert (service, region_name) == ("medical-imaging", "us-east-1")
        return object()

    monkeypatch.setattr(operators.boto3, "client", made)
    threads = [
        threading.Thread(target=lambda: (site.import_jobs, site.image_set_changes))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert list(site.import_jobs) == list(site.image_set_changes) == ["east"]
    assert is_alone
    assert all(is_alone)
