//! One connection's session: its transaction, and what each command does in the PostgreSQL behind.

use std::sync::Arc;

use pgwire::api::Type;
use sqlparser::tokenizer::Token;
use tokio_postgres::types::Kind;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::commands::{Command, command};
use super::refusal::Refusal;
use super::{ErrorViews, Failure, Loss, Shared, backend, copy, tokens};

/// What a command answers.
pub(super) enum Answer {
    Rows(Table),
    /// Done: the words of the answer, and the rows it counts.
    Done(&'static str, Option<usize>),
    /// The connection ends, with or without an answer.
    Lost {
        answered: bool,
    },
}

/// Rows as text.
pub(super) struct Table {
    pub(super) columns: Vec<(String, Type)>,
    pub(super) rows: Vec<Vec<Option<String>>>,
}

/// What a statement answers, and what it is asked with.
#[derive(Debug, Clone, Default)]
pub(super) struct Description {
    pub(super) columns: Vec<(String, Type)>,
    pub(super) parameters: Vec<Type>,
}

/// Where a transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transaction {
    None,
    Open { read_only: bool },
    Failed,
}

pub(super) struct Session {
    pub(super) client: Client,
    pub(super) database: String,
    pub(super) shared: Arc<Shared>,
    pub(super) transaction: Transaction,
}

impl Session {
    pub(super) async fn open(shared: Arc<Shared>, database: &str) -> Result<Self, Refusal> {
        let client = backend::open(shared.postgres_port, database, shared.options.isolation).await?;
        Ok(Self { client, database: database.to_owned(), shared, transaction: Transaction::None })
    }

    /// Runs one statement.
    pub(super) async fn run(&mut self, statement: &[Token]) -> Result<Answer, Refusal> {
        let outcome = match self.read(statement) {
            Ok(command) => self.perform(command).await,
            Err(refusal) => Err(refusal),
        };
        if outcome.is_err() && self.transaction != Transaction::None {
            self.transaction = Transaction::Failed;
        }
        outcome
    }

    /// Tells what a statement answers, without running it.
    pub(super) async fn describe(&mut self, statement: &[Token]) -> Result<Description, Refusal> {
        let outcome = match self.read(statement) {
            Ok(Command::Read(sql)) => self.client.prepare(&sql).await.map_err(Refusal::from).map(|prepared| {
                let columns = prepared.columns().iter();
                let columns = columns.map(|column| (column.name().to_owned(), in_front(column.type_()))).collect();
                Description { columns, parameters: prepared.params().to_vec() }
            }),
            Ok(_) => Ok(Description::default()),
            Err(refusal) => Err(refusal),
        };
        if outcome.is_err() && self.transaction != Transaction::None {
            self.transaction = Transaction::Failed;
        }
        outcome
    }

    /// Reads a statement, where the transaction's state lets it run.
    pub(super) fn read(&self, statement: &[Token]) -> Result<Command, Refusal> {
        let hidden = match self.shared.options.error_views {
            ErrorViews::Sys => "stl_load_errors",
            ErrorViews::Stl => "sys_load_error_detail",
        };
        for absent in [hidden, "pg_range"] {
            if statement.iter().any(|token| matches!(token, Token::Word(word) if word.value == absent)) {
                return Err(Refusal::new("42P01", format!("relation \"{absent}\" does not exist")));
            }
        }
        let ends = ["commit", "end", "rollback", "abort"].iter().any(|word| tokens::is_word(statement.first(), word));
        if self.transaction == Transaction::Failed && !ends {
            return Err(Refusal::aborted());
        }
        command(statement)
    }

    async fn perform(&mut self, command: Command) -> Result<Answer, Refusal> {
        match command {
            Command::Begin { read_only } => self.begin(read_only).await,
            Command::Commit => self.commit().await,
            Command::Rollback => self.roll_back().await,
            Command::Lock(names) => {
                self.may_deadlock()?;
                self.client.batch_execute(&format!("LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE")).await?;
                Ok(Answer::Done("LOCK TABLE", None))
            }
            Command::Copy(wanted) => {
                self.may_deadlock()?;
                let rows = copy::run(self, &wanted).await?;
                Ok(Answer::Done("COPY", Some(rows)))
            }
            Command::Truncate(sql) => {
                self.client.batch_execute(&sql).await?;
                if self.transaction != Transaction::None {
                    self.commit().await?;
                }
                Ok(Answer::Done("TRUNCATE TABLE", None))
            }
            Command::Alone { what, sql } => self.alone(what, sql).await,
            Command::Nothing(tag) => Ok(Answer::Done(tag, None)),
            Command::Read(sql) => self.rows(&sql).await.map(Answer::Rows),
            Command::Write { tag, sql } => self.write(tag, &sql).await,
        }
    }

