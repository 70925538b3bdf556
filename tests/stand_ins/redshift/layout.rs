//! DISTSTYLE, DISTKEY, SORTKEY, ENCODE and BACKUP: checked, and taken out, for PostgreSQL stores otherwise.

use sqlparser::tokenizer::Token;

use super::refusal::Refusal;
use super::tokens::{Words, is_word};

const ENCODINGS: &[&str] = &[
    "auto",
    "az64",
    "bytedict",
    "delta",
    "delta32k",
    "lzo",
    "mostly16",
    "mostly32",
    "mostly8",
    "raw",
    "runlength",
    "text255",
    "text32k",
    "zstd",
];

/// The types that AZ64 compresses.
const AZ64: &[&str] = &[
    "bigint",
    "date",
    "decimal",
    "int",
    "int2",
    "int4",
    "int8",
    "integer",
    "numeric",
    "smallint",
    "timestamp",
    "timestamptz",
];

/// What has been read of a table so far.
#[derive(Default)]
struct Layout {
    /// Name and first word of the type.
    columns: Vec<(String, String)>,
    style: Option<String>,
    distribution: Vec<String>,
    sort: Vec<String>,
}

/// The statement without its layout.
pub(super) fn strip(tokens: &[Token]) -> Result<Vec<Token>, Refusal> {
    let mut words = Words::new(tokens);
    let mut layout = Layout::default();
    let (mut depth, mut kept) = (0_usize, Vec::new());
    while let Some(token) = words.peek() {
        if depth == 0 && is_word(Some(token), "as") {
            kept.extend(std::iter::from_fn(|| words.take().cloned()));
            break;
        }
        if depth <= 1 && layout.takes(&mut words, depth)? {
            continue;
        }
        words.take();
        match token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 1 && matches!(token, Token::LParen | Token::Comma) {
            layout.column(&words);
        }
        kept.push(token.clone());
    }
    layout.check()?;
    Ok(kept)
}

impl Layout {
    /// Remembers the column that begins here.
    fn column(&mut self, words: &Words<'_>) {
        let mut ahead = words.clone();
        if let (Ok(name), Ok(kind)) = (ahead.name(), ahead.name()) {
            self.columns.push((name.to_owned(), kind.to_ascii_lowercase()));
        }
    }

    /// Takes one clause, where it comes next.
    fn takes(&mut self, words: &mut Words<'_>, depth: usize) -> Result<bool, Refusal> {
        if words.takes("encode") {
            self.encoding(words.name()?)?;
        } else if words.takes("distkey") {
            if depth == 0 {
                self.distribution.extend(words.names()?.into_iter().map(str::to_owned));
            } else {
                self.distribution.extend(self.columns.last().map(|(name, _)| name.clone()));
            }
        } else if words.takes("sortkey") {
            self.sort_key(words, depth)?;
        } else if depth == 0 && words.takes("diststyle") {
            self.style = Some(words.name()?.to_ascii_lowercase());
        } else if depth == 0 && (words.takes("compound") || words.takes("interleaved")) {
            words.expect("sortkey")?;
            self.sort_key(words, depth)?;
        } else if depth == 0 && words.takes("backup") {
            if !words.takes("yes") && !words.takes("no") {
                return Err(words.unexpected());
            }
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn sort_key(&mut self, words: &mut Words<'_>, depth: usize) -> Result<(), Refusal> {
        if depth == 1 {
            self.sort.extend(self.columns.last().map(|(name, _)| name.clone()));
        } else if !words.takes("auto") {
            self.sort.extend(words.names()?.into_iter().map(str::to_owned));
        }
        Ok(())
    }

    fn encoding(&self, encoding: &str) -> Result<(), Refusal> {
        let encoding = encoding.to_ascii_lowercase();
        if !ENCODINGS.contains(&encoding.as_str()) {
            return Err(Refusal::syntax(&encoding));
        }
        match self.columns.last() {
            Some((name, kind)) if encoding == "az64" && !AZ64.contains(&kind.as_str()) => {
                Err(Refusal::new("0A000", format!("invalid encoding type specified for column \"{name}\"")))
            }
            _ => Ok(()),
        }
    }

    fn check(&self) -> Result<(), Refusal> {
        let known = |name: &String| self.columns.iter().any(|(column, _)| column == name);
        if let Some(unknown) = self.distribution.iter().chain(&self.sort).find(|name| !known(name)) {
            if !self.columns.is_empty() {
                return Err(Refusal::new("42703", format!("column \"{unknown}\" named in key does not exist")));
            }
        }
        if self.distribution.len() > 1 {
            return Err(Refusal::new("42601", "a table has one DISTKEY column at most"));
        }
        match (self.style.as_deref(), self.distribution.is_empty()) {
            (None | Some("auto" | "even" | "all"), true) | (None | Some("key"), false) => Ok(()),
            (Some("key"), true) => Err(Refusal::new("42601", "DISTSTYLE KEY requires a DISTKEY column")),
            (Some(style), false) => {
                Err(Refusal::new("42601", format!("DISTKEY cannot be given with DISTSTYLE {style}")))
            }
            (Some(style), true) => Err(Refusal::syntax(style)),
        }
    }
}
