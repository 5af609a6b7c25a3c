//! Identifiers and literals in SQL text: the one place that quotes them, and that reads names given by users.
//!
//! Reading follows `regclass` input (`SplitIdentifierString` in varlena.c), so that a name means here what it means
//! in `'name'::regclass`.

/// Longest identifier in bytes: PostgreSQL's `NAMEDATALEN` - 1.
pub const MAX_IDENTIFIER_BYTES: usize = 63;

/// Why a name could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing but white space.
    #[error("name is empty")]
    Empty,
    /// A part before, between or after dots is missing, or is `""`.
    #[error("name \"{0}\" has an empty part")]
    EmptyPart(String),
    /// A double quote that is never closed.
    #[error("name \"{0}\" has an unterminated quoted part")]
    UnterminatedQuote(String),
    /// Something other than a dot follows a part.
    #[error("name \"{0}\" has unexpected text after a part")]
    TrailingText(String),
    /// Three parts: a database name in front.
    #[error("cross-database references are not supported: \"{0}\"")]
    CrossDatabase(String),
    /// More than three parts.
    #[error("name \"{0}\" has too many dotted parts")]
    TooManyParts(String),
}

/// The identifier in double quotes, always, inner quotes doubled.
///
/// Quoting always, even where PostgreSQL would not, needs no list of key words, which differs between versions.
pub fn quote_ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The identifier as a person would write it: quoted only when it would be read as another name otherwise.
///
/// Key words stay unquoted, so this is for messages and for names that [`parse_qualified`] reads, never for SQL.
pub fn display_ident(name: &str) -> String {
    let mut bytes = name.bytes();
    let plain = bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b == b'_')
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if plain {
        name.to_owned()
    } else {
        quote_ident(name)
    }
}

/// The text as a string literal that means the same whatever `standard_conforming_strings` says.
///
/// A backslash is only safe in the `E'...'` form, so that form is used exactly when there is one.
pub fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

/// `"schema"."name"`, for SQL text.
pub fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", quote_ident(schema), quote_ident(name))
}

/// `schema.name`, quoted only where needed, for people.
pub fn qualified_display(schema: &str, name: &str) -> String {
    format!("{}.{}", display_ident(schema), display_ident(name))
}

/// The longest beginning of `name` that PostgreSQL keeps: at most 63 bytes, cut between characters.
pub fn truncate_identifier(name: &str) -> &str {
    let mut end = name.len().min(MAX_IDENTIFIER_BYTES);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.get(..end).unwrap_or_default()
}

/// Reads a name, with or without a schema, as `regclass` input does: `(schema, name)`.
///
/// Unquoted parts are folded to lower case (ASCII only, as PostgreSQL does in multi-byte encodings), quoted parts are
/// kept, `""` inside quotes is one quote, white space is allowed around dots and at either end, and each part is cut
/// at 63 bytes. An unquoted part may hold any character but a dot or white space.
///
/// # Errors
///
/// [`NameError`] for empty parts, unterminated quotes, text after a closing quote or after white space, and more than
/// two parts.
pub fn parse_qualified(text: &str) -> Result<(Option<String>, String), NameError> {
    let mut parts = split_parts(text)?.into_iter();
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(name), None, _, _) => Ok((None, name)),
        (Some(schema), Some(name), None, _) => Ok((Some(schema), name)),
        (Some(_), Some(_), Some(_), None) => Err(NameError::CrossDatabase(text.to_owned())),
        (Some(_), Some(_), Some(_), Some(_)) => Err(NameError::TooManyParts(text.to_owned())),
        (None, ..) => Err(NameError::Empty),
    }
}

/// All dotted parts; at least one.
fn split_parts(text: &str) -> Result<Vec<String>, NameError> {
    let mut rest = text.trim_start_matches(is_space);
    if rest.is_empty() {
        return Err(NameError::Empty);
    }
    let mut parts = Vec::new();
    loop {
        let (part, after) = match rest.strip_prefix('"') {
            Some(inner) => quoted_part(inner).ok_or_else(|| NameError::UnterminatedQuote(text.to_owned()))?,
            None => unquoted_part(rest),
        };
        if part.is_empty() {
            return Err(NameError::EmptyPart(text.to_owned()));
        }
        parts.push(truncate_identifier(&part).to_owned());
        let after = after.trim_start_matches(is_space);
        if after.is_empty() {
            return Ok(parts);
        }
        match after.strip_prefix('.') {
            Some(next) => rest = next.trim_start_matches(is_space),
            None => return Err(NameError::TrailingText(text.to_owned())),
        }
    }
}

