//! Asking for a password.

use std::io::IsTerminal;

use crate::conninfo::Conninfo;
use crate::failure::Failure;
use crate::interrupt;

/// What to do where nobody can be asked.
pub const HINT: &str = "Use ~/.pgpass, PGPASSWORD or -W.";

/// Asks on the terminal, and remembers the answer for all nodes.
pub fn ask(conninfo: &Conninfo) -> Result<(), Failure> {
    let user = conninfo.get("user").unwrap_or_default();
    let refused = |why: &str| {
        let message = format!("cannot connect to {} as {user}", conninfo.describe());
        Failure::connection(message).detail(format!("A password is needed, and {why}.")).hint(HINT)
    };
    if !std::io::stdin().is_terminal() {
        return Err(refused("there is no terminal to ask for it"));
    }
    let prompt = format!("Password for user {user}: ");
    let typed = interrupt::with_terminal_kept(|| rpassword::prompt_password(prompt));
    // The signal is raised as well; whichever comes first ends the program in the same way.
    if typed.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::Interrupted) {
        interrupt::end();
    }
    conninfo.set_typed(typed.map_err(|_| refused("the terminal could not be read"))?);
    Ok(())
}
