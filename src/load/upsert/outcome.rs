//! What became of a load's transaction that did not end well.
//!
//! Owns the reading of each ending. A load whose COMMIT was not answered is looked up in the ledger by its id, which
//! nobody else bears: there, it happened. Each try has an id of its own, so that an API that knows ids runs each.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::super::protocol::overtaken;
use super::super::script::{Statement, load_query};
use super::super::session::Broken;
use super::{UpsertWarehouse, ledger};
use crate::batch::Receipt;
use crate::error::{Error, Result};
use crate::runtime::{Backoff, retry};

/// How long a ledger is asked for the outcome of a load: about a minute.
const LOOKING: Backoff = Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(15), attempts: 9 };

/// The ids of a load's tries.
pub(super) struct Tries {
    load: String,
    count: AtomicU32,
}

impl Tries {
    pub(super) fn new(load: String) -> Self {
        Self { load, count: AtomicU32::new(0) }
    }

    /// The next try's id.
    pub(super) fn next(&self) -> String {
        self.id(self.count.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The ids so far.
    fn all(&self) -> impl Iterator<Item = String> {
        (1..=self.count.load(Ordering::Relaxed)).map(|number| self.id(number))
    }

    fn id(&self, number: u32) -> String {
        format!("{}-{number}", self.load)
    }
}

impl UpsertWarehouse {
    /// The receipt, where the load happened all the same; else why it did not.
    pub(super) async fn broken(
        &self,
        broken: Broken,
        statements: &[Statement],
        receipt: Receipt,
        tries: &Tries,
    ) -> Result<Receipt> {
        match broken {
            Broken::Failed(error) => Err(error),
            Broken::NotExpected { at, found } => match statements.get(at) {
                Some(Statement::Copy { copy, .. }) => {
                    let (journal, table) = (copy.rows(), &copy.table);
                    let copied = found.map_or_else(|| "another number".to_owned(), |found| found.to_string());
                    Err(Error::corrupt(format!(
                        "the journal says that {journal} rows of {table} are staged in the entries {} to {}, and the \
                         warehouse copied {copied}; nothing of the load went in: look at the staged files",
                        receipt.loaded_after + 1,
                        receipt.loaded_through
                    )))
                }
                // The ledger stood elsewhere: by another loader, or by an earlier try whose answer was lost.
                _ => self.find(receipt, tries, None).await,
            },
            Broken::Unanswered(lost) => self.find(receipt, tries, Some(lost)).await,
        }
    }

    /// Looks a load up in the ledger; `lost` is why its answer did not come, where that is so.
    async fn find(&self, receipt: Receipt, tries: &Tries, lost: Option<Error>) -> Result<Receipt> {
        let looked = retry(&self.context, LOOKING, || async {
            let happened = self.happened(tries).await?;
            Ok((happened, self.read_ledger().await?.unwrap_or_default()))
        });
        let (after, through) = (receipt.loaded_after, receipt.loaded_through);
        match (looked.await, lost) {
            // The receipt of the try that did it.
            (Ok((true, ledger)), _) => Ok(ledger.last.filter(|last| last.loaded_through == through).unwrap_or(receipt)),
            (Ok((false, ledger)), Some(lost)) if ledger.loaded_through == after => Err(lost.context(format!(
                "the load of the entries {} to {through} was not committed and changed nothing",
                after + 1
            ))),
            (Ok((false, ledger)), _) => Err(overtaken(after + 1, ledger.loaded_through)),
            (Err(unread), _) => Err(Error::new(
                unread.kind(),
                format!(
                    "it is not known whether the entries {} to {through} were loaded, for {} cannot be read; nothing is \
                     lost or doubled, the next load finds it out: {unread}",
                    after + 1,
                    self.address
                ),
            )),
        }
    }

    /// Whether one of the tries is in the ledger.
    async fn happened(&self, tries: &Tries) -> Result<bool> {
        for id in tries.all() {
            let rows = self.few(&load_query(&self.target, &id)).await?;
            if ledger::whole(rows.column(0))?.first() == Some(&1) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