    async fn begin(&mut self, read_only: bool) -> Result<Answer, Refusal> {
        if self.transaction == Transaction::None {
            let level = backend::level(self.shared.options.isolation);
            let access = if read_only { "READ ONLY" } else { "READ WRITE" };
            self.client.batch_execute(&format!("BEGIN ISOLATION LEVEL {level} {access}")).await?;
            self.transaction = Transaction::Open { read_only };
        }
        Ok(Answer::Done("BEGIN", None))
    }

    async fn roll_back(&mut self) -> Result<Answer, Refusal> {
        self.transaction = Transaction::None;
        self.client.batch_execute("ROLLBACK").await?;
        Ok(Answer::Done("ROLLBACK", None))
    }

    async fn commit(&mut self) -> Result<Answer, Refusal> {
        if self.transaction == Transaction::Failed {
            return self.roll_back().await;
        }
        let mut loss = None;
        if self.transaction == (Transaction::Open { read_only: false }) {
            if self.shared.fails(Failure::SerializableIsolation) {
                self.roll_back().await?;
                return Err(Refusal::serializable_isolation());
            }
            loss = self.shared.next().losses.pop_front();
        }
        if loss == Some(Loss::BeforeCommit) {
            self.roll_back().await?;
            return Ok(Answer::Lost { answered: false });
        }
        self.transaction = Transaction::None;
        self.client.batch_execute("COMMIT").await?;
        match loss {
            None => Ok(Answer::Done("COMMIT", None)),
            Some(loss) => Ok(Answer::Lost { answered: loss == Loss::AfterCommit }),
        }
    }

    fn may_deadlock(&self) -> Result<(), Refusal> {
        let writes = self.transaction == (Transaction::Open { read_only: false });
        if writes && self.shared.fails(Failure::Deadlock) { Err(Refusal::deadlock()) } else { Ok(()) }
    }

    async fn alone(&mut self, what: &'static str, sql: Option<String>) -> Result<Answer, Refusal> {
        if self.transaction != Transaction::None {
            return Err(Refusal::new("25001", format!("{what} cannot run inside a transaction block")));
        }
        match sql {
            Some(sql) => self.client.batch_execute(&sql).await?,
            None if what == "VACUUM" => {}
            None => return Err(Refusal::stand_in_cannot(what)),
        }
        Ok(Answer::Done(if what == "VACUUM" { "VACUUM" } else { "ALTER TABLE" }, None))
    }

    /// The rows that a query answers, as text, with their types.
    pub(super) async fn rows(&self, sql: &str) -> Result<Table, Refusal> {
        let prepared = self.client.prepare(sql).await?;
        let columns = prepared.columns().iter().map(|column| (column.name().to_owned(), in_front(column.type_())));
        let columns: Vec<_> = columns.collect();
        let mut rows = Vec::new();
        for message in self.client.simple_query(sql).await? {
            if let SimpleQueryMessage::Row(row) = message {
                rows.push((0..row.len()).map(|place| row.get(place).map(str::to_owned)).collect());
            }
        }
        Ok(Table { columns, rows })
    }

    async fn write(&self, tag: &'static str, sql: &str) -> Result<Answer, Refusal> {
        if tag != "SET" {
            self.may_deadlock()?;
        }
        let answers = self.client.simple_query(sql).await?;
        let rows = answers.iter().rev().find_map(|message| match message {
            SimpleQueryMessage::CommandComplete(rows) => usize::try_from(*rows).ok(),
            _ => None,
        });
        let counts = matches!(tag, "INSERT 0" | "UPDATE" | "DELETE" | "MERGE" | "SELECT");
        Ok(Answer::Done(tag, rows.filter(|_| counts)))
    }
}

/// SUPER is text on the wire, of a type that PostgreSQL does not know.
pub(super) fn in_front(behind: &Type) -> Type {
    const SUPER: u32 = 4_000;
    match *behind {
        Type::JSONB => Type::new("super".to_owned(), SUPER, Kind::Simple, "pg_catalog".to_owned()),
        _ => behind.clone(),
    }
}
