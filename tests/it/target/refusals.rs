//! What is wrong with a target is told in a sentence with what to do, soon, and without anything that is secret.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{Bucket, Hosted, SECRET, on_stage, with_stage};
use crate::command::{Millstream, PipelineCopy, Said, until};
use crate::stand_ins::s3_servers;

const TOKEN: &str = "a-session-token-that-nobody-may-see";

/// A command must fail so, soon, with these words, and tell no secret.
fn fails(millstream: &Millstream, command: &[&str], code: i32, words: &[&str]) -> Said {
    let started_at = Instant::now();
    let said = millstream.say(command[0], &command[1..]);
    let took = started_at.elapsed();
    assert_eq!(said.code, Some(code), "{command:?}: {said:?}");
    for word in words {
        assert!(said.stderr.contains(word), "{command:?} does not say {word:?}: {}", said.stderr);
    }
    let errors = said.stderr.lines().filter(|line| line.starts_with("error: ")).count();
    assert_eq!(errors, 1, "one sentence: {}", said.stderr);
    for secret in [SECRET, TOKEN] {
        assert!(!said.stderr.contains(secret) && !said.stdout.contains(secret), "{command:?}: {said:?}");
    }
    assert!(took < Duration::from_secs(15), "{command:?} took {took:?}");
    said
}

/// A pipeline on a sound target.
fn sound() -> (Hosted, Bucket, PipelineCopy) {
    let (hosted, bucket) = (Hosted::start(&PipelineCopy::new()), Bucket::new(s3_servers()[0]));
    let pipeline = with_stage(PipelineCopy::new(), hosted.port, &bucket.store());
    (hosted, bucket, pipeline)
}

const ONCE: [&str; 2] = ["run", "--once"];

#[test]
fn no_region_and_no_credentials_anywhere() {
    let (_hosted, bucket, pipeline) = sound();
    let millstream = on_stage(&pipeline);
    let without = |name: &str| {
        let environment = millstream.environment.iter().filter(|(known, _)| *known != name).cloned().collect();
        Millstream { target: Some("stage"), environment, ..Millstream::over(pipeline.pipeline.clone()) }
    };
    let keyless = without("AWS_ACCESS_KEY_ID");
    for command in [&ONCE[..], &["check"], &["generate", "--records", "1"], &["status"], &["audit"]] {
        fails(&keyless, command, 2, &["no AWS credentials were found", "AWS_ACCESS_KEY_ID", "aws sso login"]);
    }
    // A machine without metadata: nobody listens, or nobody answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    for port in [9, silent.local_addr().expect("an address").port()] {
        let mut keyless = without("AWS_ACCESS_KEY_ID");
        keyless.environment.retain(|(name, _)| *name != "AWS_EC2_METADATA_DISABLED");
        keyless.environment.push(("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://127.0.0.1:{port}")));
        fails(&keyless, &ONCE, 2, &["no AWS credentials were found", "the instance's metadata"]);
    }
    let regionless = pipeline.replace("pipeline.toml", "region = \"us-east-1\"\n", "");
    let regionless = on_stage(&regionless);
    fails(&regionless, &ONCE, 2, &["no AWS region is named", "region = \"…\" in the target", "AWS_REGION"]);
    assert_eq!(bucket.objects(), 0, "nothing was written");
}

#[test]
fn a_store_that_is_not_there_or_not_this_pipelines() {
    let (hosted, bucket, pipeline) = sound();
    let nowhere = with_stage(PipelineCopy::new(), hosted.port, &bucket.store().replace(&bucket.name, "no-such-bucket"));
    for command in [&ONCE[..], &["check"], &["status"], &["query", "select 1"]] {
        fails(&on_stage(&nowhere), command, 2, &["s3://no-such-bucket/lake/food", "there is no such bucket: make it"]);
    }
    let millstream = on_stage(&pipeline);
    for command in ["status", "audit", "rejects"] {
        let advice = format!("(`millstream run {} --target stage`)", pipeline.pipeline.display());
        fails(&millstream, &[command], 2, &["there is no data in s3://", &advice]);
    }
    assert_eq!(bucket.objects(), 0, "nothing was written");

    millstream.ok("dims", &[]);
    let other = PipelineCopy::new().replace("pipeline.toml", "name = \"food_delivery\"", "name = \"other\"");
    let other = with_stage(other, hosted.port, &bucket.store());
    for command in [&ONCE[..], &["check"], &["status"], &["dims"]] {
        fails(
            &on_stage(&other),
            command,
            2,
            &[&bucket.name, "belongs to the pipeline food_delivery", "the target's store"],
        );
    }
}

