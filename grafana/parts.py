"""What the dashboards are made of: panels and rows as plain values, and how they become Grafana's own.

1. A panel has a unit and says in its description what a reader learns from it; ids and places follow from the order.
2. Queries name no data source but `$datasource`, and rates are over `$__rate_interval`.
3. Replicas are added up or the worst of them is shown, so that a panel reads the same for one and for ten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as dashboards
from grafana_foundation_sdk.builders import prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from grafana.queries import STATES

_WIDTH = 24
_SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")


class Unit(StrEnum):
    """Grafana's names for units."""

    COUNT = "short"
    PER_SECOND = "reqps"
    SECONDS = "s"
    SHARE = "percentunit"
    BYTES = "bytes"
    BYTES_PER_SECOND = "Bps"
    TOKENS_PER_SECOND = "tokens/s"
    RECORDS_PER_SECOND = "records/s"
    SINCE = "dateTimeFromNow"
    STATE = "none"


_COLORS = ("green", "yellow", "red", "orange", "purple", "blue")
"""Of the states, as queries.STATES has them."""


@dataclass(frozen=True, slots=True)
class Query:
    """One expression and how its series are called."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Lines:
    """Figures over time."""

    title: str
    description: str
    unit: Unit
    queries: Sequence[Query]
    width: int = 8
    stacked: bool = False
    most: float | None = None
    """The top of the axis, where it is known."""


@dataclass(frozen=True, slots=True)
class Number:
    """One figure, now. From `warn` on it is orange, from `bad` on red."""

    title: str
    description: str
    unit: Unit
    query: Query
    warn: float | None = None
    bad: float | None = None
    width: int = 4


@dataclass(frozen=True, slots=True)
class States:
    """Breakers' states over time, a row for each."""

    title: str
    description: str
    query: Query
    width: int = 24


@dataclass(frozen=True, slots=True)
class Table:
    """What is so now, a line for each."""

    title: str
    description: str
    unit: Unit
    query: Query
    value: str
    """The heading of the figure's column; empty where the labels say it all."""
    width: int = 12


Panel: TypeAlias = Lines | Number | States | Table
_HEIGHTS: dict[type[Panel], int] = {Lines: 8, Number: 4, States: 8, Table: 8}


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading, from left to right."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Choice:
    """A variable whose values are those of a label."""

    name: str
    label: str
    query: str
    many: bool = True


