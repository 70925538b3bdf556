//! What the readers of a pass share, what they begin with and what they tell.
//!
//! Owns the look at the stream itself: whether it is still the same one, how long it keeps records, a connection of a
//! reader's own. It reads nothing: that is `read`'s.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::budget::{Budget, Held};
use super::loss::{self, Retention};
use super::{Controls, Job};
use crate::batch::{Loss, Range, RawRecord, ShardId, StartAt, StreamIdentity};
use crate::config::OnLoss;
use crate::error::{Error, Result};
use crate::source::{Shard, ShardReader, Source};

/// What a reader tells the collector, in the shard's order.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) shard: ShardId,
    pub(super) records: Vec<RawRecord>,
    pub(super) range: Option<Range>,
    /// The shard is read to its end.
    pub(super) ended: bool,
    pub(super) loss: Option<Loss>,
    /// Everything that arrived before this time is read, ms since 1970 UTC.
    pub(super) caught_up: Option<i64>,
    /// The memory that the records take of the budget.
    pub(super) held: Held,
}

/// Where a reader begins, and what is known of its shard.
#[derive(Debug, Clone)]
pub(super) struct Beginning {
    pub(super) shard: Shard,
    pub(super) start: StartAt,
    /// Everything that arrived before this time is read, ms since 1970 UTC.
    pub(super) caught_up: Option<i64>,
}

/// What all readers of a pass share.
#[derive(Clone)]
pub(super) struct Reading {
    pub(super) job: Job,
    pub(super) controls: Controls,
    pub(super) source: Arc<dyn Source>,
    pub(super) stream: StreamIdentity,
    pub(super) retention: Retention,
    pub(super) budget: Budget,
    pub(super) pages: mpsc::Sender<Read>,
}

impl Reading {
    /// Whether this is the stream whose chain is open; how long it keeps records is noted as it says it now.
    ///
    /// # Errors
    /// Transient where it was made anew: what follows belongs to another chain.
    pub(super) async fn is_same_stream(&self, source: &dyn Source) -> Result<()> {
        let description = source.describe().await?;
        if description.identity == self.stream {
            self.retention.note(description.retention);
            self.controls.progress.note_retention(description.retention);
            return Ok(());
        }
        Err(Error::transient("the stream was made anew while it was read: going on with a new chain in the journal"))
    }

    /// A reader of the shard on a connection of its own; none where the stream lists the shard no more.
    pub(super) async fn open_anew(&self, shard: &Shard, at: StartAt) -> Result<Option<Box<dyn ShardReader>>> {
        let source = (self.job.connect)().await?;
        self.is_same_stream(source.as_ref()).await?;
        if !source.shards().await?.iter().any(|listed| listed.id == shard.id) {
            return Ok(None);
        }
        source.open(shard, at).await.map(Some)
    }

    /// Says what is lost, and ends the run where it is to end at that.
    ///
    /// # Errors
    /// Corrupt, with the gap named.
    pub(super) fn answer_for(&self, loss: Option<&Loss>) -> Result<()> {
        match (loss, self.job.pipeline.source.on_loss) {
            (None, _) => Ok(()),
            (Some(loss), OnLoss::Stop) => Err(loss::refusal(loss)),
            (Some(loss), OnLoss::Continue) => {
                tracing::error!("{}; going on without them, and the gap is journaled", loss);
                self.controls.progress.lost();
                Ok(())
            }
        }
    }
}

impl Read {
    /// Nothing but that the shard has ended, and what of it was lost.
    pub(super) fn end(shard: ShardId, loss: Option<Loss>) -> Self {
        Self { shard, records: Vec::new(), range: None, ended: true, loss, caught_up: None, held: Held::default() }
    }
}
