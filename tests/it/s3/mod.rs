//! The object store's promises on S3, on two servers from different hands, and what rests on them: the journal and Delta
//! tables. Only moto, and only where it is told to, checks signatures; no claim about AWS itself follows from either.

mod journal;
mod proxy;
mod warehouse;

use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use futures::future::join_all;
use millstream::aws::AwsChain;
use millstream::error::ErrorKind;
use millstream::store::{Object, Put, S3Settings, Store};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use self::proxy::{Fault, Proxy};
use crate::command::until;
use crate::python::{python, server};
use crate::stand_ins::{Server, s3_servers};

const PREFIX: &str = "lake/food";

/// A bucket of a test's own.
struct Bucket {
    server: &'static Server,
    name: String,
}

/// A fresh bucket on each of the servers.
fn buckets() -> Vec<Bucket> {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let make = |server: &'static Server| {
        let name = format!("bucket-{}", MADE.fetch_add(1, Ordering::SeqCst));
        python("s3_make_bucket", &[&server.port.to_string(), &name]);
        Bucket { server, name }
    };
    s3_servers().into_iter().map(make).collect()
}

impl Bucket {
    fn store(&self) -> Store {
        store(self.server.port, &self.name)
    }

    async fn behind_proxy(&self) -> (Proxy, Store) {
        let proxy = Proxy::before(self.server.port).await;
        let store = store(proxy.port, &self.name);
        (proxy, store)
    }

    /// What boto3 finds in it.
    fn look(&self) -> Value {
        python("s3_look", &[&self.server.port.to_string(), &self.name])
    }
}

fn store(port: u16, bucket: &str) -> Store {
    Store::s3(settings(port, bucket)).expect("a store")
}

fn settings(port: u16, bucket: &str) -> S3Settings {
    S3Settings {
        bucket: bucket.to_owned(),
        prefix: PREFIX.to_owned(),
        endpoint: Some(format!("http://127.0.0.1:{port}")),
        path_style: true,
        chain: AwsChain::fixed("us-east-1", "local", "local"),
    }
}

