//! A line that is typed: its text, and where in it the cursor stands.

/// A line that is typed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    text: String,
    /// Bytes before the cursor; always between two characters.
    at: usize,
}

impl Line {
    /// A text with the cursor at its end.
    pub fn new(text: impl Into<String>) -> Line {
        let text = text.into();
        Line { at: text.len(), text }
    }

    /// What was typed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What stands before the cursor, and what under it and after it.
    pub fn around(&self) -> (&str, &str) {
        self.text.split_at(self.at)
    }

    /// Puts a character in at the cursor.
    pub fn insert(&mut self, c: char) {
        self.text.insert(self.at, c);
        self.at += c.len_utf8();
    }

    /// Takes the character before the cursor away.
    pub fn backspace(&mut self) {
        if self.at > 0 {
            self.left();
            self.delete();
        }
    }

    /// Takes the character under the cursor away.
    pub fn delete(&mut self) {
        if self.at < self.text.len() {
            self.text.remove(self.at);
        }
    }

    /// One character to the left.
    pub fn left(&mut self) {
        self.at -= self.around().0.chars().next_back().map_or(0, char::len_utf8);
    }

    /// One character to the right.
    pub fn right(&mut self) {
        self.at += self.around().1.chars().next().map_or(0, char::len_utf8);
    }

    /// To its beginning.
    pub fn home(&mut self) {
        self.at = 0;
    }

    /// To its end.
    pub fn end(&mut self) {
        self.at = self.text.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_changed_where_the_cursor_is() {
        let mut line = Line::new("aä日");
        line.left();
        assert_eq!(line.around(), ("aä", "日"));
        line.backspace();
        line.insert('ö');
        line.home();
        line.left();
        line.backspace();
        line.delete();
        assert_eq!((line.text(), line.around().0), ("ö日", ""));
        line.end();
        line.right();
        line.delete();
        line.backspace();
        line.insert('x');
        assert_eq!((line.text(), line.around().1), ("öx", ""));
    }
}
