//! What `complete_init` asks of a physical copy of the source: where it left it, and whether it still is what the source was there.

use super::checks::connect_walsender;
use crate::catalog::nodes::Node;
use crate::catalog::operations::Options;
use crate::catalog::{copied, user};
use crate::error::{Error, Result, SlotError};
use crate::pg::remote::Connection;
use crate::pg::{instance, raise};
use crate::schema::Plan;
use crate::source::{slots, state};
use steep_repl_core::ident::qualified_display;
use steep_repl_core::init_slot;
use steep_repl_core::lsn::Lsn;
use steep_repl_core::names::Token;

/// Where a physical copy left the timeline of the source.
pub(super) fn left_at(from: &Node, token: Token, options: &Options, connection: &Connection) -> Result<Lsn> {
    let (timeline, here) = (slots::timeline(connection)?, instance::here().and_then(|here| here.timeline));
    let here = here.ok_or(Error::Standby)?;
    let before = match timeline {
        1 => Vec::new(),
        _ => {
            let walsender = connect_walsender(from, token, options)?;
            init_slot::history(&slots::timeline_history(&walsender, timeline)?)
        }
    };
    let history = init_slot::history(&instance::timeline_history(here).unwrap_or_default());
    if here == timeline && history == before {
        return Err(SlotError::NoTimeline { node: from.node.clone(), timeline }.into());
    }
    let left = init_slot::left_at(&history, timeline, &before)
        .ok_or_else(|| SlotError::OtherHistory { node: from.node.clone(), timeline })?;
    say_timelines_between(&from.node, timeline, &init_slot::timelines_after(&history, timeline));
    Ok(left)
}

/// Says that a copy of a copy may have rows that its source never had: the server counts only what was written since the last promotion.
fn say_timelines_between(node: &str, timeline: u32, between: &[u32]) {
    if between.is_empty() {
        return;
    }
    let names = between.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    raise::warning_with(
        &format!("this copy of node \"{node}\" was on other timelines since it left timeline {timeline}: {names}"),
        Some("What was written there is not looked for, and stays."),
        "Make the copy from the node itself, or compare the tables of the two afterwards.",
    );
}

/// Refuses a physical copy that has prepared transactions, which keep their locks for as long as nobody ends them here. That nothing else was
/// written is known before: rolled back, they count as if something was.
pub(super) fn check_nothing_prepared(source: &str) -> Result<()> {
    let gids = copied::prepared_transactions()?;
    if gids.is_empty() {
        return Ok(());
    }
    Err(SlotError::Prepared { node: source.to_owned(), gids }.into())
}

/// Refuses a physical copy that somebody has written to, as far as the server has counted it.
pub(super) fn check_untouched(plan: &Plan) -> Result<()> {
    let relids: Vec<u32> = plan.tables.iter().map(|table| table.relid).collect();
    let tables = user::written_to(&relids)?;
    if tables.is_empty() {
        return Ok(());
    }
    Err(SlotError::Written { tables }.into())
}

/// Refuses a physical copy that has had tables emptied by TRUNCATE, which the server counts as no row. Such a table got a file of its own here,
/// numbered after what the source had given out until the copy left it; one that the source has emptied and filled since has kept the old one.
pub(super) fn check_not_emptied(connection: &Connection, plan: &Plan) -> Result<()> {
    let located: Vec<(u32, String, String)> =
        plan.tables.iter().map(|table| (table.relid, table.table_schema.clone(), table.table_name.clone())).collect();
    let filled = user::waiting_at_most(5000, || user::not_empty(&located))?;
    let leaves: Vec<(String, String)> =
        located.iter().map(|(_, schema, name)| (schema.clone(), name.clone())).collect();
    let there: Vec<u32> = plan.tables.iter().map(|table| table.source_relid).collect();
    let there = state::filenodes(connection, &there)?;
    let here = user::filenodes(&located.iter().map(|(relid, ..)| *relid).collect::<Vec<u32>>())?;
    let is_emptied = |place: &usize| {
        let table = plan.tables.get(*place)?;
        if filled.contains(&table.relid) {
            return None;
        }
        let (here, there) = (here.get(&table.relid)?, there.get(&table.source_relid)?);
        // They come from a counter that begins anew when it is used up.
        (here.wrapping_sub(*there).cast_signed() > 0)
            .then(|| format!("{}: emptied", qualified_display(&table.table_schema, &table.table_name)))
    };
    let tables: Vec<String> = slots::not_empty(connection, &leaves, None)?.iter().filter_map(is_emptied).collect();
    if tables.is_empty() {
        return Ok(());
    }
    Err(SlotError::Written { tables }.into())
}

/// Refuses a physical copy in which a table is no partition that has become one since: what was written into it until then never comes.
pub(super) fn check_same_partitions(source: &str, connection: &Connection, plan: &Plan) -> Result<()> {
    let there: Vec<u32> = plan.tables.iter().map(|table| table.source_relid).collect();
    let here: Vec<u32> = plan.tables.iter().map(|table| table.relid).collect();
    let (there, here) = (state::parents(connection, &there)?, user::parents(&here)?);
    let attached: Vec<String> = plan
        .tables
        .iter()
        .filter(|table| there.contains_key(&table.source_relid))
        .filter(|table| there.get(&table.source_relid) != here.get(&table.relid))
        .map(|table| qualified_display(&table.table_schema, &table.table_name))
        .collect();
    if attached.is_empty() {
        return Ok(());
    }
    Err(SlotError::Attached { node: source.to_owned(), tables: attached }.into())
}
