//! The server's own parser, for statements that are not ours: where one ends, and which roles it names.

use crate::error::{Error, Result};
use pgrx::pg_sys;
use pgrx::pg_sys::NodeTag;
use std::ffi::{CStr, CString};
use steep_repl_core::schema_sync::Statement;

/// Splits a script about privileges or policies into its statements, each with the roles that it names. SET SESSION AUTHORIZATION, by
/// which a dump says who has granted something, is left out: whoever runs it grants.
pub fn statements(script: &str) -> Result<Vec<Statement>> {
    let text = CString::new(script).map_err(|_| Error::internal("a NUL byte in a statement"))?;
    let mut found = Vec::new();
    // SAFETY: the parser's trees live in the current memory context, which outlives this function; nothing of them is kept.
    unsafe {
        for raw in nodes(pg_sys::pg_parse_query(text.as_ptr())) {
            let raw = raw.cast::<pg_sys::RawStmt>();
            let start = usize::try_from((*raw).stmt_location).unwrap_or(0);
            let length = usize::try_from((*raw).stmt_len).unwrap_or(0);
            let end = if length == 0 { script.len() } else { start + length };
            if is_session_authorization((*raw).stmt) {
                continue;
            }
            let text = script.get(start..end).unwrap_or_default().trim();
            found.push(Statement { text: format!("{text};"), roles: roles((*raw).stmt) });
        }
    }
    Ok(found)
}

unsafe fn nodes(list: *const pg_sys::List) -> Vec<*mut pg_sys::Node> {
    let Some(list) = list.as_ref() else { return Vec::new() };
    let count = usize::try_from(list.length).unwrap_or(0);
    (0..count).map(|place| (*list.elements.add(place)).ptr_value.cast()).collect()
}

unsafe fn is_session_authorization(statement: *mut pg_sys::Node) -> bool {
    if (*statement).type_ != NodeTag::T_VariableSetStmt {
        return false;
    }
    let name = (*statement.cast::<pg_sys::VariableSetStmt>()).name;
    !name.is_null() && CStr::from_ptr(name) == c"session_authorization"
}

/// Whether this statement drops an extension by its own name, or by that of its schema, which is the same.
///
/// # Safety
/// `statement` is a parse tree, or null.
pub(super) unsafe fn drops_extension(statement: *const pg_sys::Node, extension: &CStr) -> bool {
    let Some(NodeTag::T_DropStmt) = statement.as_ref().map(|node| node.type_) else { return false };
    let drop = &*statement.cast::<pg_sys::DropStmt>();
    matches!(drop.removeType, pg_sys::ObjectType::OBJECT_EXTENSION | pg_sys::ObjectType::OBJECT_SCHEMA)
        && nodes(drop.objects)
            .into_iter()
            .any(|name| CStr::from_ptr((*name.cast::<pg_sys::String>()).sval) == extension)
}

unsafe fn roles(statement: *mut pg_sys::Node) -> Vec<String> {
    match (*statement).type_ {
        NodeTag::T_GrantStmt => names((*statement.cast::<pg_sys::GrantStmt>()).grantees),
        NodeTag::T_CreatePolicyStmt => names((*statement.cast::<pg_sys::CreatePolicyStmt>()).roles),
        NodeTag::T_AlterDefaultPrivilegesStmt => {
            let statement = &*statement.cast::<pg_sys::AlterDefaultPrivilegesStmt>();
            let mut found = Vec::new();
            for option in nodes(statement.options) {
                let option = &*option.cast::<pg_sys::DefElem>();
                if !option.defname.is_null() && CStr::from_ptr(option.defname) == c"roles" {
                    found.extend(names(option.arg.cast()));
                }
            }
            if let Some(action) = statement.action.as_ref() {
                found.extend(names(action.grantees));
            }
            found
        }
        _ => Vec::new(),
    }
}

/// The names among roles; PUBLIC and CURRENT_USER are none.
unsafe fn names(specs: *const pg_sys::List) -> Vec<String> {
    nodes(specs)
        .into_iter()
        .map(|spec| &*spec.cast::<pg_sys::RoleSpec>())
        .filter(|spec| spec.roletype == pg_sys::RoleSpecType::ROLESPEC_CSTRING && !spec.rolename.is_null())
        .map(|spec| CStr::from_ptr(spec.rolename).to_string_lossy().into_owned())
        .collect()
}
