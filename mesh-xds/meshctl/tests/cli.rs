//! The built binary, run as people run it.
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

const REVIEWS: &str = "reviews.default.svc.cluster.local";
const ROUTE: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: reviews
spec:
  hosts: [reviews]
  http:
  - route:
    - destination: { host: reviews, subset: v1 }
";

#[test]
fn apply_get_delete() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("route.yaml");
    let folder = dir.path().join("mesh");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(&file, ROUTE).unwrap();
    let on = |verb: &str| {
        done(
            meshctl([verb, "-f"])
                .arg(&file)
                .arg("--config")
                .arg(&folder),
            "",
        )
    };

    let name = "virtualservice.networking.istio.io/reviews";
    assert_eq!(on("apply"), (0, format!("{name} created\n"), String::new()));
    assert_eq!(
        on("apply"),
        (0, format!("{name} unchanged\n"), String::new())
    );
    std::fs::write(&file, ROUTE.replace("v1 }", "v2 }")).unwrap();
    assert_eq!(
        on("apply"),
        (0, format!("{name} configured\n"), String::new())
    );

    let get = |args: &[&str]| done(meshctl(["get"]).args(args).env("MESH_CONFIG", &folder), "");
    assert_eq!(
        get(&["-o", "name"]),
        (0, format!("{name}\n"), String::new())
    );
    let (code, table, _) = get(&["vs"]);
    assert_eq!((code, table.lines().count()), (0, 2), "{table}");
    assert!(
        table.starts_with("KIND") && table.contains("VirtualService   default"),
        "{table}"
    );
    let (_, yaml, _) = get(&["virtualservices", "reviews", "-n", "default", "-o", "yaml"]);
    assert!(
        yaml.contains("subset: v2") && yaml.contains("namespace: default"),
        "{yaml}"
    );
    let (_, text, _) = get(&["vs", "reviews", "-o", "json"]);
    let object: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(object["spec"]["hosts"], json!(["reviews"]));
    assert_eq!(get(&["dr"]).0, 0);
    assert_eq!(get(&["vs", "ratings"]).0, 1);
    let (code, _, unknown) = get(&["virtualservises"]);
    assert_eq!(code, 1, "{unknown}");
    assert!(unknown.contains("there are virtualservice, "), "{unknown}");
    assert_eq!(get(&["vs", "-n", "other", "-o", "name"]).1, "");

    let gone = "virtualservice.networking.istio.io \"reviews\"";
    assert_eq!(
        on("delete"),
        (0, format!("{gone} deleted\n"), String::new())
    );
    let (code, out, err) = on("delete");
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains(gone) && err.contains("not found"), "{err}");
    assert_eq!(content(&folder), BTreeMap::new());
}

#[test]
fn a_kind_is_named_with_the_group_of_its_object() {
    let dir = tempfile::tempdir().unwrap();
    let text = "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: reviews }
spec:
  parentRefs: [{ group: '', kind: Service, name: reviews }]
  rules: [{ backendRefs: [{ name: reviews, port: 9080 }] }]
---
apiVersion: v1
kind: Service
metadata: { name: reviews }
spec: { ports: [{ name: http, port: 9080 }] }
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: reviews }
spec: {}
";
    let on = |verb: &str| {
        let mut command = meshctl([verb, "-f", "-", "--config"]);
        done(command.arg(dir.path()), text)
    };
    let names = [
        "httproute.gateway.networking.k8s.io",
        "service",
        "peerauthentication.security.istio.io",
    ];
    let said = |end: &str| names.map(|name| format!("{name}{end}\n")).concat();
    let (code, out, err) = on("apply");
    assert_eq!((code, out), (0, said("/reviews created")), "{err}");
    let mut command = meshctl(["get", "-o", "name", "--config"]);
    let (code, out, err) = done(command.arg(dir.path()), "");
    assert_eq!(code, 0, "{err}");
    for name in names {
        let line = format!("{name}/reviews");
        assert!(out.lines().any(|l| l == line), "{line} in\n{out}");
    }
    let (code, out, err) = on("delete");
    assert_eq!((code, out), (0, said(" \"reviews\" deleted")), "{err}");
}

