//! Snapshots that servers keep.

use ratatui::style::Style;

use super::canvas::Canvas;
use super::text;
use crate::tui::model::node::Node;
use crate::tui::model::Model;

/// Rows above the nodes.
pub const ABOVE: usize = 2;

/// Nodes that have something to say, and whether they offer snapshots.
fn answering(model: &Model) -> Vec<(&Node, bool)> {
    model.nodes.iter().filter_map(|node| Some((node, node.reading()?.offers("snapshots")))).collect()
}

/// How many lines there are below the title.
pub fn lines(model: &Model) -> usize {
    answering(model).len()
}

/// Draws the page. No server offers snapshots yet; those that will have a view `steep_repl.snapshots`.
pub fn draw(model: &Model, canvas: &mut Canvas<'_>) {
    let theme = canvas.theme;
    canvas.text(1, 0, "snapshots", theme.title());
    let answering = answering(model);
    if answering.is_empty() {
        canvas.text(1, ABOVE, "no node with the extension answers", theme.quiet());
    }
    let height = canvas.height().saturating_sub(ABOVE);
    text::draw(&mut canvas.rows(ABOVE, height), answering.len(), model.page().cursor, |canvas, n, y| {
        let Some((node, offers)) = answering.get(n) else { return };
        let (what, style) = if *offers {
            ("has snapshots that this version of steep-repl cannot show", Style::new())
        } else {
            ("this server does not offer snapshots yet", theme.warning())
        };
        canvas.text(1, y, &format!("{}: {what}", node.name), style);
    });
}
