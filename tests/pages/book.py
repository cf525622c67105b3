"""Which page has which generated parts."""

from collections.abc import Mapping
from functools import partial
from typing import Final

from tests.pages import alarms, commands, costs, machines, reference, routes, schemas, sources
from tests.pages.blocks import Blocks

BOOK: Final[Mapping[str, Blocks]] = {
    "architecture.md": {
        "starters": machines.starters,
        **{f"machine-{name}": partial(machines.diagram, name) for name in machines.machine_names()},
        **{
            f"states-{name}": partial(machines.states_table, name)
            for name in machines.machine_names()
        },
        "direction": sources.direction,
        "node-direction": sources.node_direction,
        "pieces": sources.pieces,
        "forbidden": sources.forbidden,
    },
    "conformance.md": {
        "offered": routes.offered,
        "beside": routes.beside,
        "search-attributes": routes.search_attributes,
        "transfer-syntaxes": routes.transfer_syntaxes,
    },
    "costs.md": {
        "costs": costs.costs_table,
        "formulas": costs.formulas_table,
        "site": costs.site_table,
        "prices": costs.prices_table,
    },
    "events.md": {
        "import-kinds": schemas.import_kinds,
        "order-mapping": schemas.order_mapping,
        **{name: partial(schemas.fields_table, name) for name in schemas.BY_NAME},
    },
    "reference.md": {
        **{
            f"settings-{kind}": partial(reference.settings_table, kind)
            for kind in reference.SETTINGS
        },
        "settings-authorizer": reference.authorizer_settings,
        **{
            model.__name__: partial(reference.inner_table, model.__name__)
            for model in reference.INNER
        },
        **{
            section: partial(reference.plain_table, section)
            for section in ("issuer", "role", "environment")
        },
        "errors": reference.errors_table,
        "metrics": reference.emf_table,
        "node-log-metrics": reference.node_emf_table,
        "node-metrics": reference.node_metrics_table,
        "parameters": reference.parameters_table,
        "outputs": reference.outputs_table,
        "commands": commands.commands_text,
    },
    "runbook.md": {"alarms": alarms.alarms_table, "dashboard": alarms.dashboard_table},
}
