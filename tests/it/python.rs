//! Independent eyes: Python programs that share no code with Millstream read what it writes and write what it reads.
//!
//! Owns the Python environments (of the readers, and of the servers that stand in for AWS's), which the first test that
//! needs one makes under the target folder, and the way to run a script of `tests/python` in them. A machine without
//! Python fails these tests with what to install; it skips none.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

const REQUIREMENTS: &str = include_str!("../python/requirements.txt");

/// Of the servers that stand in for AWS's.
const SERVERS: &str = include_str!("../python/servers.txt");

/// Installs the requirements in seconds where pip takes a minute.
const INSTALLER: &str = "uv==0.13.8";

/// Runs `tests/python/<script>.py` with these arguments and returns the JSON value that it prints.
///
/// # Panics
/// With the script's stderr, where it fails or prints anything but JSON.
pub(crate) fn python(script: &str, args: &[&str]) -> Value {
    python_with_input(script, args, b"")
}

/// As [`python`], with these bytes as the script's stdin.
pub(crate) fn python_with_input(script: &str, args: &[&str], input: &[u8]) -> Value {
    run(script, args, input).unwrap_or_else(|failure| panic!("{failure}"))
}

/// As [`python_with_input`]; a script that fails is an error, with what it said.
pub(crate) fn run(script: &str, args: &[&str], input: &[u8]) -> Result<Value, String> {
    let path = script_path(script);
    // A file, not a pipe: nobody has to write it while somebody else reads the output.
    let mut stdin = tempfile::tempfile().expect("a temporary file");
    stdin.write_all(input).and_then(|()| std::io::Seek::rewind(&mut stdin)).expect("the script's input");
    let mut command = isolated(interpreter());
    command.arg(path).args(args).stdin(Stdio::from(stdin));
    let output = command.output().map_err(|error| format!("{script}.py cannot be started: {error}"))?;
    if !output.status.success() {
        return Err(format!("{script}.py {args:?} failed ({}):\n{}", output.status, said(&output)));
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("{script}.py printed no JSON: {error}\n{}", said(&output)))
}

/// The command that runs this server's module in the servers' environment, for as long as its stdin is open.
pub(crate) fn server(module: &str, args: &[&str]) -> Command {
    let mut command = isolated(servers_interpreter());
    command.arg(script_path("serve")).arg(module).args(args);
    command
}

fn script_path(script: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(script).with_extension("py")
}

/// A command that sees no other Python's settings and leaves no bytecode in the repository.
fn isolated(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_remove("PYTHONPATH").env_remove("PYTHONHOME").env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("PYTHONUTF8", "1");
    command
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().chars().take(8_000).collect::<String>();
    format!("{}\n{}", text(&output.stderr), text(&output.stdout))
}

/// The environment's interpreter; the first caller of all test processes makes the environment.
fn interpreter() -> &'static Path {
    static MADE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    made(&MADE, REQUIREMENTS)
}

fn servers_interpreter() -> &'static Path {
    static MADE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    made(&MADE, SERVERS)
}

fn made(once: &'static OnceLock<Result<PathBuf, String>>, requirements: &str) -> &'static Path {
    match once.get_or_init(|| environment(Path::new(env!("CARGO_TARGET_TMPDIR")), "python3", requirements)) {
        Ok(interpreter) => interpreter,
        Err(failure) => panic!("{failure}"),
    }
}

/// An environment with these requirements under `folder`: found, or made by `python`.
fn environment(folder: &Path, python: &str, requirements: &str) -> Result<PathBuf, String> {
    let name = format!("python-{:016x}", fingerprint(&[INSTALLER, requirements]));
    let home = folder.join(&name);
    let (interpreter, ready) = (home.join("bin/python"), home.join("ready"));
    let unusable = |error: std::io::Error| format!("the folder {} cannot be used: {error}", folder.display());
    fs::create_dir_all(folder).map_err(unusable)?;
    let lock = File::create(folder.join(format!("{name}.lock"))).map_err(unusable)?;
    lock.lock().map_err(unusable)?;
    if ready.exists() {
        return Ok(interpreter);
    }
    // What stands there without the mark is half an environment, of a run that was ended.
    if home.exists() {
        fs::remove_dir_all(&home).map_err(unusable)?;
    }
    let list = folder.join(format!("{name}.txt"));
    fs::write(&list, requirements).map_err(unusable)?;
    step("make a virtual environment", isolated(Path::new(python)).args(["-m", "venv"]).arg(&home))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", INSTALLER];
    step("install its installer", isolated(&interpreter).args(pip))?;
    let uv = ["-m", "uv", "pip", "install", "--quiet", "--python"];
    step("install its packages", isolated(&interpreter).args(uv).arg(&interpreter).arg("--requirement").arg(&list))?;
    fs::write(&ready, requirements).map_err(unusable)?;
    Ok(interpreter)
}

fn step(what: &str, command: &mut Command) -> Result<(), String> {
    let advice = "these tests read Millstream's output with independent Python programs, and need python3 (3.10 or \
                  newer) with its venv module and a package index that pip reaches: apt install python3 python3-venv";
    match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("the tests cannot {what}; {advice}\n{}", said(&output))),
        Err(error) => Err(format!("the tests cannot {what}: {error}; {advice}")),
    }
}

