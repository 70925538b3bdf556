//! Staged files into a table, over the wire.
//!
//! Owns the pipe: while one buffer is on its way to the server, the next is filled on another thread, and the next file is
//! fetched. Files go in journal order, each held against what the journal says of it before its first row is sent.

use std::pin::{Pin, pin};

use async_trait::async_trait;
use bytes::Bytes;
use futures::SinkExt;
use tokio::sync::mpsc;
use tokio_postgres::CopyInSink;

use super::super::plan::{Copy, StagedFile};
use super::super::staged;
use super::super::tables::quoted;
use super::super::wire::{CopyIn, Transaction, fault};
use super::encode::{END, Encoder, START};
use crate::error::{Error, Result};
use crate::runtime::blocking;
use crate::store::Store;

/// Buffers that may wait for the server.
const WAITING: usize = 2;

/// Staged files as the rows of COPY.
pub(super) struct Copies {
    /// Where the files are.
    pub(super) store: Store,
}

#[async_trait]
impl CopyIn for Copies {
    async fn copy(&self, transaction: &Transaction, copy: &Copy, into: &str) -> Result<u64> {
        let columns = copy.columns.fields().iter().map(|field| quoted(field.name())).collect::<Vec<_>>().join(", ");
        let sql = format!("COPY {into} ({columns}) FROM STDIN (FORMAT binary)");
        let refused = |error| fault(transaction.place(), &error);
        let mut sink = pin!(transaction.client().copy_in::<_, Bytes>(&sql).await.map_err(refused)?);
        sink.send(START.into()).await.map_err(refused)?;
        let mut files = copy.files.iter();
        let mut current = self.fetch(files.next()).await?;
        while let Some((staged, bytes)) = current {
            let sending = send(bytes, staged, copy, sink.as_mut());
            let (sent, next) = futures::join!(sending, self.fetch(files.next()));
            sent?.map_err(refused)?;
            current = next?;
        }
        sink.send(END.into()).await.map_err(refused)?;
        sink.finish().await.map_err(refused)
    }
}

impl Copies {
    async fn fetch<'a>(&self, staged: Option<&'a StagedFile>) -> Result<Option<(&'a StagedFile, Bytes)>> {
        let Some(staged) = staged else { return Ok(None) };
        let bytes = staged::fetch(&self.store, staged.entry, &staged.file).await?;
        Ok(Some((staged, bytes)))
    }
}

/// Sends a file's rows. The inner outcome is the connection's.
async fn send(
    bytes: Bytes,
    staged: &StagedFile,
    copy: &Copy,
    mut sink: Pin<&mut CopyInSink<Bytes>>,
) -> Result<Result<(), tokio_postgres::Error>> {
    let (sender, mut receiver) = mpsc::channel(WAITING);
    let (file, columns) = (staged.clone(), copy.columns.clone());
    let encoding = blocking(move || {
        let mut encoder = Encoder::new();
        staged::each_batch(bytes, &file, &columns, |batch| {
            encoder.encode(&batch, |buffer| {
                // Where nobody receives any more, the connection's error is on its way.
                sender.blocking_send(buffer).map_err(|_| Error::transient("the connection was lost during a COPY"))
            })
        })?;
        Ok(())
    });
    let sending = async {
        let mut outcome = Ok(());
        while let Some(buffer) = receiver.recv().await {
            outcome = sink.send(buffer).await;
            if outcome.is_err() {
                receiver.close();
                break;
            }
        }
        outcome
    };
    let (encoded, sent) = futures::join!(encoding, sending);
    match (encoded, sent) {
        (_, Err(lost)) => Ok(Err(lost)),
        (Err(error), Ok(())) => Err(error),
        (Ok(()), Ok(())) => Ok(Ok(())),
    }
}
