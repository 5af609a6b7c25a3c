//! Whether a session has what `target_session_attrs` asks for.

use postgres::{Client, SimpleQueryMessage};

use super::reason::Reason;

/// Gives the session back when it has.
pub fn check(mut client: Client, wanted: &str) -> Result<Client, Reason> {
    let (sql, good, otherwise) = match wanted {
        "read-write" => ("show transaction_read_only", "off", "the session is read-only"),
        "read-only" => ("show transaction_read_only", "on", "the session is not read-only"),
        "primary" => ("select pg_catalog.pg_is_in_recovery()", "f", "the server is a standby"),
        "standby" => ("select pg_catalog.pg_is_in_recovery()", "t", "the server is not a standby"),
        _ => return Ok(client),
    };
    let answer = client.simple_query(sql).map_err(Reason::of)?;
    let value = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.try_get(0).ok().flatten(),
        _ => None,
    });
    if value == Some(good) {
        Ok(client)
    } else {
        Err(Reason::Unsuitable(otherwise))
    }
}