#[test]
fn a_bad_file_writes_nothing_of_any() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, files) = (dir.path().join("mesh"), dir.path().join("files"));
    for made in [&folder, &files] {
        std::fs::create_dir(made).unwrap();
    }
    std::fs::write(files.join("a.yaml"), ROUTE).unwrap();
    std::fs::write(files.join("b.yaml"), ROUTE.replace("hosts:", "hots:")).unwrap();
    let (code, out, err) = done(
        meshctl(["apply", "-f"])
            .arg(&files)
            .arg("--config")
            .arg(&folder),
        "",
    );
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(
        err.contains("b.yaml:6:3: error:") && err.contains("hots"),
        "{err}"
    );
    assert_eq!(content(&folder), BTreeMap::new());

    std::fs::write(files.join("b.yaml"), ROUTE.replace("reviews", "ratings")).unwrap();
    let (code, out, err) = done(
        meshctl(["apply", "-f"])
            .arg(&files)
            .arg("--config")
            .arg(&folder),
        "",
    );
    assert_eq!(
        (code, out.lines().count(), err.as_str()),
        (0, 2, ""),
        "{out}"
    );
    let before = content(&folder);
    let (code, _, err) = done(
        meshctl(["apply", "-f", "-", "--config"]).arg(&folder),
        "kind: [",
    );
    assert_eq!((code, content(&folder)), (1, before));
    assert!(err.contains("<stdin>:1:"), "{err}");
}

#[test]
fn what_is_not_supported_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let filter = "apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: { name: x }\nspec: {}\n";
    let (code, out, err) = done(
        meshctl(["apply", "-f", "-", "--config"]).arg(dir.path()),
        filter,
    );
    assert_eq!(
        (code, out.as_str()),
        (0, "envoyfilter.networking.istio.io/x created\n"),
        "{err}"
    );
    assert!(
        err.contains("not supported: EnvoyFilter default/x"),
        "{err}"
    );
}

#[test]
fn what_prevents_a_command_is_one_sentence_with_its_flag() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_str().unwrap();
    let missing = dir.path().join("nothing-here");
    let missing = missing.to_str().unwrap();
    let table: &[(&[&str], [&str; 2])] = &[
        (&["get", "--config", missing], ["nothing-here", "--config"]),
        (
            &["apply", "-f", "x.yaml", "--config", missing],
            ["nothing-here", "--config"],
        ),
        (
            &["apply", "-f", "x.yaml", "--config", folder],
            ["x.yaml", "-f"],
        ),
        (
            &["call", "--config", missing, "http://reviews:9080/"],
            ["nothing-here", "--config"],
        ),
        (
            &["call", "http://reviews:9080/"],
            ["--config", "GRPC_XDS_BOOTSTRAP"],
        ),
        (
            &["control-plane", "--config", missing],
            ["nothing-here", "--config"],
        ),
        (
            &["control-plane", "--config", folder, "--listen", &address],
            [&address, "--listen"],
        ),
        (&["echo", "--listen", &address], [&address, "--listen"]),
    ];
    for (args, expected) in table {
        let (code, out, err) = done(&mut meshctl(args.iter().copied()), "");
        assert_eq!(
            (code, out.as_str(), err.lines().count()),
            (2, "", 1),
            "{args:?}: {err}"
        );
        for part in expected {
            assert!(err.contains(part), "{args:?}: {err}");
        }
    }
    let mut call = meshctl(["call", "http://reviews:9080/"]);
    let (code, _, err) = done(call.env("GRPC_XDS_BOOTSTRAP", missing), "");
    assert_eq!(code, 2, "{err}");
    assert!(
        err.contains("nothing-here") && err.contains("GRPC_XDS_BOOTSTRAP"),
        "{err}"
    );
}

