//! The live view of a terminal: what `monitor` draws, as a function of what was seen.

use pgisle_core::diagnostic::Severity;
use pgisle_core::status::State;
use pgisle_core::watch::{Board, History, Range, Series, SeriesKey, ServiceRow, Strain};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Sparkline, Table};

use super::human::style::harmless;
use super::human::text::bytes;

/// So many alerts are shown; the rest is counted.
const ALERTS_MAX: usize = 6;

/// Characters of a bar.
const BAR: u32 = 10;

const KEYS: &str = " ↑ ↓ choose a service   q quit ";

/// What somebody has chosen.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Chosen {
    /// The service, by its place in the file.
    pub(crate) service: usize,
    /// Whether colours are to be used.
    pub(crate) colors: bool,
}

impl Chosen {
    fn color(self, color: Color) -> Style {
        if self.colors { Style::default().fg(color) } else { Style::default() }
    }

    fn strain(self, strain: Strain) -> Style {
        match strain {
            Strain::Calm => self.color(Color::Green),
            Strain::Near => self.color(Color::Yellow).add_modifier(Modifier::BOLD),
            Strain::Full => self.color(Color::Red).add_modifier(Modifier::BOLD),
        }
    }
}

/// How tall it is without charts.
pub(crate) fn height(board: &Board) -> u16 {
    let (alerts, services) = heights(board);
    1 + alerts + services
}

fn heights(board: &Board) -> (u16, u16) {
    let framed = |lines: usize, frame: u16| u16::try_from(lines).unwrap_or(u16::MAX).saturating_add(frame);
    let more = usize::from(board.alerts.len() > ALERTS_MAX);
    (framed(board.alerts.len().clamp(1, ALERTS_MAX) + more, 2), framed(board.services.len(), 3))
}

/// Draws everything.
pub(crate) fn draw(frame: &mut Frame<'_>, board: &Board, history: &History, chosen: Chosen) {
    let (alerts, services) = heights(board);
    let heights = [Constraint::Length(1), Constraint::Length(alerts), Constraint::Length(services), Constraint::Min(0)];
    let areas: [Rect; 4] = Layout::vertical(heights).areas(frame.area());
    frame.render_widget(Paragraph::new(header(board, chosen)), areas[0]);
    let title = " what someone should look at ";
    frame.render_widget(Paragraph::new(alert_lines(board, chosen)).block(Block::bordered().title(title)), areas[1]);
    frame.render_widget(table(board, chosen), areas[2]);
    if let Some(row) = board.services.get(chosen.service) {
        charts(frame, areas[3], row, history, chosen);
    }
}

fn header(board: &Board, chosen: Chosen) -> Line<'static> {
    let state = match &board.server {
        _ if !board.freshness.get("server").is_some_and(|server| server.is_fresh) => {
            let age = board.freshness.get("server").and_then(|server| server.age_s);
            let old = age.map_or(String::new(), |age| format!("; what you see is {age} s old"));
            Span::styled(format!("PostgreSQL cannot be seen{old}"), chosen.strain(Strain::Full))
        }
        None => Span::raw("looking…"),
        Some(server) => {
            let text = format!("{} of {} connections", server.connections, server.usable_connections);
            Span::styled(text, chosen.strain(server.strain))
        }
    };
    let version = board.server.as_ref().and_then(|server| server.version.split(' ').next()).unwrap_or_default();
    let name = format!(" {}, {}  PostgreSQL {}  ", board.project, board.environment, harmless(version));
    Line::from(vec![Span::styled(name, Style::default().add_modifier(Modifier::BOLD)), state])
}

fn alert_lines(board: &Board, chosen: Chosen) -> Vec<Line<'static>> {
    let line = |alert: &pgisle_core::watch::Alert| {
        let strain = if alert.severity == Severity::Error { Strain::Full } else { Strain::Near };
        let service = alert.service.as_ref().map(|service| format!("{service}: ")).unwrap_or_default();
        Line::from(vec![Span::styled("● ", chosen.strain(strain)), Span::raw(format!("{service}{}", harmless(&alert.text)))])
    };
    let mut lines: Vec<Line<'static>> = board.alerts.iter().take(ALERTS_MAX).map(line).collect();
    if board.alerts.len() > ALERTS_MAX {
        lines.push(Line::raw(format!("  and {} more", board.alerts.len() - ALERTS_MAX)));
    }
    if lines.is_empty() {
        lines.push(Line::styled("nothing", chosen.strain(Strain::Calm)));
    }
    lines
}

