//! The state of `mx6 top`: what was heard, which tab is shown, and what keys change.

use std::time::{Duration, Instant};

use mx6_telemetry::{Readiness, Status};
use ratatui::Frame;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Paragraph, Wrap};

use super::figures::Figures;
use super::tabs::{Page, Sort, Tab};
use super::words::{Looks, State, age};
use crate::escape::wrapped;

/// What stands on the terminal.
#[derive(Debug)]
pub struct Screen {
    looks: Looks,
    tab: Tab,
    sort: Sort,
    filter: String,
    /// Keys go into the filter.
    is_typing: bool,
    is_paused: bool,
    helps: bool,
    scroll: u16,
    /// The last status, and what happened since the one before.
    shown: Option<(Status, Figures)>,
    history: [Vec<f64>; 4],
    /// Since when nobody answers, and why.
    silent: Option<(Instant, String)>,
}

/// Whether to go on.
#[derive(Debug, PartialEq, Eq)]
pub enum Then {
    /// Draw again.
    Draw,
    /// End.
    Quit,
}

impl Screen {
    /// Before anything was heard.
    #[must_use]
    pub fn new(looks: Looks) -> Screen {
        Screen {
            looks,
            tab: Tab::Overview,
            sort: Sort::Name,
            filter: String::new(),
            is_typing: false,
            is_paused: false,
            helps: false,
            scroll: 0,
            shown: None,
            history: Default::default(),
            silent: None,
        }
    }

    /// Takes what the gate said, or why it said nothing.
    pub fn hear(&mut self, heard: Result<Status, String>) {
        match heard {
            Ok(_) if self.is_paused => self.silent = None,
            Ok(status) => {
                self.silent = None;
                let before = self.shown.as_ref().map(|(status, _)| status);
                let is_first = before.is_none();
                let figures = Figures::between(before, &status);
                let counts = [figures.accept, figures.defer, figures.reject, figures.would_refuse];
                // A mean since the gate began is no point of a curve.
                for (history, count) in self.history.iter_mut().zip(counts).filter(|_| !is_first) {
                    history.push(count.per_s);
                    if history.len() > HISTORY_MAX {
                        history.remove(0);
                    }
                }
                self.shown = Some((status, figures));
            }
            Err(why) => {
                let since = self.silent.take().map_or_else(Instant::now, |(since, _)| since);
                self.silent = Some((since, why));
            }
        }
    }

