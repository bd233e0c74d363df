//! Applying to and deleting from a folder.
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "a test may fail, and may be a long table"
)]

mod common;

use std::fs;
use std::path::Path;

use common::*;
use mesh_istio::{Action, Config, apply, delete};

const RULE: &str = "\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: reviews   # which
spec:
  hosts: [reviews]
  http:
  - route: [ { destination: { host: reviews, subset: v1 } } ]
";

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("all.yaml"),
        format!("# the whole mesh\n{REVIEWS}"),
    )
    .unwrap();
    dir
}

fn actions(dir: &Path, text: &str) -> Vec<(String, Action)> {
    let applied = apply(dir, text, Path::new("stdin")).unwrap_or_else(|e| panic!("{e}"));
    applied
        .into_iter()
        .map(|a| (format!("{} {}/{}", a.kind, a.namespace, a.name), a.action))
        .collect()
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn a_new_object_gets_a_file_and_its_namespace() {
    let dir = folder();
    let id = || "VirtualService default/reviews".to_owned();
    assert_eq!(actions(dir.path(), RULE), [(id(), Action::Created)]);
    assert_eq!(
        files(dir.path()),
        ["all.yaml", "virtualservice-default-reviews.yaml"]
    );
    let written =
        fs::read_to_string(dir.path().join("virtualservice-default-reviews.yaml")).unwrap();
    assert_eq!(
        written,
        RULE.replace(
            "  name: reviews   # which",
            "  namespace: default\n  name: reviews   # which"
        )
    );
    // The same again changes nothing, though the text still says no namespace.
    assert_eq!(actions(dir.path(), RULE), [(id(), Action::Unchanged)]);
    let to_v2 = RULE.replace("subset: v1", "subset: v2");
    assert_eq!(actions(dir.path(), &to_v2), [(id(), Action::Configured)]);
    let resources = Config::load(dir.path())
        .unwrap()
        .config
        .resources(&client());
    let route = &host_routes(&routes(&resources, "9080"), &format!("{HOST}:9080"))[0];
    assert_eq!(target(route), format!("outbound|9080|v2|{HOST}"));
}

#[test]
fn the_namespace_goes_into_braces_too() {
    let dir = folder();
    let flow = RULE.replace(
        "metadata:\n  name: reviews   # which\n",
        "metadata: { name: 'reviews' }\n",
    );
    actions(dir.path(), &format!("# Ünïcode\n---\n{flow}"));
    let written =
        fs::read_to_string(dir.path().join("virtualservice-default-reviews.yaml")).unwrap();
    assert!(
        written.contains("metadata: { namespace: default, name: 'reviews' }\n"),
        "{written}"
    );
}

#[test]
fn other_documents_stay_as_they_are() {
    let dir = folder();
    let before = fs::read_to_string(dir.path().join("all.yaml")).unwrap();
    let rule = "apiVersion: networking.istio.io/v1beta1
kind: WorkloadEntry
metadata: { namespace: default, name: reviews-v2 }
spec: { address: 127.0.11.9, labels: { app: reviews, version: v2 } }";
    let id = "WorkloadEntry default/reviews-v2".to_owned();
    assert_eq!(actions(dir.path(), rule), [(id, Action::Configured)]);
    let after = fs::read_to_string(dir.path().join("all.yaml")).unwrap();
    let (old, new): (Vec<&str>, Vec<&str>) = (
        before.split("---\n").collect(),
        after.split("---\n").collect(),
    );
    assert_eq!([old[0], old[1], old[3]], [new[0], new[1], new[3]]);
    assert_eq!(new[2], format!("{rule}\n"));
    assert_eq!(files(dir.path()), ["all.yaml"]);
}

#[test]
fn nothing_is_written_when_anything_is_wrong() {
    let dir = folder();
    let before = fs::read_to_string(dir.path().join("all.yaml")).unwrap();
    let text = format!(
        "{RULE}---\n{}",
        RULE.replace("name: reviews ", "name: b")
            .replace("hosts:", "hostz:")
    );
    let message = apply(dir.path(), &text, Path::new("rules.yaml"))
        .unwrap_err()
        .to_string();
    assert!(
        message.starts_with(
            "rules.yaml:15:3: error: VirtualService default/b: unknown field \"hostz\""
        ),
        "{message}"
    );

    // A good text does not hide a folder that is broken elsewhere.
    fs::write(dir.path().join("bad.yaml"), "a: [").unwrap();
    let message = apply(dir.path(), RULE, Path::new("rules.yaml"))
        .unwrap_err()
        .to_string();
    assert!(message.contains("bad.yaml:1:"), "{message}");
    assert_eq!(
        fs::read_to_string(dir.path().join("all.yaml")).unwrap(),
        before
    );
    assert_eq!(files(dir.path()), ["all.yaml", "bad.yaml"]);
}

#[test]
fn an_apply_can_mend_a_document() {
    let dir = folder();
    fs::write(
        dir.path().join("rule.yaml"),
        RULE.replace("hosts:", "hostz:"),
    )
    .unwrap();
    assert!(Config::load(dir.path()).is_err());
    assert_eq!(
        actions(dir.path(), RULE),
        [(
            "VirtualService default/reviews".to_owned(),
            Action::Configured
        )]
    );
    assert!(Config::load(dir.path()).is_ok());
}

#[test]
fn objects_of_two_groups_with_one_name() {
    let dir = folder();
    let gateway = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: { name: x, namespace: a }\nspec: { servers: [ { port: { number: 80, name: a, protocol: HTTP }, hosts: [a] } ] }\n";
    let api = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: { name: x, namespace: a }\nspec: {}\n";
    let applied = actions(dir.path(), &format!("{gateway}---\n{api}"));
    assert_eq!(
        applied
            .iter()
            .map(|(_, action)| *action)
            .collect::<Vec<_>>(),
        [Action::Created; 2]
    );
    assert_eq!(
        fs::read_to_string(dir.path().join("gateway-a-x.yaml")).unwrap(),
        format!("{gateway}---\n{api}")
    );
    assert_eq!(
        Config::load(dir.path()).unwrap().config.objects().count(),
        6
    );
}

#[test]
fn deleting() {
    let dir = folder();
    actions(dir.path(), RULE);
    let outcome = |text: &str| {
        let deleted =
            delete(dir.path(), text, Path::new("stdin")).unwrap_or_else(|e| panic!("{e}"));
        deleted.iter().map(|a| a.action).collect::<Vec<_>>()
    };
    // Only the names count: the spec may be wrong or gone.
    let name =
        "kind: VirtualService\napiVersion: networking.istio.io/v1\nmetadata: { name: reviews }\n";
    assert_eq!(outcome(name), [Action::Deleted]);
    assert_eq!(files(dir.path()), ["all.yaml"]);
    assert_eq!(outcome(name), [Action::NotFound]);

    let documents: Vec<&str> = REVIEWS.split("---\n").collect();
    assert_eq!(
        outcome(&[documents[0], documents[2]].join("---\n")),
        [Action::Deleted, Action::Deleted]
    );
    let left = fs::read_to_string(dir.path().join("all.yaml")).unwrap();
    assert_eq!(left, format!("---\n{}---\n{}", documents[1], documents[3]));
    assert_eq!(
        outcome(&[documents[1], documents[3]].join("---\n")),
        [Action::Deleted, Action::Deleted]
    );
    assert!(files(dir.path()).is_empty());
}

#[test]
fn deleting_works_in_a_broken_folder() {
    let dir = folder();
    fs::write(
        dir.path().join("bad.yaml"),
        format!("{}---\na: [\n", RULE.replace("hosts:", "hostz:")),
    )
    .unwrap();
    let deleted = delete(dir.path(), RULE, Path::new("stdin")).unwrap();
    assert_eq!(deleted[0].action, Action::Deleted);
    assert_eq!(
        fs::read_to_string(dir.path().join("bad.yaml")).unwrap(),
        "---\na: [\n"
    );
    assert!(delete(dir.path(), "a: [", Path::new("stdin")).is_err());
}

#[test]
fn windows_line_ends_and_byte_order_marks() {
    let dir = tempfile::tempdir().unwrap();
    let crlf = format!("\u{feff}{}", RULE.replace('\n', "\r\n"));
    assert_eq!(actions(dir.path(), &crlf)[0].1, Action::Created);
    let path = dir.path().join("virtualservice-default-reviews.yaml");
    assert!(
        fs::read_to_string(&path)
            .unwrap()
            .contains("  namespace: default\r\n  name: reviews")
    );
    fs::write(&path, crlf.replace("subset: v1", "subset: v7")).unwrap();
    assert_eq!(actions(dir.path(), &crlf)[0].1, Action::Configured);
    assert!(fs::read_to_string(&path).unwrap().contains("subset: v1"));
}

#[test]
fn a_file_keeps_its_line_ends() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("all.yaml");
    fs::write(&path, REVIEWS.replace('\n', "\r\n")).unwrap();
    let v1 = REVIEWS.split("---\n").nth(1).unwrap();
    let edited = v1.replace("127.0.11.1", "127.0.11.9");
    assert_eq!(actions(dir.path(), v1)[0].1, Action::Unchanged);
    assert_eq!(actions(dir.path(), &edited)[0].1, Action::Configured);
    let expected = REVIEWS.replace(v1, &edited).replace('\n', "\r\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    // And the other way round: a text of Windows into a file of Unix.
    fs::write(&path, REVIEWS).unwrap();
    assert_eq!(
        actions(dir.path(), &edited.replace('\n', "\r\n"))[0].1,
        Action::Configured
    );
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        REVIEWS.replace(v1, &edited)
    );
}

