//! Whose operations are: a copy of the database or of the server carries their rows too; docs/decisions/0006. And with whose rights they go on
//! when the role that asked for them cannot.

use super::operations::Operation;
use super::{execute, nodes, rows, write, Arg};
use crate::error::{Error, Result};
use crate::pg::{instance, role};
use serde::Deserialize;
use steep_repl_core::instance::{self as identity, Instance, Maker, Owner, Settlement};

/// What an operation says of its maker that is made here and now. A standby can make none.
pub fn this_instance() -> Result<Maker> {
    let here = instance::here().ok_or_else(|| Error::internal("this instance cannot be told from others"))?;
    let timeline = here.timeline.ok_or_else(|| Error::internal("a standby writes nothing"))?;
    Ok(Maker {
        system_identifier: here.system_identifier,
        database: here.database,
        instance: here.instance,
        timeline,
        disowned: false,
    })
}

/// Whose an operation is that was made like this. Who cannot tell where he is owns nothing.
pub fn owner(maker: &Maker) -> Owner {
    instance::here().map_or(Owner::Original, |here| identity::owner(maker, &here))
}

/// A subscription of an operation.
#[derive(Debug, Clone, Deserialize)]
pub struct Replicating {
    /// It in words.
    pub what: String,
    /// Whether the operation is complete.
    pub completed: bool,
    #[serde(flatten)]
    maker: Maker,
}

impl Replicating {
    /// Whether its operation is this database's.
    pub fn is_ours(&self) -> bool {
        owner(&self.maker) == Owner::Ours
    }
}

/// The subscriptions of this database that are an operation's.
pub fn replicating_here() -> Result<Vec<Replicating>> {
    rows(include_str!("../../sql/queries/operations_replicating.sql"), &[])
}

/// 55000 when an operation is another's, with the ways out.
pub fn require_ours(operation: &Operation) -> Result<()> {
    match operation.owner() {
        Owner::Ours => Ok(()),
        owner => Err(Error::ForeignOperation { operation: operation.id, of_original: owner == Owner::Original }),
    }
}

/// Whether the role that asked for an operation is gone, or may not use its source any more.
pub fn is_orphaned(operation: &Operation) -> Result<bool> {
    Ok(!may_use(operation.requested_by, owner_of_source(operation)?))
}

/// With whose rights an operation goes on that is about its source alone: those of the role that asked, or, when that one cannot, of the owner
/// of the source's node. Who owns a connection string may use it anyway, and only with rights of his own. None when both are gone.
pub fn successor(operation: &Operation) -> Result<Option<u32>> {
    let (asked, owner) = (operation.requested_by, owner_of_source(operation)?);
    if may_use(asked, owner) {
        return Ok(Some(asked));
    }
    Ok([owner, Some(asked)].into_iter().flatten().find(|role| role::exists(*role)))
}

fn owner_of_source(operation: &Operation) -> Result<Option<u32>> {
    let source = nodes::all()?.into_iter().find(|node| node.node == operation.source);
    Ok(source.map(|node| node.owner))
}

fn may_use(role: u32, owner: Option<u32>) -> bool {
    role::exists(role) && owner.is_none_or(|owner| role::has_rights_of(role, owner))
}

/// Writes down whose the operations here are, as far as it has changed: a promoted standby takes its primary's over; a copy
/// gives those of its original up, for itself and for whatever is made from it. Writes nothing when nothing has changed.
pub fn settle() -> Result<()> {
    #[derive(Deserialize)]
    struct Row {
        id: i64,
        #[serde(flatten)]
        maker: Maker,
    }
    let Some(here) = instance::here() else { return Ok(()) };
    let found: Vec<Row> = rows(include_str!("../../sql/queries/operations_makers.sql"), &[])?;
    for row in found {
        match identity::settle(&row.maker, &here) {
            Some(Settlement::Own) => own(row.id, &here.instance, here.timeline.unwrap_or(row.maker.timeline))?,
            Some(Settlement::Disown) => {
                execute("UPDATE steep_repl.operations SET disowned = true WHERE id = $1", &[Arg::Int(row.id)])?;
            }
            None => {}
        }
    }
    Ok(())
}

fn own(operation: i64, instance: &Instance, timeline: u32) -> Result<()> {
    execute(
        "UPDATE steep_repl.operations SET instance = $2, timeline = $3, disowned = false WHERE id = $1",
        &[Arg::Int(operation), Arg::Text(&instance.to_string()), Arg::Int(i64::from(timeline))],
    )
}

/// Makes this instance the owner of an operation of its original, and of those before it that the same instance had. Returns
/// their numbers.
pub fn adopt(operation: &Operation) -> Result<Vec<i64>> {
    let here = instance::here().ok_or_else(|| Error::internal("this instance cannot be told from others"))?;
    let timeline = here.timeline.unwrap_or(operation.maker.timeline);
    write(
        include_str!("../../sql/queries/operations_adopt.sql"),
        &[Arg::Int(operation.id), Arg::Text(&here.instance.to_string()), Arg::Int(i64::from(timeline))],
    )
}
