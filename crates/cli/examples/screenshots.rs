//! Pictures of the terminal UI, as SVG, from a real run: two throw-away servers, an initialization, and what a terminal shows of it.
//!
//!     cargo run -p steep_repl_cli --example screenshots -- target/debug/steep-repl docs/pictures

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portable_pty::{native_pty_system, CommandBuilder, PtySize};
use steep_repl_testkit::{wait_until, Pair};

const ROWS: u16 = 24;
const COLUMNS: u16 = 100;
/// Size of a cell in pixels.
const CELL: (f32, f32) = (8.4, 18.0);
const GROUND: &str = "#14171c";
const INK: &str = "#d6d9de";
/// The sixteen colours of a terminal.
const COLOURS: [&str; 16] = [
    "#14171c", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#d6d9de", "#5c6370", "#ff8a94",
    "#b5e890", "#ffd68a", "#82c7ff", "#e196f5", "#74d5e0", "#ffffff",
];

fn main() {
    let mut arguments = std::env::args().skip(1).map(PathBuf::from);
    let (Some(program), Some(folder)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: screenshots PROGRAM FOLDER");
        std::process::exit(2);
    };
    let program = program.canonicalize().unwrap_or_else(|error| fail(&format!("{}: {error}", program.display())));
    if let Err(error) = std::fs::create_dir_all(&folder) {
        eprintln!("error: could not make {}: {error}", folder.display());
        std::process::exit(1);
    }
    let pair = filled();
    let screen = Screen::start(&program, &pair);
    screen.shows("node_b");
    screen.saved(&folder.join("nodes.svg"));
    // What is shown is to be under way when the picture is taken.
    pair.proxy().throttle(6_000_000);
    if let Err(error) = pair.init("method => 'parallel', parallel_workers => 3") {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
    wait_until("a third is copied", Duration::from_secs(120), || {
        (pair.progress()?.overall_percent? > 30.0).then_some(())
    });
    screen.saved(&folder.join("copying.svg"));
    screen.types("j");
    screen.types("\r");
    screen.shows("active:");
    screen.saved(&folder.join("initialization.svg"));
    pair.proxy().throttle(0);
    pair.expect_synchronized();
    screen.shows("SYNCHRONIZED");
    screen.types("q");
}

/// A shop with a few tables of different sizes.
fn filled() -> Pair {
    let pair = Pair::options("shop").proxied().build();
    pair.source.exec(
        "create table customers (id int primary key, name text, mail text); create table orders (id int primary key, customer int, note text);
         create table line_items (id int primary key, price numeric(10,2), note text); create table products (id int primary key, name text);
         create index on orders (customer);
         insert into customers select i, 'customer ' || i, 'c' || i || '@example.com' from generate_series(1, 200000) i;
         insert into orders select i, i % 200000, repeat('x', 80) from generate_series(1, 400000) i;
         insert into line_items select i, i % 100, repeat('y', 60) from generate_series(1, 600000) i;
         insert into products select i, 'product ' || i from generate_series(1, 5000) i; analyze",
    );
    pair.prepare();
    pair
}

struct Screen {
    parser: Arc<Mutex<vt100::Parser>>,
    keyboard: Mutex<Box<dyn Write + Send>>,
    _master: Box<dyn portable_pty::MasterPty + Send>,
}

impl Screen {
    fn start(program: &Path, pair: &Pair) -> Screen {
        let size = PtySize { rows: ROWS, cols: COLUMNS, pixel_width: 0, pixel_height: 0 };
        let pty = native_pty_system().openpty(size).unwrap_or_else(|error| fail(&error.to_string()));
        let mut command = CommandBuilder::new(program);
        command.env_clear();
        command.env("TERM", "xterm-256color");
        command.env("LANG", "C.UTF-8");
        command.args(["--dsn", &pair.target.conninfo(), "tui"]);
        if let Err(error) = pty.slave.spawn_command(command) {
            fail(&error.to_string());
        }
        drop(pty.slave);
        let parser = Arc::new(Mutex::new(vt100::Parser::new(ROWS, COLUMNS, 0)));
        let mut output = pty.master.try_clone_reader().unwrap_or_else(|error| fail(&error.to_string()));
        let shown = Arc::clone(&parser);
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut piece) {
                if let Ok(mut parser) = shown.lock() {
                    parser.process(&piece[..count]);
                }
            }
        });
        let keyboard = Mutex::new(pty.master.take_writer().unwrap_or_else(|error| fail(&error.to_string())));
        Screen { parser, keyboard, _master: pty.master }
    }

    fn shows(&self, words: &str) {
        wait_until(&format!("\"{words}\" is shown"), Duration::from_secs(30), || {
            self.parser.lock().ok()?.screen().contents().contains(words).then_some(())
        });
    }

    fn types(&self, keys: &str) {
        if let Ok(mut keyboard) = self.keyboard.lock() {
            if let Err(error) = keyboard.write_all(keys.as_bytes()).and_then(|()| keyboard.flush()) {
                fail(&error.to_string());
            }
        }
    }

    fn saved(&self, path: &Path) {
        let Ok(parser) = self.parser.lock() else { fail("the terminal's reader has ended") };
        if let Err(error) = std::fs::write(path, svg(parser.screen())) {
            fail(&format!("could not write {}: {error}", path.display()));
        }
        println!("{}", path.display());
    }
}

