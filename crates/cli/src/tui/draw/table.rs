//! Tables: columns give way by priority until the rest fits, and only rows that are visible are built.

use ratatui::style::Style;

use super::canvas::Canvas;
use crate::words::{shorten, width};

/// A column.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its name.
    pub title: &'static str,
    /// Columns it needs at least.
    pub least: usize,
    /// Columns it takes at most; as many as its widest cell has, if that is fewer.
    pub most: usize,
    /// Figures stand at the right.
    pub right: bool,
    /// 0 stays always; the higher, the sooner it gives way.
    pub priority: u8,
}

impl Column {
    /// Blanks after it; a mark stands close to what it marks.
    fn gap(&self) -> usize {
        if self.most == 1 {
            1
        } else {
            2
        }
    }
}

/// A cell.
pub type Cell = (String, Style);

/// Where a list begins so that its cursor is in the middle, as far as that goes. It depends on nothing that was drawn before.
pub fn first_visible(cursor: usize, rows: usize, height: usize) -> usize {
    cursor.saturating_sub(height / 2).min(rows.saturating_sub(height))
}

/// Which columns fit, and how wide each is.
pub fn fit(columns: &[Column], widest: &[usize], room: usize) -> Vec<(usize, usize)> {
    let mut kept: Vec<usize> = (0..columns.len()).collect();
    let needs = |kept: &[usize]| {
        let last = kept.last().map_or(0, |&n| columns[n].gap());
        kept.iter().map(|&n| columns[n].least + columns[n].gap()).sum::<usize>().saturating_sub(last)
    };
    while needs(&kept) > room && kept.len() > 1 {
        let Some(&least) = kept.iter().max_by_key(|&&n| (columns[n].priority, n)) else { break };
        if columns[least].priority == 0 {
            break;
        }
        kept.retain(|&n| n != least);
    }
    let mut left = room.saturating_sub(needs(&kept));
    let mut widths: Vec<(usize, usize)> = kept.iter().map(|&n| (n, columns[n].least)).collect();
    // What is left over goes to the most wanted columns first.
    let mut order: Vec<usize> = (0..widths.len()).collect();
    order.sort_by_key(|&at| columns[widths[at].0].priority);
    for at in order {
        let (n, has) = widths[at];
        let wants = widest.get(n).copied().unwrap_or(0).max(columns[n].title.len()).min(columns[n].most);
        let more = wants.saturating_sub(has).min(left);
        widths[at].1 += more;
        left -= more;
    }
    widths
}

/// Draws a table. `row` builds one row; it is asked for the visible ones alone.
pub fn draw(
    canvas: &mut Canvas<'_>,
    columns: &[Column],
    rows: usize,
    cursor: Option<usize>,
    row: impl Fn(usize) -> Vec<Cell>,
) {
    let height = canvas.height().saturating_sub(1);
    let cursor = cursor.map(|cursor| cursor.min(rows.saturating_sub(1)));
    let first = first_visible(cursor.unwrap_or(0), rows, height);
    let visible: Vec<Vec<Cell>> = (first..rows.min(first + height)).map(row).collect();
    let widest: Vec<usize> = (0..columns.len())
        .map(|n| visible.iter().filter_map(|row| row.get(n)).map(|cell| width(&cell.0)).max().unwrap_or(0))
        .collect();
    let widths = fit(columns, &widest, canvas.width());
    let theme = canvas.theme;
    let put = |canvas: &mut Canvas<'_>, y: usize, cells: &dyn Fn(usize) -> Cell| {
        let mut x = 0;
        for &(n, wide) in &widths {
            let (text, style) = cells(n);
            let text = shorten(&text, wide, theme.ellipsis());
            let shift = if columns[n].right { wide.saturating_sub(width(&text)) } else { 0 };
            canvas.part(x, y, wide, 1).text(shift, 0, &text, style);
            x += wide + columns[n].gap();
        }
    };
    put(canvas, 0, &|n| (columns[n].title.to_owned(), theme.title()));
    for (y, cells) in visible.iter().enumerate() {
        put(canvas, y + 1, &|n| cells.get(n).cloned().unwrap_or_default());
        if cursor == Some(first + y) {
            canvas.paint(y + 1, theme.chosen());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [
        Column { title: "name", least: 8, most: 20, right: false, priority: 0 },
        Column { title: "size", least: 8, most: 8, right: true, priority: 2 },
        Column { title: "why", least: 10, most: 99, right: false, priority: 1 },
    ];

    #[test]
    fn columns_give_way_by_priority() {
        let fitted = |room| fit(&COLUMNS, &[12, 8, 40], room);
        assert_eq!(fitted(80), [(0, 12), (1, 8), (2, 40)]);
        assert_eq!(fitted(40), [(0, 12), (1, 8), (2, 16)]);
        assert_eq!(fitted(25), [(0, 12), (2, 11)]);
        assert_eq!(fitted(12), [(0, 12)]);
        assert_eq!(fitted(3), [(0, 8)]);
    }

    #[test]
    fn the_cursor_is_always_visible() {
        for rows in 0..30 {
            for height in 0..12 {
                for cursor in 0..rows {
                    let first = first_visible(cursor, rows, height);
                    assert!(
                        height == 0 || (first <= cursor && cursor < first + height),
                        "{cursor} of {rows} in {height}"
                    );
                }
            }
        }
    }
}
