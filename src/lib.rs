//! Millstream.
pub mod batch;
pub mod clean;
pub mod config;
pub mod decode;
pub mod error;
pub mod generate;
pub mod host;
pub mod journal;
pub mod load;
pub mod query;
pub mod runtime;
pub mod schema;
pub mod source;
pub mod sql;
pub mod stage;
pub mod store;