#[test]
fn a_stream_that_is_not_there() {
    let (hosted, bucket, _) = sound();
    let elsewhere = PipelineCopy::new().replace("pipeline.toml", "incoming-food-order-data", "no-such-stream");
    let elsewhere = with_stage(elsewhere, hosted.port, &bucket.store());
    let millstream = on_stage(&elsewhere);
    for command in [&["check"][..], &ONCE, &["run"], &["generate", "--records", "1"]] {
        let said = fails(&millstream, command, 2, &["no-such-stream", "is not there", "check its name, the region"]);
        assert!(!said.stderr.contains("millstream stream"), "{}", said.stderr);
    }
    assert_eq!(bucket.objects(), 0, "nothing was written");
}

#[test]
fn targets_that_a_command_is_not_for() {
    let (_hosted, bucket, pipeline) = sound();
    let mut millstream = on_stage(&pipeline);
    // Refused before anything is looked for.
    millstream.environment.retain(|(name, _)| *name != "AWS_ACCESS_KEY_ID");
    for command in ["stream", "demo"] {
        fails(&millstream, &[command], 2, &["is for the local target only", "stage", "leave --target out"]);
    }
    millstream.target = Some("prod");
    for command in [&ONCE[..], &["check"], &["ddl"]] {
        fails(&millstream, command, 2, &["has no target prod; it has local, stage"]);
    }
    assert_eq!(bucket.objects(), 0, "nothing was written");
}

/// A server that answers each connection so, or closes it where there is no answer; its port, and how many have come.
fn server(answer: Option<String>) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            count.fetch_add(1, Ordering::SeqCst);
            let mut stream: TcpStream = stream.expect("a connection");
            let Some(answer) = &answer else { continue };
            let mut request = [0; 16 * 1024];
            // One request a connection, and its body is nobody's concern.
            let _ = stream.read(&mut request);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (port, seen)
}

fn answer(kind: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

#[test]
fn a_session_that_has_expired() {
    let (hosted, bucket, pipeline) = sound();
    let with_token = |pipeline: &PipelineCopy| {
        let mut millstream = on_stage(pipeline);
        millstream.environment.push(("AWS_SESSION_TOKEN", TOKEN.to_owned()));
        millstream
    };
    // As S3 does, it repeats the token.
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message>\
         <Token-0>{TOKEN}</Token-0></Error>"
    );
    let (port, _) = server(Some(answer("application/xml", &body)));
    let store = bucket.store().replace(&bucket.server.port.to_string(), &port.to_string());
    let expired = with_stage(PipelineCopy::new(), hosted.port, &store);
    for command in [&ONCE[..], &["check"], &["status"]] {
        fails(&with_token(&expired), command, 1, &["the credentials have expired: log in again", "ExpiredToken"]);
    }
    let body = "{\"__type\": \"ExpiredTokenException\", \"message\": \"The security token is expired\"}";
    let (port, _) = server(Some(answer("application/x-amz-json-1.1", body)));
    with_token(&pipeline).ok("dims", &[]);
    let expired = with_stage(PipelineCopy::new(), port, &bucket.store());
    for command in ["check", "status"] {
        fails(&with_token(&expired), &[command], 1, &["have expired", "log in again"]);
    }
}

#[test]
fn an_endpoint_where_nobody_listens_or_everything_is_reset() {
    let (hosted, bucket, _) = sound();
    let storeless =
        with_stage(PipelineCopy::new(), hosted.port, &bucket.store().replace(&bucket.server.port.to_string(), "9"));
    for command in [&ONCE[..], &["check"], &["status"]] {
        fails(&on_stage(&storeless), command, 1, &["s3://", "127.0.0.1:9", "does not answer"]);
    }

    let (port, connections) = server(None);
    let deaf = with_stage(PipelineCopy::new(), port, &bucket.store());
    let millstream = on_stage(&deaf);
    millstream.ok("dims", &[]);
    let endpoint = format!("127.0.0.1:{port}");
    for command in [&["check"][..], &["generate", "--records", "1"], &["status"]] {
        fails(&millstream, command, 1, &["cannot reach the stream", &endpoint, "stream_endpoint"]);
    }
    // One that is to end by itself gives up; one that runs goes on, and says so.
    let said = millstream.say(ONCE[0], &ONCE[1..]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("cannot reach the stream") && said.stderr.contains(&endpoint), "{}", said.stderr);
    let (before, mut running) = (connections.load(Ordering::SeqCst), millstream.start("run", &[]));
    until("a third try from the journal", || {
        assert!(!running.has_ended(), "run gave up");
        (connections.load(Ordering::SeqCst) > before + 13).then_some(())
    });
    let said = running.interrupt();
    assert!(said.stderr.contains("reading failed; starting again from the journal"), "{}", said.stderr);
}