@dataclass(frozen=True, slots=True)
class Way:
    """A link to the operators' page."""

    title: str
    place: str
    """Behind the page's `#/`."""


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard."""

    uid: str
    title: str
    description: str
    choices: Sequence[Choice]
    rows: Sequence[Row]
    ways: Sequence[Way] = (Way("Decisions", "decisions"),)


def dashboard(board: Board) -> dashboards.Dashboard:
    """As Grafana loads it."""
    made = (
        dashboards.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags(["homeport"])
        .readonly()
        .timezone("browser")
        .time("now-1h", "now")
        .refresh("30s")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .link(
            dashboards.DashboardLink("Homeport")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags(["homeport"])
            .as_dropdown(True)
            .include_vars(True)
            .keep_time(True)
        )
        .with_variable(dashboards.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )
    for choice in board.choices:
        made = made.with_variable(_variable(choice))
    # Where operators reach the page is not Prometheus' business, so whoever looks says it, once.
    page = dashboards.TextBoxVariable("page").label("Operators' page").default_value("http://127.0.0.1:8081")
    made = made.with_variable(page)
    for way in board.ways:
        made = made.link(
            dashboards.DashboardLink(way.title)
            .type(models.DashboardLinkType.LINK)
            .url(f"${{page}}/#/{way.place}")
            .target_blank(True)
        )
    number, top = 1, 0
    for row in board.rows:
        place = models.GridPos(h=1, w=_WIDTH, x=0, y=top)
        made = made.with_row(dashboards.Row(row.title).id(number).grid_pos(place))
        number, top, left = number + 1, top + 1, 0
        height = 0
        for panel in row.panels:
            if left + panel.width > _WIDTH:
                top, left, height = top + height, 0, 0
            height = max(height, _HEIGHTS[type(panel)])
            place = models.GridPos(h=_HEIGHTS[type(panel)], w=panel.width, x=left, y=top)
            made = made.with_panel(_panel(panel).id(number).grid_pos(place))
            number, left = number + 1, left + panel.width
        top += height
    return made


def _variable(choice: Choice) -> dashboards.QueryVariable:
    made = (
        dashboards.QueryVariable(choice.name)
        .label(choice.label)
        .datasource(_SOURCE)
        .query(choice.query)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
    )
    if choice.many:
        everything = models.VariableOption(selected=True, text=["All"], value=["$__all"])
        made = made.multi(True).include_all(True).all_value(".+").current(everything)
    return made


def _target(query: Query, letter: str, *, now: bool = False) -> prometheus.Dataquery:
    made = prometheus.Dataquery().expr(query.expr).legend_format(query.legend or "__auto").ref_id(letter)
    return made.instant() if now else made.range()


Built: TypeAlias = timeseries.Panel | stat.Panel | statetimeline.Panel | table.Panel


def _panel(panel: Panel) -> Built:
    match panel:
        case Lines():
            return _lines(panel)
        case Number():
            return _number(panel)
        case States():
            return _states(panel)
        case Table():
            return _table(panel)


def _lines(panel: Lines) -> timeseries.Panel:
    made = (
        timeseries.Panel()
        .title(panel.title)
        .description(panel.description)
        .datasource(_SOURCE)
        .unit(panel.unit)
        .min(0)
        .fill_opacity(40 if panel.stacked else 10)
        .show_points(common.VisibilityMode.NEVER)
        .legend(
            common_builders.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(
            common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
        )
    )
    if panel.most is not None:
        made = made.max(panel.most)
    if panel.stacked:
        made = made.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL))
    for place, query in enumerate(panel.queries):
        made = made.with_target(_target(query, chr(ord("A") + place)))
    return made


def _number(panel: Number) -> stat.Panel:
    steps = [models.Threshold(value=None, color="green" if panel.warn or panel.bad else "text")]
    steps += [
        models.Threshold(value=value, color=color)
        for value, color in ((panel.warn, "orange"), (panel.bad, "red"))
        if value is not None
    ]
    return (
        stat.Panel()
        .title(panel.title)
        .description(panel.description)
        .datasource(_SOURCE)
        .unit(panel.unit)
        .thresholds(dashboards.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps))
        .graph_mode(common.BigValueGraphMode.NONE)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(_target(panel.query, "A", now=True))
    )


def _states(panel: States) -> statetimeline.Panel:
    words: dict[str, models.ValueMappingResult] = {
        str(code): models.ValueMappingResult(text=state, color=color, index=code)
        for code, (state, color) in enumerate(zip(STATES, _COLORS, strict=True), 1)
    }
    return (
        statetimeline.Panel()
        .title(panel.title)
        .description(panel.description)
        .datasource(_SOURCE)
        .unit(Unit.STATE)
        .mappings([models.ValueMap(options=words)])
        .merge_values(True)
        .show_value(common.VisibilityMode.AUTO)
        .row_height(0.8)
        .legend(
            common_builders.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(False)
        )
        .with_target(_target(panel.query, "A"))
    )


def _table(panel: Table) -> table.Panel:
    hidden = {"Time": True, "job": True, "__name__": True}
    if not panel.value:
        hidden["Value"] = True
    options = {"excludeByName": hidden, "renameByName": {"Value": panel.value} if panel.value else {}}
    query = _target(panel.query, "A", now=True).format(PromQueryFormat.TABLE)
    return (
        table.Panel()
        .title(panel.title)
        .description(panel.description)
        .datasource(_SOURCE)
        .unit(panel.unit)
        .with_transformation(models.DataTransformerConfig(id_val="organize", options=options))
        .with_target(query)
    )
