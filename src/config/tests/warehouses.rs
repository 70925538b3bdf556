//! `warehouse = { … }` of a target.

use std::path::PathBuf;

use super::*;

/// The warehouse of a target in S3 with these keys, and the folder's path.
fn read_with(keys: &str) -> (Result<WarehouseSettings, Vec<String>>, PathBuf) {
    let target = format!("{BASE}[target.a]\nstore = \"s3://lake\"\nwarehouse = {{ {keys} }}\n");
    let folder = folder(&target);
    let mut reading = read(folder.path());
    let told = shown(&folder, &reading.faults);
    let found = reading.pipeline.as_mut().and_then(|pipeline| pipeline.targets.remove("a"));
    match found {
        Some(Target::Aws(target)) if told.is_empty() => (Ok(target.warehouse), folder.path().to_owned()),
        _ => (Err(told), folder.path().to_owned()),
    }
}

fn warehouse(keys: &str) -> WarehouseSettings {
    read_with(keys).0.unwrap_or_else(|faults| panic!("{keys}: {faults:?}"))
}

/// The faults of these keys, without the place that all have: `pipeline.toml:13:COLUMN: `.
fn refusals(keys: &str) -> Vec<String> {
    let faults = read_with(keys).0.expect_err(keys);
    let words = |fault: &String| {
        let rest = fault.strip_prefix("pipeline.toml:13:").unwrap_or_else(|| panic!("{fault}"));
        rest.split_once(": ").expect("a place").1.replace(" in warehouse = { … }", "")
    };
    faults.iter().map(words).collect()
}

fn server(host: &str, port: u16, login: Login, tls: Tls) -> ServerSettings {
    ServerSettings { host: host.into(), port, login, tls }
}

fn password(user: &str, variable: &str) -> Login {
    Login::Environment { user: user.into(), variable: variable.into() }
}

const VERIFY: Tls = Tls::Verify { authorities: None };

#[test]
fn a_postgres_has_defaults_and_can_be_said_in_full() {
    let postgres = |server, schema: Option<&str>| {
        let schema = schema.map(str::to_owned);
        WarehouseSettings::Postgres(PostgresSettings { server, database: "dwh".into(), schema })
    };
    let me = || password("me", "PGPASSWORD");
    let cases = [
        ("user = \"me\"", postgres(server("localhost", 5432, me(), Tls::Off), None)),
        ("user = \"me\", host = \"127.0.0.9\"", postgres(server("127.0.0.9", 5432, me(), Tls::Off), None)),
        ("user = \"me\", host = \"::1\", port = 6000", postgres(server("::1", 6000, me(), Tls::Off), None)),
        ("user = \"me\", host = \"[::1]\"", postgres(server("::1", 5432, me(), Tls::Off), None)),
        ("user = \"me\", host = \"10.0.0.1\"", postgres(server("10.0.0.1", 5432, me(), VERIFY), None)),
        ("user = \"me\", host = \"db.x\", tls = \"off\"", postgres(server("db.x", 5432, me(), Tls::Off), None)),
        ("user = \"me\", tls = \"verify\"", postgres(server("localhost", 5432, me(), VERIFY), None)),
        (
            "user = \"me\", password_env = \"DWH_PASSWORD\", schema = \"orders\"",
            postgres(server("localhost", 5432, password("me", "DWH_PASSWORD"), Tls::Off), Some("orders")),
        ),
        (
            "host = \"db.x\", secret = \"arn:aws:secretsmanager:eu-central-1:1:secret:dwh\"",
            postgres(
                server("db.x", 5432, Login::Secret("arn:aws:secretsmanager:eu-central-1:1:secret:dwh".into()), VERIFY),
                None,
            ),
        ),
    ];
    for (keys, expected) in cases {
        assert_eq!(warehouse(&format!("kind = \"postgres\", database = \"dwh\", {keys}")), expected, "{keys}");
    }
}

#[test]
fn authorities_are_a_file_from_the_pipelines_folder() {
    for (said, path) in [("certificates/ca.pem", None), ("/etc/ca.pem", Some("/etc/ca.pem"))] {
        let keys = format!("kind = \"postgres\", database = \"dwh\", user = \"me\", authorities = \"{said}\"");
        let (found, folder) = read_with(&keys);
        let Ok(WarehouseSettings::Postgres(settings)) = found else { panic!("{found:?}") };
        let authorities = Some(path.map_or_else(|| folder.join(said), PathBuf::from));
        assert_eq!(settings.server.tls, Tls::Verify { authorities }, "named authorities are used, even on localhost");
    }
}

