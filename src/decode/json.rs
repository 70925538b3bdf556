//! A cursor over JSON bytes: RFC 8259 to the letter, no tree, no allocation per value.
//!
//! Owns the grammar: blanks, literals, strings, escapes, numbers' ends, and skipping a value whole. It knows nothing
//! of fields and types. Whether bytes above 0x7F are UTF-8 is the caller's to check: they are passed over inside
//! strings and refused everywhere else.

use super::number::Number;

/// Where the grammar broke, and what it wanted there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Syntax {
    pub(super) at: usize,
    pub(super) expected: &'static str,
}

/// Why a value could not be passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    Syntax(Syntax),
    TooDeep { at: usize },
}

impl From<Syntax> for Stop {
    fn from(syntax: Syntax) -> Self {
        Self::Syntax(syntax)
    }
}

/// A string as it stands between its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RawText<'b> {
    pub(super) raw: &'b [u8],
    /// Whether `raw` holds escapes, all of them well formed.
    pub(super) escaped: bool,
}

/// A place in the bytes; every method leaves it after what it read, or anywhere where it fails.
pub(super) struct Cursor<'b> {
    bytes: &'b [u8],
    pub(super) at: usize,
}

impl<'b> Cursor<'b> {
    pub(super) fn new(bytes: &'b [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// What is left from here.
    #[inline]
    pub(super) fn rest(&self) -> &'b [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    #[inline]
    pub(super) fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    #[cold]
    pub(super) fn broken(&self, expected: &'static str) -> Syntax {
        Syntax { at: self.at, expected }
    }

    #[inline]
    pub(super) fn literal(&mut self, literal: &'static str) -> Result<(), Syntax> {
        if !self.rest().starts_with(literal.as_bytes()) {
            return Err(self.broken("true, false or null"));
        }
        self.at += literal.len();
        Ok(())
    }

    #[inline]
    pub(super) fn number(&mut self) -> Result<Number<'b>, Syntax> {
        match Number::scan(self.rest()) {
            Ok(number) => {
                self.at += number.text().len();
                Ok(number)
            }
            Err(offset) => {
                Err(Syntax { at: self.at + offset, expected: "a number without leading zeros or bare points" })
            }
        }
    }

