//! Subscriptions by the server's own functions, with nodes instead of SQL text: an error's CONTEXT would print the statement,
//! and the connection string in it.

use super::compat::{self, guarded};
use crate::error::{Error, Result};
use pgrx::pg_sys;
use std::ffi::{c_char, CStr, CString};
use std::ptr;
use steep_repl_core::lsn::Lsn;

/// A subscription to be made on a slot that exists.
pub struct NewSubscription<'a> {
    /// Its name.
    pub name: &'a str,
    /// Connection string of the source.
    pub conninfo: &'a str,
    /// Publications there.
    pub publications: &'a [String],
    /// The slot.
    pub slot: &'a str,
}

fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::internal("a NUL byte in the definition of a subscription"))
}

/// Makes the subscription, disabled and without connecting; returns its OID. The current role becomes its owner and must be
/// allowed to (42501).
pub fn create(new: &NewSubscription) -> Result<u32> {
    let (name, conninfo, slot) = (c_string(new.name)?, c_string(new.conninfo)?, c_string(new.slot)?);
    let publications = new.publications.iter().map(|name| c_string(name)).collect::<Result<Vec<_>>>()?;
    // SAFETY: nodes are built in the current memory context from strings that outlive the call or are copied.
    unsafe {
        let copied = |text: &CStr| pg_sys::pstrdup(text.as_ptr());
        let option =
            |name: &'static CStr, value: *mut pg_sys::Node| pg_sys::makeDefElem(name.as_ptr().cast_mut(), value, -1);
        let boolean = |value: bool| pg_sys::makeBoolean(value).cast::<pg_sys::Node>();
        let mut options: *mut pg_sys::List = ptr::null_mut();
        for element in [
            option(c"connect", boolean(false)),
            option(c"enabled", boolean(false)),
            option(c"create_slot", boolean(false)),
            option(c"slot_name", pg_sys::makeString(copied(&slot)).cast()),
            // Core's default, which binds no superuser; whoever the subscription is given to later needs a password.
            option(c"password_required", boolean(true)),
        ] {
            options = pg_sys::lappend(options, element.cast());
        }
        let mut names: *mut pg_sys::List = ptr::null_mut();
        for publication in &publications {
            names = pg_sys::lappend(names, pg_sys::makeString(copied(publication)).cast());
        }
        let stmt = pg_sys::palloc0(std::mem::size_of::<pg_sys::CreateSubscriptionStmt>())
            .cast::<pg_sys::CreateSubscriptionStmt>();
        (*stmt).type_ = pg_sys::NodeTag::T_CreateSubscriptionStmt;
        (*stmt).subname = copied(&name);
        (*stmt).conninfo = copied(&conninfo);
        (*stmt).publication = names;
        (*stmt).options = options;
        let pstate = pg_sys::make_parsestate(ptr::null_mut());
        let created = guarded(|| compat::CreateSubscription(pstate, stmt, true));
        pg_sys::free_parsestate(pstate);
        pg_sys::CommandCounterIncrement();
        Ok(u32::from(created.objectId))
    }
}

/// Gives a subscription another connection string, without connecting; its apply worker begins anew with it. The current role must own it
/// (42501).
pub fn set_connection(name: &str, conninfo: &str) -> Result<()> {
    let (name, conninfo) = (c_string(name)?, c_string(conninfo)?);
    // SAFETY: the node is built in the current memory context from strings that are copied.
    unsafe {
        let stmt = pg_sys::palloc0(std::mem::size_of::<pg_sys::AlterSubscriptionStmt>())
            .cast::<pg_sys::AlterSubscriptionStmt>();
        (*stmt).type_ = pg_sys::NodeTag::T_AlterSubscriptionStmt;
        (*stmt).kind = pg_sys::AlterSubscriptionType::ALTER_SUBSCRIPTION_CONNECTION;
        (*stmt).subname = pg_sys::pstrdup(name.as_ptr());
        (*stmt).conninfo = pg_sys::pstrdup(conninfo.as_ptr());
        let pstate = pg_sys::make_parsestate(ptr::null_mut());
        guarded(|| compat::AlterSubscription(pstate, stmt, true));
        pg_sys::free_parsestate(pstate);
        pg_sys::CommandCounterIncrement();
    }
    Ok(())
}

/// State of a table in a subscription, as `pg_subscription_rel.srsubstate` has it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TableState {
    /// To be copied by a worker of the server's own.
    Init,
    /// Copied; the apply worker applies all its changes.
    Ready,
    /// Copied at an LSN of its own; the apply worker skips changes before it.
    SyncDone,
}

impl TableState {
    fn code(self) -> c_char {
        match self {
            TableState::Init => b'i' as c_char,
            TableState::Ready => b'r' as c_char,
            TableState::SyncDone => b's' as c_char,
        }
    }
}

/// Puts a table into a subscription. It must not be in it.
pub fn add_table(subscription: u32, relid: u32, state: TableState, lsn: Lsn) {
    let (subscription, relid) = (pg_sys::Oid::from(subscription), pg_sys::Oid::from(relid));
    // SAFETY: inside a transaction.
    unsafe { guarded(|| compat::AddSubscriptionRelState(subscription, relid, state.code(), lsn.0, true)) };
}

/// Changes the state of a table that is in a subscription.
pub fn set_table(subscription: u32, relid: u32, state: TableState, lsn: Lsn) {
    // SAFETY: inside a transaction.
    unsafe {
        compat::update_subscription_rel_state(
            pg_sys::Oid::from(subscription),
            pg_sys::Oid::from(relid),
            state.code(),
            lsn.0,
        );
    }
}

/// Takes a table out of a subscription; nothing happens when it is not in it.
pub fn remove_table(subscription: u32, relid: u32) {
    let (subscription, relid) = (pg_sys::Oid::from(subscription), pg_sys::Oid::from(relid));
    // SAFETY: inside a transaction.
    unsafe { guarded(|| compat::RemoveSubscriptionRel(subscription, relid)) };
}

/// Takes all tables out of a subscription.
pub fn remove_tables(subscription: u32) {
    let subscription = pg_sys::Oid::from(subscription);
    // SAFETY: inside a transaction.
    unsafe { guarded(|| compat::RemoveSubscriptionRel(subscription, pg_sys::InvalidOid)) };
}
