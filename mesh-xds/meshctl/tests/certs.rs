//! `meshctl certs`, run as people run it.
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

const REVIEWS: &str = "spiffe://cluster.local/ns/default/sa/bookinfo-reviews";

fn certs(arguments: &[&str], dir: &Path) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_meshctl"))
        .arg("certs")
        .args(arguments)
        .current_dir(dir)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn issue(dir: &Path, identity: &str, out: &str, more: &[&str]) -> (Option<i32>, String, String) {
    let arguments = [
        "issue",
        "--authority",
        "ca",
        "--identity",
        identity,
        "--out",
        out,
    ];
    certs(&[&arguments[..], more].concat(), dir)
}

#[test]
fn issued_certificates_are_listed_with_what_is_wrong_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::create_dir(dir.join("all")).unwrap();
    let (code, out, error) = issue(dir, REVIEWS, "all/reviews", &[]);
    assert_eq!(
        (code, out.as_str()),
        (Some(0), &*format!("{REVIEWS} in all/reviews\n")),
        "{error}"
    );
    let (code, table, _) = certs(&["all"], dir);
    assert_eq!((code, table.lines().count()), (Some(0), 2), "{table}");
    for word in [
        "WORKLOAD",
        "reviews",
        REVIEWS,
        "O=cluster.local",
        "23h59m",
        "s ago",
        "ok",
    ] {
        assert!(table.contains(word), "{word}: {table}");
    }
    // By itself, too.
    assert!(certs(&["all/reviews"], dir).1.contains(REVIEWS));

    // One of another root, and one that is broken.
    issue(dir, REVIEWS, "all/stranger", &["--ttl", "5m"]);
    fs::remove_dir_all(dir.join("ca")).unwrap();
    issue(dir, REVIEWS, "all/other", &[]);
    let roots = fs::read_to_string(dir.join("all/other/root-cert.pem")).unwrap();
    let file = dir.join("all/stranger/..data/").join("root-cert.pem");
    fs::write(file.canonicalize().unwrap(), roots).unwrap();
    fs::create_dir(dir.join("all/empty")).unwrap();
    let (code, table, error) = certs(&["all"], dir);
    assert_eq!(code, Some(1));
    assert!(error.contains("2 of 4 certificates"), "{error}");
    let line = |name: &str| {
        let line = table.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("{name}: {table}")).to_owned()
    };
    assert!(
        line("stranger").ends_with("not signed by its roots"),
        "{table}"
    );
    assert!(
        line("empty").contains("cert-chain.pem cannot be read"),
        "{table}"
    );
    assert!(line("reviews").ends_with("ok") && line("other").ends_with("ok"));
    let (_, text, _) = certs(&["all", "-o", "json"], dir);
    let all: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(all[2]["workload"], "reviews");
    assert_eq!(
        (&all[2]["fault"], &all[2]["identity"]),
        (&Value::Null, &REVIEWS.into())
    );
    // From two minutes ago to in a day.
    let life = all[2]["notAfter"].as_u64().unwrap() - all[2]["notBefore"].as_u64().unwrap();
    assert_eq!(life, 86400 + 120);
}

#[test]
fn a_key_that_is_not_the_certificate_s_is_a_fault() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::create_dir(dir.join("all")).unwrap();
    for name in ["garbage", "good", "none", "other"] {
        issue(dir, REVIEWS, &format!("all/{name}"), &[]);
    }
    assert_eq!(certs(&["all"], dir).0, Some(0));

    let key = |name: &str| {
        let folder = dir.join("all").join(name);
        folder.join("key.pem").canonicalize().unwrap()
    };
    fs::write(key("garbage"), "garbage").unwrap();
    fs::copy(key("good"), key("other")).unwrap();
    fs::remove_file(key("none")).unwrap();
    let (code, table, error) = certs(&["all"], dir);
    assert_eq!(code, Some(1), "{table}");
    assert!(error.contains("3 of 4 certificates"), "{error}");
    for (name, words) in [
        (
            "garbage",
            "all/garbage/key.pem holds no PRIVATE KEY block that can be read (encrypted ones cannot); put the key of \
             all/garbage/cert-chain.pem there",
        ),
        ("good", "   ok"),
        ("none", "all/none/key.pem cannot be read: "),
        (
            "other",
            "all/other/key.pem is not the key of all/other/cert-chain.pem; replace both",
        ),
    ] {
        let line = table.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(line.contains(words), "{words}: {line}");
    }
    let (_, text, _) = certs(&["all", "-o", "json"], dir);
    let all: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(all[1]["fault"], Value::Null);
    assert!(
        all[3]["fault"]
            .as_str()
            .unwrap()
            .contains("is not the key of")
    );
}

