"""Own the form of all dashboards: a panel is a question, its expressions, and what to do about the answer."""

from dataclasses import dataclass
from string import ascii_uppercase
from typing import Final, Literal

from grafana_foundation_sdk.builders.common import ReduceDataOptions, VizLegendOptions
from grafana_foundation_sdk.builders.dashboard import (
    ConstantVariable,
    Dashboard,
    DatasourceVariable,
    Row,
    ThresholdsConfig,
)
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.timeseries import Panel as Timeseries
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    LegendDisplayMode,
    LegendPlacement,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
)

RUNBOOK: Final = "https://defter.example/docs/operations/runbook.md"
"""Where an installation publishes the runbook; in Grafana, the variable `runbook` of each dashboard."""

_SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
_NUMBER_SIZE: Final = (4, 4)
_GRAPH_SIZE: Final = (8, 8)

Unit = Literal["short", "s", "bytes", "percentunit", "ops", "reqps", "d", "bool_yes_no"]
"""Grafana's names of units."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One question to the metrics.

    Attributes:
        title: what is asked.
        meaning: what the answer says, and what to do where it is not as it should be; a sentence or two.
        see: the heading of the runbook that says more, as its anchor.
        queries: PromQL expressions, each with the legend of its series.
        number: whether the present value is shown alone, and not over time.
        red_from: from this value on it is red; None: nothing is.
        red_below: likewise below this value.
    """

    title: str
    meaning: str
    see: str
    queries: tuple[tuple[str, str], ...]
    unit: Unit = "short"
    number: bool = False
    red_from: float | None = None
    red_below: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Panels that are read together."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A dashboard; its name is that of its file, and its uid in Grafana."""

    name: str
    title: str
    description: str
    sections: tuple[Section, ...]


def dashboard_of(board: Board) -> Dashboard:
    """Return the dashboard as the SDK builds it."""
    made = (
        Dashboard(board.title)
        .uid(board.name)
        .description(board.description)
        .tags(["defter"])
        .time("now-6h", "now")
        .refresh("30s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(ConstantVariable("runbook").label("Runbook").value(RUNBOOK))
    )
    number = 0
    for section in board.sections:
        made = made.with_row(Row(section.title))
        for panel in section.panels:
            number += 1
            made = made.with_panel(_number(panel, number) if panel.number else _graph(panel, number))
    return made


def _number(panel: Panel, number: int) -> Stat:
    width, height = _NUMBER_SIZE
    shown = (
        Stat().reduce_options(ReduceDataOptions().calcs(["lastNotNull"])).graph_mode(BigValueGraphMode.NONE)
    )
    shown = shown.color_mode(BigValueColorMode.BACKGROUND).thresholds(_thresholds(panel))
    shown = shown.id(number).title(panel.title).description(_description(panel)).datasource(_SOURCE)
    for query in _queries(panel):
        shown = shown.with_target(query)
    return shown.unit(panel.unit).span(width).height(height)


def _graph(panel: Panel, number: int) -> Timeseries:
    width, height = _GRAPH_SIZE
    legend = VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
    shown = Timeseries().legend(legend.show_legend(True)).fill_opacity(5).thresholds(_thresholds(panel))
    shown = shown.id(number).title(panel.title).description(_description(panel)).datasource(_SOURCE)
    for query in _queries(panel):
        shown = shown.with_target(query)
    return shown.unit(panel.unit).span(width).height(height)


def _queries(panel: Panel) -> list[Dataquery]:
    return [
        Dataquery().expr(expression).legend_format(legend).ref_id(letter).range()
        for letter, (expression, legend) in zip(ascii_uppercase, panel.queries, strict=False)
    ]


def _description(panel: Panel) -> str:
    return f"{panel.meaning} [Runbook](${{runbook}}#{panel.see})"


def _thresholds(panel: Panel) -> ThresholdsConfig:
    if panel.red_below is not None:
        steps = [Threshold(value=None, color="red"), Threshold(value=panel.red_below, color="green")]
    else:
        steps = [Threshold(value=None, color="green")]
    if panel.red_from is not None:
        steps.append(Threshold(value=panel.red_from, color="red"))
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