fn table(board: &Board, chosen: Chosen) -> Table<'static> {
    let titles = ["service", "state", "connections", "", "clients", "waiting", "tx/s", "size", "proved backup"];
    let rows = board.services.iter().enumerate().map(|(index, row)| {
        let cells = cells(board, row, chosen);
        let style = if index == chosen.service { Style::default().add_modifier(Modifier::REVERSED) } else { Style::default() };
        Row::new(cells).style(style)
    });
    let widths = [16, 9, 11, 11, 8, 8, 8, 9, 13].map(Constraint::Length);
    let heading = Row::new(titles).style(Style::default().add_modifier(Modifier::DIM));
    Table::new(rows, widths).header(heading).block(Block::bordered().title(" services ").title_bottom(KEYS))
}

fn cells(board: &Board, row: &ServiceRow, chosen: Chosen) -> Vec<Cell<'static>> {
    let dash = || Cell::from("–");
    let has_seen = board.server.is_some();
    let state = match row.state {
        Some(State::Ready) => Cell::from("ready").style(chosen.strain(Strain::Calm)),
        Some(state) => Cell::from(state.as_str()).style(chosen.strain(Strain::Full)),
        None => dash(),
    };
    let limit = row.connection_limit.map_or(String::new(), |limit| format!(" of {limit}"));
    let clients: u32 = row.pools.iter().map(|pool| pool.clients_active).sum();
    let waiting: u32 = row.pools.iter().map(|pool| pool.clients_waiting).sum();
    let backup = row.backup.map(|backup| match backup.proved {
        Some(proved) => Cell::from(format!("{} h old", board.at.seconds_since(proved) / 3_600)),
        None => Cell::from("none").style(chosen.strain(Strain::Near)),
    });
    let pooled = |cell: Cell<'static>| if row.pools.is_empty() { dash() } else { cell };
    vec![
        Cell::from(row.service.to_string()),
        state,
        if has_seen { Cell::from(format!("{}{limit}", row.connections)) } else { dash() },
        Cell::from(bar(row.connections, row.connection_limit)).style(chosen.strain(row.strain)),
        pooled(Cell::from(clients.to_string())),
        pooled(Cell::from(waiting.to_string()).style(chosen.strain(if waiting > 0 { Strain::Near } else { Strain::Calm }))),
        row.rates.map_or_else(dash, |rates| Cell::from(format!("{:.0}", rates.commits + rates.rollbacks))),
        row.bytes.map_or_else(dash, |size| Cell::from(bytes(size))),
        backup.unwrap_or_else(dash),
    ]
}

fn bar(count: u32, limit: Option<u32>) -> String {
    let Some(limit) = limit.filter(|limit| *limit > 0) else { return String::new() };
    let full = (u64::from(count) * u64::from(BAR)).div_ceil(u64::from(limit)).min(u64::from(BAR));
    (0..u64::from(BAR)).map(|place| if place < full { '█' } else { '░' }).collect()
}

fn charts(frame: &mut Frame<'_>, area: Rect, row: &ServiceRow, history: &History, chosen: Chosen) {
    let all = [
        (Series::Connections, "connections"),
        (Series::Transactions, "transactions a second"),
        (Series::Waiting, "clients that wait"),
    ];
    let areas: [Rect; 3] = Layout::horizontal([Constraint::Fill(1); 3]).areas(area);
    for ((series, what), area) in all.into_iter().zip(areas) {
        let key = SeriesKey { service: Some(row.service.clone()), series };
        let points = history.points(&key, Range::Hour);
        let width = usize::from(area.width.saturating_sub(2));
        let newest = &points[points.len().saturating_sub(width)..];
        let highest = newest.iter().map(|point| point.max).fold(0.0, f64::max);
        let title = format!(" {}: {what}, at most {highest:.0} ", row.service);
        let values: Vec<u64> = newest.iter().map(|point| whole(point.max)).collect();
        let chart = Sparkline::default().data(values).style(chosen.color(Color::Cyan));
        frame.render_widget(chart.block(Block::bordered().title(title)), area);
    }
}

/// For the height of a bar.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts and rates, which are neither large nor negative"
)]
fn whole(value: f64) -> u64 {
    value.max(0.0).round() as u64
}
