//! Reading connection URIs, after `conninfo_uri_parse` of libpq's fe-connect.c.

use super::{ConninfoError, ConninfoErrorKind, Parser, Piece};

impl Parser<'_> {
    /// The part of a URI after its prefix: `[user[:password]@][host[:port][,...]][/dbname][?query]`.
    pub(super) fn uri(&mut self) -> Result<(), ConninfoError> {
        self.credentials()?;
        self.hosts()?;
        if self.eat('/') {
            let dbname = self.until(|c| c == '?');
            self.refuse_at_sign(dbname)?;
            self.store_decoded("dbname", dbname)?;
        }
        if self.eat('?') {
            self.query()?;
        }
        Ok(())
    }

    fn credentials(&mut self) -> Result<(), ConninfoError> {
        let start = self.at;
        // Only an "@" before the first slash ends credentials; without one this is the host already.
        let (_, all) = self.until(|c| c == '@' || c == '/');
        if !self.eat('@') {
            self.at = start;
            return Ok(());
        }
        let (user, password) = all.split_once(':').unwrap_or((all, ""));
        if user.contains('?') {
            // A query with an "@" in a value, most likely; for libpq all of it would be the user name.
            return Err(self.error(start + all.len(), ConninfoErrorKind::UnencodedAt));
        }
        self.store_decoded("user", (start, user))?;
        self.store_decoded("password", (start + user.len() + 1, password))
    }

    /// Hosts and ports, which libpq keeps as two lists of equal length, separated by commas.
    fn hosts(&mut self) -> Result<(), ConninfoError> {
        let (mut hosts, mut ports) = (Vec::new(), Vec::new());
        loop {
            hosts.push(self.host()?);
            let port = if self.eat(':') { self.until(|c| matches!(c, '/' | '?' | ',')) } else { (self.at, "") };
            let digits = self.decode(port)?;
            if !digits.bytes().all(|b| b.is_ascii_digit()) {
                return Err(self.error(port.0, ConninfoErrorKind::InvalidPort));
            }
            ports.push(digits);
            if !self.eat(',') {
                break;
            }
        }
        for (keyword, list) in [("host", hosts.join(",")), ("port", ports.join(","))] {
            if !list.is_empty() {
                self.read.set(keyword, &list);
            }
        }
        Ok(())
    }

    fn host(&mut self) -> Result<String, ConninfoError> {
        if !self.eat('[') {
            let host = self.until(|c| matches!(c, ':' | '/' | '?' | ','));
            self.refuse_at_sign(host)?;
            return self.decode(host);
        }
        let address = self.until(|c| c == ']');
        if !self.eat(']') {
            return Err(self.error(address.0, ConninfoErrorKind::UnterminatedAddress));
        }
        if address.1.is_empty() {
            return Err(self.error(address.0, ConninfoErrorKind::EmptyAddress));
        }
        if self.peek().is_some_and(|c| !matches!(c, ':' | '/' | '?' | ',')) {
            return Err(self.error(self.at, ConninfoErrorKind::TextAfterAddress));
        }
        self.decode(address)
    }

    /// Parameters separated by `&`; one at the end may be followed by nothing.
    fn query(&mut self) -> Result<(), ConninfoError> {
        while self.peek().is_some() {
            let (at, parameter) = self.until(|c| c == '&');
            self.eat('&');
            let Some((keyword, value)) = parameter.split_once('=') else {
                return Err(self.error(at, ConninfoErrorKind::MissingEqualSign));
            };
            let value_at = at + keyword.len() + 1;
            if let Some(extra) = value.find('=') {
                return Err(self.error(value_at + extra, ConninfoErrorKind::ExtraEqualSign));
            }
            let (keyword, value) = (self.decode((at, keyword))?, self.decode((value_at, value))?);
            // What JDBC writes.
            match (keyword.as_str(), value.as_str()) {
                ("ssl", "true") => self.read.set("sslmode", "require"),
                (keyword, value) => self.store(at, keyword, value)?,
            }
        }
        Ok(())
    }

    /// Empty parts of a URI are as good as absent.
    fn store_decoded(&mut self, keyword: &str, piece: Piece<'_>) -> Result<(), ConninfoError> {
        let value = self.decode(piece)?;
        if !piece.1.is_empty() {
            self.read.set(keyword, &value);
        }
        Ok(())
    }

    /// libpq takes everything after the first `@` for the host, so a password with an `@`, or with a slash and an `@`
    /// after it, would be resolved, logged and shown as a host or database name.
    fn refuse_at_sign(&self, (at, piece): Piece<'_>) -> Result<(), ConninfoError> {
        match piece.find('@') {
            Some(offset) => Err(self.error(at + offset, ConninfoErrorKind::UnencodedAt)),
            None => Ok(()),
        }
    }

    /// Undoes percent-encoding; spaces at either end are dropped, as libpq does since version 18.
    fn decode(&self, (at, piece): Piece<'_>) -> Result<String, ConninfoError> {
        let at = at + (piece.len() - piece.trim_start_matches(' ').len());
        let piece = piece.trim_matches(' ');
        if let Some(offset) = piece.find(' ') {
            return Err(self.error(at + offset, ConninfoErrorKind::UnencodedSpace));
        }
        let mut decoded = Vec::with_capacity(piece.len());
        let mut bytes = piece.bytes().enumerate();
        while let Some((offset, byte)) = bytes.next() {
            let literal = if byte == b'%' {
                let pair = (bytes.next().and_then(hex_digit), bytes.next().and_then(hex_digit));
                match pair {
                    (Some(high), Some(low)) if (high, low) != (0, 0) => high * 16 + low,
                    _ => return Err(self.error(at + offset, ConninfoErrorKind::InvalidPercentEncoding)),
                }
            } else {
                byte
            };
            decoded.push(literal);
        }
        String::from_utf8(decoded).map_err(|_| self.error(at, ConninfoErrorKind::InvalidUtf8))
    }
}

fn hex_digit((_, byte): (usize, u8)) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
