//! The settings as plain data: what a pipeline's folder says, with the defaults filled in.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{NaiveDate, NaiveTime, Weekday};

use crate::schema::{Field, History, TableKind, TableLayout};

/// A pipeline: one folder, read and found without fault.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// The folder.
    pub folder: PathBuf,
    /// `[pipeline] name`: lower-case letters, digits and `_`.
    pub name: String,
    /// `[source]`.
    pub source: SourceSettings,
    /// `[batch]`.
    pub batch: BatchSettings,
    /// `[load]`.
    pub load: LoadSettings,
    /// `[[event.field]]`, in the file's order; at least one.
    pub fields: Vec<Field>,
    /// `[[check]]`, in the file's order: an event fails by the first that it does not pass.
    pub checks: Vec<Check>,
    /// `[[table]]`, in the file's order; at least one.
    pub tables: Vec<Table>,
    /// `[target.NAME]`; `local` is always there.
    pub targets: BTreeMap<String, Target>,
    /// `report/*.sql`, by name.
    pub reports: Vec<Report>,
}

/// `[source]`: the stream and where to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSettings {
    /// The stream's name.
    pub stream: String,
    /// Where to start where the journal holds no position.
    pub start: Start,
    /// Shards of a stream that the local target makes; default 4.
    pub shards: u32,
    /// The registered consumer to read through (enhanced fan-out); none to poll.
    pub fan_out: Option<String>,
    /// What to do where the stream has dropped records before they were read.
    pub on_loss: OnLoss,
    /// How long a shard may make no progress though it is behind; default 2 min.
    pub stall_after: Duration,
}

impl Default for SourceSettings {
    /// The defaults, of a stream without a name.
    fn default() -> Self {
        Self {
            stream: String::new(),
            start: Start::TrimHorizon,
            shards: 4,
            fan_out: None,
            on_loss: OnLoss::Stop,
            stall_after: Duration::from_secs(120),
        }
    }
}

/// `[source] on_loss`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnLoss {
    /// The run ends with the gap named (the default).
    Stop,
    /// The gap is journaled, and reading goes on behind it.
    Continue,
}

/// `[source] start`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The oldest record (the default).
    TrimHorizon,
    /// What arrives from the first start on.
    Latest,
    /// What arrived at this time or later, ms since 1970 UTC.
    Time(i64),
}

/// `[batch]`: a micro-batch closes at the first of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSettings {
    /// Records; default 200,000.
    pub max_rows: usize,
    /// Bytes that its records hold in memory, some 160 each beside their payloads; default 12 MiB, which is as fast as more and keeps a worker under 300 MB.
    pub max_bytes: u64,
    /// Since the batch's first record was read; default 2 s.
    pub max_age: Duration,
}

/// `[load]`: how often and how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadSettings {
    /// How old the oldest staged entry may grow before a load starts; default 10 s.
    pub freshness: Duration,
    /// Entries that one load takes at most; default 1,000.
    pub max_entries: usize,
    /// Staged files that one load takes at most, though never less than one entry; default 10,000.
    pub max_files: usize,
    /// Bytes of staged files that one load takes at most, though never less than one entry; default 4 GiB.
    pub max_bytes: u64,
    /// When no load starts; reading goes on.
    pub maintenance: Vec<MaintenanceWindow>,
}

impl Default for LoadSettings {
    fn default() -> Self {
        Self {
            freshness: Duration::from_secs(10),
            max_entries: 1000,
            max_files: 10_000,
            max_bytes: 4 << 30,
            maintenance: Vec::new(),
        }
    }
}

/// A time of the week, in UTC, at which no load starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaintenanceWindow {
    /// The days on which it begins; empty for every day.
    pub days: Vec<Weekday>,
    /// When it begins.
    pub from: NaiveTime,
    /// When it is over; where that is not after `from`, on the next day.
    pub until: NaiveTime,
}

/// `[[check]]`: an expression over an event that must be true; null fails it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The name to count rejects by.
    pub name: String,
    /// A SQL expression over `events`.
    pub expr: String,
    /// The line of the expression in pipeline.toml, for errors that only planning finds.
    pub line: usize,
}

/// `[[table]]`: a table of the star schema, with its SQL.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// The table's name, and its SQL file's.
    pub name: String,
    /// Fact or dimension.
    pub kind: TableKind,
    /// The columns that name a row.
    pub key: Vec<String>,
    /// What a dimension does with a change; `Overwrite` unless said.
    pub history: History,
    /// `references = { column = "dimension" }`.
    pub references: BTreeMap<String, String>,
    /// `widths = { column = 16 }`: the most bytes that a string column holds, where that is said.
    pub widths: BTreeMap<String, u32>,
    /// `redshift = { … }`: how Redshift lays the table out.
    pub layout: TableLayout,
    /// What the SQL reads.
    pub input: Input,
    /// The SQL file as messages name it: `fact_orders.sql`, from the folder.
    pub sql_path: PathBuf,
    /// The SQL file's text.
    pub sql: String,
    /// The line of `[[table]]` in pipeline.toml.
    pub line: usize,
}

