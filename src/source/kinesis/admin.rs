//! Making a stream and waiting until it is there.

use std::time::Duration;

use aws_sdk_kinesis::types::StreamStatus;

use super::connection::{Connection, KinesisSettings};
use super::fault::Fault;
use crate::error::{Error, Result};
use crate::runtime::Context;

/// From one look at a stream that is being made or deleted to the next.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// AWS takes up to a minute.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Makes streams.
pub struct StreamAdmin {
    connection: Connection,
}

impl StreamAdmin {
    /// For the stream of these settings. Nothing is asked of the server yet.
    pub fn new(settings: KinesisSettings, context: Context) -> Self {
        Self { connection: Connection::new(settings, context, "the same command again is safe") }
    }

    /// Makes the stream with so many shards where it isn't there, and waits until it takes records. Returns whether
    /// it was made here; one that is there already keeps the shards it has.
    ///
    /// # Errors
    /// Transient where the server cannot be reached or the stream isn't ready after 5 minutes; Invalid where the
    /// server refuses to make it.
    pub async fn ensure_stream(&self, shards: u32) -> Result<bool> {
        let clock = &self.connection.context.clock;
        let started_at = clock.now_micros();
        let mut made = false;
        loop {
            match self.status().await? {
                Some(StreamStatus::Active | StreamStatus::Updating) => return Ok(made),
                None if !made => made = self.create(shards).await?,
                // Being made or deleted, or made and not to be seen yet.
                _ => {}
            }
            let waited = u128::try_from(clock.now_micros().saturating_sub(started_at)).unwrap_or(0);
            if waited > LONGEST_WAIT.as_micros() {
                let stream = &self.connection.settings.stream;
                let message = format!("the stream {stream} is not ready after {} s", LONGEST_WAIT.as_secs());
                return Err(Error::transient(format!("{message}: look at its status, then try again")));
            }
            clock.sleep(LOOK_INTERVAL).await;
        }
    }

    async fn status(&self) -> Result<Option<StreamStatus>> {
        match self.connection.repeat(|| self.connection.summary()).await {
            Ok(answer) => Ok(answer.stream_description_summary.map(|summary| summary.stream_status)),
            Err(Fault::NotFound(_)) => Ok(None),
            Err(fault) => Err(self.connection.give_up("look at it", &fault)),
        }
    }

    /// Whether it was made here, and not by somebody else in the same moment.
    async fn create(&self, shards: u32) -> Result<bool> {
        let Connection { client, settings, .. } = &self.connection;
        let count = i32::try_from(shards).unwrap_or(i32::MAX);
        let call = || client.create_stream().stream_name(&settings.stream).shard_count(count).send();
        match self.connection.repeat(call).await {
            Ok(_) => Ok(true),
            Err(Fault::InUse(_)) => Ok(false),
            Err(fault) => Err(self.connection.give_up(&format!("make it with {shards} shards"), &fault)),
        }
    }
}