#[test]
fn calls_go_by_the_rules_of_a_folder() {
    let (v1, v2) = (Server::echo("one"), Server::echo("two"));
    let mesh = folder(&v1, &v2);
    let (code, out, err) = call(
        mesh.path(),
        &[
            "-n",
            "200",
            "--concurrency",
            "4",
            "--seed",
            "7",
            "-o",
            "json",
        ],
    );
    assert_eq!(code, 0, "{err}");
    let lines: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 200);
    let mut endpoints = BTreeMap::new();
    for line in &lines {
        assert_eq!(
            (&line["status"], &line["flags"]),
            (&json!(200), &json!("")),
            "{line}"
        );
        assert!(
            line["cluster"].as_str().unwrap().contains(REVIEWS),
            "{line}"
        );
        assert!(
            line["generation"].as_u64().unwrap() > 0
                && line["milliseconds"].as_f64().unwrap() > 0.0,
            "{line}"
        );
        assert!(
            line["route"].is_string() && line.get("error").is_none(),
            "{line}"
        );
        *endpoints
            .entry(line["endpoint"].as_str().unwrap().to_owned())
            .or_insert(0) += 1;
    }
    // 90/10 with 5 standard deviations of 200.
    let first = endpoints[&v1.address];
    assert!((159..=200).contains(&first), "seed 7: {endpoints:?}");
    assert_eq!(first + endpoints.get(&v2.address).unwrap_or(&0), 200);
    assert!(
        err.contains("200 requests") && err.contains("200 answered (200: 200), 0 failed"),
        "{err}"
    );

    let (code, out, err) = call(mesh.path(), &["-n", "50", "--rate", "500", "-o", "json"]);
    assert_eq!((code, out.lines().count()), (0, 50), "{err}");
}

#[test]
fn an_empty_variable_names_no_rules() {
    let (v1, v2) = (Server::echo("one"), Server::echo("two"));
    let mesh = folder(&v1, &v2);
    let with = |config: &Path| {
        let mut command = meshctl(["call", "http://reviews:9080/", "--seed", "7"]);
        for (name, value) in [
            ("GRPC_XDS_BOOTSTRAP", ""),
            ("GRPC_XDS_BOOTSTRAP_CONFIG", ""),
            ("MESH", "on"),
        ] {
            command.env(name, value);
        }
        done(command.env("MESH_CONFIG", config), "")
    };
    let (code, _, err) = with(mesh.path());
    assert_eq!(code, 0, "{err}");
    let (code, _, err) = with(Path::new(""));
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("no rules: name a folder"), "{err}");
}

#[test]
fn an_echo_tells_what_arrived() {
    let (v1, v2) = (Server::echo("one"), Server::echo("two"));
    let mesh = folder(&v1, &v2);
    let (code, out, err) = call(
        mesh.path(),
        &["-X", "PUT", "-H", "end-user: jason", "-d", "hello"],
    );
    assert_eq!(code, 0, "{err}");
    let (line, body) = out.split_once('\n').unwrap();
    assert!(
        line.starts_with("200  route ") && line.contains(&v2.address),
        "{line}"
    );
    let echo: Value = serde_json::from_str(body).unwrap();
    assert_eq!(echo["name"], "two");
    assert_eq!(
        (&echo["method"], &echo["target"]),
        (&json!("PUT"), &json!("/reviews/0?a=b"))
    );
    assert_eq!(
        (&echo["version"], &echo["body_length"]),
        (&json!("HTTP/1.1"), &json!(5))
    );
    assert!(
        echo["peer"].as_str().unwrap().starts_with("127.0.0.1:"),
        "{echo}"
    );
    let headers = echo["headers"].as_array().unwrap();
    assert!(headers.contains(&json!(["end-user", "jason"])), "{echo}");
    assert!(headers.contains(&json!(["host", "reviews:9080"])), "{echo}");
}

#[test]
fn what_fails_is_told_with_its_flag() {
    let (v1, v2) = (Server::echo("one"), Server::echo("two"));
    let missing = "  - route: [{ destination: { host: reviews, subset: v3 } }]\n";
    for (rest, status, flags) in [("", 404, "NR"), (missing, 503, "NC")] {
        let mesh = folder_with(&v1, &v2, rest);
        let (code, out, err) = call(mesh.path(), &["-o", "json", "-n", "2"]);
        assert_eq!((code, out.lines().count()), (1, 2), "{err}");
        let line: Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
        assert_eq!(
            (&line["status"], &line["flags"]),
            (&json!(status), &json!(flags)),
            "{line}"
        );
        assert!(
            line["error"].as_str().unwrap().contains("reviews"),
            "{line}"
        );
        assert!(
            err.contains(&format!("0 answered, 2 failed ({status} {flags}: 2)")),
            "{err}"
        );
        let (code, _, err) = call(mesh.path(), &["-H", "end-user: jason"]);
        assert_eq!(code, 0, "{err}");
    }
}

