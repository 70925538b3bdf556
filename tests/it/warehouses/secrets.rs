//! Secrets stand in no answer, no error, no log at whatever level, no file, no heartbeat and no process argument.
//!
//! They are planted where a user has them: in environment variables and in Secrets Manager. Every kind of command runs with
//! each, well and with failures of each kind, and everything that it leaves is searched.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

use super::*;
use crate::command::until;

const PASSWORD: &str = "pAssw0rdInTheEnvironment";
const PG_PASSWORD: &str = "pAssw0rdOfPostgresql";
const WRONG: &str = "pAssw0rdThatIsWrong";
const KEPT: &str = "pAssw0rdInSecretsManager";
const TOKEN: &str = "sEssi0nTokenInTheEnvironment";
const SECRET_KEY: &str = "sEcretKeyInTheEnvironment";

const PLANTED: [&str; 6] = [PASSWORD, PG_PASSWORD, WRONG, KEPT, TOKEN, SECRET_KEY];

/// What was found where.
struct Search {
    looked_at: usize,
    leaks: Vec<String>,
}

impl Search {
    fn bytes(&mut self, place: &str, bytes: &[u8]) {
        self.looked_at += bytes.len();
        for secret in PLANTED {
            if let Some(at) = bytes.windows(secret.len()).position(|window| window == secret.as_bytes()) {
                let around = &bytes[at.saturating_sub(300)..(at + 100).min(bytes.len())];
                self.leaks.push(format!("{secret} in {place}: …{}…", String::from_utf8_lossy(around)));
            }
        }
    }

    fn folder(&mut self, folder: &Path) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => self.folder(&path),
                false => self.bytes(&path.display().to_string(), &fs::read(&path).expect("read")),
            }
        }
    }

    /// Runs a command to its end, and looks at what it says and at the files that it leaves.
    fn run(&mut self, millstream: &Millstream, arguments: &[&str]) -> Option<i32> {
        let mut command = millstream.command(arguments[0], &arguments[1..]);
        let output = command.output().expect("the binary runs");
        let place = format!("{arguments:?} on {:?}", millstream.target);
        self.bytes(&format!("the answer of {place}"), &output.stdout);
        self.bytes(&format!("the log of {place}"), &output.stderr);
        self.folder(millstream.data.path());
        output.status.code()
    }
}

/// The command's environment, all secrets in it; and every library says all that it has to say.
fn planted(pipeline: &PipelineCopy, target: &'static str, password: &str) -> Millstream {
    let mut millstream = on(pipeline, target);
    millstream.environment.retain(|(name, _)| *name != "AWS_SECRET_ACCESS_KEY");
    let further = [
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        ("AWS_SESSION_TOKEN", TOKEN),
        ("REDSHIFT_PASSWORD", password),
        ("PGPASSWORD", PG_PASSWORD),
        ("MILLSTREAM_LOG", "trace"),
        ("RUST_LOG", "trace"),
    ];
    millstream.environment.extend(further.map(|(name, value)| (name, value.to_owned())));
    millstream
}

const COMMANDS: [&[&str]; 9] = [
    &["check"],
    &["generate", "--records", "30", "--rate", "0"],
    &["run", "--once"],
    &["status"],
    &["query", "select count(*) from fact_orders"],
    &["query", "select 1", "--in", "warehouse"],
    &["audit"],
    &["rejects"],
    &["ddl"],
];

/// Those that log in.
const LOGINS: [&[&str]; 4] = [&["check"], &["run", "--once"], &["status"], &["query", "select 1", "--in", "warehouse"]];

#[test]
fn a_search_finds_what_is_there() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("a")).expect("a folder");
    fs::write(folder.path().join("a/b"), format!("x{TOKEN}x")).expect("written");
    let mut search = Search { looked_at: 0, leaks: Vec::new() };
    search.folder(folder.path());
    assert!(search.leaks.len() == 1 && search.leaks[0].contains(TOKEN), "{:?}", search.leaks);
}

