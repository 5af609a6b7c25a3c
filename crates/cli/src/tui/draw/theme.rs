//! Marks and colours by what they mean. Whatever a colour says, a mark or a word says too.

use ratatui::style::{Color, Modifier, Style};
use steep_repl_core::node_state::NodeState;

use crate::tui::model::node::Standing;
use crate::tui::model::{Gravity, Look};

/// How things look on this terminal: the sixteen colours that every theme of a terminal knows, or none.
#[derive(Debug, Clone, Copy)]
pub struct Theme {
    look: Look,
}

impl Theme {
    /// For what the terminal can show.
    pub fn new(look: Look) -> Theme {
        Theme { look }
    }

    fn colour(self, colour: Color) -> Style {
        if self.look.colour {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }

    /// One of two texts, by what the terminal can show.
    pub fn pick(self, unicode: &'static str, ascii: &'static str) -> &'static str {
        if self.look.unicode {
            unicode
        } else {
            ascii
        }
    }

    /// As it should be.
    pub fn good(self) -> Style {
        self.colour(Color::Green)
    }

    /// Under way.
    pub fn busy(self) -> Style {
        self.colour(Color::Cyan)
    }

    /// Somebody should look at it.
    pub fn warning(self) -> Style {
        self.colour(Color::Yellow).add_modifier(Modifier::BOLD)
    }

