//! Snapshots that servers keep.

use ratatui::style::Style;

use super::canvas::Canvas;
use crate::tui::model::node::Node;
use crate::tui::model::Model;
use crate::words::clean;

/// Draws the page. No server offers snapshots yet; those that will have a view `steep_repl.snapshots`.
pub fn draw(model: &Model, canvas: &mut Canvas<'_>) {
    let theme = canvas.theme;
    canvas.text(1, 0, "snapshots", theme.title());
    let answering: Vec<(&Node, bool)> =
        model.nodes.iter().filter_map(|node| Some((node, node.reading()?.offers("snapshots")))).collect();
    if answering.is_empty() {
        canvas.text(1, 2, "no node with the extension answers", theme.quiet());
    }
    for (y, (node, offers)) in answering.iter().enumerate() {
        let name = clean(&node.name);
        if *offers {
            canvas.text(
                1,
                y + 2,
                &format!("{name}: has snapshots that this version of steep-repl cannot show"),
                Style::new(),
            );
        } else {
            canvas.text(1, y + 2, &format!("{name}: this server does not offer snapshots yet"), theme.warning());
        }
    }
}
