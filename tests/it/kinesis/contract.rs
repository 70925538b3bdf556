//! What every source keeps, on kinesis-local: the suite that the library's own tests run on memory and ferrokinesis.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_sdk_kinesis::types::ShardIteratorType;
// What the suite finds above itself where it stands.
use millstream::source::{Gap, KinesisSource, Known, Page, Shard, ShardReader, Source, plan};

use super::{Plan, Proxy, Stream, context, kinesis_local, middle, settings};

#[path = "../../../src/source/contract.rs"]
mod suite;

/// A stream on kinesis-local behind a proxy, which forgets records as retention does: the server has no such door.
struct Changing {
    stream: Stream,
    proxy: Proxy,
}

#[async_trait]
impl suite::Filler for Changing {
    async fn put_all(&self, records: Vec<(String, String)>) {
        self.stream.put(&records).await;
    }

    async fn split(&self, shard: &Shard) {
        self.stream.split(shard, middle(shard)).await;
    }

    async fn merge(&self, lower: &Shard, upper: &Shard) {
        self.stream.merge(lower, upper).await;
    }

    async fn forget(&self, shard: &Shard, count: usize) {
        let client = &self.stream.client;
        let iterator = client.get_shard_iterator().stream_name(&self.stream.name).shard_id(shard.id.as_str());
        let iterator = iterator.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await.expect("an iterator");
        let page = client.get_records().set_shard_iterator(iterator.shard_iterator).send().await.expect("records");
        self.proxy.forget(page.records.into_iter().take(count).map(|record| record.sequence_number));
    }
}

async fn keeps_the_contract(name: &str, faults: Plan) -> BTreeMap<super::faults::Fault, u64> {
    let proxy = Proxy::before(kinesis_local::port(), Plan::calm()).await;
    let changing = Changing { stream: Stream::make(proxy.port, name, 3).await, proxy };
    let between = Proxy::before(changing.proxy.port, faults).await;
    let source = KinesisSource::new(settings(between.port, name), context());
    suite::source_contract(&source, &changing, 3).await;
    between.counts().faults
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_source_keeps_its_contract_on_kinesis_local() {
    assert_eq!(keeps_the_contract("contract", Plan::calm()).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_source_keeps_its_contract_through_every_fault() {
    let faults = keeps_the_contract("contract-with-faults", Plan::seeded(3, 15)).await;
    // All but those of puts.
    assert_eq!(faults.len(), 9, "{faults:?}");
}
