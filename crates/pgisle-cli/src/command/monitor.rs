//! `pgisle monitor`.

use std::io::IsTerminal as _;
use std::time::Duration;

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::watch::{Board, History, board};
use pgisle_engine::clock::now;
use pgisle_engine::watch::Watcher;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::Size;
use tokio::sync::mpsc;

use crate::args::address::{self, Address};
use crate::console::Format;
use crate::project::Project;
use crate::report::Report;
use crate::session::Session;
use crate::view::live::{Chosen, draw, height};

/// Show how the islands are, live in the terminal.
///
/// Looks every two seconds, by one connection as the monitoring login, and at PgBouncer's console: connections of each service
/// against its limits, clients that wait, transactions, sizes, the last proved backup, and what is wrong. The arrow keys choose
/// the service whose charts are shown, q ends it.
///
/// Where there is no terminal it looks once and prints that, and with -json prints it as `pgisle serve` would answer.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle monitor
  $ pgisle monitor -every=10s
  $ pgisle monitor -json | jq '.board.alerts'")]
pub(crate) struct Args {
    /// Look every so often.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = crate::watching::every)]
    every: Duration,
    /// Look at this PgBouncer instead of the one at pgbouncer_host and pgbouncer_port (can be repeated).
    #[arg(long, value_name = "HOST:PORT", value_parser = address::parse)]
    pooler: Vec<Address>,
}

pub(crate) async fn run(session: &Session, args: &Args) -> Result<Report, Vec<Diagnostic>> {
    let mut project = Project::load(session).await?;
    let place = crate::watching::place(&mut project, &args.pooler)?;
    let every_s = args.every.as_secs();
    let mut watcher = Watcher::new(place, every_s);
    let mut history = History::new(every_s);
    let is_live = session.console.format() == Format::Human && std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    let outcome = if is_live {
        live(&mut watcher, &mut history, args.every).await.map(|()| None)
    } else {
        Ok(Some(seen(&mut watcher, &mut history).await))
    };
    watcher.close().await;
    let report = Report::new().diagnostics(project.warnings);
    match outcome {
        Ok(None) => Ok(report),
        Ok(Some(board)) => Ok(report.human(picture(&board, &history, session.console.width())).member("board", &board)),
        Err(error) => {
            Err(vec![Diagnostic::error(Code::IO, "the terminal cannot be drawn on").detail(format!("The system says: {error}."))])
        }
    }
}

async fn seen(watcher: &mut Watcher, history: &mut History) -> Board {
    watcher.look().await;
    let board = board(watcher.spec(), watcher.watched(), now());
    history.record(&board);
    board
}

/// One picture as text, for whoever has no terminal.
fn picture(board: &Board, history: &History, width: usize) -> String {
    let size = Size::new(u16::try_from(width).unwrap_or(u16::MAX), height(board));
    let Ok(mut terminal) = Terminal::new(TestBackend::new(size.width, size.height));
    let Ok(_) = terminal.draw(|frame| draw(frame, board, history, Chosen::default()));
    let buffer = terminal.backend().buffer();
    let rows = buffer.content.chunks(usize::from(size.width.max(1)));
    rows.map(|row| row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>().trim_end().to_owned() + "\n").collect()
}

async fn live(watcher: &mut Watcher, history: &mut History, every: Duration) -> std::io::Result<()> {
    let mut terminal = ratatui::try_init()?;
    let drawn = drawing(&mut terminal, watcher, history, every).await;
    let restored = ratatui::try_restore();
    drawn.and(restored)
}

async fn drawing(
    terminal: &mut ratatui::DefaultTerminal,
    watcher: &mut Watcher,
    history: &mut History,
    every: Duration,
) -> std::io::Result<()> {
    let mut chosen = Chosen { service: 0, colors: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) };
    let services = watcher.spec().services.len();
    let mut keys = keys();
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => drop(seen(watcher, history).await),
            key = keys.recv() => match key {
                None | Some(Key::Quit) => return Ok(()),
                Some(Key::Up) => chosen.service = chosen.service.saturating_sub(1),
                Some(Key::Down) => chosen.service = (chosen.service + 1).min(services.saturating_sub(1)),
                Some(Key::Other) => {}
            },
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
        let board = board(watcher.spec(), watcher.watched(), now());
        terminal.draw(|frame| draw(frame, &board, history, chosen))?;
    }
}

enum Key {
    Up,
    Down,
    Quit,
    /// Such as another size of the terminal: it is drawn again.
    Other,
}

/// Reads keys on a thread of its own, which ends with the receiver.
fn keys() -> mpsc::Receiver<Key> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        while !sender.is_closed() {
            let key = match event::poll(Duration::from_millis(200)) {
                Ok(false) => continue,
                Ok(true) => event::read().map(read_key),
                Err(error) => Err(error),
            };
            // Without a terminal to read from there is nobody to watch for.
            if sender.blocking_send(key.unwrap_or(Key::Quit)).is_err() {
                return;
            }
        }
    });
    receiver
}

fn read_key(event: Event) -> Key {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => match key.code {
            KeyCode::Up | KeyCode::Char('k') => Key::Up,
            KeyCode::Down | KeyCode::Char('j') => Key::Down,
            KeyCode::Char('q') | KeyCode::Esc => Key::Quit,
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Key::Quit,
            _ => Key::Other,
        },
        _ => Key::Other,
    }
}