#[test]
fn a_new_root_is_told_of_once() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (_, out, error) = issue(dir, REVIEWS, "x", &[]);
    assert_eq!(error, "made a new root in ca\n", "{out}");
    let (code, _, error) = issue(dir, REVIEWS, "y", &[]);
    assert_eq!((code, error.as_str()), (Some(0), ""));
}

#[test]
fn the_folder_of_an_authority_is_shown_as_one_and_not_judged() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    issue(dir, REVIEWS, "reviews", &[]);
    let (code, table, error) = certs(&["."], dir);
    assert_eq!(code, Some(0), "{table}{error}");
    let line = |name: &str| {
        let line = table.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("{name}: {table}")).to_owned()
    };
    assert!(line("ca ").ends_with("   authority"), "{table}");
    assert!(line("reviews").ends_with("   ok"), "{table}");
    let (code, table, _) = certs(&["ca"], dir);
    assert_eq!(code, Some(0), "{table}");
    let (_, text, _) = certs(&["-o", "json", "."], dir);
    let all: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(all[0], serde_json::json!({ "authority": "ca" }));
    // The count is of workloads alone.
    fs::create_dir(dir.join("empty")).unwrap();
    let (code, _, error) = certs(&["."], dir);
    assert_eq!(code, Some(1));
    assert!(error.contains("1 of 2 certificates"), "{error}");
}

#[test]
fn a_token_is_printed_once_and_its_hash_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let token = || {
        let arguments = ["token", "--tokens", "tokens", "--identity", REVIEWS];
        let (code, out, error) = certs(&arguments, dir);
        assert_eq!(code, Some(0), "{error}");
        out.trim_end().to_owned()
    };
    let (first, second) = (token(), token());
    let kept = fs::read_to_string(dir.join("tokens")).unwrap();
    assert_eq!(kept.lines().count(), 2);
    assert!(first.len() == 64 && !kept.contains(&first) && !kept.contains(&second));
    let tokens: mesh_control_plane::ca::Tokens = kept.parse().unwrap();
    let now = std::time::SystemTime::now();
    for token in [first, second] {
        assert_eq!(tokens.caller(&token, now).unwrap().id().as_str(), REVIEWS);
    }
    fs::write(dir.join("tokens"), "nonsense").unwrap();
    let arguments = ["token", "--tokens", "tokens", "--identity", REVIEWS];
    let (code, _, error) = certs(&arguments, dir);
    assert!(
        code == Some(2) && error.contains("line 1") && error.contains("--tokens"),
        "{error}"
    );
    assert_eq!(fs::read_to_string(dir.join("tokens")).unwrap(), "nonsense");
}

#[test]
fn what_cannot_be_done_names_its_flag() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::create_dir(dir.join("torn")).unwrap();
    fs::write(dir.join("torn/ca-cert.pem"), "").unwrap();
    let torn = [
        "issue",
        "--authority",
        "torn",
        "--identity",
        REVIEWS,
        "--out",
        "x",
    ];
    for (arguments, words) in [
        (&torn[..], &["ca-key.pem", "--authority"][..]),
        (&["nowhere"], &["nowhere"]),
        (&["torn"], &["torn", "no certificate"]),
    ] {
        let (code, _, error) = certs(arguments, dir);
        assert_eq!(code, Some(2), "{error}");
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
    let (_, _, error) = issue(dir, "spiffe://other.mesh/ns/a/sa/b", "x", &[]);
    assert!(
        error.contains("other.mesh") && error.contains("cluster.local"),
        "{error}"
    );
    let (_, _, error) = issue(dir, "reviews", "x", &[]);
    assert!(error.contains("--identity"), "{error}");
    let (_, _, error) = issue(dir, REVIEWS, "x", &["--ttl", "91d"]);
    assert!(error.contains("the longest is"), "{error}");
    assert!(!dir.join("x").exists());
}
