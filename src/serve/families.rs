//! Writing metric families: a description, then its samples, none where nothing is known.
//!
//! Owns the use of the exposition library's encoder; what is told, and in which words, is the snapshot's. A family is
//! described even while it has no sample, so that what can be watched is the same from the first scrape on.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// What a family is called and what it means: the name without the common prefix, the unit and a counter's `_total`.
pub(super) struct Words {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
}

impl Words {
    /// Of a number of things.
    pub(super) fn of(name: &'static str, help: &'static str) -> Self {
        Self { name, help, unit: None }
    }

    /// Of a time.
    pub(super) fn seconds(name: &'static str, help: &'static str) -> Self {
        Self { name, help, unit: Some(Unit::Seconds) }
    }
}

/// A page of families, one after the other.
pub(super) struct Families<'e>(DescriptorEncoder<'e>);

impl<'e> Families<'e> {
    pub(super) fn new(encoder: DescriptorEncoder<'e>) -> Self {
        Self(encoder)
    }

    pub(super) fn counter(&mut self, words: &Words, value: u64) -> fmt::Result {
        count(&mut self.describe(words, MetricType::Counter)?, value)
    }

    /// A sample for each value of the label.
    pub(super) fn counters<'l>(
        &mut self,
        words: &Words,
        label: &str,
        samples: impl IntoIterator<Item = (&'l str, u64)>,
    ) -> fmt::Result {
        let mut family = self.describe(words, MetricType::Counter)?;
        samples.into_iter().try_for_each(|(of, value)| count(&mut family.encode_family(&[(label, of)])?, value))
    }

    pub(super) fn gauge(&mut self, words: &Words, value: Option<f64>) -> fmt::Result {
        let mut family = self.describe(words, MetricType::Gauge)?;
        value.map_or(Ok(()), |value| family.encode_gauge(&value))
    }

    /// A sample for each value of the label.
    pub(super) fn gauges<'l>(
        &mut self,
        words: &Words,
        label: &str,
        samples: impl IntoIterator<Item = (&'l str, f64)>,
    ) -> fmt::Result {
        let mut family = self.describe(words, MetricType::Gauge)?;
        samples.into_iter().try_for_each(|(of, value)| family.encode_family(&[(label, of)])?.encode_gauge(&value))
    }

    fn describe<'s>(&'s mut self, words: &'s Words, kind: MetricType) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.0.encode_descriptor(words.name, words.help, words.unit.as_ref(), kind)
    }
}

fn count(metric: &mut MetricEncoder<'_>, value: u64) -> fmt::Result {
    metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
}
