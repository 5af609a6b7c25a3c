//! Tables that came after the initialization: what the subscription has, and what it lacks.

use super::{choose, Joins, Request};
use crate::catalog::events;
use crate::catalog::nodes::{self, Unsubscribed};
use crate::catalog::operations::Operation;
use crate::catalog::user::{self, Subscription};
use crate::error::{Error, Result, SubscriptionError};
use crate::pg::remote::Connection;
use crate::source::publication;
use steep_repl_core::event::{Event, Severity, TABLES_NOT_SUBSCRIBED};
use steep_repl_core::ident::qualified_display;
use steep_repl_core::inventory::Table;
use steep_repl_core::selection::NoIdentity;

/// What the subscription that tables are to join has already.
pub fn joins(connection: &Connection, base: &Operation) -> Result<Joins> {
    with_members(publication::members(connection, &base.publications)?, base)
}

/// The same, when it is known already what the publications hold.
pub fn with_members(published: Vec<u32>, base: &Operation) -> Result<Joins> {
    Ok(Joins {
        subscribed: subscription_of(base)?.tables.iter().map(|table| table.relid).collect(),
        published,
        only: None,
    })
}

/// The subscription that an initialization has made.
pub fn subscription_of(base: &Operation) -> Result<Subscription> {
    let gone = || Error::Subscription(SubscriptionError::Gone { subscription: base.subscription.clone() });
    let found = user::subscription(base.subscription_oid.ok_or_else(gone)?)?;
    found.filter(|found| found.name == base.subscription).ok_or_else(gone)
}

/// Tables of the source that an initialization would have taken in and that are not in its subscription.
pub fn unsubscribed(base: &Operation, joins: &Joins, source: &[Table]) -> Result<Vec<Unsubscribed>> {
    let (here, selection) = (user::inventory()?, base.selection());
    let request = Request {
        node: &base.node,
        source: &base.source,
        schemas: selection.schemas.as_deref(),
        tables: selection.tables.as_deref(),
        no_identity: NoIdentity::Error,
        small_below: 0,
        joins: Some(joins),
    };
    let chosen = choose(&request, source, &here)?;
    let mut named = chosen.names();
    if base.own_publications {
        named.extend(chosen.unpublished());
        named.sort();
    }
    Ok(named
        .into_iter()
        .map(|(table_schema, table_name, is_here)| Unsubscribed { table_schema, table_name, is_here })
        .collect())
}

/// Stores which tables are not in the subscription, and says which of them are news.
pub fn note_unsubscribed(base: &Operation, found: &[Unsubscribed]) -> Result<()> {
    let news = nodes::set_unsubscribed(&base.node, found)?;
    if news.is_empty() {
        return Ok(());
    }
    let named: Vec<String> =
        news.iter().map(|table| qualified_display(&table.table_schema, &table.table_name)).collect();
    let mut event = Event::info(TABLES_NOT_SUBSCRIBED)
        .node(&base.node)
        .source(&base.source)
        .message(format!("tables of the source that are not replicated: {}", named.join(", ")))
        .hint("Make those that are not on this node, then use steep_repl.refresh_tables(node).");
    event.severity = Severity::Warning;
    events::write(&[event])
}
