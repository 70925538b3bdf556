//! The AWS chain in processes with different surroundings: which place gives the credentials, and what is said where
//! none does.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use millstream::aws::AwsChain;

/// Says to this same test, in a process of its own, that it is to look for credentials and print what it finds.
const CHILD: &str = "MILLSTREAM_AWS_CHILD";

/// What the chain finds in a process with this environment and no other: `region key` or the error.
fn found(environment: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().expect("this test's binary"));
    command.env_clear().env(CHILD, "1").env("HOME", "/nonexistent").envs(environment.iter().copied());
    command.args(["--exact", "aws::each_place_is_looked_at_and_none_is_waited_for", "--nocapture"]);
    let output = command.output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let line = text.lines().find_map(|line| line.split_once("FOUND ")).map(|(_, found)| found.to_owned());
    line.unwrap_or_else(|| panic!("{text}\n{}", String::from_utf8_lossy(&output.stderr)))
}

async fn look() -> String {
    let chain = match AwsChain::load(None).await {
        Ok(chain) => chain,
        Err(error) => return format!("{:?} {error}", error.kind()),
    };
    assert!(!format!("{chain:?}").contains("SECRET"));
    match (chain.resolve().await, chain.verify().await) {
        (Ok(credentials), Ok(())) => {
            assert!(credentials.secret_access_key().starts_with("SECRET"));
            format!("{} {}", chain.region(), credentials.access_key_id())
        }
        (Err(error), Err(_)) => format!("{:?} {error}", error.kind()),
        (resolved, verified) => panic!("{resolved:?}, but {verified:?}"),
    }
}

/// Answers every GET and PUT as a container's or an instance's endpoint does; its port.
fn endpoint() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let body = |target: &str| match target {
        "/latest/meta-data/iam/security-credentials/" | "/latest/meta-data/iam/security-credentials-extended/" => {
            "role".to_owned()
        }
        "/latest/meta-data/placement/region" => "eu-north-1".to_owned(),
        "/latest/api/token" => "token".to_owned(),
        _ => r#"{"Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2026-11-20T00:00:00Z",
                 "AccessKeyId": "AKIDPLACE", "SecretAccessKey": "SECRET", "Token": "T", "AccountId": "000000000000",
                 "Expiration": "2126-11-20T00:00:00Z"}"#
            .to_owned(),
    };
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
                request.push(byte[0]);
            }
            let request = String::from_utf8_lossy(&request).into_owned();
            let body = body(request.split(' ').nth(1).unwrap_or_default());
            let ttl = "x-aws-ec2-metadata-token-ttl-seconds: 21600";
            let head =
                format!("HTTP/1.1 200 OK\r\nconnection: close\r\n{ttl}\r\ncontent-length: {}\r\n\r\n", body.len());
            // The other side may have gone: it then says so itself.
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    port
}

/// Environments that come together.
type Environments<'a> = &'a [&'a [(&'a str, &'a str)]];

fn profile(folder: &Path) -> [String; 2] {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("a path").to_owned()
    };
    let config = write(
        "config",
        "[profile lake]\nregion = eu-west-3\n\
         [profile broken]\nregion = eu-west-3\nrole_arn = arn:aws:iam::1:role/a\nsource_profile = other\n\
         [profile other]\nrole_arn = arn:aws:iam::1:role/b\nsource_profile = broken\n",
    );
    let credentials = write("credentials", "[lake]\naws_access_key_id = AKIDPROFILE\naws_secret_access_key = SECRET\n");
    [config, credentials]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_place_is_looked_at_and_none_is_waited_for() {
    if std::env::var_os(CHILD).is_some() {
        println!("FOUND {}", look().await.replace('\n', " "));
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let [config, credentials] = profile(folder.path());
    let place = format!("http://127.0.0.1:{}", endpoint());
    let files = [("AWS_CONFIG_FILE", config.as_str()), ("AWS_SHARED_CREDENTIALS_FILE", credentials.as_str())];
    let keys = [("AWS_ACCESS_KEY_ID", "AKIDENV"), ("AWS_SECRET_ACCESS_KEY", "SECRET")];
    let metadata = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", place.as_str())];
    let cases: [(Environments<'_>, &str); 7] = [
        (&[&keys, &[("AWS_REGION", "eu-central-1")]], "eu-central-1 AKIDENV"),
        (&[&files, &[("AWS_PROFILE", "lake")]], "eu-west-3 AKIDPROFILE"),
        (&[&files, &keys, &[("AWS_PROFILE", "lake")]], "eu-west-3 AKIDENV"),
        (&[&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &place), ("AWS_REGION", "eu-west-1")]], "eu-west-1 AKIDPLACE"),
        (&[&metadata], "eu-north-1 AKIDPLACE"),
        (
            &[&files, &[("AWS_PROFILE", "broken"), ("AWS_EC2_METADATA_DISABLED", "true")]],
            "Invalid AWS credentials are configured, but not so",
        ),
        (&[&keys, &[("AWS_EC2_METADATA_DISABLED", "true")]], "Invalid no AWS region is named"),
    ];
    for (environment, expected) in cases {
        let found = found(&environment.concat());
        assert!(found.starts_with(expected), "{environment:?}: {found}");
    }
    // Outside AWS the metadata's address refuses, or swallows what it is sent.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    for port in [9, silent.local_addr().expect("an address").port()] {
        let started = Instant::now();
        let nobody = format!("http://127.0.0.1:{port}");
        let told = found(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &nobody), ("AWS_REGION", "eu-central-1")]);
        assert!(told.starts_with("Invalid no AWS credentials were found; looked at: the environment"), "{told}");
        assert!(started.elapsed() < Duration::from_secs(15), "{nobody}: {:?}", started.elapsed());
    }
}
