//! Databases that the tests start for themselves, on loopback.
//!
//! Owns no rule of Millstream's: nothing here names its crate, so that its unit tests and the integration tests can both
//! include these files.

pub mod postgres;
pub mod redshift;