#[test]
fn a_request_is_explained_and_not_sent() {
    // Nobody listens at these addresses, and nobody is asked.
    let (v1, v2) = ("127.0.0.1:1", "127.0.0.1:2");
    let split = "  - route:
    - { destination: { host: reviews, subset: v1 }, weight: 90 }
    - { destination: { host: reviews, subset: v2 }, weight: 10 }
";
    let mesh = folder_at(v1, v2, split);
    let explain = |url: &str, args: &[&str]| {
        let mut command = meshctl(["explain", url]);
        done(command.args(args).arg("--config").arg(mesh.path()), "")
    };
    let (code, out, err) = explain("http://reviews:9080/", &[]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    for said in [
        "GET http://reviews:9080/\n",
        "expected header end-user \"jason\", found none",
        "/virtual-service/reviews",
        "90 %, weight 90",
        "subset v2",
        "127.0.0.1:2 healthy",
        "=> 100 % of such requests get somewhere",
    ] {
        assert!(out.contains(said), "{said:?} in\n{out}");
    }

    let jason = ["-H", "end-user: jason", "-X", "POST", "-o", "json"];
    let (code, out, err) = explain("http://reviews:9080/?a=b", &jason);
    assert_eq!(code, 0, "{err}");
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&told["method"], &told["reaches"]),
        (&json!("POST"), &json!(1.0))
    );
    let route = &told["routes"][0];
    assert_eq!(route["verdict"], "taken", "{told}");
    let cluster = &route["choices"][0]["cluster"];
    assert_eq!(cluster["subset"], "v2", "{told}");
    assert_eq!(cluster["endpoints"][0]["address"], v2, "{told}");
    assert_eq!(told["routes"][1]["verdict"], "not asked", "{told}");

    // Nowhere is exit code 1, and the reason is part of the answer.
    let mesh = folder_at(v1, v2, "");
    let mut command = meshctl(["explain", "http://reviews:9080/"]);
    let (code, out, err) = done(command.arg("--config").arg(mesh.path()), "");
    assert_eq!((code, err.as_str()), (1, ""), "{out}");
    assert!(
        out.contains("404 NR") && out.contains("no such request gets anywhere"),
        "{out}"
    );
}

#[test]
fn a_wrong_port_is_told_with_the_right_one() {
    let mesh = folder_at("127.0.0.1:1", "127.0.0.1:2", "");
    let explain = |url: &str| {
        let mut command = meshctl(["explain", url, "--config"]);
        let (_, out, err) = done(command.arg(mesh.path()), "");
        assert_eq!(err, "", "{out}");
        out
    };
    let known = format!("the rules have {REVIEWS}:9080");
    let left = "=> 100 % of such requests leave the mesh";
    let out = explain("http://reviews/");
    assert!(out.contains(left) && out.contains(&known), "{out}");
    let out = explain("http://nobody:9080/");
    assert!(out.contains(left) && !out.contains(&known), "{out}");
    let out = explain("http://reviews:9080/");
    assert!(!out.contains(left) && !out.contains(&known), "{out}");
}

#[test]
fn https_is_explained_and_called() {
    let (v1, v2) = (Server::echo("one"), Server::echo("two"));
    let mesh = folder(&v1, &v2);
    let on = |verb: &str, url: &str| {
        let mut command = meshctl([verb, url, "--config"]);
        done(command.arg(mesh.path()), "")
    };
    let (code, out, err) = on("explain", "https://example.com/");
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("goes to the host that it asks for"), "{out}");
    // The echo speaks plaintext: what fails is TLS with it.
    let (code, _, err) = on("call", &format!("https://{}/", v1.address));
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("0 answered, 1 failed (503 UF: 1)"), "{err}");
    let (code, _, err) = on("call", "ftp://example.com/");
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("http:// or https://"), "{err}");
}

