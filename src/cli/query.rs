//! `query`: ad hoc SQL over the staged Parquet and the warehouse, once or at a prompt.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;

use super::arguments::{Common, Format, Place, Query as Arguments};
use super::open::partitions;
use super::output::{self, line, note, settle};
use super::prompt::{HELP, Prompt, Typed, statements};
use super::site::Site;
use crate::batch::Entry;
use crate::config::Report;
use crate::error::{Error, Result};
use crate::journal;
use crate::load::{Answer, SqlWarehouse};
use crate::query::{self, Holdings, Query, QueryResult, QuerySettings};
use crate::runtime::blocking;

/// What a query's operators may hold before they spill.
const MEMORY: usize = 1 << 30;

/// Answers one statement, or those typed at the prompt.
pub(super) async fn query(common: &Common, arguments: &Arguments) -> Result<ExitCode> {
    let site = Site::existing(common, &arguments.folder.pipeline).await?;
    let format = arguments.format.unwrap_or(if common.json { Format::Json } else { Format::Table });
    let asked = Asked { site: &site, place: arguments.place };
    let sql = match &arguments.report {
        Some(name) => Some(&report(&site, name)?.sql),
        None => arguments.sql.as_ref(),
    };
    match sql {
        Some(sql) => answer(&asked.open().await?, sql, format).await?,
        None => prompt(&asked, format).await?,
    }
    Ok(ExitCode::SUCCESS)
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
}

/// What answers statements.
pub(super) enum Session {
    /// This process, over everything that the pipeline keeps.
    Here(Query),
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
            _ => open(self.site).await,
        }
    }
}

impl Session {
    pub(super) async fn run(&self, sql: &str) -> Result<QueryResult> {
        match self {
            Self::Here(query) => query.run(sql).await,
            Self::Warehouse(warehouse, _) => {
                let Answer { schema, batches } = warehouse.query(sql).await?;
                if schema.fields().is_empty() {
                    let words = "the statement asks for nothing: in the warehouse too a query only reads, with SELECT, \
                                 WITH, VALUES, SHOW or EXPLAIN";
                    return Err(Error::invalid(words));
                }
                Ok(QueryResult::new(schema, batches))
            }
        }
    }

    fn tables(&self) -> Vec<String> {
        match self {
            Self::Here(query) => query.tables(),
            Self::Warehouse(_, tables) => tables.clone(),
        }
    }

    fn columns(&self) -> Vec<String> {
        match self {
            Self::Here(query) => query.columns(),
            Self::Warehouse(..) => Vec::new(),
        }
    }
}

/// A session of this process over what is journaled and loaded now.
pub(super) async fn open(site: &Site) -> Result<Session> {
    Ok(Session::Here(over(site, &journal::entries(&site.store, 0, usize::MAX).await?, true).await?))
}

/// A session over what these entries have staged, and what is loaded now; `verify` as in [`Holdings`].
pub(super) async fn over(site: &Site, entries: &[Arc<Entry>], verify: bool) -> Result<Query> {
    let settings = QuerySettings { memory_bytes: MEMORY, partitions: partitions() };
    let (store, specs, warehouse) = (&site.store, site.plan.cleaner.specs(), site.warehouse.loaded());
    Query::open(Holdings { store, warehouse, specs, entries, verify }, settings).await
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
    let mut out = std::io::BufWriter::new(std::io::stdout());
    let written = query::write(result, format.into(), &mut out).await;
    let flushed = settle(out.flush());
    written.map(drop).and(flushed)
}

/// Statements from a pipe: each is answered, the last may lack its `;`, and the first failure is the exit code.
async fn script(asked: &Asked<'_>, format: Format) -> Result<()> {
    let text = blocking(|| {
        std::io::read_to_string(std::io::stdin())
            .map_err(|error| Error::invalid("standard input cannot be read as text").with_source(error))
    })
    .await?;
    let mut outcome = Ok(());
    for typed in statements(&text) {
        let answered = match typed {
            Typed::End => break,
            Typed::Nothing | Typed::Help => Ok(()),
            Typed::Tables => asked.open().await?.tables().iter().try_for_each(line),
            Typed::Sql(sql) => answer(&asked.open().await?, &sql, format).await,
        };
        if let Err(error) = answered {
            output::error(&error);
            outcome = outcome.and(Err(Error::new(error.kind(), "a statement failed; the others were answered")));
        }
    }
    outcome
}

async fn prompt(asked: &Asked<'_>, format: Format) -> Result<()> {
    if !std::io::stdin().is_terminal() {
        return script(asked, format).await;
    }
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
            Typed::End => return Ok(()),
            Typed::Nothing => {}
            Typed::Help => note(HELP),
            // Opened anew for each statement: a job may be loading meanwhile.
            Typed::Tables => asked.open().await?.tables().iter().try_for_each(line)?,
            Typed::Sql(sql) => {
                let answered = tokio::select! {
                    answered = async { answer(&asked.open().await?, &sql, format).await } => answered,
                    _ = tokio::signal::ctrl_c() => Err(Error::transient("broken off")),
                };
                if let Err(error) = answered {
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
