//! Keys that change a line that is typed, be it a field of a form, a name to be typed, a command or a filter.

use ratatui::crossterm::event::KeyCode;

use crate::tui::model::line::Line;

/// Changes the line as the key says; whether it was one for a line.
pub(super) fn edit(line: &mut Line, code: KeyCode, takes: impl Fn(&str, char) -> bool) -> bool {
    match code {
        KeyCode::Char(c) if !c.is_control() && takes(line.text(), c) => line.insert(c),
        KeyCode::Char(_) => {}
        KeyCode::Backspace => line.backspace(),
        KeyCode::Delete => line.delete(),
        KeyCode::Left => line.left(),
        KeyCode::Right => line.right(),
        KeyCode::Home => line.home(),
        KeyCode::End => line.end(),
        _ => return false,
    }
    true
}
