//! A part of the screen. Whatever is drawn outside of it is not drawn, so no size of a terminal can be too small.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::table::Cell;
use super::theme::Theme;
use crate::tui::model::line::Line;
use crate::words::{clean, shorten, tail, width};

/// A part of the screen.
pub struct Canvas<'a> {
    buffer: &'a mut Buffer,
    area: Rect,
    /// How things look.
    pub theme: Theme,
}

impl<'a> Canvas<'a> {
    /// That part of the buffer.
    pub fn new(buffer: &'a mut Buffer, area: Rect, theme: Theme) -> Canvas<'a> {
        let area = area.intersection(buffer.area);
        Canvas { buffer, area, theme }
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.area.width.into()
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.area.height.into()
    }

    /// Rows from one row on, at most so many.
    pub fn rows(&mut self, from: usize, count: usize) -> Canvas<'_> {
        let width = self.width();
        self.part(0, from, width, count)
    }

    /// A part of this part.
    pub fn part(&mut self, x: usize, y: usize, width: usize, height: usize) -> Canvas<'_> {
        let (x, y) = (x.min(self.width()), y.min(self.height()));
        let (width, height) = (width.min(self.width() - x), height.min(self.height() - y));
        // All of these are within the area, whose figures are 16 bits wide.
        let small = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
        let area = Rect::new(
            self.area.x.saturating_add(small(x)),
            self.area.y.saturating_add(small(y)),
            small(width),
            small(height),
        );
        Canvas { buffer: self.buffer, area, theme: self.theme }
    }

    /// Writes a text, cut where there is no more room; returns the column after it. Whatever is drawn comes through here, so here it is
    /// that foreign text loses what could deceive.
    pub fn text(&mut self, x: usize, y: usize, text: &str, style: Style) -> usize {
        if x >= self.width() || y >= self.height() {
            return x;
        }
        let text = shorten(&clean(text), self.width() - x, self.theme.ellipsis());
        self.set(x, y, &text, style);
        x + width(&text)
    }

    /// Writes several texts one after the other.
    pub fn texts(&mut self, y: usize, texts: &[(&str, Style)]) -> usize {
        texts.iter().fold(0, |x, (text, style)| self.text(x, y, text, *style))
    }

    /// Writes lines one below the other from a row on; where not all of them fit, the last row says how to see the others.
    pub fn lines(&mut self, y: usize, lines: &[Cell]) {
        let room = self.height().saturating_sub(y);
        for (n, (text, style)) in lines.iter().take(room).enumerate() {
            self.text(1, y + n, text, *style);
        }
        self.more(y + room, lines.len().saturating_sub(room));
    }

    /// Says above a row that so many lines are not shown, and how they are.
    pub fn more(&mut self, y: usize, lines: usize) {
        if lines > 0 && y > 0 {
            self.text_right(y - 1, &format!(" {lines} more, d shows all "), self.theme.chosen());
        }
    }

    /// Writes a text that ends at the right.
    pub fn text_right(&mut self, y: usize, text: &str, style: Style) {
        let x = self.width().saturating_sub(width(text));
        self.text(x, y, text, style);
    }

    /// Writes a line that is typed, with the cursor in sight: under a character it is reversed, at the end it is a mark.
    pub fn typed(&mut self, x: usize, y: usize, line: &Line, style: Style) -> usize {
        let (before, after) = line.around();
        let before = clean(before);
        // Room for the cursor, which may be under a wide character.
        let x = self.text(x, y, tail(&before, self.width().saturating_sub(x + 2)), style);
        let mut after = after.chars();
        match after.next() {
            Some(under) => {
                let x = self.text(x, y, &under.to_string(), self.theme.chosen());
                self.text(x, y, after.as_str(), style)
            }
            None => self.text(x, y, self.theme.pick("▏", "_"), self.theme.key()),
        }
    }

    fn set(&mut self, x: usize, y: usize, text: &str, style: Style) {
        let (Ok(x), Ok(y)) = (u16::try_from(x), u16::try_from(y)) else { return };
        let room = self.area.width.saturating_sub(x);
        self.buffer.set_stringn(self.area.x.saturating_add(x), self.area.y.saturating_add(y), text, room.into(), style);
    }

    /// Gives a whole row a style.
    pub fn paint(&mut self, y: usize, style: Style) {
        let row = self.rows(y, 1);
        row.buffer.set_style(row.area, style);
    }

    /// Makes everything blank.
    pub fn clear(&mut self) {
        for position in self.area.positions() {
            if let Some(cell) = self.buffer.cell_mut(position) {
                cell.reset();
            }
        }
    }

    /// A line across, with a title in it.
    pub fn rule(&mut self, y: usize, title: &str) {
        let dash = self.theme.pick("─", "-");
        let (quiet, bold) = (self.theme.quiet(), self.theme.title());
        self.text(0, y, &dash.repeat(self.width()), quiet);
        if !title.is_empty() {
            let title = format!(" {} ", shorten(title, self.width().saturating_sub(6), self.theme.ellipsis()));
            self.text(2, y, &title, bold);
        }
    }

    /// A frame around everything, with a title; returns what is inside of it.
    pub fn framed(&mut self, title: &str) -> Canvas<'_> {
        let (width, height) = (self.width(), self.height());
        if width < 6 || height < 3 {
            return self.part(0, 0, width, height);
        }
        let theme = self.theme;
        let corners = if theme.pick("u", "a") == "u" {
            ["╭", "╮", "╰", "╯", "─", "│"]
        } else {
            ["+", "+", "+", "+", "-", "|"]
        };
        let [top_left, top_right, bottom_left, bottom_right, across, down] = corners;
        let line = across.repeat(width - 2);
        self.text(0, 0, &format!("{top_left}{line}{top_right}"), Style::new());
        self.text(0, height - 1, &format!("{bottom_left}{line}{bottom_right}"), Style::new());
        for y in 1..height - 1 {
            self.text(0, y, down, Style::new());
            self.text(width - 1, y, down, Style::new());
        }
        let title = format!(" {} ", shorten(title, width.saturating_sub(6), theme.ellipsis()));
        self.part(0, 0, width - 2, 1).text(2, 0, &title, theme.title());
        self.part(2, 1, width.saturating_sub(4), height - 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::model::Look;
    use ratatui::style::Modifier;

    /// What is drawn in so many columns, and the columns that are reversed.
    fn typed(line: &Line, columns: u16) -> (String, Vec<u16>) {
        let area = Rect::new(0, 0, columns, 1);
        let mut buffer = Buffer::empty(area);
        let theme = Theme::new(Look { unicode: false, colour: false });
        Canvas::new(&mut buffer, area, theme).typed(0, 0, line, Style::new());
        let reversed = (0..columns).filter(|&x| buffer[(x, 0)].modifier.contains(Modifier::REVERSED)).collect();
        ((0..columns).map(|x| buffer[(x, 0)].symbol()).collect(), reversed)
    }

    #[test]
    fn the_cursor_is_always_in_sight() {
        let mut line = Line::new("abcdefgh");
        assert_eq!(typed(&line, 10), ("abcdefgh_ ".into(), vec![]));
        assert_eq!(typed(&line, 6), ("efgh_ ".into(), vec![]));
        line.left();
        assert_eq!(typed(&line, 10), ("abcdefgh  ".into(), vec![7]));
        assert_eq!(typed(&line, 6), ("defgh ".into(), vec![4]));
        line.home();
        assert_eq!(typed(&line, 6), ("abcd..".into(), vec![0]));
        assert_eq!(typed(&line, 1).0.len(), 1);
    }
}
