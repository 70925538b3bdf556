//! Where a pipeline's parts are built: from a folder and options to an `engine::Job`.
//!
//! The order matters: every fault of the folder first, then whose the data folder is, then the stream. So what is
//! wrong is told before anything is written.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::arguments::Common;
use super::data_folder::DataFolder;
use crate::clean::{Cleaner, PlanFault};
use crate::config::{self, Fault, Input, Pipeline};
use crate::decode::{self, Decoder};
use crate::engine::{Connect, Job};
use crate::error::{Error, Result};
use crate::host::{Host, HostSettings, Hosting, StreamEndpoint, host_or_connect};
use crate::load::{DeltaWarehouse, LoadBounds, Place};
use crate::runtime::{Context, blocking};
use crate::source::{KinesisSettings, KinesisSource, Source, StreamAdmin};
use crate::sql::SessionSettings;
use crate::stage::Stager;
use crate::store::Store;

/// What the SQL of a batch may hold: a micro-batch is 32 MiB of payload unless set otherwise.
const CLEAN_MEMORY: usize = 256 << 20;

/// What a load may hold before it spills.
const LOAD_MEMORY: usize = 256 << 20;

/// Tries of a call to the local stream: some 2 s.
const LOCAL_ATTEMPTS: u32 = 5;

/// A pipeline without fault, planned.
#[derive(Clone)]
pub(super) struct Plan {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) decoder: Arc<Decoder>,
    pub(super) cleaner: Arc<Cleaner>,
}

/// Reads and plans a pipeline's folder for the target.
///
/// # Errors
/// Invalid, with every fault of the folder in one go.
pub(super) async fn plan(common: &Common, folder: &Path) -> Result<Plan> {
    let owned = folder.to_owned();
    let reading = blocking(move || Ok(config::read(&owned))).await?;
    let mut faults = reading.faults;
    let mut planned = None;
    if let Some(pipeline) = reading.pipeline {
        match Cleaner::plan(&pipeline, clean_settings()).await {
            Ok(cleaner) => planned = Some((pipeline.clone(), cleaner)),
            Err(more) => faults.extend(more.into_iter().map(|fault| {
                let PlanFault { file, line, column, message } = fault;
                Fault { file: folder.join(file), line, column, message }
            })),
        }
        faults.extend(blocking(move || Ok(heading_faults(&pipeline))).await?);
    }
    let Some((pipeline, cleaner)) = planned.filter(|_| faults.is_empty()) else {
        faults
            .sort_by(|left, right| (&left.file, left.line, left.column).cmp(&(&right.file, right.line, right.column)));
        return Err(config::refuse(&faults));
    };
    if !pipeline.targets.contains_key(&common.target) {
        let known: Vec<&str> = pipeline.targets.keys().map(String::as_str).collect();
        let (target, known) = (&common.target, known.join(", "));
        return Err(Error::invalid(format!("the pipeline {} has no target {target}; it has {known}", pipeline.name)));
    }
    let decoder = Arc::new(Decoder::new(&pipeline.fields));
    Ok(Plan { pipeline: Arc::new(pipeline), decoder, cleaner: Arc::new(cleaner) })
}

fn clean_settings() -> SessionSettings {
    SessionSettings { memory_bytes: CLEAN_MEMORY, partitions: 1 }
}

/// As many as the machine has cores.
pub(super) fn partitions() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Dimension files that are not what their table expects.
fn heading_faults(pipeline: &Pipeline) -> Vec<Fault> {
    let mut faults = Vec::new();
    for table in &pipeline.tables {
        let Input::File { path, fields } = &table.input else { continue };
        let file = pipeline.folder.join(path);
        // A file that cannot be read is a fault that reading the folder has found already.
        let Ok(bytes) = std::fs::read(&file) else { continue };
        let message = match decode::missing_headings(fields, &bytes) {
            Ok(missing) if missing.is_empty() => continue,
            Ok(missing) => {
                format!("the table {} expects the columns {}, which the file lacks", table.name, missing.join(", "))
            }
            Err(fault) => fault.to_string(),
        };
        faults.push(Fault { file, line: 1, column: 1, message });
    }
    faults
}

/// The parts of a pipeline on the local target, without its stream.
#[derive(Clone)]
pub(super) struct Local {
    pub(super) plan: Plan,
    pub(super) data: DataFolder,
    pub(super) store: Store,
    pub(super) warehouse: Arc<DeltaWarehouse>,
    pub(super) context: Context,
}

impl Local {
    /// Takes the data folder and opens the stream, in this order: whose the folder is, whether the port is free, and
    /// only then the first byte is written.
    ///
    /// # Errors
    /// As [`Local::claim`], and as [`LocalStream::open`].
    pub(super) async fn with_stream(common: &Common, folder: &Path) -> Result<(Self, LocalStream)> {
        let plan = plan(common, folder).await?;
        let stream = LocalStream::open(common, &plan, &Context::system()).await?;
        let data = DataFolder::claim(&common.data, &plan.pipeline)?;
        Ok((Self::over(plan, data)?, stream))
    }

