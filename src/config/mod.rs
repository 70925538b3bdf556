//! A pipeline's settings: plain data, read from its folder, all faults of it found at once.
//!
//! Owns the format of pipeline.toml, the defaults, and which files belong to a pipeline. It plans no SQL and opens no
//! dimension file beyond seeing that it can be read. The contract: `read` never stops at the first fault, and a
//! pipeline runs only where there is none.

mod document;
mod fault;
mod fields;
mod files;
mod folder;
mod layout;
mod maintenance;
mod model;
mod servers;
mod settings;
mod tables;
mod targets;
mod values;
mod warehouse_url;
mod warehouses;

pub use fault::{Fault, refuse};
pub use files::read_certificates;
pub use folder::{Reading, read};
pub use model::{
    AwsTarget, BatchSettings, Check, Input, LoadSettings, LocalTarget, Login, MaintenanceWindow, OnLoss, Pipeline,
    PostgresSettings, RedshiftAccess, RedshiftPlace, RedshiftSettings, Report, ServerSettings, SourceSettings, Start,
    StoreAddress, Table, Target, Tls, WarehouseSettings,
};
pub use values::RESERVED_COLUMNS;
pub use warehouse_url::parse_warehouse_url;

#[cfg(test)]
mod tests;