    /// Wrong.
    pub fn bad(self) -> Style {
        self.colour(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// Of less interest.
    pub fn quiet(self) -> Style {
        // Bright black is invisible in some themes; dim text is dim in all of them.
        Style::new().add_modifier(Modifier::DIM)
    }

    /// Names of columns and sections.
    pub fn title(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// A key in the footer.
    pub fn key(self) -> Style {
        self.colour(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    /// The row under the cursor, and the header.
    pub fn chosen(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// By how grave it is.
    pub fn gravity(self, gravity: Gravity) -> Style {
        match gravity {
            Gravity::Info => self.good(),
            Gravity::Warning => self.warning(),
            Gravity::Error => self.bad(),
        }
    }

    /// By the word of a severity or a health.
    pub fn severity(self, word: &str) -> Style {
        match word {
            "error" => self.bad(),
            "warning" => self.warning(),
            "ok" => self.good(),
            _ => Style::new(),
        }
    }

    /// Mark and style of how a node stands. Every mark is another one, in ASCII as well.
    pub fn standing(self, standing: Standing) -> (&'static str, Style) {
        match standing {
            Standing::State(NodeState::Uninitialized) => (self.pick("○", "o"), Style::new()),
            Standing::State(NodeState::Preparing) => (self.pick("◔", "~"), self.busy()),
            Standing::State(NodeState::Copying) => (self.pick("◑", ">"), self.busy()),
            Standing::State(NodeState::CatchingUp) => (self.pick("◕", "}"), self.busy()),
            Standing::State(NodeState::Synchronized) => (self.pick("●", "*"), self.good()),
            Standing::State(NodeState::Diverged) => (self.pick("≠", "%"), self.warning()),
            Standing::State(NodeState::Failed) => (self.pick("✗", "X"), self.bad()),
            Standing::State(NodeState::Reinitializing) => (self.pick("↻", "@"), self.busy()),
            Standing::Unknown => ("?", self.warning()),
            Standing::Source => (self.pick("◇", "s"), Style::new()),
            Standing::Unregistered => ("-", self.quiet()),
            Standing::Connecting => (self.pick("…", "."), self.quiet()),
            Standing::Unreachable => ("!", self.bad()),
        }
    }

    /// A tick.
    pub fn done(self) -> &'static str {
        self.pick("✓", "+")
    }

    /// Under way now.
    pub fn now(self) -> &'static str {
        self.pick("▶", ">")
    }

    /// Still to come.
    pub fn to_come(self) -> &'static str {
        self.pick("·", ".")
    }

    /// What shows that a text was cut.
    pub fn ellipsis(self) -> &'static str {
        self.pick("…", "..")
    }

    /// A bar of so many columns.
    pub fn bar(self, percent: f64, columns: usize) -> String {
        if columns < 4 {
            return String::new();
        }
        let (full, empty, inner) = if self.look.unicode { ('█', '░', columns) } else { ('#', '.', columns - 2) };
        let share = percent.clamp(0.0, 100.0) / 100.0;
        // Full only at the end, and begun as soon as there is anything.
        let mut filled = (share * inner as f64) as usize;
        if share > 0.0 && filled == 0 {
            filled = 1;
        }
        let filled = filled.min(inner);
        let bar: String = std::iter::repeat_n(full, filled).chain(std::iter::repeat_n(empty, inner - filled)).collect();
        if self.look.unicode {
            bar
        } else {
            format!("[{bar}]")
        }
    }

    /// Values as a line of bars, the newest at the right.
    pub fn sparkline(self, values: &[f64], columns: usize) -> String {
        let levels: &[char] = if self.look.unicode {
            &['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█']
        } else {
            &['_', '.', '-', '=', '+', '*', '#']
        };
        let shown = &values[values.len().saturating_sub(columns)..];
        let most = shown.iter().copied().fold(0.0, f64::max);
        let level = |value: f64| {
            let share = if most > 0.0 { value.max(0.0) / most } else { 0.0 };
            let at = (share * (levels.len() - 1) as f64).round() as usize;
            levels[at.min(levels.len() - 1)]
        };
        shown.iter().map(|&value| level(value)).collect()
    }

    /// What turns while something is waited for.
    pub fn spinner(self, millisecond: i64) -> &'static str {
        const UNICODE: [&str; 8] = ["⠋", "⠙", "⠸", "⠴", "⠦", "⠇", "⠏", "⠹"];
        const ASCII: [&str; 4] = ["|", "/", "-", "\\"];
        let turn = millisecond.rem_euclid(1_000_000) as usize / 250;
        if self.look.unicode {
            UNICODE[turn % UNICODE.len()]
        } else {
            ASCII[turn % ASCII.len()]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn all() -> Vec<Standing> {
        let states = NodeState::ALL.into_iter().map(Standing::State);
        states
            .chain([
                Standing::Unknown,
                Standing::Source,
                Standing::Unregistered,
                Standing::Connecting,
                Standing::Unreachable,
            ])
            .collect()
    }

    #[test]
    fn every_standing_has_a_mark_of_its_own() {
        for unicode in [true, false] {
            let theme = Theme::new(Look { unicode, colour: false });
            let marks: HashSet<&str> = all().into_iter().map(|standing| theme.standing(standing).0).collect();
            assert_eq!(marks.len(), all().len());
            assert!(marks.iter().all(|mark| crate::words::width(mark) == 1));
            assert!(unicode || marks.iter().all(|mark| mark.is_ascii()));
        }
    }

    #[test]
    fn without_colour_there_is_none() {
        let theme = Theme::new(Look { unicode: true, colour: false });
        assert!(all().into_iter().all(|standing| theme.standing(standing).1.fg.is_none()));
        assert!([theme.good(), theme.key(), theme.bad()].iter().all(|style| style.fg.is_none()));
    }

    #[test]
    fn a_bar_is_full_at_the_end_only() {
        let theme = Theme::new(Look { unicode: false, colour: false });
        assert_eq!(theme.bar(0.0, 12), "[..........]");
        assert_eq!(theme.bar(0.1, 12), "[#.........]");
        assert_eq!(theme.bar(99.9, 12), "[#########.]");
        assert_eq!(theme.bar(100.0, 12), "[##########]");
        assert_eq!(theme.bar(f64::NAN, 12).len(), 12);
    }

    #[test]
    fn a_sparkline_shows_the_newest() {
        let theme = Theme::new(Look { unicode: true, colour: false });
        assert_eq!(theme.sparkline(&[9.0, 0.0, 4.0, 8.0], 3), "▁▅█");
        assert_eq!(theme.sparkline(&[0.0, 0.0], 5), "▁▁");
        assert_eq!(theme.sparkline(&[], 5), "");
    }
}
