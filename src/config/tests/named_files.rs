//! Files that a pipeline names and that are none of its own, or no files at all: refused before they are opened.

use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::mpsc;

use super::*;
use crate::error::ErrorKind;

/// Long before a pipe without a writer would answer.
const PATIENCE: Duration = Duration::from_secs(20);

fn pipe(folder: &TempDir, path: &str) {
    let path = folder.path().join(path);
    let _ = fs::remove_file(&path);
    assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo").success());
}

/// What `work` gives, if it ends at all.
#[expect(clippy::disallowed_methods, reason = "a thread that may never end belongs to nobody")]
fn ended<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (told, heard) = mpsc::channel();
    std::thread::spawn(move || told.send(work()));
    heard.recv_timeout(PATIENCE).expect("it ends, though nobody writes to the pipe")
}

fn read_and_ended(folder: &TempDir) -> Reading {
    let path = folder.path().to_owned();
    ended(move || read(&path))
}

fn from(path: &str, further: &str) -> String {
    format!("{BASE}{}", DIMENSION.replace("from = \"dims/shops.csv\"", &format!("from = {path:?}{further}")))
}

#[test]
fn a_dimension_file_is_a_regular_file_of_the_folder_unless_a_person_allows_another() {
    let outside = tempfile::tempdir().expect("a folder");
    put(&outside, "shops.csv", "Shop ID\n1\n");
    let elsewhere = fs::canonicalize(outside.path()).expect("a path").join("shops.csv").display().to_string();
    let lies = |path: &str, at: &str| {
        let hint = "if that is meant, say allow_outside = true beside it";
        vec![format!(
            "pipeline.toml:15:8: \"from\" in [[table]]: {path} lies outside the pipeline's folder, at {at}: {hint}"
        )]
    };
    let is = |path: &str, what: &str| {
        vec![format!("pipeline.toml:15:8: \"from\" in [[table]]: {path} is {what}: only a regular file is read")]
    };
    let allowed = "\nallow_outside = true";
    let passwd = fs::canonicalize("/etc/passwd").expect("a path").display().to_string();
    let cases = [
        ("dims/shops.csv", "", vec![]),
        ("dims/../dims/shops.csv", "", vec![]),
        ("dims/inside.csv", "", vec![]),
        ("/etc/passwd", "", lies("/etc/passwd", &passwd)),
        ("../outside/shops.csv", "", lies("../outside/shops.csv", &elsewhere)),
        ("dims/link.csv", "", lies("dims/link.csv", &elsewhere)),
        ("dims/folder/shops.csv", "", lies("dims/folder/shops.csv", &elsewhere)),
        ("dims/pipe.csv", "", is("dims/pipe.csv", "a named pipe")),
        ("dims/socket.csv", "", is("dims/socket.csv", "a socket")),
        ("/dev/zero", "", lies("/dev/zero", "/dev/zero")),
        ("../outside/shops.csv", allowed, vec![]),
        ("dims/link.csv", allowed, vec![]),
        ("/dev/zero", allowed, is("/dev/zero", "a device")),
        ("dims/pipe.csv", allowed, is("dims/pipe.csv", "a named pipe")),
    ];
    for (path, further, expected) in cases {
        // The pipeline stands beside the other folder, so that `..` leads there.
        let beside = tempfile::tempdir().expect("a folder");
        symlink(outside.path(), beside.path().join("outside")).expect("a link");
        let folder = TempDir::new_in(beside.path()).expect("a folder");
        put(&folder, "pipeline.toml", from(path, further));
        put(&folder, "fact_sales.sql", "select id from events");
        put(&folder, "dim_shops.sql", "select shop_id from file");
        put(&folder, "dims/shops.csv", "Shop ID\n1\n");
        symlink("shops.csv", folder.path().join("dims/inside.csv")).expect("a link");
        symlink(&elsewhere, folder.path().join("dims/link.csv")).expect("a link");
        symlink(outside.path(), folder.path().join("dims/folder")).expect("a link");
        let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("dims/socket.csv")).expect("a socket");
        pipe(&folder, "dims/pipe.csv");
        let reading = read_and_ended(&folder);
        assert_eq!(shown(&folder, &reading.faults), expected, "{path} {further}");
    }
}

#[test]
fn texts_are_regular_files_of_the_folder() {
    let elsewhere = tempfile::tempdir().expect("a folder");
    put(&elsewhere, "secret.sql", "select 'secret'");
    let secret = fs::canonicalize(elsewhere.path()).expect("a path").join("secret.sql");
    for path in ["fact_sales.sql", "report/by_shop.sql", "pipeline.toml"] {
        let folder = folder(BASE);
        put(&folder, "report/by_shop.sql", "select 1");
        pipe(&folder, path);
        let what = format!("{path}: the file is a named pipe: only a regular file is read");
        assert_eq!(shown(&folder, &read_and_ended(&folder).faults), [what]);
        fs::remove_file(folder.path().join(path)).expect("removed");
        symlink(&secret, folder.path().join(path)).expect("a link");
        let what = format!("{path}: the file lies outside the pipeline's folder, at {}", secret.display());
        assert_eq!(faults(&folder), [what]);
    }
    let folder = folder(BASE);
    pipe(&folder, "stray.sql");
    let told = shown(&folder, &read_and_ended(&folder).faults);
    assert!(told.len() == 1 && told[0].starts_with("stray.sql: no [[table]] is named"), "{told:?}");
}

#[test]
fn no_file_is_read_beyond_its_bound() {
    let folder = folder(&format!("{BASE}{DIMENSION}"));
    let grow = |path: &str, bytes: u64| {
        fs::OpenOptions::new()
            .write(true)
            .open(folder.path().join(path))
            .and_then(|file| file.set_len(bytes))
            .expect("grown");
    };
    grow("dims/shops.csv", (256 << 20) + 1);
    grow("fact_sales.sql", (1 << 20) + 1);
    let expected = [
        "pipeline.toml:15:8: \"from\" in [[table]]: dims/shops.csv is longer than the 256 MiB that are read of it",
        "fact_sales.sql: the file is longer than the 1 MiB that are read of it",
    ];
    assert_eq!(faults(&folder), expected);
}

#[test]
fn what_became_a_pipe_after_the_check_is_refused_when_it_is_read() {
    let folder = folder(&format!("{BASE}{DIMENSION}"));
    let pipeline = read(folder.path()).pipeline.expect("a pipeline");
    let path = Path::new("dims/shops.csv");
    assert_eq!(pipeline.read_dimension(path, false).expect("read"), b"Shop ID\n1\n");
    pipe(&folder, "dims/shops.csv");
    let error = ended(move || pipeline.read_dimension(path, false)).expect_err("a pipe");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("dims/shops.csv is a named pipe"), "{error}");
}

#[test]
fn authorities_are_a_regular_file_wherever_it_lies() {
    let target = "[target.dwh]\nstore = \"s3://bucket/shop\"\nwarehouse = { kind = \"postgres\", database = \"dwh\", user = \"me\", authorities = \"ca.pem\" }\n";
    let folder = folder(&format!("{BASE}{target}"));
    assert_eq!(faults(&folder), Vec::<String>::new(), "they are needed where the target is");
    pipe(&folder, "ca.pem");
    let told = shown(&folder, &read_and_ended(&folder).faults);
    assert!(told.len() == 1 && told[0].ends_with("ca.pem is a named pipe: only a regular file is read"), "{told:?}");
    let path = folder.path().join("ca.pem");
    let refused = ended(move || read_certificates(&path)).expect_err("a pipe");
    assert_eq!(refused, "is a named pipe: only a regular file is read");
}