/// What a table's SQL reads.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The stream's events: the relation `events`.
    Events,
    /// A dimension file (`from`): the relation `file`, typed by `[[table.field]]`.
    File {
        /// From the folder, as the file names it.
        path: PathBuf,
        /// Whether it may lie outside the folder; default false.
        allow_outside: bool,
        /// `[[table.field]]`: name, path (the heading), type, required.
        fields: Vec<Field>,
    },
    /// The days from `from` through `through` (`dates = { from = …, through = … }`): the relation `dates` with the
    /// one column `date`.
    Dates {
        /// The first day.
        from: NaiveDate,
        /// The last day.
        through: NaiveDate,
    },
}

/// `report/NAME.sql`: a question asked of the star schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The file's name without its ending.
    pub name: String,
    /// The file's text.
    pub sql: String,
    /// The file as messages name it: `report/orders_by_status.sql`, from the folder.
    pub path: PathBuf,
}

/// `[target.NAME]`: where a pipeline runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// This machine: a stream hosted in-process, a folder as object store.
    Local(LocalTarget),
    /// AWS, or servers that speak as its services do.
    Aws(AwsTarget),
}

impl Target {
    /// Its warehouse.
    pub fn warehouse(&self) -> WarehouseSettings {
        match self {
            Self::Local(LocalTarget { warehouse: Some(settings) }) => WarehouseSettings::Postgres(settings.clone()),
            Self::Local(LocalTarget { warehouse: None }) => WarehouseSettings::Delta,
            Self::Aws(target) => target.warehouse.clone(),
        }
    }
}

/// The local target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalTarget {
    /// The warehouse; none for Delta tables in the data folder.
    pub warehouse: Option<PostgresSettings>,
}

/// A target in AWS. Credentials are no part of it: they come from the AWS chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsTarget {
    /// The region; none for the one that the environment, the profile or the instance names.
    pub region: Option<String>,
    /// Another Kinesis server's address, `http://host:port`; none for AWS.
    pub stream_endpoint: Option<String>,
    /// The object store.
    pub store: StoreAddress,
    /// Another S3 server's address; none for AWS.
    pub store_endpoint: Option<String>,
    /// Whether the bucket stands in the path and not in the host's name; default false.
    pub path_style: bool,
    /// The warehouse.
    pub warehouse: WarehouseSettings,
}

/// `store` of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreAddress {
    /// `s3://bucket/prefix`, as written.
    S3(String),
    /// `file:///folder`: a folder that all workers share.
    Folder(PathBuf),
}

/// `warehouse` of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WarehouseSettings {
    /// Delta tables in the object store, below `warehouse/`.
    Delta,
    /// A PostgreSQL database.
    Postgres(PostgresSettings),
    /// Redshift, provisioned or serverless.
    Redshift(RedshiftSettings),
}

/// `kind = "postgres"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresSettings {
    /// Where it listens, and who logs in.
    pub server: ServerSettings,
    /// The database.
    pub database: String,
    /// The schema of the tables; none for one named after the pipeline.
    pub schema: Option<String>,
}

/// `kind = "redshift"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedshiftSettings {
    /// How statements get there.
    pub access: RedshiftAccess,
    /// The database.
    pub database: String,
    /// The schema of the tables; none for one named after the pipeline.
    pub schema: Option<String>,
    /// The role by which COPY reads the bucket: `arn:aws:iam::…`, or `default`.
    pub iam_role: String,
    /// Whether staged files hold decimals as fixed-length bytes, whatever their precision; default false.
    pub fixed_length_decimals: bool,
    /// Another server's address for the APIs of Redshift and Secrets Manager; none for AWS.
    pub endpoint: Option<String>,
}

/// How statements get to Redshift.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedshiftAccess {
    /// The PostgreSQL wire protocol.
    Wire(ServerSettings),
    /// The Data API: no way through the network is needed.
    DataApi {
        /// Which Redshift.
        place: RedshiftPlace,
        /// The database's user (of a cluster); none for the one that belongs to the AWS identity.
        user: Option<String>,
        /// The secret that holds user and password; none for the AWS identity's own access.
        secret: Option<String>,
    },
}

/// Which Redshift.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedshiftPlace {
    /// A provisioned cluster's identifier.
    Cluster(String),
    /// A serverless workgroup's name.
    Workgroup(String),
}

/// A server that speaks the PostgreSQL wire protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    /// The host's name or address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// How to log in.
    pub login: Login,
    /// Whether the connection is encrypted and the server's certificate verified.
    pub tls: Tls,
}

/// How to log in. No secret stands here: only where it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// This user, with the password that an environment variable holds; none where it is not set.
    Environment {
        /// The database's user.
        user: String,
        /// The variable's name.
        variable: String,
    },
    /// User and password from a secret in Secrets Manager (its name or ARN; JSON with `username` and `password`).
    Secret(String),
    /// Temporary credentials that Redshift gives to the AWS identity.
    Iam {
        /// Which Redshift.
        place: RedshiftPlace,
        /// The database's user (of a cluster); none for a workgroup.
        user: Option<String>,
    },
}

/// Encryption of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tls {
    /// Encrypted; the certificate must be good for the host's name.
    Verify {
        /// A file of certificates (PEM) to trust instead of the system's.
        authorities: Option<PathBuf>,
    },
    /// Not encrypted: on this machine, or in a network that is trusted.
    Off,
}
