//! Targets.

use super::*;

#[test]
fn a_target_says_where_its_services_are() {
    let text = format!(
        "{BASE}[target.aws]\nregion = \"eu-central-1\"\nstore = \"s3://lake/orders\"\nwarehouse = {{ kind = \"delta\" }}\n\
         [target.stage]\nstream_endpoint = \"http://127.0.0.1:4567\"\nstore = \"s3://lake\"\n\
         store_endpoint = \"https://minio:9000\"\npath_style = true\nwarehouse = {{ kind = \"delta\" }}\n\
         [target.shared]\nstore = \"file:///mnt/lake\"\nwarehouse = {{ kind = \"delta\" }}\n"
    );
    let folder = folder(&text);
    assert_eq!(faults(&folder), Vec::<String>::new());
    let targets = read(folder.path()).pipeline.expect("a pipeline").targets;
    let aws = AwsTarget {
        region: Some("eu-central-1".into()),
        stream_endpoint: None,
        store: StoreAddress::S3("s3://lake/orders".into()),
        store_endpoint: None,
        path_style: false,
        warehouse: WarehouseSettings::Delta,
    };
    let stage = AwsTarget {
        region: None,
        stream_endpoint: Some("http://127.0.0.1:4567".into()),
        store: StoreAddress::S3("s3://lake".into()),
        store_endpoint: Some("https://minio:9000".into()),
        path_style: true,
        ..aws.clone()
    };
    let shared = AwsTarget { region: None, store: StoreAddress::Folder("/mnt/lake".into()), ..aws.clone() };
    let expected = [
        ("aws", Target::Aws(aws)),
        ("local", Target::Local(LocalTarget::default())),
        ("shared", Target::Aws(shared)),
        ("stage", Target::Aws(stage)),
    ];
    assert_eq!(targets, expected.map(|(name, target)| (name.to_owned(), target)).into());
}

#[test]
fn what_a_target_cannot_be_is_told_with_its_place() {
    check(&[
        (
            "",
            "[target.aws]\nregion = \"us-east-1\"\n",
            &["11:1: missing key \"store\" in [target.NAME]", "11:1: missing key \"warehouse\" in [target.NAME]"],
        ),
        ("", "[target.locl]\n", &["11:9: unknown target \"locl\"; did you mean \"local\"?"]),
        (
            "",
            "[target.aws]\nstore = \"lake/orders\"\nwarehouse = { kind = \"redshif\" }\n",
            &[
                "12:9: \"store\" in [target.NAME]: \"lake/orders\" is no store: write \"s3://bucket/prefix\", or \"file:///folder\" for a folder",
                "13:22: \"kind\" in warehouse = { … }: expected \"delta\" or \"postgres\" or \"redshift\", found \"redshif\"",
            ],
        ),
        (
            "",
            "[target.aws]\nstore = \"s3://lake\"\nstore_endpoint = \"https://me:secret@host\"\nwarehouse = { kind = \"hive\", x = 1 }\nbucket = 1\n",
            &[
                "13:18: \"store_endpoint\" in [target.NAME]: an endpoint holds no user and no password",
                "14:22: \"kind\" in warehouse = { … }: expected \"delta\" or \"postgres\" or \"redshift\", found \"hive\"",
                "14:30: unknown key \"x\" in warehouse = { … }; known are kind, database, schema, user, secret, host, port, password_env, tls, authorities, access, iam_role, fixed_length_decimals, endpoint, login, cluster, workgroup",
                "15:1: unknown key \"bucket\" in [target.NAME]; known are region, stream_endpoint, store, store_endpoint, path_style, warehouse",
            ],
        ),
        (
            "",
            "[target.nfs]\nstore = \"file:///lake\"\nstore_endpoint = \"http://h\"\npath_style = true\nwarehouse = { kind = \"delta\" }\n",
            &[
                "13:18: \"store_endpoint\" in [target.NAME]: a store that is a folder has no use for it: take it out",
                "14:14: \"path_style\" in [target.NAME]: a store that is a folder has no use for it: take it out",
            ],
        ),
        (
            "",
            "[target]\nlocal = 1\n",
            &["12:9: \"local\" in [target.NAME]: expected a table, [target.local]; found an integer"],
        ),
    ]);
}