/// FNV-1a: the same in every build, which the standard hasher does not promise.
pub(crate) fn fingerprint(texts: &[&str]) -> u64 {
    texts
        .iter()
        .flat_map(|text| text.bytes().chain([0]))
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
    use deltalake::DeltaTable;
    use ferrokinesis::store::StoreOptions;
    use millstream::error::Error;
    use millstream::host::{HostSettings, host_or_connect};
    use millstream::runtime::Tasks;
    use parquet::arrow::ArrowWriter;
    use serde_json::json;
    use url::Url;

    use super::*;

    #[test]
    fn the_environment_holds_what_is_pinned() {
        let versions = python("versions", &[]);
        let pinned = REQUIREMENTS.lines().filter_map(|line| line.split_once("=="));
        let expected: serde_json::Map<String, Value> =
            pinned.map(|(package, version)| (package.to_owned(), json!(version))).collect();
        assert!(expected.len() >= 4, "boto3, deltalake, duckdb and pyarrow at least");
        for (package, version) in expected {
            assert_eq!(versions[&package], version, "{package}");
        }
    }

    /// Two orders: exact decimals, times on both sides of 1970, nulls, letters beyond ASCII.
    fn orders() -> RecordBatch {
        let amounts = Decimal128Array::from(vec![Some(1250), None]).with_precision_and_scale(10, 2).expect("decimal");
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("order_id", Arc::new(Int64Array::from(vec![2, 1]))),
            ("order_value", Arc::new(amounts)),
            ("order_status", Arc::new(StringArray::from(vec![Some("Ü"), None]))),
            ("at", Arc::new(TimestampMicrosecondArray::from(vec![1, -1]).with_timezone("UTC"))),
        ];
        RecordBatch::try_from_iter(columns).expect("rows")
    }

    /// The orders as plain values, in the order of their ids.
    fn plain_orders() -> [Value; 2] {
        [
            json!({"order_id": 1, "order_value": null, "order_status": null, "at": "1969-12-31T23:59:59.999999Z"}),
            json!({"order_id": 2, "order_value": "12.50", "order_status": "Ü", "at": "1970-01-01T00:00:00.000001Z"}),
        ]
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn two_independent_readers_agree_on_a_delta_table() {
        let folder = tempfile::tempdir().expect("folder");
        let location = folder.path().join("fact_orders");
        fs::create_dir(&location).expect("folder");
        let table = DeltaTable::try_from_url(Url::from_directory_path(location).expect("url")).await.expect("table");
        let table = table.write([orders().slice(0, 1)]).await.expect("first version");
        table.write([orders().slice(1, 1)]).await.expect("second version");

        let folder = folder.path().to_str().expect("path");
        let tables = python("read_delta", &[folder]);
        assert_eq!(tables["fact_orders"]["rows"], json!(plain_orders()));
        assert_eq!((&tables["fact_orders"]["version"], &tables["fact_orders"]["versions"]), (&json!(1), &json!(2)));
        assert_eq!(tables["fact_orders"]["columns"][1], json!(["order_value", "decimal(10,2)"]));
        assert_eq!(tables, python("read_delta_duckdb", &[folder]));
    }

    #[test]
    fn pyarrow_reads_what_parquet_wrote() {
        let folder = tempfile::tempdir().expect("folder");
        let nested = folder.path().join("date=2026-11-20");
        fs::create_dir(&nested).expect("folder");
        let rows = orders();
        let file = File::create(nested.join("1.parquet")).expect("file");
        let mut writer = ArrowWriter::try_new(file, rows.schema(), None).expect("writer");
        writer.write(&rows).expect("rows");
        writer.close().expect("footer");

        let files = python("read_parquet", &[folder.path().to_str().expect("path")]);
        assert_eq!(files[0]["path"], "date=2026-11-20/1.parquet");
        assert_eq!(files[0]["metadata"]["num_rows"], 2);
        assert_eq!(
            files[0]["schema"][1],
            json!({"name": "order_value", "type": "decimal128(10, 2)", "nullable": true})
        );
        let [first, second] = plain_orders();
        assert_eq!(files[0]["rows"], json!([second, first]), "and no column named date, which only the path says");
    }

    /// A Kinesis server in this process, for as long as the tasks are kept; its port.
    async fn kinesis(tasks: &mut Tasks) -> String {
        let options = StoreOptions { create_stream_ms: 0, ..StoreOptions::default() };
        let (app, _store) = ferrokinesis::create_app(options);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("address").port();
        tasks.spawn("kinesis", async move {
            axum::serve(listener, app).await.map_err(|error| Error::internal(error.to_string()))
        });
        port.to_string()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_boto3_puts_it_reads_back_and_the_oracle_counts() {
        let mut tasks = Tasks::new();
        let port = kinesis(&mut tasks).await;
        let made = python("create_stream", &[&port, "orders", "3"]);
        assert_eq!(made["shards"].as_array().map(Vec::len), Some(3));
        let order = |id: usize, tip: &str| {
            format!(
                "{{\"OrderID\":{id},\"CustomerID\":1,\"RestaurantID\":2,\"RiderID\":3,\"OrderDate\":\"2026-11-20T10:00:00Z\",\
                 \"OrderValue\":10.5,\"TipAmount\":{tip},\"OrderStatus\":\" placed\"}}\n"
            )
        };
        let mut input: String = (0..700).map(|id| order(id, "1")).chain((0..50).map(|id| order(id, "2"))).collect();
        input.push_str(&order(800, "-1"));
        input.push_str("{ no\nnever put\n");
        let put = python_with_input("put_records", &[&port, "orders", "752"], input.as_bytes());
        assert_eq!(put["put"], 752);

        let folder = tempfile::tempdir().expect("folder");
        let file = |name: &str| folder.path().join(name).to_str().expect("path").to_owned();
        let read = python("read_stream", &[&port, "orders", &file("records")]);
        assert_eq!(read["records"], 752);
        assert_eq!(read["shards"].as_object().map(serde_json::Map::len), Some(3));
        let counts = python("oracle", &[&file("records"), &file("expected")]);
        let rules = json!({"undecodable": {"not_json": 1}, "failed_checks": {"tip_not_negative": 1}, "passed": 750});
        for (name, value) in rules.as_object().expect("rules") {
            assert_eq!(&counts[name], value, "{counts:#}");
        }
        assert_eq!(counts["orders"], 700);
        let expected: Value = serde_json::from_slice(&fs::read(file("expected")).expect("file")).expect("json");
        let tips =
            |tip| expected["fact_orders"].as_array().into_iter().flatten().filter(move |row| row["tip_amount"] == tip);
        assert_eq!((tips("1.00").count(), tips("2.00").count()), (650, 50), "the newer of two rows wins");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn boto3_subscribes_to_the_hosted_stream() {
        let folder = tempfile::tempdir().expect("folder");
        let settings = HostSettings { folder: folder.path().to_owned(), port: 0, reset: false };
        let hosting = host_or_connect(&settings).await.expect("a host");
        let port = hosting.endpoint().port.to_string();
        python("create_stream", &[&port, "orders", "2"]);
        let input: String = (0..300).map(|id| format!("order {id}\n")).collect();
        python_with_input("put_records", &[&port, "orders", "300"], input.as_bytes());
        let seen = python("subscribe", &[&port, "orders", "300"]);
        assert_eq!(seen["consumer"], "ACTIVE");
        let by_shard = seen["records"].as_object().expect("shards");
        assert_eq!(by_shard.len(), 2);
        let seen = by_shard.values().flat_map(|records| records.as_array().expect("records"));
        let mut seen: Vec<&str> = seen.map(|payload| payload.as_str().expect("text")).collect();
        let mut expected: Vec<&str> = input.lines().collect();
        seen.sort_unstable();
        expected.sort_unstable();
        assert_eq!(seen, expected);
    }

    #[test]
    fn the_scripts_pass_their_own_tests() {
        let outcome = python("test_scripts", &[]);
        assert_eq!(outcome["failures"], json!([]), "{outcome:#}");
        assert!(outcome["run"].as_u64().is_some_and(|run| run > 10), "{outcome:#}");
    }

    #[test]
    fn a_script_that_fails_says_why() {
        let failure = run("read_parquet", &[], b"").expect_err("no argument");
        assert!(failure.contains("usage: ") && failure.contains("DIR"), "{failure}");
    }

    #[test]
    fn a_machine_without_python_is_told_what_to_install() {
        let folder = tempfile::tempdir().expect("folder");
        let failure = environment(folder.path(), "python3-that-is-not-there", REQUIREMENTS).expect_err("no python");
        assert!(failure.contains("apt install python3 python3-venv"), "{failure}");
    }

    #[test]
    fn an_environment_that_failed_half_way_is_made_anew() {
        let folder = tempfile::tempdir().expect("folder");
        for _ in 0..2 {
            let failure = environment(folder.path(), "false", "").expect_err("false makes nothing");
            assert!(failure.contains("cannot make a virtual environment"), "{failure}");
        }
        let home = folder.path().join(format!("python-{:016x}", fingerprint(&[INSTALLER, ""])));
        fs::create_dir(&home).expect("folder");
        fs::write(home.join("half"), "").expect("file");
        environment(folder.path(), "false", "").expect_err("false makes nothing");
        assert!(!home.exists(), "the half was removed");
        fs::create_dir(&home).expect("folder");
        fs::write(home.join("ready"), "").expect("mark");
        assert_eq!(environment(folder.path(), "false", ""), Ok(home.join("bin/python")), "nothing is made twice");
    }
}
