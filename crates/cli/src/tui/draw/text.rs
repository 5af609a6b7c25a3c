//! Pages of text: there is no row to choose, so the cursor of the page says how far it is scrolled.

use super::canvas::Canvas;

/// How far down it can be scrolled. When not all of it fits, the last row says how much more there is.
pub fn furthest(lines: usize, height: usize) -> usize {
    if lines > height {
        lines.saturating_sub(height.saturating_sub(1))
    } else {
        0
    }
}

/// Draws those lines that are in sight; `line` draws one of them on a row.
pub fn draw(canvas: &mut Canvas<'_>, lines: usize, scrolled: usize, line: impl Fn(&mut Canvas<'_>, usize, usize)) {
    let height = canvas.height();
    let room = if lines > height { height.saturating_sub(1) } else { height };
    let first = scrolled.min(furthest(lines, height));
    for (y, n) in (first..lines).take(room).enumerate() {
        line(canvas, n, y);
    }
    let more = lines.saturating_sub(first + room);
    if more > 0 {
        canvas.text_right(room, &format!(" {more} more, j scrolls "), canvas.theme.chosen());
    }
}