#[test]
fn a_redshift_is_reached_by_the_wire_or_by_its_api() {
    let redshift = |access, endpoint: Option<&str>| {
        WarehouseSettings::Redshift(RedshiftSettings {
            access,
            database: "dwh".into(),
            schema: None,
            iam_role: "default".into(),
            fixed_length_decimals: false,
            endpoint: endpoint.map(str::to_owned),
        })
    };
    let wire = |login| RedshiftAccess::Wire(server("h", 5439, login, VERIFY));
    let (cluster, workgroup) = (RedshiftPlace::Cluster("c".into()), RedshiftPlace::Workgroup("w".into()));
    let iam = |place: &RedshiftPlace, user: Option<&str>| {
        wire(Login::Iam { place: place.clone(), user: user.map(str::to_owned) })
    };
    let api = |place: &RedshiftPlace, user: Option<&str>, secret: Option<&str>| RedshiftAccess::DataApi {
        place: place.clone(),
        user: user.map(str::to_owned),
        secret: secret.map(str::to_owned),
    };
    let by_password = wire(password("me", "REDSHIFT_PASSWORD"));
    let cases = [
        ("host = \"h\", user = \"me\"", redshift(by_password.clone(), None)),
        ("access = \"wire\", host = \"h\", user = \"me\"", redshift(by_password, None)),
        ("host = \"h\", user = \"me\", password_env = \"P\"", redshift(wire(password("me", "P")), None)),
        ("host = \"h\", secret = \"s\"", redshift(wire(Login::Secret("s".into())), None)),
        (
            "host = \"h\", secret = \"s\", endpoint = \"http://127.0.0.1:9\"",
            redshift(wire(Login::Secret("s".into())), Some("http://127.0.0.1:9")),
        ),
        ("host = \"h\", login = \"iam\", cluster = \"c\", user = \"me\"", redshift(iam(&cluster, Some("me")), None)),
        ("host = \"h\", login = \"iam\", cluster = \"c\"", redshift(iam(&cluster, None), None)),
        ("host = \"h\", login = \"iam\", workgroup = \"w\"", redshift(iam(&workgroup, None), None)),
        ("access = \"data_api\", workgroup = \"w\"", redshift(api(&workgroup, None, None), None)),
        ("access = \"data_api\", workgroup = \"w\", secret = \"s\"", redshift(api(&workgroup, None, Some("s")), None)),
        ("access = \"data_api\", cluster = \"c\", user = \"me\"", redshift(api(&cluster, Some("me"), None), None)),
        (
            "access = \"data_api\", cluster = \"c\", endpoint = \"https://redshift.x\"",
            redshift(api(&cluster, None, None), Some("https://redshift.x")),
        ),
    ];
    for (keys, expected) in cases {
        let keys = format!("kind = \"redshift\", database = \"dwh\", iam_role = \"default\", {keys}");
        assert_eq!(warehouse(&keys), expected, "{keys}");
    }
    let role = "arn:aws-cn:iam::123456789012:role/service-role/copy,arn:aws:iam::2:role/read@x";
    let keys = format!("iam_role = \"{role}\", schema = \"orders\", fixed_length_decimals = true");
    let full = format!("kind = \"redshift\", database = \"dwh\", host = \"h\", user = \"me\", {keys}");
    let WarehouseSettings::Redshift(settings) = warehouse(&full) else { panic!("redshift") };
    let expected = (role, Some("orders"), true);
    assert_eq!((settings.iam_role.as_str(), settings.schema.as_deref(), settings.fixed_length_decimals), expected);
}

