//! The coordinator owns one operation: it observes, decides by a pure function, and acts.
//!
//! Purpose: take the operation from its row to its end, whatever ends in between: this process, its workers, the server.
//!
//! What is durable: the operation's row (phase, slot, publications, snapshot, LSNs), its tables and tasks, what was suspended.
//! Every intent is committed before it is carried out, and every step can be done again when it is not known whether it was.
//! What is only in memory: the handles of workers and keeper, the control connection, samples for rates. All of it is made
//! anew by the next coordinator.
//!
//! Phases of an initialization or a refresh: schema (not by `schema_sync => 'strict'`) -> publication -> slot -> subscription -> tables -> copy -> indexes -> sequences -> enable -> catchup -> done.
//! A snapshot that is lost, and a table that is rewritten on the source, do not leave `copy`: the tables that are not finished
//! are emptied and copied under a new snapshot, and the subscription is told where each table stands. So are tables whose rows lack what
//! an ALTER TABLE has written into all of them: from `enable` they go back to `copy`, and from `catchup` over `enable`.

mod act;
mod adopt;
mod apply;
pub mod backup;
mod catchup;
pub mod decide;
mod drift;
mod generate;
pub mod handover;
pub mod heir;
mod held;
pub mod keeper;
pub mod main;
pub mod node;
mod observe;
pub mod phase;
mod schema;
mod silence;
mod subscription_lock;
mod sync;
mod tables;
mod undo;
mod verify;
mod way_out;

pub use apply::differences;
pub use generate::look;
pub use tables::SMALL_BELOW;

use crate::catalog::operations::{Kind, Method, Operation};
use phase::Way;

/// How long a statement on the source may take while it is cleaned, in milliseconds.
const SOURCE_LIMIT_MS: u32 = 10_000;
/// How long to wait for a lock here, in milliseconds.
const LOCK_LIMIT_MS: u32 = 5_000;

/// The phases that an operation goes through.
fn way(kind: Kind, method: Method) -> Way {
    match (kind, method) {
        (Kind::Prepare, _) => Way::Hold,
        (Kind::Generate, _) => Way::Write,
        (_, Method::TwoPhase) => Way::Read,
        (_, Method::Manual) => Way::Attach,
        _ => Way::Whole,
    }
}

fn way_of(operation: &Operation) -> Way {
    if operation.saves_first() {
        return Way::Both;
    }
    way(operation.kind, operation.method)
}
