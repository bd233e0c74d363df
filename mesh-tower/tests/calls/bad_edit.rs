//! An edit of a folder that is rejected: it is said what stays in force.

use crate::support::logs::Logs;
use crate::support::{Backend, Folder, URL, until};

#[tokio::test]
async fn the_version_that_stays_is_named() {
    let logs = Logs::of_all();
    let backend = Backend::start("v1").await;
    let folder = Folder::reviews("HTTP", &[("v1", backend.address)]);
    let mesh = folder.mesh(7);
    let client = mesh.client();
    client.get(URL).await.unwrap();
    let stays =
        |version: u32| format!("the last good configuration, version {version}, stays in force");
    let told = |version| {
        let lines = logs.with(&stays(version));
        let ours = folder.path().display().to_string();
        lines.iter().any(|line| line.contains(&ours))
    };
    folder.routes("  - rute: []\n");
    until("the first", || async { told(1) }).await;
    assert!(!told(2));
    // One that is good has a version of its own.
    folder.routes("  - directResponse: { status: 418 }\n");
    let status = async || client.get(URL).await.unwrap().status().as_u16();
    until("the good one", || async { status().await == 418 }).await;
    folder.routes("  - rute: []\n");
    until("the second", || async { told(2) }).await;
    assert_eq!(status().await, 418);
}
