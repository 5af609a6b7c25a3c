//! Hooks into the server: what must not happen while an operation runs.

use super::{compat, parse, raise, shmem, system};
use crate::catalog::ownership::Replicating;
use crate::error::Error;
use pgrx::pg_sys;
use pgrx::prelude::*;
use std::ffi::{c_char, c_int, c_void};
use std::sync::OnceLock;

type AccessHook =
    unsafe extern "C-unwind" fn(pg_sys::ObjectAccessType::Type, pg_sys::Oid, pg_sys::Oid, c_int, *mut c_void);

static BEFORE: OnceLock<Option<AccessHook>> = OnceLock::new();

type UtilityHook = unsafe extern "C-unwind" fn(
    *mut pg_sys::PlannedStmt,
    *const c_char,
    bool,
    pg_sys::ProcessUtilityContext::Type,
    pg_sys::ParamListInfo,
    *mut pg_sys::QueryEnvironment,
    *mut pg_sys::DestReceiver,
    *mut pg_sys::QueryCompletion,
);

static UTILITY: OnceLock<UtilityHook> = OnceLock::new();

/// Installs the hooks; at preload only.
pub fn install() {
    // SAFETY: hooks are set by the postmaster before any backend runs.
    unsafe {
        if BEFORE.set(pg_sys::object_access_hook).is_ok() {
            pg_sys::object_access_hook = Some(on_access);
        }
        if UTILITY.set(pg_sys::ProcessUtility_hook.unwrap_or(compat::standard_ProcessUtility)).is_ok() {
            pg_sys::ProcessUtility_hook = Some(on_utility);
        }
    }
}

/// Refuses DROP EXTENSION and DROP SCHEMA while an operation runs, before they lock anything. PostgreSQL locks whatever goes along
/// before it drops the first object: those locks would meet the coordinator's, and a deadlock would end one of the two.
#[pg_guard]
unsafe extern "C-unwind" fn before_utility(statement: *const pg_sys::PlannedStmt) {
    // SAFETY: a statement that is about to be executed has its tree.
    if parse::drops_extension((*statement).utilityStmt, c"steep_repl") {
        if let Some(operation) = shmem::running_in(system::database_oid()) {
            raise::throw(Error::ExtensionInUse { operation });
        }
    }
}

/// Nothing here is guarded but our own look: an error of the statement passes over this frame, which has nothing to clean up, as it
/// passes over a frame of C. A guard would take it apart and lose what it has no field for.
unsafe extern "C-unwind" fn on_utility(
    statement: *mut pg_sys::PlannedStmt,
    query: *const c_char,
    read_only: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    params: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    dest: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
) {
    before_utility(statement);
    if let Some(next) = UTILITY.get() {
        next(statement, query, read_only, context, params, environment, dest, completion);
    }
}

/// Replication goes on without the extension; who drops it is told what that is.
fn say_what_stays() {
    let stays = match crate::catalog::ownership::replicating_here() {
        Ok(stays) => stays,
        Err(error) => raise::throw(error),
    };
    let (ours, others): (Vec<_>, Vec<_>) = stays.into_iter().partition(|stays| stays.is_ours());
    let named = |stays: Vec<Replicating>| stays.into_iter().map(|stays| stays.what).collect::<Vec<_>>().join("; ");
    let ours: Vec<_> = ours.into_iter().filter(|stays| stays.completed).collect();
    if !ours.is_empty() {
        raise::notice_with_hint(
            &format!("replication goes on without the extension: {}", named(ours)),
            "DROP SUBSCRIPTION ends it and takes its replication slot along; the publication stays on the source.",
        );
    }
    if !others.is_empty() {
        raise::notice_with_hint(
            &format!("what came along from the original of this copy stays: {}", named(others)),
            "The slot is the original's: use ALTER SUBSCRIPTION ... DISABLE and SET (slot_name = NONE) before DROP SUBSCRIPTION.",
        );
    }
}

/// Refuses to drop the extension, in whatever way, while an operation of this database runs or has failed: its rows say what was
/// made and what was suspended, and nobody else knows.
#[pg_guard]
unsafe extern "C-unwind" fn on_access(
    access: pg_sys::ObjectAccessType::Type,
    class: pg_sys::Oid,
    object: pg_sys::Oid,
    sub: c_int,
    arg: *mut c_void,
) {
    if let Some(Some(before)) = BEFORE.get() {
        super::compat::guarded(|| before(access, class, object, sub, arg));
    }
    if access != pg_sys::ObjectAccessType::OAT_DROP {
        return;
    }
    // The table of operations goes before the extension does: when that is dropped its rows can be read no more.
    let about_to_go = class == pg_sys::RelationRelationId && sub == 0 && super::role::is_operations_table(object)
        || class == pg_sys::ExtensionRelationId && object == pg_sys::get_extension_oid(c"steep_repl".as_ptr(), true);
    if about_to_go {
        if let Some(operation) = shmem::running_in(system::database_oid()) {
            raise::throw(Error::ExtensionInUse { operation });
        }
    }
    if about_to_go && class == pg_sys::RelationRelationId {
        match crate::catalog::operations::failed_here() {
            Ok(None) => say_what_stays(),
            Ok(Some(operation)) => raise::throw(Error::ExtensionNeeded { operation }),
            Err(error) => raise::throw(error),
        }
    }
}
