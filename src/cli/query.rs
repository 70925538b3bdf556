//! `query`: ad hoc SQL over the staged Parquet and the warehouse, once or at a prompt.
//!
//! A statement is answered by a task of its own, so that Ctrl-C is heard whoever holds the answer up; then the warehouse's
//! server is told to give it up, too. Exit code 130, as a shell has it.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;

use super::arguments::{Common, Format, Limits, Place, Query as Arguments};
use super::limits::query_settings;
use super::output::{self, line, note, note_once, settle};
use super::prompt::{HELP, Prompt, Typed, statements};
use super::site::Site;
use crate::batch::Entry;
use crate::config::Report;
use crate::engine;
use crate::error::{Error, Result};
use crate::journal;
use crate::load::{Answer, SqlWarehouse};
use crate::query::{self, Holdings, Query, QueryResult};
use crate::runtime::{Tasks, blocking};

/// The exit code after Ctrl-C: 128 and the signal's number.
const INTERRUPTED: u8 = 130;

/// Answers one statement, or those typed at the prompt.
pub(super) async fn query(common: &Common, arguments: &Arguments) -> Result<ExitCode> {
    let site = Site::existing(common, &arguments.folder.pipeline).await?;
    let format = arguments.format.unwrap_or(if common.json { Format::Json } else { Format::Table });
    let asked = Asked { site: &site, place: arguments.place, limits: arguments.limits };
    let sql = match &arguments.report {
        Some(name) => Some(&report(&site, name)?.sql),
        None => arguments.sql.as_ref(),
    };
    let end = match sql {
        Some(sql) => attend(asked.open().await?, sql, format).await?,
        None if std::io::stdin().is_terminal() => prompt(&asked, format).await?,
        None => script(&asked, format).await?,
    };
    Ok(match end {
        End::Answered => ExitCode::SUCCESS,
        End::Interrupted => ExitCode::from(INTERRUPTED),
    })
}

fn report<'a>(site: &'a Site, name: &str) -> Result<&'a Report> {
    let reports = &site.plan.pipeline.reports;
    reports.iter().find(|report| report.name == name).ok_or_else(|| {
        let known: Vec<&str> = reports.iter().map(|report| report.name.as_str()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Error::invalid(format!("the pipeline has no report {name}; it has {known}"))
    })
}

/// What is asked, and where.
struct Asked<'a> {
    site: &'a Site,
    place: Place,
    limits: Limits,
}

/// How the answering of a statement ended, where it did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Answered,
    Interrupted,
}

/// What answers statements.
pub(super) enum Session {
    /// This process, over everything that the pipeline keeps; a warehouse with an engine of its own is asked for its rows.
    Here(Query, Option<Arc<dyn SqlWarehouse>>),
    /// The warehouse's own engine, over its own tables.
    Warehouse(Arc<dyn SqlWarehouse>, Vec<String>),
}

impl Asked<'_> {
    /// What answers now. Delta tables have no engine but this one.
    async fn open(&self) -> Result<Session> {
        match (self.place, self.site.warehouse.sql()) {
            (Place::Warehouse, Some(warehouse)) => {
                let specs = self.site.plan.cleaner.specs().iter();
                Ok(Session::Warehouse(Arc::clone(warehouse), specs.map(|spec| spec.name.clone()).collect()))
            }
            _ => open_within(self.site, self.limits).await,
        }
    }
}

impl Session {
    pub(super) async fn run(&self, sql: &str) -> Result<QueryResult> {
        match self {
            Self::Here(query, _) => query.run(sql).await,
            Self::Warehouse(warehouse, _) => {
                let Answer { schema, batches } = warehouse.query(sql).await?;
                Ok(QueryResult::new(schema, batches))
            }
        }
    }

    fn tables(&self) -> Vec<String> {
        match self {
            Self::Here(query, _) => query.tables(),
            Self::Warehouse(_, tables) => tables.clone(),
        }
    }

    fn columns(&self) -> Vec<String> {
        match self {
            Self::Here(query, _) => query.columns(),
            Self::Warehouse(..) => Vec::new(),
        }
    }

    /// Has the warehouse's server give up what it is asked.
    async fn cancel(&self) -> Result<()> {
        match self {
            Self::Here(_, Some(warehouse)) | Self::Warehouse(warehouse, _) => warehouse.cancel().await,
            Self::Here(_, None) => Ok(()),
        }
    }
}

/// A session of this process over what is journaled and loaded now.
pub(super) async fn open(site: &Site) -> Result<Session> {
    open_within(site, Limits::DEFAULT).await
}

async fn open_within(site: &Site, limits: Limits) -> Result<Session> {
    // A database guards its tables, and says when it is asked for them whether it can be reached.
    if site.warehouse.sql().is_none() {
        let warehouse = site.warehouse.get();
        warehouse.check().await?;
        engine::verify_ledger(&site.store, warehouse.ledger().await?.last.as_ref()).await?;
    }
    let entries = journal::entries(&site.store, 0, usize::MAX).await?;
    let query = over_within(site, (&entries, true), limits).await?;
    Ok(Session::Here(query, site.warehouse.sql().cloned()))
}