#[test]
fn a_request_is_explained_by_a_control_plane() {
    let mesh = folder_at("127.0.0.1:1", "127.0.0.1:2", "");
    let mut command = meshctl(["control-plane", "--listen", "127.0.0.1:0", "--config"]);
    let plane = Server::start(command.arg(mesh.path()));
    let mut command = meshctl(["explain", "http://reviews:9080/", "-H", "end-user: jason"]);
    let (code, out, err) = done(command.args(["--xds", &plane.address]), "");
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("127.0.0.1:2 healthy"), "{out}");

    let (code, _, err) = done(
        &mut meshctl(["explain", "http://reviews:9080/", "--xds", "a b"]),
        "",
    );
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("--xds"), "{err}");
}

#[test]
fn a_control_plane_serves_calls_and_stops_with_its_parent() {
    let (v1, v2) = (Server::echo("one"), Server::echo("two"));
    let mesh = folder(&v1, &v2);
    let mut command = meshctl([
        "control-plane",
        "--listen",
        "127.0.0.1:0",
        "--stop-on-stdin-eof",
        "--config",
    ]);
    let mut plane = Server::start(command.arg(mesh.path()));
    let bootstrap = json!({
        "xds_servers": [{ "server_uri": plane.address, "channel_creds": [{ "type": "insecure" }] }],
        "node": { "id": "sidecar~127.0.0.1~meshctl.default~default.svc.cluster.local" },
    });
    let mut command = meshctl(["call", "-n", "20", "-o", "json", "http://reviews:9080/"]);
    let (code, out, err) = done(
        command.env("GRPC_XDS_BOOTSTRAP_CONFIG", bootstrap.to_string()),
        "",
    );
    assert_eq!((code, out.lines().count()), (0, 20), "{err}");

    drop(plane.child.stdin.take());
    assert!(plane.child.wait().unwrap().success());
}

#[test]
fn a_control_plane_serves_calls_over_tls() {
    let (v1, v2) = (Server::echo("one"), Server::echo("two"));
    // Workloads without a certificate: nothing asks for mutual TLS among them.
    let mesh = folder(&v1, &v2);
    let authority = tempfile::tempdir().unwrap();
    let mut command = meshctl(["control-plane", "--listen", "127.0.0.1:0"]);
    command.args(["--listen-tls", "127.0.0.1:0", "--authority"]);
    command.arg(authority.path().join("ca"));
    let plane = Server::start(command.arg("--config").arg(mesh.path()));
    let address = plane.secure.as_ref().unwrap();
    let call = |roots: &Path| {
        let files = json!({ "ca_certificate_file": roots });
        let bootstrap = json!({
            "xds_servers": [{ "server_uri": address, "channel_creds": [{ "type": "tls", "config": files }] }],
            "node": { "id": "sidecar~127.0.0.1~meshctl.default~default.svc.cluster.local" },
        });
        let mut command = meshctl(["explain", "http://reviews:9080/"]);
        done(
            command.env("GRPC_XDS_BOOTSTRAP_CONFIG", bootstrap.to_string()),
            "",
        )
    };
    let (code, out, err) = call(&authority.path().join("ca/root-cert.pem"));
    assert_eq!(code, 0, "{out}{err}");
    // Nobody could sign its certificate.
    let mut command = meshctl(["control-plane", "--listen", "127.0.0.1:0"]);
    command.args(["--listen-tls", "127.0.0.1:0", "--config"]);
    let (code, _, err) = done(command.arg(mesh.path()), "");
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("--authority"), "{err}");
}

#[cfg(unix)]
#[test]
fn servers_stop_on_sigterm() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = meshctl(["control-plane", "--listen", "127.0.0.1:0", "--config"]);
    for mut server in [Server::echo("one"), Server::start(command.arg(dir.path()))] {
        let sent = Command::new("kill")
            .arg(server.child.id().to_string())
            .status()
            .unwrap();
        assert!(sent.success());
        assert!(server.child.wait().unwrap().success());
    }
}