fn fail(reason: &str) -> ! {
    eprintln!("error: {reason}");
    std::process::exit(1);
}

fn colour(colour: vt100::Color, default: &str) -> String {
    match colour {
        vt100::Color::Default => default.to_owned(),
        vt100::Color::Idx(index) => match COLOURS.get(usize::from(index)) {
            Some(colour) => (*colour).to_owned(),
            None if index >= 232 => {
                let grey = 8 + 10 * u32::from(index - 232);
                format!("#{grey:02x}{grey:02x}{grey:02x}")
            }
            None => {
                let level = |step: u8| if step == 0 { 0 } else { 55 + 40 * u32::from(step) };
                let cube = index - 16;
                format!("#{:02x}{:02x}{:02x}", level(cube / 36), level(cube / 6 % 6), level(cube % 6))
            }
        },
        vt100::Color::Rgb(red, green, blue) => format!("#{red:02x}{green:02x}{blue:02x}"),
    }
}

/// One rectangle for each cell with a ground of its own, one text element for each run of cells that look alike.
fn svg(screen: &vt100::Screen) -> String {
    let (width, height) = (f32::from(COLUMNS) * CELL.0 + 24.0, f32::from(ROWS) * CELL.1 + 24.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" font-family=\"DejaVu Sans Mono, Menlo, Consolas, monospace\" font-size=\"14\">\n<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{GROUND}\"/>\n"
    );
    for row in 0..ROWS {
        let mut column = 0;
        while column < COLUMNS {
            let Some(cell) = screen.cell(row, column) else { break };
            let look = |cell: &vt100::Cell| {
                let (ink, ground) = (colour(cell.fgcolor(), INK), colour(cell.bgcolor(), GROUND));
                let (ink, ground) = if cell.inverse() { (ground, ink) } else { (ink, ground) };
                (ink, ground, cell.bold())
            };
            let (ink, ground, bold) = look(cell);
            let start = column;
            let mut text = String::new();
            while let Some(next) = screen
                .cell(row, column)
                .filter(|next| column < COLUMNS && look(next) == (ink.clone(), ground.clone(), bold))
            {
                text.push_str(if next.contents().is_empty() { " " } else { next.contents() });
                column += 1;
            }
            let (x, y) = (12.0 + f32::from(start) * CELL.0, 12.0 + f32::from(row) * CELL.1);
            let run = f32::from(column - start) * CELL.0;
            if ground != GROUND {
                let _ = writeln!(
                    out,
                    "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{run:.1}\" height=\"{:.1}\" fill=\"{ground}\"/>",
                    CELL.1
                );
            }
            if !text.trim().is_empty() {
                let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
                let weight = if bold { " font-weight=\"bold\"" } else { "" };
                let _ = writeln!(
                    out,
                    "<text x=\"{x:.1}\" y=\"{:.1}\" fill=\"{ink}\" textLength=\"{run:.1}\" xml:space=\"preserve\"{weight}>{text}</text>",
                    y + 13.5
                );
            }
        }
    }
    out.push_str("</svg>\n");
    out
}
