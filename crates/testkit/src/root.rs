//! The temporary folder of a test process, and the watchdog that ends what the process leaves behind.
//!
//! libtest leaves through `exit`, which drops no static, and a panic, Ctrl-C or SIGKILL leaves even less chance to tidy up.
//! So a shell of its own process group reads from a pipe whose other end only this process holds: when the process is gone, for
//! whatever reason, the shell sees the end of the pipe, stops every server that has a `postmaster.pid` below the folder
//! and removes the folder. `STEEP_REPL_KEEP=1` keeps the folder (with the servers' logs), not the servers.

use std::os::unix::fs::{chown, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::installation::output;

const WATCHDOG: &str = r#"
cat >/dev/null
# A server may still be starting: only after a second without any is the folder removed.
quiet=0
tries=0
while [ "$quiet" -lt 10 ] && [ "$tries" -lt 300 ]; do
    quiet=$((quiet + 1))
    tries=$((tries + 1))
    for file in "$1"/*/data/postmaster.pid; do
        [ -f "$file" ] && kill -QUIT "$(head -n 1 "$file")" 2>/dev/null && quiet=0
    done
    sleep 0.1
done
[ -n "$2" ] || rm -rf "$1"
"#;

struct Root {
    path: PathBuf,
    owner: Option<(u32, u32)>,
    // Its stdin is the pipe: dropped with the process, never before.
    _watchdog: Mutex<Child>,
}

fn root() -> &'static Root {
    static ROOT: OnceLock<Root> = OnceLock::new();
    ROOT.get_or_init(|| {
        let owner = server_user();
        let path = std::env::temp_dir().join(format!("steep-{}", std::process::id()));
        // A folder of that name can only be the rest of an earlier process with the same id.
        let _ = std::fs::remove_dir_all(&path);
        make_folder(&path, owner, 0o755);
        let keep = std::env::var("STEEP_REPL_KEEP").unwrap_or_default();
        let mut command = Command::new("sh");
        command.arg("-c").arg(WATCHDOG).arg("watchdog").arg(&path).arg(keep).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let watchdog = command.spawn().unwrap_or_else(|error| panic!("cannot start the watchdog: {error}"));
        Root { path, owner, _watchdog: Mutex::new(watchdog) }
    })
}

/// PostgreSQL refuses to run as root: the user to run servers as, when the tests themselves run as root.
fn server_user() -> Option<(u32, u32)> {
    let id = |option: &str, user: &str| {
        let result = Command::new("id").args([option, user]).stderr(Stdio::null()).output().ok()?;
        String::from_utf8_lossy(&result.stdout).trim().parse::<u32>().ok().filter(|_| result.status.success())
    };
    let own = output(Command::new("id").arg("-u"));
    if own != "0" {
        return None;
    }
    ["postgres", "nobody"].iter().find_map(|user| Some((id("-u", user)?, id("-g", user)?)))
}

fn make_folder(path: &Path, owner: Option<(u32, u32)>, mode: u32) {
    let made = std::fs::create_dir_all(path)
        .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)))
        .and_then(|()| owner.map_or(Ok(()), |(uid, gid)| chown(path, Some(uid), Some(gid))));
    if let Err(error) = made {
        panic!("cannot make the folder {}: {error}", path.display());
    }
}

/// A new folder that the servers' user owns, below this process's temporary folder; removed when the process is gone.
pub fn folder(label: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let root = root();
    // Short, because a socket's path has about 100 bytes.
    let path = root.path.join(format!("{}{}", label, COUNT.fetch_add(1, Ordering::Relaxed)));
    make_folder(&path, root.owner, 0o700);
    // Clients that run as another user must reach the socket.
    make_folder(&path, root.owner, 0o711);
    path
}

/// Gives a file that the tests wrote to the servers' user.
pub fn hand_over(path: &Path) {
    if let Some((uid, gid)) = root().owner {
        if let Err(error) = chown(path, Some(uid), Some(gid)) {
            panic!("cannot give {} to the servers' user: {error}", path.display());
        }
    }
}

/// A command that runs as the servers' user, with an environment of its own.
pub fn server_command(program: &Path) -> Command {
    let root = root();
    let mut command = Command::new(program);
    // RUST_BACKTRACE would put backtraces into every error's DETAIL; PG* variables would redirect clients.
    command.env_clear().env("HOME", &root.path).env("LC_ALL", "C").env("TZ", "UTC");
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command.current_dir(&root.path);
    if let Some((uid, gid)) = root.owner {
        command.uid(uid).gid(gid);
    }
    command
}

/// One initdb at a time: two of them saturate a small machine, and the second gains nothing.
pub(crate) fn one_at_a_time<T>(work: impl FnOnce() -> T) -> T {
    static LOCK: Mutex<()> = Mutex::new(());
    let _guard = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    work()
}