    #[inline]
    pub(super) fn string(&mut self) -> Result<RawText<'b>, Syntax> {
        if self.peek() != Some(b'"') {
            return Err(self.broken("a string"));
        }
        let start = self.at + 1;
        let mut escaped = false;
        self.at = start;
        loop {
            self.at = plain_until(self.bytes, self.at);
            match self.peek() {
                Some(b'"') => {
                    let raw = &self.bytes[start..self.at];
                    self.at += 1;
                    return Ok(RawText { raw, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err(self.broken("no control character inside a string")),
                None => return Err(self.broken("a closing quote")),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Syntax> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(())
            }
            Some(b'u') => {
                self.at += 1;
                if hex4(self.rest()).is_none() {
                    return Err(self.broken("four hexadecimal digits"));
                }
                self.at += 4;
                Ok(())
            }
            _ => Err(self.broken("an escape that JSON knows")),
        }
    }

    /// A key and its colon, up to the value.
    fn skip_key(&mut self) -> Result<(), Syntax> {
        self.skip_blanks();
        if self.peek() != Some(b'"') {
            return Err(self.broken("a key"));
        }
        self.string()?;
        self.colon()
    }

    /// The colon after a key, with the blanks around it.
    #[inline]
    pub(super) fn colon(&mut self) -> Result<(), Syntax> {
        self.skip_blanks();
        if self.peek() != Some(b':') {
            return Err(self.broken("a colon after the key"));
        }
        self.at += 1;
        self.skip_blanks();
        Ok(())
    }

    /// Passes one value, checking it; `open` is scratch, `limit` how many containers may be open in it at once.
    ///
    /// It does not recurse: a payload cannot exhaust the stack.
    pub(super) fn skip_value(&mut self, open: &mut Vec<u8>, limit: usize) -> Result<(), Stop> {
        open.clear();
        loop {
            self.skip_blanks();
            match self.peek() {
                Some(bracket @ (b'{' | b'[')) => {
                    if open.len() >= limit {
                        return Err(Stop::TooDeep { at: self.at });
                    }
                    self.at += 1;
                    self.skip_blanks();
                    if self.peek() == Some(closing(bracket)) {
                        self.at += 1;
                    } else {
                        open.push(bracket);
                        if bracket == b'{' {
                            self.skip_key()?;
                        }
                        continue;
                    }
                }
                Some(b'"') => {
                    self.string()?;
                }
                Some(b'-' | b'0'..=b'9') => {
                    self.number()?;
                }
                Some(b't') => self.literal("true")?,
                Some(b'f') => self.literal("false")?,
                Some(b'n') => self.literal("null")?,
                _ => return Err(self.broken("a value").into()),
            }
            if self.skip_ends(open)? {
                return Ok(());
            }
        }
    }

    /// After a value: passes closing brackets; true where the outermost value has ended, false where another follows.
    fn skip_ends(&mut self, open: &mut Vec<u8>) -> Result<bool, Syntax> {
        while let Some(&bracket) = open.last() {
            self.skip_blanks();
            match self.peek() {
                Some(b',') => {
                    self.at += 1;
                    if bracket == b'{' {
                        self.skip_key()?;
                    }
                    return Ok(false);
                }
                Some(byte) if byte == closing(bracket) => {
                    self.at += 1;
                    open.pop();
                }
                _ if bracket == b'{' => return Err(self.broken("a comma or } after a value")),
                _ => return Err(self.broken("a comma or ] after a value")),
            }
        }
        Ok(true)
    }
}

fn closing(bracket: u8) -> u8 {
    if bracket == b'{' { b'}' } else { b']' }
}

const ONES: u64 = u64::MAX / 255;
const HIGH_BITS: u64 = ONES * 0x80;

/// The first offset from `at` on that holds a quote, a backslash or a control character; else the end.
///
/// Eight bytes at a time. The borrow of a subtraction can only mark bytes after the first true one, so the lowest
/// mark is exact.
#[inline]
fn plain_until(bytes: &[u8], mut at: usize) -> usize {
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let quote = word ^ (ONES * b'"' as u64);
        let backslash = word ^ (ONES * b'\\' as u64);
        let control_marks = word.wrapping_sub(ONES * 0x20) & !word;
        let quote_marks = quote.wrapping_sub(ONES) & !quote;
        let backslash_marks = backslash.wrapping_sub(ONES) & !backslash;
        let marks = (control_marks | quote_marks | backslash_marks) & HIGH_BITS;
        if marks != 0 {
            return at + (marks.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while let Some(&byte) = bytes.get(at) {
        if byte < 0x20 || byte == b'"' || byte == b'\\' {
            break;
        }
        at += 1;
    }
    at
}

fn hex4(bytes: &[u8]) -> Option<u32> {
    let mut code = 0;
    for &byte in bytes.first_chunk::<4>()? {
        code = code * 16 + char::from(byte).to_digit(16)?;
    }
    Some(code)
}

/// Half a surrogate pair stands alone: JSON's grammar allows it, Unicode does not.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LoneSurrogate;

/// Writes what an escaped string means into `text`, which is cleared first; `raw` is as [`Cursor::string`] gave it.
pub(super) fn unescape(raw: &[u8], text: &mut Vec<u8>) -> Result<(), LoneSurrogate> {
    text.clear();
    let mut rest = raw;
    while let Some(backslash) = memchr::memchr(b'\\', rest) {
        text.extend_from_slice(&rest[..backslash]);
        let letter = rest.get(backslash + 1).copied().unwrap_or(b'\\');
        rest = rest.get(backslash + 2..).unwrap_or_default();
        match letter {
            b'b' => text.push(0x08),
            b'f' => text.push(0x0C),
            b'n' => text.push(b'\n'),
            b'r' => text.push(b'\r'),
            b't' => text.push(b'\t'),
            b'u' => rest = unescape_code(rest, text)?,
            other => text.push(other),
        }
    }
    text.extend_from_slice(rest);
    Ok(())
}

/// Writes the character whose code follows `\u`; gives what comes after it.
fn unescape_code<'b>(rest: &'b [u8], text: &mut Vec<u8>) -> Result<&'b [u8], LoneSurrogate> {
    let mut code = hex4(rest).ok_or(LoneSurrogate)?;
    let mut used = 4;
    if (0xD800..0xDC00).contains(&code) {
        let low = rest.get(4..).and_then(|tail| tail.strip_prefix(b"\\u")).and_then(hex4);
        let low = low.filter(|low| (0xDC00..0xE000).contains(low)).ok_or(LoneSurrogate)?;
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        used = 10;
    }
    let character = char::from_u32(code).ok_or(LoneSurrogate)?;
    text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(&rest[used..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn skip(text: &[u8], limit: usize) -> Result<usize, Stop> {
        let mut cursor = Cursor::new(text, 0);
        cursor.skip_value(&mut Vec::new(), limit).map(|()| cursor.at)
    }

    #[test]
    fn what_json_allows_is_passed_to_its_end() {
        let texts = [
            "0",
            "-0",
            "12",
            "-1.50",
            "1e3",
            "1E+3",
            "0.0e-0",
            "true",
            "false",
            "null",
            "\"\"",
            "\"a\\u00e9\\n\\\\\\\"/\"",
            "[]",
            "{}",
            "[ ]",
            "{ }",
            "[1,[2,{\"a\":[]}],\"]\"]",
            "{\"a\":{\"b\":[1,2]},\"c\":null}",
            " {\n\"a\" :\t1 }",
            "\"é€😀\"",
            "\"\\ud83d\\ude00\"",
            "\"a long string of plain characters, over eight\"",
        ];
        for text in texts {
            assert_eq!(skip(text.as_bytes(), 64), Ok(text.len()), "{text}");
        }
    }

    #[test]
    fn what_json_does_not_allow_is_refused() {
        let texts: [&[u8]; 42] = [
            b"",
            b" ",
            b"NaN",
            b"Infinity",
            b"-Infinity",
            b"+1",
            b"01",
            b"-01",
            b"1.",
            b".5",
            b"1.e3",
            b"1e",
            b"1e+",
            b"-",
            b"--1",
            b"tru",
            b"True",
            b"nul",
            b"'a'",
            b"\"",
            b"\"a",
            b"\"a\nb\"",
            b"\"\x00\"",
            b"\"\\x\"",
            b"\"\\u12g4\"",
            b"\"\\u12\"",
            b"\"\\",
            b"{",
            b"[",
            b"{\"a\"}",
            b"{\"a\":}",
            b"{\"a\":1,}",
            b"[1,]",
            b"[,1]",
            b"[1 2]",
            b"{\"a\":1 \"b\":2}",
            b"{a:1}",
            b"{1:1}",
            b"[1}",
            b"{\"a\":1]",
            b"\xEF\xBB\xBF1",
            b"{\"a\":\xff}",
        ];
        for text in texts {
            assert!(matches!(skip(text, 64), Err(Stop::Syntax(_))), "{:?}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn the_limit_counts_the_containers_open_at_once() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(skip(nested(64).as_bytes(), 64), Ok(128));
        assert_eq!(skip(nested(65).as_bytes(), 64), Err(Stop::TooDeep { at: 64 }));
        assert_eq!(skip(nested(200_000).as_bytes(), usize::MAX), Ok(400_000));
        let wide = format!("[{}[]]", "[],".repeat(1000));
        assert_eq!(skip(wide.as_bytes(), 2), Ok(wide.len()));
    }

    #[test]
    fn escapes_mean_what_rfc_8259_says() {
        let cases = [
            (r#"\"\\\/\b\f\n\r\t"#, Some("\"\\/\u{8}\u{c}\n\r\t")),
            (r"\u0041\u00e9\u20ac", Some("Aé€")),
            (r"x\ud83d\ude00y", Some("x😀y")),
            (r"\u0000", Some("\0")),
            (r"\ud83d", None),
            (r"\ud83dx", None),
            (r"\ude00", None),
            (r"\ud83d\u0041", None),
            (r"\ud83d\ud83d", None),
        ];
        for (raw, expected) in cases {
            let mut text = b"left over".to_vec();
            let outcome = unescape(raw.as_bytes(), &mut text).ok().map(|()| String::from_utf8(text).expect("utf-8"));
            assert_eq!(outcome.as_deref(), expected, "{raw}");
        }
    }

    proptest! {
        #[test]
        fn the_first_special_byte_is_found_wherever_it_stands(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let slow = bytes.iter().position(|byte| *byte < 0x20 || *byte == b'"' || *byte == b'\\');
            prop_assert_eq!(plain_until(&bytes, 0), slow.unwrap_or(bytes.len()));
        }

        #[test]
        fn it_takes_and_refuses_what_serde_json_does(text in r#"[\[\]{}",:0-9.eE+\-truefalsnul\\ a]{0,24}"#) {
            let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text);
            let ours = skip(text.as_bytes(), 64).is_ok_and(|end| text[end..].trim_ascii().is_empty());
            prop_assert_eq!(ours, theirs.is_ok());
        }

        #[test]
        fn any_text_survives_its_escaping(text in any::<String>()) {
            let json = serde_json::to_string(&text).expect("json");
            let mut cursor = Cursor::new(json.as_bytes(), 0);
            let string = cursor.string().expect("string");
            let mut meant = Vec::new();
            unescape(string.raw, &mut meant).expect("whole characters");
            prop_assert_eq!(cursor.at, json.len());
            prop_assert_eq!(string.escaped, string.raw.contains(&b'\\'));
            prop_assert_eq!(String::from_utf8(meant).expect("utf-8"), text);
        }
    }
}