    /// Does what a key asks for.
    pub fn press(&mut self, key: KeyEvent) -> Then {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Then::Quit;
        }
        if self.is_typing {
            self.type_filter(key.code);
            return Then::Draw;
        }
        if self.helps {
            self.helps = false;
            return Then::Draw;
        }
        match key.code {
            KeyCode::Char('q') => return Then::Quit,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('?' | 'h') => self.helps = true,
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Char(' ') => self.is_paused = !self.is_paused,
            KeyCode::Char('s') => self.sort = self.next_sort(),
            KeyCode::Char(digit @ '1'..='6') => self.turn_to(usize::from(digit as u8 - b'1')),
            KeyCode::Tab | KeyCode::Right => self.turn_to(self.tab_number() + 1),
            KeyCode::BackTab | KeyCode::Left => self.turn_to(self.tab_number() + Tab::ALL.len() - 1),
            KeyCode::Down | KeyCode::Char('j') => self.scroll = self.scroll.saturating_add(1),
            KeyCode::Up | KeyCode::Char('k') => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::PageDown => self.scroll = self.scroll.saturating_add(PAGE),
            KeyCode::PageUp => self.scroll = self.scroll.saturating_sub(PAGE),
            KeyCode::Home => self.scroll = 0,
            _ => {}
        }
        Then::Draw
    }

    fn type_filter(&mut self, code: KeyCode) {
        self.scroll = 0;
        match code {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(character) if self.filter.len() < FILTER_OCTETS_MAX => self.filter.push(character),
            _ => {}
        }
    }

    fn next_sort(&self) -> Sort {
        match self.sort {
            Sort::Name => Sort::Rate,
            Sort::Rate => Sort::Total,
            Sort::Total => Sort::Name,
        }
    }

    fn tab_number(&self) -> usize {
        Tab::ALL.iter().position(|tab| *tab == self.tab).unwrap_or(0)
    }

    fn turn_to(&mut self, number: usize) {
        self.tab = Tab::ALL[number % Tab::ALL.len()];
        self.scroll = 0;
    }

    /// Puts everything on the terminal.
    pub fn draw(&mut self, frame: &mut Frame<'_>) {
        let (width, height) = (usize::from(frame.area().width), usize::from(frame.area().height));
        let alarms = self.alarms(width);
        let rows = [
            Constraint::Length(2),
            Constraint::Length(alarms.len() as u16),
            Constraint::Length(u16::from(height >= HEIGHT_WITH_AIR)),
            Constraint::Min(1),
            Constraint::Length(1),
        ];
        let [head, alarm, _, body, foot] = Layout::vertical(rows).areas(frame.area());
        frame.render_widget(Paragraph::new(self.plain(vec![self.heading(width), self.tabs(width)])), head);
        // Reversed even without colours: it cannot be missed.
        frame.render_widget(Paragraph::new(self.plain(alarms)), alarm);
        let lines = self.page(width, usize::from(body.height), self.tab);
        let last = u16::try_from(lines.len()).unwrap_or(u16::MAX).saturating_sub(body.height);
        // What the overview ends with has a tab of its own.
        let last = if self.tab == Tab::Overview { 0 } else { last };
        self.scroll = self.scroll.min(last);
        frame.render_widget(Paragraph::new(self.plain(lines)).scroll((self.scroll, 0)), body);
        frame.render_widget(Paragraph::new(self.plain(vec![self.footer(last, width)])), foot);
        if self.helps {
            frame.render_widget(Clear, body);
            frame.render_widget(Paragraph::new(HELP).wrap(Wrap { trim: false }), body);
        }
    }

    /// All of it as text without a terminal, tab after tab.
    #[must_use]
    pub fn text(&self, width: usize) -> String {
        let mut lines = vec![self.heading(width)];
        lines.extend(self.alarms(width));
        for tab in Tab::ALL {
            lines.extend([Line::default(), Line::from(format!("== {} ==", tab.name()))]);
            // The overview ends with what the last tab has in full.
            let most = if tab == Tab::Overview { OVERVIEW_LINES } else { usize::MAX };
            lines.extend(self.page(width, OVERVIEW_LINES, tab).into_iter().take(most));
        }
        let text: Vec<String> = lines.iter().map(|line| line.to_string().trim_end().to_owned()).collect();
        text.join("\n") + "\n"
    }

    fn page(&self, width: usize, height: usize, tab: Tab) -> Vec<Line<'static>> {
        let Some((status, figures)) = &self.shown else { return vec![Line::from("Nothing was heard yet.")] };
        let (looks, sort) = (self.looks, self.sort);
        Page { status, figures, history: &self.history, filter: &self.filter, sort, looks, width, height }.lines(tab)
    }

    fn heading(&self, width: usize) -> Line<'static> {
        let Some((status, _)) = &self.shown else { return Line::from("mx6 top") };
        let gate = &status.gate;
        let (state, words) = match &gate.readiness {
            Readiness::Ready => (State::Well, "READY".to_owned()),
            Readiness::Starting => (State::Look, "STARTING".to_owned()),
            Readiness::Draining => (State::Look, "DRAINING".to_owned()),
            Readiness::Late { shard } => (State::Ill, format!("CORE {shard} HANGS")),
        };
        let name = self.looks.text(&gate.hostname, width / 2);
        let up = age(Duration::from_millis(gate.unix_ms.saturating_sub(gate.started_unix_ms)));
        let (mode, version) = (self.looks.text(&gate.mode, 10), self.looks.text(&gate.version, 20));
        let clock = crate::calendar::Utc(gate.unix_ms).to_string().get(11..).unwrap_or_default().to_owned() + " UTC";
        let mut facts = String::new();
        let before = name.chars().count() + words.len() + 4;
        for fact in [mode, format!("up {up}"), format!("mx6 {version}")] {
            if before + facts.len() + fact.len() + 2 + clock.len() <= width {
                facts = format!("{facts}  {fact}");
            }
        }
        let fill = width.saturating_sub(before + facts.len() + clock.len());
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let style = Style::new().fg(state.colour()).add_modifier(Modifier::BOLD);
        Line::from(vec![
            Span::styled(format!("{name}  "), bold),
            Span::styled(format!("{} {words}", self.looks.mark(state)), style),
            Span::raw(format!("{facts}{}{clock}", " ".repeat(fill))),
        ])
    }

    fn tabs(&self, width: usize) -> Line<'static> {
        let (edge, gap) = match width {
            ..TABS_WITH_EDGES => ("", " "),
            TABS_WITH_EDGES..WIDTH_WITH_AIR => (" ", ""),
            WIDTH_WITH_AIR.. => (" ", "  "),
        };
        let tabs = Tab::ALL.iter().enumerate().flat_map(|(number, tab)| {
            let style = if *tab == self.tab { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
            [Span::styled(format!("{edge}{} {}{edge}", number + 1, tab.name()), style), Span::raw(gap)]
        });
        Line::from(tabs.collect::<Vec<_>>())
    }

    /// What cannot wait: no answer, and findings, each in as many lines as it needs.
    fn alarms(&self, width: usize) -> Vec<Line<'static>> {
        let style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD | Modifier::REVERSED);
        let silent = self.silent.iter().map(|(since, why)| {
            let figures = if self.shown.is_some() { "; the figures are those before" } else { "" };
            format!("NO ANSWER for {}, trying again{figures}: {why}", age(since.elapsed()))
        });
        let findings = self.shown.iter().flat_map(|(_, figures)| &figures.findings);
        let findings = findings.map(|finding| format!("{}: {}", finding.name, finding.text));
        let all = silent.chain(findings).take(ALARMS_MAX);
        let lines = all.flat_map(|text| {
            let text = self.looks.text(&text, ALARM_CHARACTERS_MAX);
            wrapped(&text, width.saturating_sub(3))
                .into_iter()
                .enumerate()
                .map(|(at, line)| {
                    let mark = if at == 0 { '!' } else { ' ' };
                    format!(" {mark} {line}")
                })
                .collect::<Vec<_>>()
        });
        lines.take(ALARM_LINES_MAX).map(|line| Line::styled(format!("{line:<width$}"), style)).collect()
    }

    fn footer(&self, below: u16, width: usize) -> Line<'static> {
        if self.is_typing {
            let filter = self.looks.text(&self.filter, width.saturating_sub(48));
            return Line::from(format!("only rows with: {filter}_   Enter keeps it, Esc shows all"));
        }
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let mut spans = Vec::new();
        if self.is_paused {
            spans.push(Span::styled("PAUSED  ", bold.fg(Color::Yellow)));
        }
        if self.scroll < below {
            spans.push(Span::styled(format!("{} more lines below  ", below - self.scroll), bold));
        }
        if !self.filter.is_empty() {
            let filter = self.looks.text(&self.filter, 20);
            spans.push(Span::styled(format!("only `{filter}` (Esc: all)  "), bold));
        }
        let mut left = width.saturating_sub(spans.iter().map(Span::width).sum());
        let sort = format!("s sort by {}", self.sort.name());
        for key in ["? help", "q quit", "space hold", "/ filter", &sort] {
            let Some(less) = left.checked_sub(key.len() + 2) else { break };
            left = less;
            spans.push(Span::styled(format!("{key}  "), Style::new().add_modifier(Modifier::DIM)));
        }
        Line::from(spans)
    }

    /// Without colours if none are wanted.
    fn plain(&self, lines: Vec<Line<'static>>) -> Vec<Line<'static>> {
        if self.looks.colour {
            return lines;
        }
        let bare = |style: Style| Style { fg: None, bg: None, ..style };
        let line = |mut line: Line<'static>| {
            line.style = bare(line.style);
            line.spans.iter_mut().for_each(|span| span.style = bare(span.style));
            line
        };
        lines.into_iter().map(line).collect()
    }
}

const HELP: &str = "
 1 to 6, Tab, left, right      another tab
 up, down, PgUp, PgDn, Home    scroll (j and k too)
 /                             only rows with some text
 Esc                           all rows again
 s                             sort by name, rate or total
 space                         hold the screen still
 q, Ctrl-C                     quit

 Rates are over the last interval (--interval). A reversed line on top
 is something to look into; `(5)` behind words is the tab to look at.
 For scripts: mx6 top --json. For mail: mx6 top --once.

 Any key goes back.";

/// As wide as the widest terminal's curve.
const HISTORY_MAX: usize = 300;
const FILTER_OCTETS_MAX: usize = 100;
const ALARMS_MAX: usize = 3;
/// Of one: longer than any finding.
const ALARM_CHARACTERS_MAX: usize = 400;
/// Of all: the figures must not be pushed off the screen.
const ALARM_LINES_MAX: usize = 5;
/// A terminal of so many rows has one to spare, one of so many columns some.
const HEIGHT_WITH_AIR: usize = 24;
const WIDTH_WITH_AIR: usize = 90;
/// From so many columns on every tab has a blank on both sides.
const TABS_WITH_EDGES: usize = 66;
const PAGE: u16 = 15;
const OVERVIEW_LINES: usize = 16;
