//! How long a statement's chains are: `a AND b AND c …` becomes a tree as deep as the chain is long, and whatever walks,
//! plans, evaluates or drops the tree takes stack for each level.
//!
//! Owns the bound, and the look at a statement's words before any tree of it is made. Lists (`IN (…)`, `VALUES`, the
//! branches of a CASE) are not deep, however long. What is nested in parentheses is the parser's to bound.

use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, Tokenizer};

/// Operators and joins that a chain may have. The stacks of the program's threads are made for it.
pub const MAX_CHAIN: usize = 1_000;

/// What is said of a statement with a longer one.
pub const TOO_LONG_A_CHAIN: &str = "a chain of over 1000 operators or joins (AND, OR, +, ||, UNION ALL) ends here, and none \
     so long is planned: write a list of values as IN (…), or as a table (VALUES …) to join";

/// Where the statement's first chain grows too long; none where all are short enough, or it is no SQL.
pub fn too_long_a_chain(sql: &str, dialect: &dyn Dialect) -> Option<Location> {
    let tokens = Tokenizer::new(dialect, sql).tokenize_with_location().ok()?;
    let mut levels = Levels::default();
    for token in &tokens {
        match &token.token {
            Token::LParen | Token::LBracket | Token::LBrace => levels.open(),
            Token::RParen | Token::RBracket | Token::RBrace => levels.close(),
            Token::Word(word) if word.keyword == Keyword::CASE => levels.open(),
            Token::Word(word) if word.keyword == Keyword::END => levels.close(),
            token => levels.inner.take(token),
        }
        if levels.length() > MAX_CHAIN {
            return Some(token.span.start);
        }
    }
    None
}

/// The parentheses that are open at a word.
#[derive(Default)]
struct Levels {
    outer: Vec<Level>,
    /// What the outer ones add up to.
    outer_length: usize,
    inner: Level,
}

impl Levels {
    fn length(&self) -> usize {
        self.outer_length + self.inner.length()
    }

    fn open(&mut self) {
        self.outer_length += self.inner.length();
        self.outer.push(std::mem::take(&mut self.inner));
    }

    fn close(&mut self) {
        // One that closes too much is the parser's to refuse.
        if let Some(level) = self.outer.pop() {
            self.outer_length -= level.length();
            self.inner = level;
        }
    }
}

/// What stands between two parentheses.
#[derive(Default)]
struct Level {
    /// Operators since the last comma or clause.
    operators: usize,
    /// Joined relations, and joined queries: a clause does not end them.
    joins: usize,
    in_from: bool,
}

impl Level {
    fn length(&self) -> usize {
        self.operators + self.joins
    }

    fn take(&mut self, token: &Token) {
        match token {
            Token::Comma => {
                self.operators = 0;
                self.joins += usize::from(self.in_from);
            }
            Token::Word(word) => self.take_word(word.keyword),
            Token::SemiColon => *self = Self::default(),
            Token::Whitespace(_)
            | Token::Number(..)
            | Token::Period
            | Token::EOF
            | Token::SingleQuotedString(_)
            | Token::EscapedStringLiteral(_)
            | Token::NationalStringLiteral(_) => {}
            _ => self.operators += 1,
        }
    }

    fn take_word(&mut self, word: Keyword) {
        match word {
            Keyword::JOIN | Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT => {
                self.joins += 1;
                self.operators = 0;
            }
            Keyword::SELECT
            | Keyword::FROM
            | Keyword::WHERE
            | Keyword::GROUP
            | Keyword::HAVING
            | Keyword::ORDER
            | Keyword::LIMIT
            | Keyword::ON
            | Keyword::WHEN
            | Keyword::THEN
            | Keyword::ELSE => {
                self.operators = 0;
                self.in_from = word == Keyword::FROM || (self.in_from && word == Keyword::ON);
            }
            Keyword::AND
            | Keyword::OR
            | Keyword::XOR
            | Keyword::NOT
            | Keyword::IS
            | Keyword::LIKE
            | Keyword::ILIKE
            | Keyword::SIMILAR
            | Keyword::BETWEEN
            | Keyword::IN
            | Keyword::DIV
            | Keyword::COLLATE
            | Keyword::AT => self.operators += 1,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;

    use super::*;

    fn place(sql: &str) -> Option<u64> {
        too_long_a_chain(sql, &GenericDialect {}).map(|place| place.column)
    }

    #[test]
    fn what_becomes_a_deep_tree_is_refused() {
        let select = |rest: String| format!("select a from t where {rest}");
        for sql in [
            select(vec!["a <> 1"; 3_000].join(" and ")),
            select(vec!["a = 1"; 3_000].join(" or ")),
            select(format!("a{} > 0", " + 1".repeat(1_001))),
            format!("select a{} from t", " || 'b'".repeat(1_001)),
            format!("select a{} from t", "::int".repeat(1_001)),
            format!("select {}true", "not ".repeat(1_001)),
            vec!["select 1"; 3_000].join(" union all "),
            format!("select 1 from {}", vec!["t"; 1_003].join(", ")),
            format!("select 1 from {}", vec!["t"; 1_003].join(" cross join ")),
            format!("select 1 from {}", vec!["t"; 1_003].join(" join u on a = b join ")),
            // Ten levels, none of which is long by itself.
            format!("select {}1{}", format!("({}", "1 + ".repeat(101)).repeat(10), ")".repeat(10)),
            format!("select case when true then {} end", vec!["a"; 1_003].join(" + ")),
        ] {
            assert!(place(&sql).is_some(), "{}…", &sql[..60]);
        }
        assert_eq!(place(&format!("select 1{}", " + 1".repeat(1_001))), Some(10 + 1_000 * 4));
    }

    #[test]
    fn what_is_long_and_not_deep_is_taken() {
        let numbers: Vec<String> = (0..10_000).map(|number| number.to_string()).collect();
        for sql in [
            format!("select a from t where a in ({})", numbers.join(", ")),
            format!("select * from (values {}) as v(a, b)", vec!["(1, -2 + 3)"; 3_000].join(", ")),
            format!("select {} from t where a = 1", vec!["a + b * c"; 1_500].join(", ")),
            format!("select case a {} else 0 end from t", vec!["when 1 then a + 1"; 3_000].join(" ")),
            format!("select case {} end from t", vec!["when a = 1 and b = 2 then 'x' || 'y'"; 3_000].join(" ")),
            format!("select a from t where {}", vec!["a <> 1"; 400].join(" and ")),
            "select 'a + b + c'".to_owned() + &" -- + + +\n".repeat(3_000),
            vec!["select 1 + 1"; 900].join("; "),
            "select (((1))".to_owned(),
            ")".repeat(3_000),
            "select 'unfinished".to_owned(),
        ] {
            assert_eq!(place(&sql), None, "{}…", &sql[..60.min(sql.len())]);
        }
    }
}