#[test]
fn rules_are_judged_before_they_are_applied() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("route.yaml");
    std::fs::write(&file, ROUTE).unwrap();
    let name = file.display();
    let analyze = |args: &[&str]| done(meshctl(["analyze"]).args(args).arg(dir.path()), "");

    // The host is defined nowhere.
    let (code, text, error) = analyze(&[]);
    let line = format!(
        "Error [IST0101] (VirtualService default/reviews {name}:9:28) spec.http[0].route[0].destination.host: there is \
         no host {REVIEWS}; "
    );
    assert!(text.starts_with(&line), "{text}");
    assert_eq!((code, text.lines().count()), (79, 1), "{text}");
    assert!(error.contains("1 of 1 findings"), "{error}");

    let (code, text, _) = analyze(&["-o", "json"]);
    let findings: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (code, findings.as_array().unwrap().len()),
        (79, 1),
        "{text}"
    );
    assert_eq!(findings[0]["code"], "IST0101");
    assert_eq!(findings[0]["level"], "Error");
    assert_eq!(findings[0]["origin"], "VirtualService default/reviews");
    assert_eq!(findings[0]["reference"], format!("{name}:9:28"));
    assert_eq!(
        findings[0]["path"],
        "spec.http[0].route[0].destination.host"
    );

    // With what it names it is good: several paths are one configuration, and one of them is standard input.
    let services = format!("{SERVICE}---\n{SUBSETS}");
    let (code, text, error) = done(meshctl(["analyze", "-"]).arg(&file), &services);
    assert_eq!((code, text.as_str()), (0, ""), "{error}");
    assert_eq!(
        error,
        format!("Nothing was found in -, {name}; objects looked at: 3\n")
    );
    let empty = tempfile::tempdir().unwrap();
    let (code, _, error) = done(meshctl(["analyze"]).arg(empty.path()), "");
    let none = format!(
        "Nothing was found in {}; objects looked at: 0\n",
        empty.path().display()
    );
    assert_eq!((code, error), (0, none));
    let (code, text, _) = done(&mut meshctl(["analyze", "-", "-o", "json"]), &services);
    assert_eq!((code, text.as_str()), (0, "[]\n"));
}

#[test]
fn thresholds_decide_what_is_shown_and_what_fails() {
    // A warning: the rule is of no host.
    let on = |args: &[&str]| done(meshctl(["analyze", "-"]).args(args), SUBSETS);
    let (code, text, error) = on(&[]);
    assert_eq!(code, 0, "{error}");
    assert!(
        text.starts_with("Warning [IST0174] (DestinationRule default/reviews stdin:"),
        "{text}"
    );
    assert_eq!(on(&["--failure-threshold", "Warning"]).0, 79);
    assert_eq!(on(&["--failure-threshold", "info"]).0, 79);
    assert_eq!(on(&["--output-threshold", "error"]).1, "");
    // What cannot be done at all.
    let (code, text, error) = done(&mut meshctl(["analyze", "/nowhere"]), "");
    assert_eq!((code, text.as_str()), (2, ""));
    assert!(error.contains("/nowhere cannot be read"), "{error}");
    assert_eq!(done(&mut meshctl(["analyze"]), "").0, 2);
    assert_eq!(on(&["--failure-threshold", "bad"]).0, 2);
    // A file that is no YAML is a finding, and hides nothing of the others.
    let (code, text, _) = done(
        &mut meshctl(["analyze", "-"]),
        &format!("a: [\n---\n{SUBSETS}"),
    );
    assert_eq!(code, 79);
    assert!(text.starts_with("Error [IST0106] (stdin:"), "{text}");
    assert!(text.contains("[IST0174]"), "{text}");
}

