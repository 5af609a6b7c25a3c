//! `steep-repl` in a terminal: what is asked there, and what Ctrl-C does.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portable_pty::{native_pty_system, Child, CommandBuilder, MasterPty, PtySize};
use steep_repl_testkit::{check, wait_until, Pair};

/// A program in a pseudo-terminal, and what it has shown there.
pub struct Terminal {
    child: Box<dyn Child + Send + Sync>,
    keyboard: Box<dyn Write + Send>,
    screen: Arc<Mutex<vt100::Parser>>,
    // Closed last: the program would get a hang-up.
    _master: Box<dyn MasterPty + Send>,
}

impl Terminal {
    /// Starts `steep-repl` with these arguments, separated by blanks, connected to the target of a pair.
    pub fn start(pair: &Pair, arguments: &str) -> Terminal {
        let size = PtySize { rows: 24, cols: 100, pixel_width: 0, pixel_height: 0 };
        let pty = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_steep-repl"));
        command.env_clear();
        command.env("TERM", "xterm-256color");
        command.env("LANG", "C.UTF-8");
        command.args(arguments.split_whitespace());
        command.args(["--dsn", &pair.target.conninfo()]);
        let child = pty.slave.spawn_command(command).unwrap();
        drop(pty.slave);
        let screen = Arc::new(Mutex::new(vt100::Parser::new(size.rows, size.cols, 1000)));
        let (mut output, shown) = (pty.master.try_clone_reader().unwrap(), Arc::clone(&screen));
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut piece) {
                shown.lock().unwrap().process(&piece[..count]);
            }
        });
        Terminal { child, keyboard: pty.master.take_writer().unwrap(), screen, _master: pty.master }
    }

    pub fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    #[track_caller]
    pub fn shows(&self, words: &str) {
        let found = steep_repl_testkit::try_wait_until("the words are shown", Duration::from_secs(30), || {
            self.text().contains(words).then_some(())
        });
        assert!(found.is_some(), "\"{words}\" is not shown:\n{}", self.text());
    }

    pub fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self.keyboard.flush().unwrap();
    }

    /// Waits for its end, and gives the exit code.
    pub fn ends(&mut self) -> u32 {
        let child = &mut self.child;
        wait_until("the program ends", Duration::from_secs(60), || child.try_wait().unwrap()).exit_code()
    }
}

fn ready(label: &str) -> Pair {
    let pair = Pair::options(label).proxied().build();
    pair.source.exec("create table orders (id int primary key, note text); insert into orders select i, repeat('x', 200) from generate_series(1, 5000) i");
    pair.prepare();
    pair
}

#[test]
fn an_interrupt_asks_and_cancels() {
    let pair = ready("cli_tty_cancel");
    pair.proxy().throttle(100_000);
    let mut terminal = Terminal::start(&pair, "init node_b --from node_a");
    terminal.shows("public.orders");
    terminal.types("\x03");
    terminal.shows("(c)");
    // Anything else goes on watching, with bars below those that were there.
    terminal.types("\n");
    wait_until("it goes on", Duration::from_secs(30), || {
        (terminal.text().matches("public.orders").count() > 1).then_some(())
    });
    terminal.types("\x03");
    wait_until("it asks again", Duration::from_secs(30), || (terminal.text().matches("(c)").count() > 1).then_some(()));
    terminal.types("c\n");
    assert_eq!(terminal.ends(), 4, "{}", terminal.text());
    terminal.shows("was cancelled");
    assert_eq!(pair.state(), "UNINITIALIZED");
    check::assert_clean(&pair.source, &pair.target);
}

#[test]
fn a_second_interrupt_detaches() {
    let pair = ready("cli_tty_detach");
    pair.proxy().throttle(100_000);
    let mut terminal = Terminal::start(&pair, "init node_b --from node_a");
    terminal.shows("public.orders");
    terminal.types("\x03");
    terminal.shows("(c)");
    terminal.types("\x03");
    assert_eq!(terminal.ends(), 1, "{}", terminal.text());
    terminal.shows("goes on");
    pair.proxy().throttle(0);
    pair.expect_synchronized();
    pair.expect_equal();
}

#[test]
fn the_name_is_asked_for() {
    let pair = ready("cli_tty_name");
    pair.target.exec("insert into orders values (-1)");
    let mut terminal = Terminal::start(&pair, "init node_b --from node_a --force");
    terminal.shows("will be emptied");
    terminal.types("node_a\n");
    assert_eq!(terminal.ends(), 4);
    terminal.shows("nothing was changed");
    assert_eq!(pair.target.scalar::<i64>("select count(*) from orders"), 1);
    let mut terminal = Terminal::start(&pair, "init node_b --from node_a --force");
    terminal.shows("will be emptied");
    terminal.types("node_b\n");
    assert_eq!(terminal.ends(), 0, "{}", terminal.text());
    terminal.shows("Node node_b is SYNCHRONIZED");
    pair.expect_equal();
}
