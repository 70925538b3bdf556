//! The Data API's calls: a statement submitted, followed to its end, its rows fetched.
//!
//! Owns the identity that statements run under, and the pauses of polling. It does not own what statements mean. A call
//! without an answer is made again with the same token, by which the API runs nothing twice (for 8 hours).

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_redshiftdata::Client;
use aws_sdk_redshiftdata::operation::describe_statement::DescribeStatementOutput;
use aws_sdk_redshiftdata::operation::get_statement_result::GetStatementResultOutput;
use aws_sdk_redshiftdata::types::StatusString;

use crate::config::RedshiftPlace;
use crate::error::{Error, Result};
use crate::load::redshift::aws_call::{Apis, GivenUp, client, repeat};
use crate::runtime::{Backoff, Context};

/// From one look at a running statement to the next: short ones are seen early, long ones seldom.
const POLLING: Backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(5), attempts: 1 };

/// After so many looks, some ten minutes, a person is told that it still runs.
const TELLING: u32 = 120;

/// The rights that calls take.
pub(super) const BATCH: &str = "redshift-data:BatchExecuteStatement";
pub(super) const EXECUTE: &str = "redshift-data:ExecuteStatement";
pub(super) const DESCRIBE: &str = "redshift-data:DescribeStatement";
pub(super) const RESULT: &str = "redshift-data:GetStatementResult";
const CANCEL: &str = "redshift-data:CancelStatement";

/// Where statements run, and as whom.
#[derive(Debug, Clone)]
pub(in crate::load::redshift) struct Identity {
    pub(in crate::load::redshift) place: RedshiftPlace,
    pub(in crate::load::redshift) user: Option<String>,
    pub(in crate::load::redshift) secret: Option<String>,
    pub(in crate::load::redshift) database: String,
}

/// The API, for one database.
pub(in crate::load::redshift) struct Statements {
    client: Client,
    identity: Identity,
    context: Context,
    /// The questions that are being answered, by their ids.
    running: Mutex<BTreeSet<String>>,
}

/// How a statement ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ended {
    pub(super) status: StatusString,
    /// What the whole statement says of itself.
    pub(super) error: Option<String>,
    /// The session's process id, 0 where it is not known.
    pub(super) process: i64,
    /// Of a batch: its statements, in their order.
    pub(super) parts: Vec<EndedPart>,
}

/// How a statement of a batch ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct EndedPart {
    /// Its own id, by which its rows are fetched.
    pub(super) id: String,
    pub(super) failed: bool,
    pub(super) error: Option<String>,
}

impl Statements {
    /// Nothing is asked yet.
    pub(in crate::load::redshift) fn new(identity: Identity, apis: Apis) -> Self {
        Self { client: client!(aws_sdk_redshiftdata, apis), identity, context: apis.context, running: Mutex::default() }
    }

    /// A token of its own, for a call that nobody else tells apart.
    pub(super) fn token(&self) -> String {
        self.context.random.id()
    }

    /// Hands a batch over; its id.
    pub(super) async fn submit_batch(&self, token: &str, sqls: &[String]) -> Result<String, GivenUp> {
        let (cluster, workgroup) = self.place();
        let call = || {
            let call = self.client.batch_execute_statement().set_sqls(Some(sqls.to_vec())).client_token(token);
            let call = call.database(&self.identity.database).set_cluster_identifier(cluster.clone());
            let call = call.set_workgroup_name(workgroup.clone()).set_db_user(self.identity.user.clone());
            call.set_secret_arn(self.identity.secret.clone()).send()
        };
        repeat(&self.context, call).await.map(|answer| answer.id.unwrap_or_default())
    }

    /// Hands one statement over; its id.
    pub(super) async fn submit(&self, token: &str, sql: &str) -> Result<String, GivenUp> {
        let (cluster, workgroup) = self.place();
        let call = || {
            let call = self.client.execute_statement().sql(sql).client_token(token);
            let call = call.database(&self.identity.database).set_cluster_identifier(cluster.clone());
            let call = call.set_workgroup_name(workgroup.clone()).set_db_user(self.identity.user.clone());
            call.set_secret_arn(self.identity.secret.clone()).send()
        };
        repeat(&self.context, call).await.map(|answer| answer.id.unwrap_or_default())
    }

    /// Waits for a statement's end, for as long as the API says that it runs: it ends them after a day.
    pub(super) async fn follow(&self, id: &str) -> Result<Ended, GivenUp> {
        let mut looks: u32 = 1;
        loop {
            let answer = repeat(&self.context, || self.client.describe_statement().id(id).send()).await?;
            let status = answer.status().cloned();
            match status {
                Some(status @ (StatusString::Finished | StatusString::Failed | StatusString::Aborted)) => {
                    return Ok(Ended::read(status, answer));
                }
                _ => {
                    if looks.is_multiple_of(TELLING) {
                        tracing::warn!(id, ?status, "redshift still runs a statement of the data api");
                    }
                    self.context.clock.sleep(POLLING.pause(looks, &self.context)).await;
                    looks = looks.saturating_add(1);
                }
            }
        }
    }

    /// Follows a question to its end; meanwhile it can be cancelled.
    pub(super) async fn follow_question(&self, id: &str) -> Result<Ended, GivenUp> {
        let running = || self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running().insert(id.to_owned());
        let ended = self.follow(id).await;
        running().remove(id);
        ended
    }

    /// Cancels the questions that are being answered.
    ///
    /// # Errors
    /// Invalid, Transient.
    pub(super) async fn cancel(&self) -> Result<()> {
        let running = std::mem::take(&mut *self.running.lock().unwrap_or_else(PoisonError::into_inner));
        for id in running {
            let call = || self.client.cancel_statement().id(&id).send();
            repeat(&self.context, call).await.map_err(|given_up| told(&given_up, CANCEL))?;
        }
        Ok(())
    }

    /// A page of a statement's rows.
    ///
    /// # Errors
    /// Invalid, Transient.
    pub(super) async fn page(&self, id: &str, from: Option<String>) -> Result<GetStatementResultOutput> {
        let call = || self.client.get_statement_result().id(id).set_next_token(from.clone()).send();
        repeat(&self.context, call).await.map_err(|given_up| told(&given_up, RESULT))
    }

    fn place(&self) -> (Option<String>, Option<String>) {
        match &self.identity.place {
            RedshiftPlace::Cluster(name) => (Some(name.clone()), None),
            RedshiftPlace::Workgroup(name) => (None, Some(name.clone())),
        }
    }
}

/// The public error of a call that was given up.
pub(super) fn told(given_up: &GivenUp, action: &str) -> Error {
    given_up.fault.told("run statements in redshift through the data api", action)
}

impl Ended {
    fn read(status: StatusString, answer: DescribeStatementOutput) -> Self {
        use aws_sdk_redshiftdata::types::StatementStatusString::Failed;
        let parts = answer.sub_statements.unwrap_or_default().into_iter();
        let parts = parts.map(|part| EndedPart { failed: part.status == Some(Failed), id: part.id, error: part.error });
        Self { status, error: answer.error, process: answer.redshift_pid, parts: parts.collect() }
    }

    /// Whether it did all it should.
    pub(super) fn is_good(&self) -> bool {
        self.status == StatusString::Finished
    }

    /// The words for a person: of the statement that failed, or of the whole.
    pub(super) fn words(&self) -> String {
        let failed = self.parts.iter().find(|part| part.failed).and_then(|part| part.error.clone());
        let nothing = || format!("{} without a reason", self.status.as_str());
        failed.or_else(|| self.error.clone()).filter(|words| !words.is_empty()).unwrap_or_else(nothing)
    }
}
