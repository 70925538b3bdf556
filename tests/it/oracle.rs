//! The oracle: what the star schema must be, computed in Python straight from the records that the stream holds.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::command::food_delivery;
use crate::python::python;

/// What the records of a stream must become.
pub(crate) struct Oracle {
    folder: TempDir,
    counts: Value,
}

impl Oracle {
    /// Reads every record of every shard through boto3, and works out what must come of them.
    pub(crate) fn of_stream(port: u16, stream: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
        python("read_stream", &[&port.to_string(), stream, &path("records")]);
        let dims = food_delivery().join("dims");
        let dims = dims.to_str().expect("UTF-8");
        let counts = python("oracle", &[&path("records"), &path("expected"), dims]);
        Self { folder, counts }
    }

    /// The records in the stream.
    pub(crate) fn records(&self) -> u64 {
        self.counts["records"].as_u64().expect("a number")
    }

    /// The aggregates in the stream, and the parts of them that belong to another shard.
    pub(crate) fn aggregates(&self) -> (u64, u64) {
        let number = |key: &str| self.counts[key].as_u64().expect("a number");
        (number("aggregates"), number("strays"))
    }

    /// The events that must be in quarantine.
    pub(crate) fn rejected(&self) -> u64 {
        let sum = |key: &str| {
            let counts = self.counts[key].as_object().unwrap_or_else(|| panic!("{key} is not in {}", self.counts));
            counts.values().filter_map(Value::as_u64).sum::<u64>()
        };
        sum("undecodable") + sum("failed_checks")
    }

    /// Compares the Delta tables with what they must be; a difference fails the test, with the first of them.
    pub(crate) fn compare(&self, warehouse: &Path) {
        let expected = self.folder.path().join("expected");
        python("compare_star", &[expected.to_str().expect("UTF-8"), warehouse.to_str().expect("UTF-8")]);
    }
}
