//! A session through the Data API: no way through the network is needed, and IAM alone says who may.
//!
//! Owns how a load runs as one batch and what its end means. `batch` is its text, `client` the calls, `answer` the rows. The
//! contract is the session's: an end that the API does not tell for sure is `Broken::Unanswered`, and the ledger is asked.
//! The API works on by itself: a batch whose answer was lost may still be running, and its manifests then stay for it.

mod answer;
mod batch;
mod client;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_redshiftdata::operation::get_statement_result::GetStatementResultOutput;
use aws_sdk_redshiftdata::types::StatusString;
use futures::{StreamExt, stream};

use self::batch::{Batch, Role};
use self::client::{BATCH, DESCRIBE, EXECUTE, Ended, told};
use super::aws_call::GivenUp;
use super::lake::Lake;
use super::load_error::{self, LoadError};
use super::staged_value;
use crate::error::{Error, Result, first_line};
use crate::load::Answer;
use crate::load::plan::Copy;
use crate::load::refusal;
use crate::load::script::Statement;
use crate::load::session::{Broken, Session};
use crate::load::tables::quoted;

pub(super) use self::client::{Identity, Statements};

/// What a failure means for the data.
const SAFE: &str = "staged files wait and nothing is lost";

/// The Data API as a session.
pub(super) struct DataApiSession {
    statements: Arc<Statements>,
    lake: Lake,
    /// Where questions look for names that say no schema.
    search_path: String,
}

impl DataApiSession {
    /// A session for the tables of this schema. Nothing is asked yet.
    pub(super) fn new(statements: Statements, lake: Lake, schema: &str) -> Self {
        let search_path = format!("SET search_path TO {}", quoted(schema));
        Self { statements: Arc::new(statements), lake, search_path }
    }

    async fn run_batch(&self, id: &str, batch: &Batch, script: &[Statement]) -> Result<(), Broken> {
        let submitted = self.statements.submit_batch(id, &batch.sqls).await;
        let statement = submitted.map_err(|given_up| match given_up.may_be_done {
            true => Broken::Unanswered(told(&given_up, BATCH)),
            false => Broken::Failed(told(&given_up, BATCH)),
        })?;
        let followed = self.statements.follow(&statement).await;
        let ended = followed.map_err(|given_up| Broken::Unanswered(told(&given_up, DESCRIBE)))?;
        match ended.is_good() {
            true => Ok(()),
            false => Err(self.broken(&ended, batch, script).await),
        }
    }

    /// What a batch that did not come to its end means.
    async fn broken(&self, ended: &Ended, batch: &Batch, script: &[Statement]) -> Broken {
        let words = ended.words();
        let shown = first_line(&words);
        let failed = ended.parts.iter().position(|part| part.failed);
        let Some((index, part)) = failed.and_then(|index| batch.parts.get(index).map(|part| (index, part))) else {
            // No statement of it failed: the commit may have.
            return Broken::Unanswered(Error::transient(format!("the data api ended a load: {shown}; {SAFE}")));
        };
        if part.role == Role::Guard && refusal::is_division_by_zero(&words) {
            return Broken::NotExpected { at: part.at, found: None };
        }
        let place = format!("statement {} of {} of the load", index + 1, batch.sqls.len());
        if refusal::words_pass(&words) || ended.status == StatusString::Aborted {
            return Broken::Failed(Error::transient(format!("redshift could not do {place} now: {shown}; {SAFE}")));
        }
        Broken::Failed(match script.get(part.at) {
            Some(Statement::Copy { copy, .. }) if part.role == Role::Copy => {
                let row = self.load_error(copy, ended.process).await;
                let row = match row.or_else(|| load_error::in_refusal(copy, &self.lake, &words)) {
                    Some(row) => Some(staged_value::completed(copy, &self.lake, row).await),
                    None => None,
                };
                load_error::told(copy, &self.lake, row.as_ref(), &words)
            }
            _ => Error::invalid(format!("redshift refuses {place}: {shown}; {SAFE}")),
        })
    }

    /// What Redshift has kept of a COPY that failed in this session, as far as it tells.
    async fn load_error(&self, copy: &Copy, process: i64) -> Option<LoadError> {
        let [first, second] = load_error::questions(process);
        let answers = [self.load_errors(&first).await, self.load_errors(&second).await];
        load_error::newest(copy, &self.lake, answers)
    }