/// A session over what these entries have staged, and what is loaded now; `verify` as in [`Holdings`].
pub(super) async fn over(site: &Site, entries: &[Arc<Entry>], verify: bool) -> Result<Query> {
    over_within(site, (entries, verify), Limits::DEFAULT).await
}

async fn over_within(site: &Site, (entries, verify): (&[Arc<Entry>], bool), limits: Limits) -> Result<Query> {
    let place = site.spill();
    let (settings, spill) = blocking(move || query_settings(&limits, place)).await?;
    let (store, specs, warehouse) = (&site.store, site.plan.cleaner.specs(), site.warehouse.loaded());
    Query::open_spilling(Holdings { store, warehouse, specs, entries, verify }, settings, spill).await
}

/// Prints the answers of the pipeline's report/*.sql, each under its name.
pub(super) async fn print_report(site: &Site) -> Result<()> {
    let reports = &site.plan.pipeline.reports;
    if reports.is_empty() {
        return Ok(());
    }
    let session = open(site).await?;
    for report in reports {
        line("")?;
        line(report.name.replace('_', " "))?;
        answer(&session, &report.sql, Format::Table).await?;
    }
    Ok(())
}

pub(super) async fn answer(session: &Session, sql: &str, format: Format) -> Result<()> {
    let result = session.run(sql).await?;
    result.notes().iter().for_each(|text| note_once(text));
    let mut out = std::io::BufWriter::new(std::io::stdout());
    let written = query::write(result, format.into(), &mut out).await;
    let flushed = settle(out.flush());
    written.map(drop).and(flushed)
}

/// Answers a statement until somebody presses Ctrl-C.
async fn attend(session: Session, sql: &str, format: Format) -> Result<End> {
    let session = Arc::new(session);
    let (answered, outcome) = tokio::sync::oneshot::channel();
    let (asking, sql) = (Arc::clone(&session), sql.to_owned());
    let mut tasks = Tasks::new();
    tasks.spawn("a query", async move {
        // Nobody listens any more after Ctrl-C.
        let _ = answered.send(answer(&asking, &sql, format).await);
        Ok(())
    });
    tokio::select! {
        outcome = outcome => {
            let outcome = outcome.map_err(|_| Error::internal("the answering of a query ended without an outcome"))?;
            // The session's folder for spilled rows goes with the last that holds the session.
            tasks.join().await?;
            drop(session);
            outcome.map(|()| End::Answered)
        }
        _ = tokio::signal::ctrl_c() => {
            interrupt(&session).await;
            Ok(End::Interrupted)
        }
    }
}

/// Ends what the warehouse's server was asked; a second Ctrl-C does not wait for it.
async fn interrupt(session: &Session) {
    note("stopped");
    let cancelled = tokio::select! {
        cancelled = session.cancel() => cancelled,
        _ = tokio::signal::ctrl_c() => Err(Error::transient("not waited for")),
    };
    if let Err(error) = cancelled {
        note(format_args!("the statement may still be running in the warehouse, where it changes nothing: {error}"));
    }
}

/// Statements from a pipe: each is answered, the last may lack its `;`, and the first failure is the exit code.
async fn script(asked: &Asked<'_>, format: Format) -> Result<End> {
    let text = blocking(|| {
        std::io::read_to_string(std::io::stdin())
            .map_err(|error| Error::invalid("standard input cannot be read as text").with_source(error))
    })
    .await?;
    let mut outcome = Ok(());
    for typed in statements(&text) {
        let answered = match typed {
            Typed::End => break,
            Typed::Nothing | Typed::Help => Ok(End::Answered),
            Typed::Tables => asked.open().await?.tables().iter().try_for_each(line).map(|()| End::Answered),
            Typed::Sql(sql) => attend(asked.open().await?, &sql, format).await,
        };
        match answered {
            Ok(End::Answered) => {}
            Ok(End::Interrupted) => return Ok(End::Interrupted),
            Err(error) => {
                output::error(&error);
                outcome = outcome.and(Err(Error::new(error.kind(), "a statement failed; the others were answered")));
            }
        }
    }
    outcome.map(|()| End::Answered)
}

async fn prompt(asked: &Asked<'_>, format: Format) -> Result<End> {
    let first = asked.open().await?;
    let names = first.tables().into_iter().chain(first.columns()).collect();
    let mut prompt = Prompt::new(names, asked.site.query_history())?;
    note(HELP);
    loop {
        let (typed, back) = blocking(move || {
            let typed = prompt.read()?;
            Ok((typed, prompt))
        })
        .await?;
        prompt = back;
        match typed {
            Typed::End => return Ok(End::Answered),
            Typed::Nothing => {}
            Typed::Help => note(HELP),
            // Opened anew for each statement: a job may be loading meanwhile.
            Typed::Tables => asked.open().await?.tables().iter().try_for_each(line)?,
            Typed::Sql(sql) => {
                if let Err(error) = async { attend(asked.open().await?, &sql, format).await }.await {
                    output::error(&error);
                }
            }
        }
    }
}

impl From<Format> for query::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::Table => Self::Table,
            Format::Csv => Self::Csv,
            Format::Json => Self::Json,
        }
    }
}