#[test]
fn what_a_postgres_cannot_be_is_told_all_together() {
    let useless = |key: &str, why: &str| format!("{key:?}: {why} has no use for it: take it out");
    let cases = [
        ("", vec!["missing key \"database\"".to_owned(), "missing key \"user\"".to_owned()]),
        (
            ", database = \"d\", user = \"me\", schema = \"Orders\", tls = \"on\", port = 0",
            vec![
                "\"schema\": \"Orders\" is not a name: lower-case letters, digits and \"_\", a letter first, at most 127 bytes".to_owned(),
                "\"tls\": expected \"verify\" or \"off\", found \"on\"".to_owned(),
                "\"port\": expected a number from 1 to 65535, found 0".to_owned(),
            ],
        ),
        (
            ", database = \"d\", secret = \"s\", user = \"me\"",
            vec![useless("user", "a login by a secret, which holds the user,")],
        ),
        (
            ", database = \"d\", user = \"me\", secret = \"s\", password_env = \"P\"",
            vec!["\"secret\": \"password_env\" says already how to log in: keep one of them".to_owned()],
        ),
        (
            ", database = \"d\", user = \"me\", tls = \"off\", authorities = \"a.pem\"",
            vec![useless("authorities", "tls = \"off\"")],
        ),
        (
            ", database = \"d\", user = \"me\", iam_role = \"default\", cluster = \"c\", hots = \"h\"",
            vec![
                useless("iam_role", "kind = \"postgres\""),
                useless("cluster", "kind = \"postgres\""),
                "unknown key \"hots\"; did you mean \"host\"?".to_owned(),
            ],
        ),
    ];
    for (keys, expected) in cases {
        assert_eq!(refusals(&format!("kind = \"postgres\"{keys}")), expected, "{keys}");
    }
    let useless = ["host", "user", "access", "endpoint"].map(|key| useless(key, "kind = \"delta\""));
    let delta = "kind = \"delta\", host = \"h\", user = \"u\", access = \"wire\", endpoint = \"http://h\"";
    assert_eq!(refusals(delta), useless);
    assert_eq!(refusals("kind = \"delta\", x = 1"), ["unknown key \"x\"; known are kind"]);
}

#[test]
fn what_a_redshift_cannot_be_is_told_all_together() {
    let useless = |key: &str, why: &str| format!("{key:?}: {why} has no use for it: take it out");
    let missing = |key: &str| format!("missing key {key:?}");
    let no_place = "missing key \"cluster\" or \"workgroup\": which Redshift is it?".to_owned();
    let one = |key: &str, first: &str, what: &str| format!("{key:?}: {first:?} says already {what}: keep one of them");
    let (base, by_api) = ("database = \"d\", iam_role = \"default\"", "access = \"data_api\"");
    let cases = [
        (String::new(), vec![missing("database"), missing("iam_role"), missing("host"), missing("user")]),
        (
            format!("{base}, host = \"h\", user = \"u\", cluster = \"c\", endpoint = \"http://h\""),
            vec![useless("cluster", "a login that is not \"iam\""), useless("endpoint", "a login by password_env")],
        ),
        (format!("{base}, host = \"h\", user = \"u\", login = \"iam\""), vec![no_place.clone()]),
        (
            format!("{base}, host = \"h\", user = \"u\", login = \"iam\", secret = \"s\", cluster = \"c\""),
            vec![one("login", "secret", "how to log in")],
        ),
        (
            format!("{base}, host = \"h\", user = \"u\", login = \"sso\""),
            vec!["\"login\": expected \"iam\", found \"sso\"".to_owned()],
        ),
        (
            format!("{base}, host = \"h\", user = \"u\", login = \"iam\", workgroup = \"w\""),
            vec![useless("user", "a workgroup, whose user is the AWS identity's,")],
        ),
        (
            format!("{base}, host = \"h\", login = \"iam\", cluster = \"c\", workgroup = \"w\""),
            vec![one("workgroup", "cluster", "which Redshift")],
        ),
        (format!("{base}, {by_api}, user = \"u\""), vec![no_place]),
        (
            format!("{base}, {by_api}, cluster = \"c\", workgroup = \"w\""),
            vec![one("workgroup", "cluster", "which Redshift")],
        ),
        (
            format!("{base}, {by_api}, cluster = \"c\", user = \"u\", secret = \"s\""),
            vec![useless("user", "a login by a secret, which holds the user,")],
        ),
        (
            format!("{base}, {by_api}, workgroup = \"w\", host = \"h\", login = \"iam\", tls = \"off\""),
            ["host", "login", "tls"].map(|key| useless(key, by_api)).to_vec(),
        ),
        (
            format!("{base}, access = \"http\", host = \"h\", clustr = \"c\""),
            vec![
                "\"access\": expected \"wire\" or \"data_api\", found \"http\"".to_owned(),
                "unknown key \"clustr\"; did you mean \"cluster\"?".to_owned(),
            ],
        ),
    ];
    for (keys, expected) in cases {
        let mut found = refusals(&format!("kind = \"redshift\"{}{keys}", if keys.is_empty() { "" } else { ", " }));
        let mut expected = expected;
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{keys}");
    }
}