fn bytes(length: usize) -> Bytes {
    (0..length).map(|index| (index % 251) as u8).collect::<Vec<_>>().into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stores_promises_hold() {
    for bucket in buckets() {
        let (store, server) = (bucket.store(), bucket.server.name);
        assert_eq!(store.get("a/b").await.expect("read"), None, "{server}");
        assert_eq!(store.size("a/b").await.expect("size"), None, "{server}");
        assert_eq!(store.tail("a/b", 2).await.expect("read"), None, "{server}");
        store.delete("a/b").await.expect("deleting nothing is no error");
        assert_eq!(store.list("a", None).await.expect("list"), [], "{server}");
        assert_eq!(store.put_if_absent("a/b", "one".into()).await.expect("put"), Put::Created, "{server}");
        assert_eq!(store.put_if_absent("a/b", "two".into()).await.expect("put"), Put::Exists, "{server}");
        assert_eq!(store.get("a/b").await.expect("read"), Some("one".into()), "{server}");
        assert_eq!(store.tail("a/b", 2).await.expect("read"), Some("ne".into()), "{server}");
        assert_eq!(store.tail("a/b", 99).await.expect("read"), Some("one".into()), "{server}");
        store.put("a/b", "three".into()).await.expect("overwrite");
        assert_eq!(store.size("a/b").await.expect("size"), Some(5), "{server}");
        for path in ["a/c/2", "a/c/date=2026-11-20/10", "ab", "b"] {
            store.put(path, "x".into()).await.expect("put");
        }
        let paths = |objects: Vec<Object>| objects.into_iter().map(|object| object.path).collect::<Vec<_>>();
        let all = ["a/b", "a/c/2", "a/c/date=2026-11-20/10"];
        assert_eq!(paths(store.list("a", None).await.expect("list")), all, "{server}");
        assert_eq!(paths(store.list("a", Some("a/b")).await.expect("list")), all[1..], "{server}");
        assert_eq!(paths(store.list("a", Some("a/c/2")).await.expect("list")), all[2..], "{server}");
        store.delete("a/b").await.expect("delete");
        assert_eq!(store.get("a/b").await.expect("read"), None, "{server}");
        let found = bucket.look();
        assert_eq!(found["objects"][format!("{PREFIX}/ab")]["bytes"], 1, "{server}: {found}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_goes_on_over_its_pages() {
    for bucket in buckets() {
        let store = bucket.store();
        let numbers: Vec<u32> = (0..1_100).collect();
        for some in numbers.chunks(50) {
            let puts = some.iter().map(|number| {
                let store = store.clone();
                async move { store.put(&format!("many/{number:05}"), "x".into()).await.expect("put") }
            });
            join_all(puts).await;
        }
        let found = store.list("many", None).await.expect("list");
        let expected: Vec<String> = numbers.iter().map(|number| format!("many/{number:05}")).collect();
        assert_eq!(found.into_iter().map(|object| object.path).collect::<Vec<_>>(), expected, "{}", bucket.server.name);
        assert_eq!(store.list("many", Some("many/01050")).await.expect("list").len(), 49);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_sixteen_racing_writers_one_creates() {
    for bucket in buckets() {
        for round in 0..4 {
            let puts = (0..16).map(|writer| {
                // Each has a store of its own, as a process has.
                let store = bucket.store();
                let put = async move { store.put_if_absent(&format!("race/{round}"), writer.to_string().into()).await };
                tokio::spawn(put)
            });
            let outcomes = join_all(puts).await.into_iter().map(|put| put.expect("no panic").expect("an answer"));
            let winners: Vec<usize> =
                outcomes.enumerate().filter(|(_, put)| *put == Put::Created).map(|(writer, _)| writer).collect();
            assert_eq!(winners.len(), 1, "{}", bucket.server.name);
            let found = bucket.store().get(&format!("race/{round}")).await.expect("read").expect("there");
            assert_eq!(found, winners[0].to_string());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_object_goes_in_parts_and_is_whole() {
    for bucket in buckets() {
        let (store, large) = (bucket.store(), bytes(40 << 20));
        store.put("large", large.clone()).await.expect("put");
        assert!(store.get("large").await.expect("read") == Some(large.clone()), "{}", bucket.server.name);
        assert_eq!(store.tail("large", 8).await.expect("read"), Some(large.slice(large.len() - 8..)));
        let found = bucket.look();
        let object = &found["objects"][format!("{PREFIX}/large")];
        let sha256: String = Sha256::digest(&large).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!((&object["bytes"], &object["sha256"]), (&json!(large.len()), &json!(sha256)));
        assert!(object["etag"].as_str().is_some_and(|etag| etag.ends_with("-5")), "five parts: {object}");
        assert_eq!(found["uploads"], json!([]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_fails_or_is_dropped_leaves_nothing_behind() {
    for bucket in buckets() {
        let (proxy, store) = bucket.behind_proxy().await;
        proxy.next("PUT", "partNumber=3", &[Fault::Denied]);
        let error = store.put("large", bytes(40 << 20)).await.expect_err("denied");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains("s3:PutObject"), "{error}");
        assert!(!format!("{error} {error:?}").contains("SESSION-TOKEN"), "{error}");
        let nothing = json!({"objects": {}, "uploads": []});
        assert_eq!(bucket.look(), nothing, "{}", bucket.server.name);

        proxy.next("PUT", "partNumber=3", &[Fault::Hangs]);
        let put = tokio::spawn(async move { store.put("large", bytes(40 << 20)).await });
        tokio::task::block_in_place(|| until("the third part", || (proxy.waiting() == 0).then_some(())));
        assert_eq!(bucket.look()["uploads"], json!([format!("{PREFIX}/large")]), "{}", bucket.server.name);
        put.abort();
        assert!(put.await.expect_err("dropped").is_cancelled());
        tokio::task::block_in_place(|| until("the upload is taken back", || (bucket.look() == nothing).then_some(())));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_passes_is_tried_again_and_what_does_not_is_told() {
    for bucket in buckets() {
        let (proxy, store) = bucket.behind_proxy().await;
        proxy.next("PUT", "/a", &[Fault::Busy, Fault::Reset, Fault::AppliedButFailed]);
        store.put("a", "x".into()).await.expect("put at last");
        proxy.next("GET", "/a", &[Fault::Busy, Fault::Reset]);
        assert_eq!(store.get("a").await.expect("read at last"), Some("x".into()));
        assert_eq!(proxy.waiting(), 0, "all faults were met");

        proxy.next("PUT", "/b", &[Fault::Conflict]);
        let error = store.put_if_absent("b", "x".into()).await.expect_err("a 409 is no answer");
        assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
        assert_eq!(store.put_if_absent("b", "x".into()).await.expect("the same again"), Put::Created);

        let nowhere = self::store(bucket.server.port, "no-such-bucket");
        for error in [
            nowhere.put("a", "x".into()).await.expect_err("no bucket"),
            nowhere.get("a").await.expect_err("no bucket"),
            nowhere.list("a", None).await.expect_err("no bucket"),
        ] {
            assert_eq!(error.kind(), ErrorKind::Invalid, "{}: {error}", bucket.server.name);
            assert!(error.to_string().contains("no such bucket"), "{}: {error}", bucket.server.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conditional_put_whose_answer_is_lost_is_told_as_such() {
    for bucket in buckets() {
        let (proxy, store) = bucket.behind_proxy().await;
        // object_store tries both again by itself: what is there already is this very put.
        for fault in [Fault::Unanswered, Fault::AppliedButFailed] {
            proxy.next("PUT", "/mine", &[fault]);
            assert_eq!(store.put_if_absent("mine", "mine".into()).await.expect("put"), Put::Exists, "{fault:?}");
            assert_eq!(store.get("mine").await.expect("read"), Some("mine".into()), "{fault:?}");
            assert_eq!(proxy.waiting(), 0, "{fault:?} was met");
            store.delete("mine").await.expect("deleted");
        }
    }
}

/// moto, started so that it looks at signatures and policies after the first requests; the keys of a user who may do
/// everything in a bucket, and those of one who may do nothing.
fn strict_server(bucket: &str) -> (Server, [(String, String); 2]) {
    let strict = Server::start("moto-strict", |port| {
        let mut command = server("moto.server", &["-H", "127.0.0.1", "-p", &port.to_string()]);
        command.env("INITIAL_NO_AUTH_ACTION_COUNT", "6");
        command
    });
    let made = python("s3_users", &[&strict.port.to_string(), bucket]);
    let keys = |user: &str| {
        let text = |key: &str| made[user][key].as_str().expect("a text").to_owned();
        (text("access_key"), text("secret_key"))
    };
    let users = [keys("writer"), keys("nobody")];
    (strict, users)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_signed_with_the_chains_credentials_and_a_denial_is_told() {
    let (strict, [writer, nobody]) = strict_server("strict");
    let with = |key: &str, secret: &str| {
        let chain = AwsChain::fixed("us-east-1", key, secret);
        Store::s3(S3Settings { chain, ..settings(strict.port, "strict") }).expect("a store")
    };
    let store = with(&writer.0, &writer.1);
    assert_eq!(store.put_if_absent("a/b=1", "one".into()).await.expect("signed"), Put::Created);
    assert_eq!(store.put_if_absent("a/b=1", "two".into()).await.expect("signed"), Put::Exists);
    assert_eq!(store.get("a/b=1").await.expect("signed"), Some("one".into()));
    assert_eq!(store.list("a", None).await.expect("signed").len(), 1);
    let wrong_secret = format!("{}x", writer.1);
    for store in [with(&writer.0, &wrong_secret), with("AKIANOBODYKNOWSTHIS1", &writer.1), with(&nobody.0, &nobody.1)] {
        for error in [
            store.put_if_absent("c", "x".into()).await.expect_err("denied"),
            store.list("a", None).await.expect_err("denied"),
        ] {
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
            assert!(error.to_string().contains("do not allow it"), "{error}");
            assert!(!format!("{error:?}").contains(&writer.1), "{error}");
        }
    }
}