#[test]
fn what_demands_certificates_is_good_where_there_are_some() {
    const STRICT: &str = "apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: default }
spec: { mtls: { mode: STRICT } }
";
    let (code, text, _) = done(&mut meshctl(["analyze", "-"]), STRICT);
    assert_eq!((code, text.lines().count()), (79, 1), "{text}");
    for word in [
        "certificates",
        "--certificates",
        "--authority",
        "a control plane",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let (code, text, error) = done(&mut meshctl(["analyze", "--certificates", "-"]), STRICT);
    assert_eq!((code, text.as_str()), (0, ""), "{error}");
}

// What the tests stand on.

const SERVICE: &str = "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: reviews }
spec:
  hosts: [reviews.default.svc.cluster.local]
  resolution: STATIC
  ports: [{ number: 9080, name: http, protocol: HTTP }]
  endpoints: [{ address: 127.0.0.1, labels: { version: v1 } }]
";

const SUBSETS: &str = "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: reviews }
spec: { host: reviews, subsets: [{ name: v1, labels: { version: v1 } }] }
";

fn meshctl<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshctl"));
    for variable in [
        "MESH_CONFIG",
        "MESH",
        "GRPC_XDS_BOOTSTRAP",
        "GRPC_XDS_BOOTSTRAP_CONFIG",
        "RUST_LOG",
    ] {
        command.env_remove(variable);
    }
    command
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs it to its end: exit code, standard output, standard error.
fn done(command: &mut Command, input: &str) -> (i32, String, String) {
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that does not read its input may be gone already.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn call(mesh: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = meshctl(["call", "http://reviews:9080/reviews/0?a=b"]);
    done(command.args(args).arg("--config").arg(mesh), "")
}

fn content(folder: &Path) -> BTreeMap<String, String> {
    (std::fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            (
                path.display().to_string(),
                std::fs::read_to_string(&path).unwrap(),
            )
        })
        .collect()
}

/// 90/10, and all of jason's to v2.
fn folder(v1: &Server, v2: &Server) -> TempDir {
    let rest = "  - route:
    - { destination: { host: reviews, subset: v1 }, weight: 90 }
    - { destination: { host: reviews, subset: v2 }, weight: 10 }
";
    folder_with(v1, v2, rest)
}

/// All of jason's to v2, and these routes for the rest.
fn folder_with(v1: &Server, v2: &Server, rest: &str) -> TempDir {
    folder_at(&v1.address, &v2.address, rest)
}

fn folder_at(v1: &str, v2: &str, rest: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let port = |address: &str| address.rsplit_once(':').unwrap().1.to_owned();
    let text = format!(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: reviews, namespace: default }}
spec:
  hosts: [{REVIEWS}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{ number: 9080, name: http, protocol: HTTP }}]
  endpoints:
  - {{ address: 127.0.0.1, ports: {{ http: {} }}, labels: {{ version: v1 }} }}
  - {{ address: 127.0.0.1, ports: {{ http: {} }}, labels: {{ version: v2 }} }}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{ name: reviews, namespace: default }}
spec:
  host: reviews
  trafficPolicy: {{ tls: {{ mode: DISABLE }} }}
  subsets:
  - {{ name: v1, labels: {{ version: v1 }} }}
  - {{ name: v2, labels: {{ version: v2 }} }}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: reviews, namespace: default }}
spec:
  hosts: [reviews]
  http:
  - match: [{{ headers: {{ end-user: {{ exact: jason }} }} }}]
    route: [{{ destination: {{ host: reviews, subset: v2 }} }}]
{rest}",
        port(v1),
        port(v2)
    );
    std::fs::write(dir.path().join("mesh.yaml"), text).unwrap();
    dir
}

/// A server command that has told where it listens; ended with the test.
struct Server {
    child: Child,
    address: String,
    /// Where it serves over TLS, if it does.
    secure: Option<String>,
}

impl Server {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let told: Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        // Whatever else it prints must not block it.
        std::thread::spawn(move || stdout.read_to_end(&mut Vec::new()));
        Self {
            child,
            address: told["listening"].as_str().unwrap().to_owned(),
            secure: told["listening_tls"].as_str().map(str::to_owned),
        }
    }

    fn echo(name: &str) -> Self {
        Self::start(&mut meshctl([
            "echo",
            "--listen",
            "127.0.0.1:0",
            "--name",
            name,
        ]))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
