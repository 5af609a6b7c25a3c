//! Who is asked for a password, when, and what for. The one who is asked is this program again, in a terminal of its own.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use portable_pty::{native_pty_system, CommandBuilder, PtySize};
use steep_repl_cli::connect::{self, Prompt};
use steep_repl_cli::conninfo::{Conninfo, Given};

use steep_repl_testkit::wait_until;

use crate::conninfo::server;

/// The flag of a terminal that shows what is typed.
const ECHO: u32 = 0o10;

const CHILD: &str = "prompt::the_one_who_is_asked";

/// Not a test of its own: opens two connections as its environment says, and tells how it went.
#[test]
fn the_one_who_is_asked() {
    let prompt = match std::env::var("STEEP_PROMPT").as_deref() {
        Ok("always") => Prompt::Always,
        Ok("never") => Prompt::Never,
        Ok(_) => Prompt::WhenNeeded,
        Err(_) => return,
    };
    let conninfo = Conninfo::resolve(&Given::default(), &|name| std::env::var(name).ok()).unwrap();
    let node = format!("host=127.0.0.1 port={} dbname=app user=postgres", std::env::var("PGPORT").unwrap());
    match connect::open(&conninfo, prompt) {
        Ok(_) => match connect::open(&conninfo.towards(&node).unwrap(), Prompt::Never) {
            Ok(_) => println!("\nBOTH ARE OPEN"),
            Err(failure) => println!("\nONE IS OPEN\n{failure}"),
        },
        Err(failure) => println!("\nNONE IS OPEN {:?}\n{failure}\nTHAT IS ALL", failure.exit),
    }
}

fn environment(prompt: &str) -> Vec<(&'static str, String)> {
    vec![
        ("STEEP_PROMPT", prompt.to_owned()),
        ("PGHOST", "127.0.0.1".to_owned()),
        ("PGPORT", server().port().to_string()),
        ("PGUSER", "plain".to_owned()),
        ("HOME", "/nonexistent".to_owned()),
    ]
}

/// What stands on its terminal in the end. `typed` is typed when it asks.
fn in_terminal(prompt: &str, more: &[(&str, &str)], typed: &str) -> String {
    let pair = native_pty_system().openpty(PtySize { rows: 24, cols: 200, ..PtySize::default() }).unwrap();
    let mut command = CommandBuilder::new(std::env::current_exe().unwrap());
    command.args(["--exact", CHILD, "--nocapture"]);
    command.env_clear();
    command.cwd(std::env::temp_dir());
    environment(prompt).iter().for_each(|(name, value)| command.env(name, value));
    more.iter().for_each(|(name, value)| command.env(name, value));
    let mut child = pair.slave.spawn_command(command).unwrap();
    drop(pair.slave);
    let (mut reader, mut writer) = (pair.master.try_clone_reader().unwrap(), pair.master.take_writer().unwrap());
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 1024];
        while let Ok(count @ 1..) = reader.read(&mut buffer) {
            let _ = tell.send(String::from_utf8_lossy(&buffer[..count]).into_owned());
        }
    });
    let (mut screen, mut asked) = (String::new(), 0);
    while let Ok(text) = told.recv_timeout(Duration::from_secs(60)) {
        screen.push_str(&text);
        if screen.matches("Password for user plain: ").count() > asked {
            asked += 1;
            let hides = || pair.master.get_termios().is_some_and(|mode| mode.local_flags.bits() & ECHO == 0);
            wait_until("the terminal shows no more what is typed", Duration::from_secs(20), || hides().then_some(()));
            writeln!(writer, "{typed}").unwrap();
        }
    }
    child.wait().unwrap();
    screen
}

#[test]
fn asked_when_the_server_wants_it() {
    let screen = in_terminal("when needed", &[], "secret");
    assert!(screen.matches("Password for user plain: ").count() == 1 && screen.contains("BOTH ARE OPEN"), "{screen}");
    assert!(!screen.contains("secret"), "{screen}");
    let screen = in_terminal("when needed", &[("PGPASSWORD", "secret")], "");
    assert!(!screen.contains("Password for") && screen.contains("BOTH ARE OPEN"), "{screen}");
    // A wrong password is told, and not asked for again.
    for more in [&[][..], &[("PGPASSWORD", "wrong")]] {
        let screen = in_terminal("when needed", more, "wrong");
        assert!(screen.matches("Password for").count() <= 1 && screen.contains("NONE IS OPEN Connection"), "{screen}");
        assert!(screen.contains("28P01") && !screen.contains("wrong"), "{screen}");
    }
}

#[test]
fn asked_always_but_once() {
    let screen = in_terminal("always", &[("PGPASSWORD", "wrong")], "secret");
    assert!(screen.matches("Password for user plain: ").count() == 1 && screen.contains("BOTH ARE OPEN"), "{screen}");
}

#[test]
fn never_asked() {
    let screen = in_terminal("never", &[], "secret");
    assert!(!screen.contains("Password for") && screen.contains("NONE IS OPEN Connection"), "{screen}");
    assert!(screen.contains("Use ~/.pgpass, PGPASSWORD or -W."), "{screen}");
}

/// What it says without a terminal, with an environment of its own.
pub fn without_terminal<K: AsRef<OsStr>, V: AsRef<OsStr>>(environment: impl IntoIterator<Item = (K, V)>) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", CHILD, "--nocapture"]).env_clear().envs(environment).stdin(Stdio::null());
    String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
}

#[test]
fn nobody_to_ask() {
    for prompt in ["when needed", "always"] {
        let text = without_terminal(environment(prompt));
        assert!(text.contains("NONE IS OPEN Connection") && text.contains("no terminal"), "{text}");
        assert!(text.contains("Use ~/.pgpass, PGPASSWORD or -W."), "{text}");
    }
}
