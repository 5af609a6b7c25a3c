//! `steep-repl tui` in a pseudo-terminal, and what one sees there.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use portable_pty::{native_pty_system, Child, CommandBuilder, MasterPty, PtySize};
use steep_repl_testkit::{try_wait_until, wait_until};

/// A terminal with the program in it.
pub struct Window {
    parser: Arc<Mutex<vt100::Parser>>,
    reads: JoinHandle<()>,
    keys: Box<dyn Write + Send>,
    master: Box<dyn MasterPty + Send>,
    child: Box<dyn Child + Send + Sync>,
    before: String,
}

impl Window {
    /// Starts it, connected to this database.
    pub fn open(conninfo: &str, columns: u16, rows: u16, more: &[&str]) -> Window {
        Window::open_with(conninfo, columns, rows, more, &[])
    }

    /// With something in its environment.
    pub fn open_with(conninfo: &str, columns: u16, rows: u16, more: &[&str], environment: &[(&str, &str)]) -> Window {
        let pair =
            native_pty_system().openpty(PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 }).unwrap();
        let before = format!("{:?}", pair.master.get_termios());
        // A release can be measured as well: STEEP_REPL_PROGRAM says where it is.
        let program = std::env::var_os("STEEP_REPL_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_steep-repl").into());
        let mut command = CommandBuilder::new(program);
        command.args(["--dsn", conninfo, "tui"]);
        command.args(more);
        for (name, value) in [("TERM", "xterm-256color"), ("LC_ALL", "C.UTF-8"), ("TZ", "UTC")] {
            command.env(name, value);
        }
        environment.iter().for_each(|(name, value)| command.env(name, value));
        command.env_remove("NO_COLOR");
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let parser = Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0)));
        let mut output = pair.master.try_clone_reader().unwrap();
        let keys = pair.master.take_writer().unwrap();
        let screen = Arc::clone(&parser);
        let reads = std::thread::spawn(move || {
            let mut buffer = [0; 65_536];
            while let Ok(n @ 1..) = output.read(&mut buffer) {
                screen.lock().unwrap().process(&buffer[..n]);
            }
        });
        Window { parser, reads, keys, master: pair.master, child, before }
    }

    /// What stands on the screen.
    pub fn text(&self) -> String {
        self.parser.lock().unwrap().screen().contents()
    }

    /// The same with its colours, as a terminal would be told.
    pub fn colours(&self) -> Vec<u8> {
        self.parser.lock().unwrap().screen().contents_formatted()
    }

    /// Types something.
    pub fn keys(&mut self, text: &str) {
        self.keys.write_all(text.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// The terminal gets another size.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        self.parser.lock().unwrap().screen_mut().set_size(rows, columns);
        self.master.resize(PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 }).unwrap();
    }

    /// Waits until the screen shows something.
    #[track_caller]
    pub fn wait(&self, seconds: u64, what: &str, shows: impl Fn(&str) -> bool) {
        let shown = try_wait_until(what, Duration::from_secs(seconds), || shows(&self.text()).then_some(()));
        assert!(shown.is_some(), "{what} is not shown within {seconds} s:\n{}", self.text());
    }

    /// Waits until the screen shows a text.
    #[track_caller]
    pub fn wait_for(&self, seconds: u64, text: &str) {
        self.wait(seconds, text, |screen| screen.contains(text));
    }

    /// Processor time it has used, in seconds.
    pub fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        // Clock ticks are hundredths of a second on Linux.
        (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.process_id().unwrap()
    }

    /// Waits for its end, and looks whether the terminal is as it was before.
    #[track_caller]
    pub fn expect_end(mut self, code: u32) {
        let child = &mut self.child;
        let status = try_wait_until("it ends", Duration::from_secs(10), || child.try_wait().unwrap());
        let status = status.unwrap_or_else(|| panic!("it does not end:\n{}", self.text()));
        assert_eq!(status.exit_code(), code, "{}", self.text());
        // What it has written last is still on its way through the terminal, which then has nothing more to give.
        wait_until("all that it has written is read", Duration::from_secs(10), || {
            self.reads.is_finished().then_some(())
        });
        let parser = self.parser.lock().unwrap();
        assert!(!parser.screen().alternate_screen(), "the alternate screen stays");
        assert!(!parser.screen().hide_cursor(), "the cursor stays hidden");
        assert!(!parser.screen().bracketed_paste(), "what is pasted stays marked");
        assert_eq!(
            format!("{:?}", self.master.get_termios()),
            self.before,
            "the terminal's settings are not as before"
        );
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
    }
}