    /// Takes the data folder, making it where it is missing.
    ///
    /// # Errors
    /// Invalid where the pipeline has faults, or the folder is another's.
    pub(super) async fn claim(common: &Common, folder: &Path) -> Result<Self> {
        let plan = plan(common, folder).await?;
        let data = DataFolder::claim(&common.data, &plan.pipeline)?;
        Self::over(plan, data)
    }

    /// Opens the data folder that earlier commands have made.
    ///
    /// # Errors
    /// As [`Local::claim`], and where there is no data folder.
    pub(super) async fn existing(common: &Common, folder: &Path) -> Result<Self> {
        let plan = plan(common, folder).await?;
        let data = DataFolder::existing(&common.data, &plan.pipeline)?;
        Self::over(plan, data)
    }

    fn over(plan: Plan, data: DataFolder) -> Result<Self> {
        let context = Context::system();
        let store = Store::local(&data.lake())?;
        let bounds = LoadBounds { memory_bytes: LOAD_MEMORY, partitions: partitions() };
        let place =
            Place { folder: data.warehouse().into(), store: store.clone(), pipeline: plan.pipeline.name.clone() };
        let warehouse = DeltaWarehouse::new(place, plan.cleaner.specs(), context.clone(), bounds)?;
        Ok(Self { plan, data, store, warehouse: Arc::new(warehouse), context })
    }

    /// The job over a stream.
    pub(super) fn job(&self, connect: Connect) -> Job {
        Job {
            pipeline: Arc::clone(&self.plan.pipeline),
            connect,
            decoder: Arc::clone(&self.plan.decoder),
            cleaner: Arc::clone(&self.plan.cleaner),
            stager: Arc::new(Stager::new(self.store.clone(), self.context.clone())),
            store: self.store.clone(),
            warehouse: Arc::clone(&self.warehouse) as _,
            context: self.context.clone(),
        }
    }
}

/// The local stream: hosted by this process, or by another that came first.
#[derive(Clone)]
pub(super) struct LocalStream {
    settings: HostSettings,
    stream: String,
    shards: u32,
    context: Context,
    hosting: Arc<Mutex<Option<Host>>>,
}

impl LocalStream {
    /// Hosts or connects, with the pipeline's stream made.
    ///
    /// # Errors
    /// Invalid where the data folder is another's or the port is in use, with nothing written; the stream's own.
    pub(super) async fn open(common: &Common, plan: &Plan, context: &Context) -> Result<Self> {
        DataFolder::could_be_claimed(&common.data, &plan.pipeline)?;
        let stream = Self {
            settings: HostSettings { folder: common.data.clone(), port: common.port },
            stream: plan.pipeline.source.stream.clone(),
            shards: plan.pipeline.source.shards,
            context: context.clone(),
            hosting: Arc::default(),
        };
        stream.settings().await?;
        Ok(stream)
    }

    /// Where the stream is now; hosts it where whoever hosted it has gone.
    pub(super) async fn endpoint(&self) -> Result<StreamEndpoint> {
        let mut hosting = self.hosting.lock().await;
        if let Some(host) = hosting.as_ref().filter(|host| !host.has_ended()) {
            return Ok(host.endpoint());
        }
        *hosting = None;
        match host_or_connect(&self.settings).await? {
            Hosting::Connected(endpoint) => Ok(endpoint),
            Hosting::Hosting(host) => {
                let endpoint = host.endpoint();
                *hosting = Some(host);
                Ok(endpoint)
            }
        }
    }

    /// Whether this process hosts it.
    pub(super) async fn is_host(&self) -> bool {
        self.hosting.lock().await.is_some()
    }

    /// What a client needs, with the stream made where it was missing.
    pub(super) async fn settings(&self) -> Result<KinesisSettings> {
        let endpoint = self.endpoint().await?;
        let mut settings = KinesisSettings::local(&endpoint.url, &self.stream);
        // On this machine a server that does not answer is gone, and another may host the stream by now.
        settings.backoff.attempts = LOCAL_ATTEMPTS;
        StreamAdmin::new(settings.clone(), self.context.clone()).ensure_stream(self.shards).await?;
        Ok(settings)
    }

    /// The way to the stream for the engine.
    pub(super) fn connect(&self) -> Connect {
        let stream = self.clone();
        Arc::new(move || {
            let stream = stream.clone();
            Box::pin(async move {
                let settings = stream.settings().await?;
                Ok(Arc::new(KinesisSource::new(settings, stream.context.clone())) as Arc<dyn Source>)
            })
        })
    }

    /// Resolves when the server that this process hosts has ended by itself; never where it hosts none.
    pub(super) async fn ended(&self) {
        let hosting = self.hosting.lock().await;
        match hosting.as_ref() {
            Some(host) => host.ended().await,
            None => std::future::pending().await,
        }
    }

    /// Ends hosting, where this process does.
    ///
    /// # Errors
    /// Where the stream's state could not be synced.
    pub(super) async fn close(&self) -> Result<()> {
        match self.hosting.lock().await.take() {
            Some(host) => host.shutdown().await,
            None => Ok(()),
        }
    }
}