#[test]
fn a_role_is_an_arn_and_stays_between_its_quotes() {
    let roles = [
        "me",
        "Default",
        "arn:aws:iam::1:user/me",
        "arn:aws:iam::1:role/",
        "arn:aws:iam:::role/x",
        "arn:aws:iam::1:role/a, arn:aws:iam::1:role/b",
        "arn:aws:iam::1:role/a,default",
        "arn:aws:iam::1:role/a' FORMAT CSV",
    ];
    for role in roles {
        let keys = format!("kind = \"redshift\", database = \"d\", host = \"h\", user = \"u\", iam_role = \"{role}\"");
        let found = refusals(&keys);
        assert!(found.len() == 1 && found[0].contains("is no role: write \"arn:aws:iam::"), "{role}: {found:?}");
    }
}

#[test]
fn no_secret_stands_in_the_file_and_none_is_repeated() {
    let sentence = "\"password\": no secret stands in a file: put it into an environment variable and name that \
                    (password_env = \"…\"), or keep it in Secrets Manager (secret = \"…\")";
    for kind in ["kind = \"postgres\"", "kind = \"redshift\", iam_role = \"default\""] {
        let keys = format!("{kind}, host = \"h\", database = \"d\", user = \"u\", password = \"hush\"");
        assert_eq!(refusals(&keys), [sentence]);
    }
    let postgres = "kind = \"postgres\", database = \"d\", user = \"u\"";
    for (keys, words) in [
        ("password_env = \"hush!\"", "this is no variable's name"),
        ("password_env = \"\"", "this is no variable's name"),
        ("password_env = \"1HUSH\"", "this is no variable's name"),
        ("host = \"me:hush@h\"", "this is no host"),
        ("host = \"h:5432\"", "this is no host"),
        ("host = \"h/db\"", "this is no host"),
    ] {
        let found = refusals(&format!("{postgres}, {keys}"));
        assert!(found.len() == 1 && found[0].contains(words) && !found[0].contains("hush"), "{keys}: {found:?}");
    }
}

#[test]
fn a_redshift_needs_a_bucket_and_no_region() {
    let redshift =
        "warehouse = { kind = \"redshift\", database = \"d\", host = \"h\", user = \"u\", iam_role = \"default\" }";
    let folder = format!("[target.a]\nstore = \"file:///lake\"\n{redshift}\n");
    let local = format!("[target.local]\n{redshift}\n");
    check(&[
        ("", &format!("[target.a]\nstore = \"s3://lake\"\n{redshift}\n"), &[]),
        (
            "",
            &folder,
            &["12:9: \"store\" in [target.NAME]: a Redshift warehouse copies from S3: write \"s3://bucket/prefix\""],
        ),
        (
            "",
            &local,
            &[
                "12:13: \"warehouse\" in [target.local]: Redshift copies from S3, and the local target keeps its files in a folder: give it a target of its own with store = \"s3://bucket/prefix\"",
            ],
        ),
    ]);
}

#[test]
fn the_local_target_loads_delta_or_a_postgres() {
    let local = |lines: &str| sound(&format!("{BASE}[target.local]\n{lines}\n")).targets.remove("local");
    let delta = Some(Target::Local(LocalTarget { warehouse: None }));
    assert_eq!(local(""), delta);
    assert_eq!(local("warehouse = { kind = \"delta\" }"), delta);
    let server = server("localhost", 5432, password("me", "PGPASSWORD"), Tls::Off);
    let settings = PostgresSettings { server, database: "dwh".into(), schema: None };
    let postgres = local("warehouse = { kind = \"postgres\", database = \"dwh\", user = \"me\" }");
    assert_eq!(postgres, Some(Target::Local(LocalTarget { warehouse: Some(settings.clone()) })));
    assert_eq!(parse_warehouse_url("postgres://me@localhost/dwh"), Ok(settings));
}