#[test]
fn no_secret_is_left_anywhere() {
    let (hosted, bucket) = (Hosted::start(&PipelineCopy::new()), Bucket::new(s3_servers()[0]));
    let guarded_by = |password: &str| {
        let buckets = HashMap::from([objects(&bucket)]);
        Redshift::start(Options { tls: true, password: Some(password.to_owned()), buckets, ..Options::default() })
    };
    let (server, kept_server) = (guarded_by(PASSWORD), guarded_by(KEPT));
    let secret = |name: &str, text: &str| {
        let port = bucket.server.port.to_string();
        python("make_secret", &[&port, name, text])["arn"].as_str().expect("an ARN").to_owned()
    };
    let login = serde_json::json!({ "username": postgres::USER, "password": KEPT }).to_string();
    let (login, no_login) = (secret("login", &login), secret("odd", &format!("{KEPT} is no JSON")));
    let endpoint = format!("endpoint = \"http://127.0.0.1:{}\"", bucket.server.port);
    let with = |target: &'static str, server: &Redshift, further: &str| {
        let certificate = server.certificate().expect("it speaks TLS");
        let mut database = Database::redshift(target, server);
        database.further.push_str(&format!(", authorities = \"{}\"{further}", certificate.display()));
        database
    };
    let guarded = with("guarded", &server, "");
    let kept = with("kept", &kept_server, &format!(", secret = \"{login}\", {endpoint}"));
    let odd = with("odd", &kept_server, &format!(", secret = \"{no_login}\", {endpoint}"));
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("its address").port();
    let pipeline = pipeline(hosted.port, &bucket, &[&guarded])
        .append("pipeline.toml", &with_secret(hosted.port, &bucket, &kept))
        .append("pipeline.toml", &with_secret(hosted.port, &bucket, &odd))
        .append("pipeline.toml", &deaf(&bucket, hosted.port, nobody));
    let mut search = Search { looked_at: 0, leaks: Vec::new() };

    let good = [("guarded", PASSWORD, true, &COMMANDS[..]), ("kept", PASSWORD, true, &COMMANDS)];
    let bad = [("guarded", WRONG, false, &LOGINS[..]), ("odd", PASSWORD, false, &LOGINS)];
    for (target, password, is_good, commands) in good.into_iter().chain(bad) {
        for command in commands {
            let code = search.run(&planted(&pipeline, target, password), command);
            let reaches_nobody = matches!(command[0], "generate" | "ddl" | "rejects" | "audit" | "status");
            assert!(reaches_nobody || (code == Some(0)) == is_good, "{command:?} on {target} ended with {code:?}");
        }
    }
    let further = [("storeless", &["check", "status"][..]), ("streamless", &["check", "generate"])];
    for (target, commands) in further {
        for command in commands {
            let code = search.run(&planted(&pipeline, target, PASSWORD), &[command]);
            assert_ne!(code, Some(0), "{command} on {target}");
        }
    }
    let address = format!("postgres://{}@127.0.0.1:{nobody}/nowhere", postgres::USER);
    for command in [&["check", "--warehouse", &address][..], &["status", "--warehouse", &address]] {
        search.run(&planted(&pipeline, "guarded", PASSWORD), command);
    }

    // One that goes on: its arguments, its heartbeat.
    let millstream = planted(&pipeline, "guarded", PASSWORD);
    let mut log = tempfile::tempfile().expect("a log");
    let mut command = millstream.command("run", &[]);
    let mut running = command.stdout(Stdio::null()).stderr(log.try_clone().expect("a log")).spawn().expect("it runs");
    let objects = until("a heartbeat", || {
        let objects = tempfile::tempdir().expect("a folder");
        let to = objects.path().to_str().expect("UTF-8");
        python("s3_download", &[&bucket.server.port.to_string(), &bucket.name, "lake/food", to]);
        let found =
            fs::read_dir(objects.path()).expect("a folder").flatten().any(|entry| entry.file_name() == "workers");
        found.then_some(objects)
    });
    search.folder(objects.path());
    search.bytes("its arguments", &fs::read(format!("/proc/{}/cmdline", running.id())).expect("arguments"));
    running.kill().expect("it runs");
    running.wait().expect("it ends");
    let mut said = Vec::new();
    std::io::Seek::rewind(&mut log).and_then(|()| std::io::Read::read_to_end(&mut log, &mut said)).expect("its log");
    search.bytes("the log of run", &said);

    assert!(search.looked_at > 1 << 20, "{} bytes of answers, logs and files: no proof", search.looked_at);
    assert!(
        search.leaks.is_empty(),
        "{} leaks: {}",
        search.leaks.len(),
        search.leaks[..search.leaks.len().min(12)].join("\n\n")
    );
}

/// A target whose login comes from a secret.
fn with_secret(stream_port: u16, bucket: &Bucket, database: &Database) -> String {
    let Database { target, kind, port, name, further, .. } = database;
    format!(
        "[target.{target}]\nregion = \"us-east-1\"\nstream_endpoint = \"http://127.0.0.1:{stream_port}\"\n{}\n\
         warehouse = {{ kind = \"{kind}\", host = \"127.0.0.1\", port = {port}, database = \"{name}\"{further} }}\n",
        bucket.store()
    )
}

/// Targets whose store, or whose stream, nobody serves.
fn deaf(bucket: &Bucket, stream_port: u16, nobody: u16) -> String {
    let target = |name: &str, store: &str, stream_port: u16| {
        format!(
            "[target.{name}]\nregion = \"us-east-1\"\nstream_endpoint = \"http://127.0.0.1:{stream_port}\"\n{store}\n\
             warehouse = {{ kind = \"delta\" }}\n"
        )
    };
    let storeless = bucket.store().replace(&bucket.server.port.to_string(), &nobody.to_string());
    target("storeless", &storeless, stream_port) + &target("streamless", &bucket.store(), nobody)
}
