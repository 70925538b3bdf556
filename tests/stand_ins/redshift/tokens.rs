//! The words of what was sent: one list for each statement, names folded to lower case.

use sqlparser::dialect::RedshiftSqlDialect;
use sqlparser::tokenizer::{Token, Tokenizer};

use super::refusal::Refusal;

/// The longest name that Redshift takes, in bytes.
const LONGEST_NAME: usize = 127;

/// The longest that the PostgreSQL behind takes.
const LONGEST_BEHIND: usize = 63;

/// The statements of a text, without whitespace and comments.
pub(super) fn statements(text: &str) -> Result<Vec<Vec<Token>>, Refusal> {
    let dialect = RedshiftSqlDialect {};
    let tokens = Tokenizer::new(&dialect, text).tokenize();
    let tokens = tokens.map_err(|error| Refusal::new("42601", format!("syntax error: {error}")))?;
    let mut statements = vec![Vec::new()];
    for token in tokens {
        match token {
            Token::Whitespace(_) => {}
            Token::SemiColon => statements.push(Vec::new()),
            token => statements.last_mut().expect("one at least").push(folded(token)?),
        }
    }
    statements.retain(|tokens| !tokens.is_empty());
    Ok(statements)
}

/// Names are folded even in quotes, and are not too long.
fn folded(token: Token) -> Result<Token, Refusal> {
    let Token::Word(mut word) = token else { return Ok(token) };
    if word.value.len() > LONGEST_NAME {
        let name = &word.value;
        return Err(Refusal::new("42622", format!("identifier \"{name}\" is longer than {LONGEST_NAME} bytes")));
    }
    if word.value.len() > LONGEST_BEHIND {
        return Err(Refusal::stand_in_cannot("names longer than 63 bytes, which PostgreSQL would cut"));
    }
    word.value = word.value.to_ascii_lowercase();
    Ok(Token::Word(word))
}

/// Whether the token is this word, unquoted.
pub(super) fn is_word(token: Option<&Token>, wanted: &str) -> bool {
    matches!(token, Some(Token::Word(word)) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(wanted))
}

/// Whether these words stand at this place.
pub(super) fn are_words(tokens: &[Token], at: usize, wanted: &[&str]) -> bool {
    wanted.iter().enumerate().all(|(offset, word)| is_word(tokens.get(at + offset), word))
}

/// Tokens as a text again.
pub(super) fn text(tokens: &[Token]) -> String {
    tokens.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// A cursor over the tokens of one statement, for the grammars that the parser does not know.
#[derive(Clone)]
pub(super) struct Words<'a> {
    tokens: &'a [Token],
    at: usize,
}

impl<'a> Words<'a> {
    pub(super) fn new(tokens: &'a [Token]) -> Self {
        Self { tokens, at: 0 }
    }

    pub(super) fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at)
    }

    pub(super) fn take(&mut self) -> Option<&'a Token> {
        let token = self.tokens.get(self.at);
        self.at += 1;
        token
    }

    /// Takes this word, where it comes next.
    pub(super) fn takes(&mut self, wanted: &str) -> bool {
        let comes = is_word(self.peek(), wanted);
        self.at += usize::from(comes);
        comes
    }

    /// Takes this sign, where it comes next.
    pub(super) fn takes_sign(&mut self, wanted: &Token) -> bool {
        let comes = self.peek() == Some(wanted);
        self.at += usize::from(comes);
        comes
    }

    pub(super) fn expect(&mut self, wanted: &str) -> Result<(), Refusal> {
        if self.takes(wanted) { Ok(()) } else { Err(self.unexpected()) }
    }

    pub(super) fn unexpected(&self) -> Refusal {
        match self.peek() {
            Some(token) => Refusal::syntax(&token.to_string()),
            None => Refusal::new("42601", "syntax error at end of input"),
        }
    }

    /// A string in single quotes.
    pub(super) fn string(&mut self) -> Result<&'a str, Refusal> {
        match self.peek() {
            Some(Token::SingleQuotedString(text)) => {
                self.at += 1;
                Ok(text)
            }
            _ => Err(self.unexpected()),
        }
    }

    /// A name.
    pub(super) fn name(&mut self) -> Result<&'a str, Refusal> {
        match self.peek() {
            Some(Token::Word(word)) => {
                self.at += 1;
                Ok(&word.value)
            }
            _ => Err(self.unexpected()),
        }
    }

    /// A name with or without a schema.
    pub(super) fn table(&mut self) -> Result<Vec<&'a str>, Refusal> {
        let mut parts = vec![self.name()?];
        while self.takes_sign(&Token::Period) {
            parts.push(self.name()?);
        }
        Ok(parts)
    }

    /// Names in parentheses.
    pub(super) fn names(&mut self) -> Result<Vec<&'a str>, Refusal> {
        if !self.takes_sign(&Token::LParen) {
            return Err(self.unexpected());
        }
        let mut names = vec![self.name()?];
        while self.takes_sign(&Token::Comma) {
            names.push(self.name()?);
        }
        if self.takes_sign(&Token::RParen) { Ok(names) } else { Err(self.unexpected()) }
    }
}

/// Names as SQL writes them.
pub(super) fn quoted(parts: &[&str]) -> String {
    parts.iter().map(|part| format!("\"{}\"", part.replace('"', "\"\""))).collect::<Vec<_>>().join(".")
}
