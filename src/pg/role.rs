//! Roles: who asks, who owns what, and becoming the extension's owner for its own statements.

use super::compat::{guarded, RestoreUserContext, SwitchToUntrustedUser, UserContext};
use crate::error::{Error, Result};
use pgrx::pg_sys;
use std::ffi::{c_int, CStr, CString};
use std::mem::MaybeUninit;

/// The current role, which all checks are made against.
pub fn current() -> u32 {
    // SAFETY: reads a backend variable.
    u32::from(unsafe { pg_sys::GetUserId() })
}

/// Whether a role is a superuser now.
pub fn is_superuser(role: u32) -> bool {
    // SAFETY: a catalog look-up inside a transaction.
    unsafe { pg_sys::superuser_arg(pg_sys::Oid::from(role)) }
}

/// Name of a role; its number when it is gone.
pub fn name_of(role: u32) -> String {
    // SAFETY: a catalog look-up inside a transaction; the string is copied.
    unsafe {
        let name = pg_sys::GetUserNameFromId(pg_sys::Oid::from(role), true);
        if name.is_null() {
            role.to_string()
        } else {
            CStr::from_ptr(name).to_string_lossy().into_owned()
        }
    }
}

/// Whether `role` has the rights of `of`: it is it, is a member of it that inherits, or is a superuser.
pub fn has_rights_of(role: u32, of: u32) -> bool {
    // SAFETY: a catalog look-up inside a transaction.
    unsafe { pg_sys::has_privs_of_role(pg_sys::Oid::from(role), pg_sys::Oid::from(of)) }
}

/// Whether there is a role of that OID.
pub fn exists(role: u32) -> bool {
    // SAFETY: a catalog look-up inside a transaction.
    unsafe { !pg_sys::GetUserNameFromId(pg_sys::Oid::from(role), true).is_null() }
}

/// Whether the current role owns a table, as what bypasses the checks of SQL must ask first.
pub fn owns_table(relid: u32) -> bool {
    // SAFETY: a catalog look-up inside a transaction.
    unsafe { pg_sys::object_ownercheck(pg_sys::RelationRelationId, pg_sys::Oid::from(relid), pg_sys::GetUserId()) }
}

/// OID of the extension's table of that name, when the extension is there.
fn own_relation(name: &CStr) -> Option<pg_sys::Oid> {
    // SAFETY: catalog look-ups inside a transaction.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"steep_repl".as_ptr(), true);
        if schema == pg_sys::InvalidOid {
            return None;
        }
        let relid = pg_sys::get_relname_relid(name.as_ptr(), schema);
        // Anybody who owns a database can make a schema of this name in it; only the extension's own tables are believed.
        let extension = pg_sys::get_extension_oid(c"steep_repl".as_ptr(), true);
        let is_ours = relid != pg_sys::InvalidOid
            && extension != pg_sys::InvalidOid
            && pg_sys::getExtensionOfObject(pg_sys::RelationRelationId, relid) == extension;
        is_ours.then_some(relid)
    }
}

/// Whether a relation is the extension's table of operations.
pub(super) fn is_operations_table(relation: pg_sys::Oid) -> bool {
    own_relation(c"operations") == Some(relation)
}

/// Whether the extension exists in this database.
pub fn extension_exists() -> bool {
    own_relation(c"operations").is_some()
}

/// Owner of the extension's tables.
fn extension_owner() -> Option<pg_sys::Oid> {
    let relid = own_relation(c"operations")?;
    // SAFETY: inside a transaction.
    unsafe { relation_owner(relid) }
}

/// Owner of a relation, when it is there.
///
/// # Safety
/// Inside a transaction.
unsafe fn relation_owner(relid: pg_sys::Oid) -> Option<pg_sys::Oid> {
    let tuple = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::RELOID as c_int, pg_sys::Datum::from(relid));
    if tuple.is_null() {
        return None;
    }
    let class = pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_class>(tuple);
    let owner = (*class).relowner;
    pg_sys::ReleaseSysCache(tuple);
    Some(owner)
}

/// Runs a piece of work as the extension's owner, in a security-restricted operation with a pinned search_path: the caller's
/// schemas and operators must not get between us and our tables.
///
/// None when the extension is not there. When the work fails by a PostgreSQL error, the abort that follows puts the role back.
pub fn as_extension_owner<T>(work: impl FnOnce() -> T) -> Option<T> {
    let owner = extension_owner()?;
    struct Restore {
        role: pg_sys::Oid,
        context: c_int,
        nest: c_int,
    }
    impl Drop for Restore {
        fn drop(&mut self) {
            if std::thread::panicking() {
                // The transaction's or subtransaction's abort restores both.
                return;
            }
            // SAFETY: what `as_extension_owner` saved.
            unsafe {
                pg_sys::AtEOXact_GUC(false, self.nest);
                pg_sys::SetUserIdAndSecContext(self.role, self.context);
            }
        }
    }
    let mut role = pg_sys::InvalidOid;
    let mut context: c_int = 0;
    // SAFETY: saved, switched, and restored by `Restore`.
    let restore = unsafe {
        pg_sys::GetUserIdAndSecContext(&mut role, &mut context);
        pg_sys::SetUserIdAndSecContext(
            owner,
            context | pg_sys::SECURITY_LOCAL_USERID_CHANGE as c_int | pg_sys::SECURITY_RESTRICTED_OPERATION as c_int,
        );
        let nest = pg_sys::NewGUCNestLevel();
        pin_names();
        Restore { role, context, nest }
    };
    let value = work();
    drop(restore);
    Some(value)
}