    async fn load_errors(&self, question: &str) -> Vec<LoadError> {
        let asked = async {
            let id = self.run(question).await?;
            self.statements.page(&id, None).await
        };
        match asked.await {
            Ok(page) => page.records().iter().filter_map(|row| LoadError::read(texts(row))).collect(),
            Err(error) => {
                tracing::debug!(%error, "the errors of a copy cannot be looked up in this view");
                Vec::new()
            }
        }
    }

    /// Runs one statement to its end; its id.
    async fn run(&self, sql: &str) -> Result<String> {
        let submitted = self.statements.submit(&self.statements.token(), sql).await;
        let id = submitted.map_err(|given_up| told(&given_up, EXECUTE))?;
        good(self.statements.follow(&id).await)?;
        Ok(id)
    }
}

/// The end of a statement that came to a good one.
fn good(ended: Result<Ended, GivenUp>) -> Result<Ended> {
    let ended = ended.map_err(|given_up| told(&given_up, DESCRIBE))?;
    if ended.is_good() {
        return Ok(ended);
    }
    let words = ended.words();
    let shown = first_line(&words);
    Err(match refusal::words_pass(&words) || ended.status == StatusString::Aborted {
        true => Error::transient(format!("redshift could not do it now: {shown}; {SAFE}")),
        false => Error::invalid(format!("redshift refuses a statement: {shown}; {SAFE}")),
    })
}

#[async_trait]
impl Session for DataApiSession {
    async fn transact(&self, id: &str, script: &[Statement]) -> Result<(), Broken> {
        let batch = Batch::new(id, script, &self.lake).map_err(Broken::Failed)?;
        self.lake.write_manifests(id, script).await.map_err(Broken::Failed)?;
        let outcome = self.run_batch(id, &batch, script).await;
        if !matches!(outcome, Err(Broken::Unanswered(_))) {
            self.lake.delete_manifests(id, script).await;
        }
        outcome
    }

    async fn execute(&self, statements: &[String]) -> Result<()> {
        for statement in statements {
            self.run(statement).await?;
        }
        Ok(())
    }

    async fn read(&self, sql: &str) -> Result<Answer> {
        // One batch, because the API's next statement may run in another session.
        let sqls = [self.search_path.clone(), sql.to_owned()];
        let submitted = self.statements.submit_batch(&self.statements.token(), &sqls).await;
        let id = submitted.map_err(|given_up| told(&given_up, BATCH))?;
        let ended = good(self.statements.follow_question(&id).await)?;
        let question = ended.parts.into_iter().nth(1).map(|part| part.id);
        let question = question.ok_or_else(|| Error::internal("the data api names no statement of a batch"))?;
        rows(Arc::clone(&self.statements), question).await
    }

    async fn cancel(&self) -> Result<()> {
        self.statements.cancel().await
    }

    fn needs_columns(&self) -> bool {
        // COPY takes Parquet's columns by their places.
        true
    }
}

/// A row's values as text; one that is none is left out.
fn texts(row: &[aws_sdk_redshiftdata::types::Field]) -> Vec<Option<String>> {
    row.iter().map(|cell| answer::text(cell).ok().flatten()).collect()
}

/// The rows of a statement, a page at a time.
async fn rows(statements: Arc<Statements>, id: String) -> Result<Answer> {
    let first = statements.page(&id, None).await?;
    let schema = answer::schema(first.column_metadata());
    let columns = Arc::clone(&schema);
    let next = |page: &GetStatementResultOutput| page.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
    let pages = stream::try_unfold(Some(first), move |page| {
        let (statements, id, columns) = (Arc::clone(&statements), id.clone(), Arc::clone(&columns));
        async move {
            let Some(page) = page else { return Ok(None) };
            let batch = answer::batch(&columns, page.records())?;
            let following = match next(&page) {
                Some(token) => Some(statements.page(&id, Some(token)).await?),
                None => None,
            };
            Ok(Some((batch, following)))
        }
    });
    Ok(Answer { schema, batches: pages.boxed() })
}