/// The part that begins after an opening quote, and what follows the closing one; `None` when there is none.
fn quoted_part(inner: &str) -> Option<(String, &str)> {
    let mut part = String::new();
    let mut rest = inner;
    loop {
        let (before, after) = rest.split_once('"')?;
        part.push_str(before);
        match after.strip_prefix('"') {
            Some(next) => {
                part.push('"');
                rest = next;
            }
            None => return Some((part, after)),
        }
    }
}

/// The part up to the next dot or white space, folded, and what follows it.
fn unquoted_part(rest: &str) -> (String, &str) {
    let end = rest.find(|c| c == '.' || is_space(c)).unwrap_or(rest.len());
    let (part, after) = rest.split_at(end);
    (part.to_ascii_lowercase(), after)
}

/// What PostgreSQL's scanner takes for white space.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

/// The elements of a setting that is a list: separated by commas, in double quotes where they hold one.
pub fn list_elements(text: &str) -> Vec<String> {
    let (mut elements, mut is_quoted) = (vec![String::new()], false);
    for one in text.chars() {
        match (one, elements.last_mut()) {
            ('"', _) => is_quoted = !is_quoted,
            (',', _) if !is_quoted => elements.push(String::new()),
            (one, Some(last)) if is_quoted || !one.is_whitespace() => last.push(one),
            _ => {}
        }
    }
    elements.retain(|element| !element.is_empty());
    elements
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOSTILE: &str = "We\"ird; --";

    fn both(schema: &str, name: &str) -> Result<(Option<String>, String), NameError> {
        Ok((Some(schema.to_owned()), name.to_owned()))
    }

    fn one(name: &str) -> Result<(Option<String>, String), NameError> {
        Ok((None, name.to_owned()))
    }

    #[test]
    fn identifiers_are_always_quoted() {
        assert_eq!(quote_ident("orders"), "\"orders\"");
        assert_eq!(quote_ident(HOSTILE), "\"We\"\"ird; --\"");
        assert_eq!(quote_ident("\""), "\"\"\"\"");
        assert_eq!(quote_ident("naïve 表"), "\"naïve 表\"");
        assert_eq!(qualified("a.b", HOSTILE), "\"a.b\".\"We\"\"ird; --\"");
    }

    #[test]
    fn people_see_quotes_only_where_needed() {
        assert_eq!(display_ident("orders_2"), "orders_2");
        for (name, shown) in [
            ("Orders", "\"Orders\""),
            ("2orders", "\"2orders\""),
            ("", "\"\""),
            ("a b", "\"a b\""),
            ("a.b", "\"a.b\""),
            ("é", "\"é\""),
        ] {
            assert_eq!(display_ident(name), shown);
        }
    }

    #[test]
    fn literals_escape_backslashes_only_in_the_e_form() {
        assert_eq!(quote_literal("plain"), "'plain'");
        assert_eq!(quote_literal("O'Reilly"), "'O''Reilly'");
        assert_eq!(quote_literal("C:\\x'y"), "E'C:\\\\x''y'");
        assert_eq!(quote_literal("\\'; drop table t; --"), "E'\\\\''; drop table t; --'");
        assert_eq!(quote_literal(""), "''");
    }

    #[test]
    fn names_are_read_as_regclass_reads_them() {
        assert_eq!(parse_qualified("Orders"), one("orders"));
        assert_eq!(parse_qualified("\"Orders\""), one("Orders"));
        assert_eq!(parse_qualified("Public . \t\"Or\"\"ders\" "), both("public", "Or\"ders"));
        assert_eq!(parse_qualified("  a.b\n"), both("a", "b"));
        assert_eq!(parse_qualified("\"a.b\".\"c d\""), both("a.b", "c d"));
        assert_eq!(parse_qualified("\"We\"\"ird; --\""), one(HOSTILE));
        assert_eq!(parse_qualified("MÜLLER"), one("mÜller"));
        assert_eq!(parse_qualified("a\"b"), one("a\"b"));
        assert_eq!(parse_qualified("order$1"), one("order$1"));
        assert_eq!(parse_qualified("\"a\".b"), both("a", "b"));
        // Unicode's spaces are letters to PostgreSQL's scanner.
        assert_eq!(parse_qualified("\u{a0}a\u{2003}b"), one("\u{a0}a\u{2003}b"));
    }

    #[test]
    fn malformed_names_are_refused() {
        let text = str::to_owned;
        for (name, error) in [
            ("", NameError::Empty),
            (" \t", NameError::Empty),
            (".", NameError::EmptyPart(text("."))),
            ("a.", NameError::EmptyPart(text("a."))),
            (".a", NameError::EmptyPart(text(".a"))),
            ("a..b", NameError::EmptyPart(text("a..b"))),
            ("\"\"", NameError::EmptyPart(text("\"\""))),
            ("a.\"\"", NameError::EmptyPart(text("a.\"\""))),
            ("\"a", NameError::UnterminatedQuote(text("\"a"))),
            ("\"a\"\"", NameError::UnterminatedQuote(text("\"a\"\""))),
            ("a b", NameError::TrailingText(text("a b"))),
            ("\"a\"b", NameError::TrailingText(text("\"a\"b"))),
            ("a.b c", NameError::TrailingText(text("a.b c"))),
            ("d.s.t", NameError::CrossDatabase(text("d.s.t"))),
            ("a.b.c.d", NameError::TooManyParts(text("a.b.c.d"))),
        ] {
            assert_eq!(parse_qualified(name), Err(error), "{name}");
        }
        let words = NameError::CrossDatabase(text("d.s.t")).to_string();
        assert!(words.contains("cross-database references are not supported"), "{words}");
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        let name = "x".repeat(63);
        assert_eq!(parse_qualified(&name), one(&name));
        assert_eq!(parse_qualified(&format!("{name}y.{name}z")), both(&name, &name));
        // 62 bytes and a two-byte character: the character goes as a whole.
        assert_eq!(truncate_identifier(&format!("{}é", "x".repeat(62))), "x".repeat(62));
        assert_eq!(truncate_identifier(&"表".repeat(22)), "表".repeat(21));
        assert_eq!(parse_qualified(&format!("\"{}\"", "表".repeat(30))), one(&"表".repeat(21)));
    }

    proptest! {
        #[test]
        fn a_quoted_name_reads_back(schema in "[^\\x00]{1,15}", name in "[^\\x00]{1,15}") {
            prop_assert_eq!(parse_qualified(&qualified(&schema, &name)), both(&schema, &name));
        }

        #[test]
        fn a_displayed_name_reads_back(schema in "[a-zA-Z\". é]{1,15}", name in "[a-zA-Z0-9_\"]{1,15}") {
            let shown = format!("{}.{}", display_ident(&schema), display_ident(&name));
            prop_assert_eq!(parse_qualified(&shown), both(&schema, &name));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[a-cA-C\". \\PC]*") {
            if let Ok((schema, name)) = parse_qualified(&text) {
                prop_assert!(!name.is_empty() && name.len() <= 63);
                prop_assert!(schema.is_none_or(|s| !s.is_empty() && s.len() <= 63));
            }
        }

        #[test]
        fn a_literal_has_no_loose_quote(text in "['\\\\a-c]*") {
            // Undoing the quoting must give the text back; a loose quote would end the literal early.
            let literal = quote_literal(&text);
            let (escapes, body) = match literal.strip_prefix('E') {
                Some(rest) => (true, rest),
                None => (false, literal.as_str()),
            };
            let body = body.strip_prefix('\'').and_then(|b| b.strip_suffix('\'')).unwrap();
            let body = if escapes { body.replace("\\\\", "\\") } else { body.to_owned() };
            prop_assert_eq!(body.replace("''", "'"), text);
        }
    }

    #[test]
    fn lists_of_settings() {
        assert_eq!(list_elements("pgoutput, test_decoding"), ["pgoutput", "test_decoding"]);
        assert_eq!(list_elements("\"a, pgoutput\",b"), ["a, pgoutput", "b"]);
        assert_eq!(list_elements(" ,"), [""; 0]);
    }
}
