//! The SQL prompt: lines with history and completion; a statement ends with `;`.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{CompletionType, Config, Context, Editor, Helper};

use crate::error::{Error, Result};
use crate::terminal::visible;

/// What a person has typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Typed {
    /// A statement, without its `;`.
    Sql(String),
    /// `\d`: which tables are there.
    Tables,
    /// `\?`: what can be typed.
    Help,
    /// Nothing, or a line that was broken off.
    Nothing,
    /// `\q` or the end of the input.
    End,
}

pub(super) const HELP: &str = r"a statement ends with ;   \d lists the tables   \q ends   Tab completes names";

/// Words that a statement is likely to hold, beside the names of tables and columns.
const KEYWORDS: [&str; 22] = [
    "and", "as", "asc", "between", "by", "case", "count", "desc", "distinct", "explain", "from", "group", "having",
    "join", "left", "limit", "not", "null", "on", "order", "select", "where",
];

/// The prompt with its history.
pub(super) struct Prompt {
    editor: Editor<Words, DefaultHistory>,
    history: Option<PathBuf>,
}

impl Prompt {
    /// A prompt that completes these names and keeps its history in this file, if any.
    pub(super) fn new(names: Vec<String>, history: Option<PathBuf>) -> Result<Self> {
        let config = Config::builder().completion_type(CompletionType::List).auto_add_history(true).build();
        let mut editor = Editor::with_config(config).map_err(refused)?;
        editor.set_helper(Some(Words::new(names)));
        if let Some(history) = &history {
            // There is none the first time.
            let _ = editor.load_history(history);
        }
        Ok(Self { editor, history })
    }

    /// Waits for a statement or a command.
    pub(super) fn read(&mut self) -> Result<Typed> {
        match self.editor.readline("millstream> ") {
            Ok(line) => {
                if let Some(history) = self.history.clone() {
                    self.keep_history(&history);
                }
                Ok(understand(&line))
            }
            Err(ReadlineError::Interrupted) => Ok(Typed::Nothing),
            Err(ReadlineError::Eof) => Ok(Typed::End),
            Err(error) => Err(refused(error)),
        }
    }

    fn keep_history(&mut self, file: &Path) {
        if let Err(error) = self.editor.save_history(file) {
            tracing::debug!(%error, "the prompt's history was not kept");
        }
    }
}

fn refused(error: ReadlineError) -> Error {
    Error::transient("the terminal cannot be read").with_source(error)
}

fn understand(line: &str) -> Typed {
    let line = line.trim();
    match line.trim_end_matches(';').trim_end() {
        "" => Typed::Nothing,
        r"\q" | "exit" | "quit" => Typed::End,
        r"\d" => Typed::Tables,
        r"\?" | "help" => Typed::Help,
        sql => Typed::Sql(sql.to_owned()),
    }
}

/// What a text of many lines holds: commands, each a line of its own, and statements up to their `;` or the end. A `;`
/// in quotes or in a comment ends nothing.
pub(super) fn statements(text: &str) -> Vec<Typed> {
    let mut typed = Vec::new();
    let (mut statement, mut quote) = (String::new(), None);
    for line in text.lines() {
        if statement.trim().is_empty() && line.trim_start().starts_with('\\') {
            typed.push(understand(line));
            continue;
        }
        for (place, letter) in line.char_indices() {
            if quote.is_none() && line[place..].starts_with("--") {
                break;
            }
            match (letter, quote) {
                ('\'' | '"', None) => quote = Some(letter),
                (letter, Some(open)) if letter == open => quote = None,
                (';', None) => {
                    typed.push(understand(&std::mem::take(&mut statement)));
                    continue;
                }
                _ => {}
            }
            statement.push(letter);
        }
        statement.push('\n');
    }
    typed.push(understand(&statement));
    typed.retain(|typed| *typed != Typed::Nothing);
    typed
}

struct Words(Vec<String>);

impl Words {
    fn new(mut names: Vec<String>) -> Self {
        names.extend(KEYWORDS.map(str::to_owned));
        // The line editor draws them as they are.
        names.retain(|name| visible(name) == **name);
        names.sort();
        names.dedup();
        Self(names)
    }

    /// The start of the word before `position`, and the names that go on from there.
    fn candidates(&self, line: &str, position: usize) -> (usize, Vec<&String>) {
        let typed = &line[..position];
        let start = typed.rfind(|letter: char| !(letter.is_alphanumeric() || "_.".contains(letter)));
        let start = start.map_or(0, |place| place + typed[place..].chars().next().map_or(1, char::len_utf8));
        let word = typed[start..].to_lowercase();
        let fits = |name: &&String| !word.is_empty() && name.starts_with(&word);
        (start, self.0.iter().filter(fits).collect())
    }
}

impl Helper for Words {}

impl Hinter for Words {
    type Hint = String;
}

impl Highlighter for Words {
    fn highlight<'l>(&self, line: &'l str, _position: usize) -> Cow<'l, str> {
        Cow::Borrowed(line)
    }
}

impl Validator for Words {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let input = context.input().trim();
        let whole = input.is_empty() || input.ends_with(';') || understand(input) != Typed::Sql(input.to_owned());
        Ok(if whole { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

impl Completer for Words {
    type Candidate = Pair;

    fn complete(&self, line: &str, position: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, names) = self.candidates(line, position);
        let pairs = names.into_iter().map(|name| Pair { display: name.clone(), replacement: name.clone() });
        Ok((start, pairs.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_understood() {
        for (line, typed) in [
            ("", Typed::Nothing),
            (" ; ", Typed::Nothing),
            (r"\q", Typed::End),
            ("exit;", Typed::End),
            (r"\d", Typed::Tables),
            (r"\?", Typed::Help),
            ("select 1 ;", Typed::Sql("select 1".into())),
        ] {
            assert_eq!(understand(line), typed, "{line:?}");
        }
    }

    #[test]
    fn a_script_is_cut_at_its_semicolons_and_its_last_statement_needs_none() {
        let sql = |text: &str| Typed::Sql(text.into());
        let text = "\\d\nselect ';' as a; select 2;\n-- not; this\nselect\n\"x;y\" from t -- nor this;\n";
        assert_eq!(
            statements(text),
            [Typed::Tables, sql("select ';' as a"), sql("select 2"), sql("select\n\"x;y\" from t")]
        );
        assert_eq!(statements(" ;\n;"), []);
    }

    #[test]
    fn names_complete_from_the_start_of_the_word() {
        let words = Words::new(vec!["staged.fact_orders".into(), "fact_orders".into(), "order_id".into()]);
        let found = |line: &str| {
            let (start, names) = words.candidates(line, line.len());
            (start, names.into_iter().map(String::as_str).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(found("select * from sta"), (14, "staged.fact_orders".into()));
        assert_eq!(found("SELECT ORD"), (7, "order order_id".into()));
        assert_eq!(found("select é"), (7, String::new()));
        assert_eq!(found("select "), (7, String::new()));
    }
}