/// The rights of a table's owner, in a restricted context, as logical replication's own workers take them on.
pub(super) struct OwnerContext(MaybeUninit<UserContext>);

impl OwnerContext {
    /// Becomes the owner. The current role must be allowed to (42501).
    pub(super) fn enter(owner: pg_sys::Oid) -> Self {
        let mut context = OwnerContext(MaybeUninit::uninit());
        let raw = context.0.as_mut_ptr();
        // SAFETY: the context is filled before it is read; an error leaves the role as it was.
        unsafe { guarded(|| SwitchToUntrustedUser(owner, raw)) };
        context
    }

    /// Back to the role before. Not in Drop: after an error the abort of the transaction puts the role back, and the call
    /// may itself raise an error, which must not happen while unwinding.
    pub(super) fn leave(mut self) {
        let raw = self.0.as_mut_ptr();
        // SAFETY: filled by `enter`.
        unsafe { guarded(|| RestoreUserContext(raw)) };
    }
}

/// Owner of a table.
pub fn table_owner(relid: u32) -> Result<u32> {
    // SAFETY: a syscache look-up whose tuple is released after the owner was read.
    unsafe { relation_owner(pg_sys::Oid::from(relid)) }
        .map(u32::from)
        .ok_or_else(|| Error::internal(format!("table {relid} is gone")))
}

/// Runs a piece of work with the rights of a table's owner, restricted: code that the owner attached to the table must not
/// run with the operator's. When the work fails, the abort that must follow puts the role back.
pub fn as_table_owner<T>(relid: u32, work: impl FnOnce() -> T) -> Result<T> {
    let owner = OwnerContext::enter(pg_sys::Oid::from(table_owner(relid)?));
    let value = work();
    owner.leave();
    Ok(value)
}

/// Runs a piece of work as the current role with an empty search_path, so that names in it mean what they say.
pub fn with_pinned_path<T>(work: impl FnOnce() -> T) -> T {
    struct Restore(c_int);
    impl Drop for Restore {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                // SAFETY: the level opened below.
                unsafe { pg_sys::AtEOXact_GUC(false, self.0) };
            }
        }
    }
    // SAFETY: a GUC nest level, closed by `Restore` or by the abort.
    let restore = unsafe {
        let nest = pg_sys::NewGUCNestLevel();
        pin_names();
        Restore(nest)
    };
    let value = work();
    drop(restore);
    value
}

/// [`with_pinned_path`], with these settings as well, which everybody may set.
pub fn with_settings<T>(settings: &[(&str, &str)], work: impl FnOnce() -> T) -> T {
    with_pinned_path(|| {
        for (name, value) in settings {
            if let (Ok(name), Ok(value)) = (CString::new(*name), CString::new(*value)) {
                // SAFETY: inside the nest level that `with_pinned_path` has opened.
                unsafe { set_until(&name, &value, pg_sys::GucAction::GUC_ACTION_SAVE) };
            }
        }
        work()
    })
}

/// Fixes a setting of this session against the role's and the database's configuration, as autovacuum's workers do.
pub fn override_setting(name: &str, value: &str) {
    let (Ok(name), Ok(value)) = (CString::new(name), CString::new(value)) else {
        return;
    };
    let (name_ptr, value_ptr) = (name.as_ptr(), value.as_ptr());
    // SAFETY: both strings outlive the call, which copies them.
    unsafe {
        pg_sys::SetConfigOption(name_ptr, value_ptr, pg_sys::GucContext::PGC_SUSET, pg_sys::GucSource::PGC_S_OVERRIDE);
    }
}

/// Until the GUC nest level is left: names are found where they say, and written the same on every node.
///
/// # Safety
/// Inside a GUC nest level that the caller has opened and closes.
unsafe fn pin_names() {
    pg_sys::RestrictSearchPath();
    set_until(c"quote_all_identifiers", c"off", pg_sys::GucAction::GUC_ACTION_SAVE);
}

/// Sets a setting until a nest level or the transaction ends.
///
/// # Safety
/// Inside a transaction; for `GUC_ACTION_SAVE` inside a GUC nest level.
pub(super) unsafe fn set_until(name: &CStr, value: &CStr, until: pg_sys::GucAction::Type) {
    pg_sys::set_config_option(
        name.as_ptr(),
        value.as_ptr(),
        pg_sys::GucContext::PGC_SUSET,
        pg_sys::GucSource::PGC_S_SESSION,
        until,
        true,
        0,
        false,
    );
}

/// What is shown of a statement that is hidden.
const HIDDEN: &CStr = c"<statement with a connection string, hidden by steep_repl>";

/// Keeps the server from logging the current statement with an error, until the transaction ends, and pg_stat_activity from showing it: it
/// may hold a password.
pub fn hide_statement() {
    // SAFETY: inside a transaction, whose end takes the setting back; the text is copied.
    unsafe {
        set_until(c"log_min_error_statement", c"panic", pg_sys::GucAction::GUC_ACTION_LOCAL);
        pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, HIDDEN.as_ptr());
    }
}