#[cfg(unix)]
#[test]
fn a_file_keeps_its_mode_and_a_link_stays_one() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let dir = folder();
    let elsewhere = tempfile::tempdir().unwrap();
    actions(dir.path(), RULE);
    let path = dir.path().join("virtualservice-default-reviews.yaml");
    let target = elsewhere.path().join("rule.yaml");
    fs::rename(&path, &target).unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).unwrap();
    symlink(&target, &path).unwrap();

    let to_v2 = RULE.replace("subset: v1", "subset: v2");
    assert_eq!(actions(dir.path(), &to_v2)[0].1, Action::Configured);
    assert_eq!(fs::read_link(&path).unwrap(), target);
    assert!(fs::read_to_string(&target).unwrap().contains("subset: v2"));
    assert_eq!(
        fs::metadata(&target).unwrap().permissions().mode() & 0o777,
        0o640
    );
    assert_eq!(files(elsewhere.path()), ["rule.yaml"]);

    // A link whose target is gone: the object is new, and the target comes back.
    fs::remove_file(&target).unwrap();
    assert_eq!(actions(dir.path(), &to_v2)[0].1, Action::Created);
    assert_eq!(fs::read_link(&path).unwrap(), target);
    assert!(fs::read_to_string(&target).unwrap().contains("subset: v2"));
}
