use serde_json::json;

use super::*;
use crate::error::ErrorKind;
use crate::load::redshift::stand_in::{Answer, StandIn, Trouble};
use crate::runtime::{Clock, SystemClock};

const SECRET: &str = "GetSecretValue";
const CLUSTER: &str = "GetClusterCredentials";
const WORKGROUP: &str = "GetCredentials";

/// For how long credentials are good, in seconds.
const SOON: i64 = 900;

fn exposed(login: &LoginNow) -> (&str, &str) {
    (&login.user, login.password.as_ref().expect("a password").expose())
}

fn secret_of(text: &'static str) -> impl Fn(&str, &serde_json::Value) -> Answer {
    move |_, _| (200, json!({ "ARN": "arn:x", "Name": "x", "SecretString": text }).to_string())
}

#[tokio::test]
async fn a_secret_gives_user_and_password_anew_each_time() {
    let server = StandIn::start(secret_of(r#"{"username":"etl","password":"hunter2","engine":"redshift"}"#)).await;
    let logins = SecretLogin::new("warehouse/etl", &server.apis());
    for _ in 0..2 {
        assert_eq!(exposed(&logins.login().await.expect("a login")), ("etl", "hunter2"));
    }
    let asked = server.requests(SECRET);
    assert_eq!(asked, [json!({ "SecretId": "warehouse/etl" }), json!({ "SecretId": "warehouse/etl" })]);
    assert_eq!(logins.origin(), "the secret warehouse/etl");
}

#[tokio::test]
async fn a_secret_that_is_no_login_is_refused_without_a_word_of_it() {
    for text in [r#"{"username":"etl"}"#, r#"{"username":"etl","password":["hunter2"]}"#, "hunter2", "\"hunter2\""] {
        let server = StandIn::start(secret_of(text)).await;
        let error = SecretLogin::new("x", &server.apis()).login().await.expect_err("no login");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("must be JSON with username and password"), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}

#[tokio::test]
async fn refusals_say_which_right_is_missing() {
    let server = StandIn::start(secret_of("{}")).await;
    let logins = SecretLogin::new("x", &server.apis());
    let cases = [
        ("AccessDeniedException", "it lacks secretsmanager:GetSecretValue"),
        ("ResourceNotFoundException", "is not there"),
    ];
    for (code, words) in cases {
        server.trouble(SECRET, Trouble::Refused(400, code), 1);
        let error = logins.login().await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains(words) && error.to_string().contains("read the secret x"), "{error}");
    }
    server.trouble(SECRET, Trouble::Refused(500, "InternalServiceError"), 10);
    assert_eq!(logins.login().await.expect_err("given up").kind(), ErrorKind::Transient);
    assert_eq!(server.requests(SECRET).len(), 12);
}

/// Gives the user a new password on each call, good for so long.
async fn cluster(seconds: i64) -> StandIn {
    let calls = std::sync::atomic::AtomicU32::new(0);
    let until = chrono::DateTime::from_timestamp_micros(SystemClock.now_micros()).expect("a time")
        + chrono::Duration::seconds(seconds);
    StandIn::start(move |_, asked| {
        let call = calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let (user, until) = (asked["DbUser"].as_str().unwrap_or_default(), until.format("%Y-%m-%dT%H:%M:%SZ"));
        let body = format!(
            "<GetClusterCredentialsResponse xmlns=\"http://redshift.amazonaws.com/doc/2012-12-01/\">\
             <GetClusterCredentialsResult><DbUser>IAM:{user}</DbUser><DbPassword>pass-{call}</DbPassword>\
             <Expiration>{until}</Expiration></GetClusterCredentialsResult></GetClusterCredentialsResponse>"
        );
        (200, body)
    })
    .await
}

fn cluster_login(server: &StandIn) -> IamLogin {
    let place = RedshiftPlace::Cluster("food".to_owned());
    IamLogin::new(&place, Some("etl"), "dev", &server.apis()).expect("a user")
}

#[tokio::test]
async fn a_clusters_credentials_are_kept_until_shortly_before_their_end() {
    let server = cluster(SOON).await;
    let logins = cluster_login(&server);
    for _ in 0..3 {
        assert_eq!(exposed(&logins.login().await.expect("a login")), ("IAM:etl", "pass-0"));
    }
    let asked = &server.requests(CLUSTER)[0];
    let named = ["ClusterIdentifier", "DbUser", "DbName", "AutoCreate"].map(|name| asked[name].as_str());
    assert_eq!(named, [Some("food"), Some("etl"), Some("dev"), Some("false")]);
    server.clock.advance(Duration::from_secs(850));
    assert_eq!(exposed(&logins.login().await.expect("a login")), ("IAM:etl", "pass-1"));
    assert_eq!(server.requests(CLUSTER).len(), 2);
}

#[tokio::test]
async fn a_cluster_that_refuses_tells_the_right_that_is_missing() {
    let body = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>User: arn:x is not authorized\n\
                x-amz-security-token:SESSION</Message></Error><RequestId>1</RequestId></ErrorResponse>";
    let server = StandIn::start(move |_, _| (403, body.to_owned())).await;
    let error = cluster_login(&server).login().await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(
        error.to_string().contains("log in to the cluster food as etl: it lacks redshift:GetClusterCredentials"),
        "{error}"
    );
    assert!(!error.to_string().contains("SESSION"), "{error}");
}

#[tokio::test]
async fn a_cluster_needs_a_user_and_a_workgroup_none() {
    let server = StandIn::start(|_, _| (200, json!({ "dbUser": "IAMR:job", "dbPassword": "p" }).to_string())).await;
    let place = RedshiftPlace::Cluster("food".to_owned());
    let error = IamLogin::new(&place, None, "dev", &server.apis()).err().expect("no user");
    assert!(error.to_string().contains("needs the database's user"), "{error}");
    let place = RedshiftPlace::Workgroup("etl-group".to_owned());
    let logins = IamLogin::new(&place, None, "dev", &server.apis()).expect("a workgroup");
    // Without an end they are not kept.
    for _ in 0..2 {
        assert_eq!(exposed(&logins.login().await.expect("a login")), ("IAMR:job", "p"));
    }
    let expected = json!({ "dbName": "dev", "workgroupName": "etl-group" });
    assert_eq!(server.requests(WORKGROUP), [expected.clone(), expected]);
    server.trouble(WORKGROUP, Trouble::Refused(400, "AccessDeniedException"), 1);
    let error = logins.login().await.expect_err("refused");
    assert!(error.to_string().contains("it lacks redshift-serverless:GetCredentials"), "{error}");
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again() {
    let server = cluster(SOON).await;
    server.trouble(CLUSTER, Trouble::Torn, 2);
    assert_eq!(exposed(&cluster_login(&server).login().await.expect("a login")), ("IAM:etl", "pass-2"));
}
