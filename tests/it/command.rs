//! Running the built binary as a person would, each time over a folder of its own.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// The longest that a process may take to its end: loading the rest of a test's data, on a busy machine.
const ENDS_WITHIN: Duration = Duration::from_secs(180);

/// The pipeline that comes with the project.
pub(crate) fn food_delivery() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("queries/food_delivery")
}

/// A copy of the food-delivery pipeline that a test can change, and break.
pub(crate) struct PipelineCopy {
    _folder: TempDir,
    pub(crate) pipeline: PathBuf,
}

impl PipelineCopy {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let pipeline = folder.path().join("food_delivery");
        copy(&food_delivery(), &pipeline);
        Self { _folder: folder, pipeline }
    }

    pub(crate) fn replace(self, file: &str, from: &str, to: &str) -> Self {
        let path = self.pipeline.join(file);
        let text = fs::read_to_string(&path).expect("the file");
        assert!(text.contains(from), "{file} does not hold {from:?}");
        fs::write(path, text.replacen(from, to, 1)).expect("written");
        self
    }

    /// Adds lines to the end of a file.
    pub(crate) fn append(self, file: &str, lines: &str) -> Self {
        let path = self.pipeline.join(file);
        let text = fs::read_to_string(&path).expect("the file");
        fs::write(path, format!("{text}\n{lines}\n")).expect("written");
        self
    }

    pub(crate) fn remove(self, file: &str) -> Self {
        fs::remove_file(self.pipeline.join(file)).expect("removed");
        self
    }
}

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("the folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("its type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// A data folder, and the commands that run over it on a free port, in an environment without anybody's AWS settings.
pub(crate) struct Millstream {
    pub(crate) data: TempDir,
    pub(crate) pipeline: PathBuf,
    /// Another target than the local one.
    pub(crate) target: Option<&'static str>,
    pub(crate) environment: Vec<(&'static str, String)>,
}

/// What a command that ended has said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Millstream {
    pub(crate) fn new() -> Self {
        Self::over(food_delivery())
    }

    pub(crate) fn over(pipeline: PathBuf) -> Self {
        Self { data: tempfile::tempdir().expect("a folder"), pipeline, target: None, environment: Vec::new() }
    }

    /// The pipeline on a Kinesis server of this machine as if it were AWS's; its store is the folder `lake` of the data.
    pub(crate) fn on_server(pipeline: PipelineCopy, port: u16) -> (Self, PipelineCopy) {
        let data = tempfile::tempdir().expect("a folder");
        let target = format!(
            "[target.server]\nregion = \"us-east-1\"\nstream_endpoint = \"http://127.0.0.1:{port}\"\n\
             store = \"file://{}/lake\"\nwarehouse = {{ kind = \"delta\" }}",
            data.path().display()
        );
        let pipeline = pipeline.append("pipeline.toml", &target);
        let keys = [("AWS_ACCESS_KEY_ID", "test".to_owned()), ("AWS_SECRET_ACCESS_KEY", "test".to_owned())];
        let path = pipeline.pipeline.clone();
        (Self { data, pipeline: path, target: Some("server"), environment: keys.into() }, pipeline)
    }

    pub(crate) fn command(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
        command.arg(name).arg(&self.pipeline).arg("--data").arg(self.data.path()).args(["--port", "0"]);
        command.args(self.target.iter().flat_map(|target| ["--target", target]));
        command.args(arguments).stdin(Stdio::null()).env_remove("MILLSTREAM_LOG");
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command to its end.
    pub(crate) fn say(&self, name: &str, arguments: &[&str]) -> Said {
        said_to_its_end(&mut self.command(name, arguments), "")
    }

    /// Runs a command that must succeed.
    pub(crate) fn ok(&self, name: &str, arguments: &[&str]) -> String {
        let said = self.say(name, arguments);
        assert_eq!(said.code, Some(0), "{name} {arguments:?}: {}{}", said.stdout, said.stderr);
        said.stdout
    }

    /// Runs a command that must succeed, and reads its one JSON object.
    pub(crate) fn json(&self, name: &str, arguments: &[&str]) -> Value {
        let stdout = self.ok(name, &[arguments, &["--json"]].concat());
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{name}: {error} in {stdout:?}"))
    }

    /// The rows of a query, as objects.
    pub(crate) fn query(&self, sql: &str) -> Vec<Value> {
        let stdout = self.ok("query", &[sql, "--format", "json"]);
        stdout.lines().map(|line| serde_json::from_str(line).expect("a row")).collect()
    }

    /// Starts a command that is left running.
    pub(crate) fn start(&self, name: &str, arguments: &[&str]) -> Running {
        let mut command = self.command(name, arguments);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        Running::new(command.spawn().expect("the binary runs"))
    }

    /// Hosts the stream in a process of its own until the guard is dropped, and gives its port.
    pub(crate) fn host_stream(&self) -> (Running, u16) {
        let mut command = self.command("stream", &["--json"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary runs");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let running = Running::new(child);
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("stream: {error} in {line:?}"));
        let port = u16::try_from(said["port"].as_u64().expect("a port")).expect("a port");
        (running, port)
    }

    /// Types lines at the prompt.
    pub(crate) fn type_at_prompt(&self, typed: &str) -> Said {
        said_to_its_end(self.command("query", &[]).stdin(Stdio::piped()), typed)
    }
}

/// A process that is killed where the test ends before it does.
pub(crate) struct Running {
    child: Child,
    stderr: Option<thread::JoinHandle<Vec<u8>>>,
}

impl Running {
    fn new(mut child: Child) -> Self {
        let stderr = child.stderr.take().map(|pipe| collect(Some(pipe)));
        Self { child, stderr }
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("its state").is_some()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, named as `kill` has it.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// What Ctrl-C does, and what it then says on its way to the end. It is a SIGTERM: a program that a shell has
    /// started in the background ignores SIGINT until it listens for it.
    pub(crate) fn interrupt(self) -> Said {
        self.signal("TERM");
        self.wait()
    }

    /// Waits for its end, and gives what it said.
    pub(crate) fn wait(mut self) -> Said {
        let status = end_of(&mut self.child);
        let stderr = self.stderr.take().map(|reader| reader.join().expect("read")).unwrap_or_default();
        let stderr = String::from_utf8_lossy(&stderr).into_owned();
        Said { code: status.code(), stdout: String::new(), stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end, which must be within minutes; where it reads its stdin, this is typed there.
pub(crate) fn said_to_its_end(command: &mut Command, typed: &str) -> Said {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
    let (stdout, stderr) = (collect(child.stdout.take()), collect(child.stderr.take()));
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(typed.as_bytes()).expect("typed");
    }
    let status = end_of(&mut child);
    let text = |reader: thread::JoinHandle<Vec<u8>>| String::from_utf8(reader.join().expect("read")).expect("UTF-8");
    Said { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

/// How a process ends, which must be within minutes.
///
/// # Panics
/// Where it does not end; it is killed then.
pub(crate) fn end_of(child: &mut Child) -> ExitStatus {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("its state") {
            return status;
        }
        if started.elapsed() > ENDS_WITHIN {
            let _ = child.kill();
            panic!("process {} was to end by itself and has not in {ENDS_WITHIN:?}", child.id());
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Reads a pipe to its end beside whatever else happens: a full one would hold up the process.
fn collect(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.expect("piped").read_to_end(&mut bytes);
        bytes
    })
}

/// Asks again and again until the answer is there.
pub(crate) fn until<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    until_asking_every(Duration::from_millis(50), what, ask)
}

/// As [`until`], for what must be noticed sooner.
pub(crate) fn until_asking_every<T>(pause: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{what} has not come to pass in a minute");
        thread::sleep(pause);
    }
}
