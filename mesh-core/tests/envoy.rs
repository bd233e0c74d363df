//! What a stock Envoy says of the same rules and the same requests: its RBAC filter with `DENY` before a direct response.
//!
//! Runs when `MESH_ENVOY` names an Envoy binary.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use http::{HeaderValue, Method, Request, Version};
use mesh_core::authz::{
    Action, Claims, Facts, Operation, Outcome, Policy, Rule, RuleSet, UriTemplate,
};
use mesh_core::identity::Peer;
use mesh_core::matcher::{FullRegex, HeaderMatcher, HeaderTest, StringMatcher};
use mesh_core::request::{HeaderKey, PathNormalization, admit};

const LIMIT: Duration = Duration::from_secs(20);

/// A permission as Envoy's configuration has it, and as ours.
struct Case {
    json: String,
    own: Operation,
}

#[derive(Clone, Copy)]
struct Asked<'a> {
    method: &'a str,
    target: &'a str,
    lines: &'a [(&'a str, &'a str)],
    http2: bool,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Answer {
    Passes,
    Denied,
    /// Nobody can tell, so it is denied; never Envoy's.
    InDoubt,
    /// It is not looked at by any policy.
    Refused,
}

fn get(target: &str) -> Asked<'_> {
    Asked {
        method: "GET",
        target,
        lines: &[],
        http2: false,
    }
}

fn with<'a>(lines: &'a [(&'a str, &'a str)]) -> Asked<'a> {
    Asked {
        lines,
        ..get("/a?b")
    }
}

fn template(text: &str) -> Case {
    let kind =
        "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig";
    let config = format!(r#"{{"@type":"{kind}","path_template":"{text}"}}"#);
    Case {
        json: format!(r#"{{"uri_template":{{"name":"t","typed_config":{config}}}}}"#),
        own: Operation::UriTemplate(UriTemplate::new(text).expect(text)),
    }
}

fn path(regex: &str) -> Case {
    let matcher = FullRegex::new(regex).expect(regex);
    Case {
        json: format!(r#"{{"url_path":{{"path":{{"safe_regex":{{"regex":"{regex}"}}}}}}}}"#),
        own: Operation::UrlPath(StringMatcher::Regex(matcher)),
    }
}

/// Plain, inverted, with a missing one for empty, and both.
fn header(name: &str, json: &str, test: &HeaderTest) -> Vec<Case> {
    let ways = [(false, false), (true, false), (false, true), (true, true)];
    let case = |(invert, missing_is_empty)| Case {
        json: format!(
            r#"{{"header":{{"name":"{name}",{json},"invert_match":{invert},"treat_missing_header_as_empty":{missing_is_empty}}}}}"#
        ),
        own: Operation::Header(HeaderMatcher {
            name: HeaderKey::parse(name).expect("a name"),
            test: test.clone(),
            invert,
            missing_is_empty,
        }),
    };
    ways.map(case).into()
}

fn string(name: &str, kind: &str, text: &str) -> Vec<Case> {
    let bytes = || text.as_bytes().into();
    let (json, own) = match kind {
        "safe_regex" => (
            format!(r#"{{"regex":"{text}"}}"#),
            StringMatcher::Regex(FullRegex::new(text).expect(text)),
        ),
        "exact" => (format!(r#""{text}""#), StringMatcher::Exact(bytes())),
        "prefix" => (format!(r#""{text}""#), StringMatcher::Prefix(bytes())),
        "suffix" => (format!(r#""{text}""#), StringMatcher::Suffix(bytes())),
        _ => (format!(r#""{text}""#), StringMatcher::Contains(bytes())),
    };
    let json = format!(r#""string_match":{{"{kind}":{json}}}"#);
    header(name, &json, &HeaderTest::String(own))
}

impl Case {
    fn answer(&self, asked: Asked<'_>, host: &str) -> Answer {
        let policy = Policy::new([Rule::Is(self.own.clone())], [Rule::Any]).expect("a policy");
        let rules = RuleSet::new(Action::Deny, [("p".into(), policy)]).expect("rules");
        let method = Method::from_bytes(asked.method.as_bytes()).expect("a method");
        let target = match asked.http2 {
            true => format!("http://{host}{}", asked.target),
            false => asked.target.to_owned(),
        };
        let Ok(request) = Request::builder().method(method).uri(target).body(()) else {
            return Answer::Refused; // By the reader of HTTP.
        };
        let (mut parts, ()) = request.into_parts();
        let host = (!asked.http2).then_some(("host", host));
        for (name, value) in host.iter().chain(asked.lines) {
            let name = http::HeaderName::try_from(*name).expect("a name");
            let value = HeaderValue::from_str(value).expect("a value");
            parts.headers.append(name, value);
        }
        if asked.http2 {
            parts.version = Version::HTTP_2;
        }
        let Ok(head) = admit(parts, PathNormalization::Base, "http") else {
            return Answer::Refused;
        };
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let Outcome { met, unsure, .. } = rules.judge(&Facts {
            seen: head.seen(),
            peer: &Peer::Plaintext,
            local: SocketAddr::new(local, 80),
            direct: local,
            remote: local,
            sni: None,
            claims: Claims::None,
        });
        match (met, unsure) {
            (Some(_), _) => Answer::Denied,
            (None, Some(_)) => Answer::InDoubt,
            (None, None) => Answer::Passes,
        }
    }
}

struct Envoy {
    process: Child,
    address: SocketAddr,
}

impl Drop for Envoy {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// One host for each case, and its rules in the route.
fn configuration(cases: &[Case]) -> String {
    let per_route = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute";
    let mut hosts = String::new();
    for (at, case) in cases.iter().enumerate() {
        let policy = format!(
            r#"{{"permissions":[{}],"principals":[{{"any":true}}]}}"#,
            case.json
        );
        let rules = format!(r#"{{"rules":{{"action":"DENY","policies":{{"p":{policy}}}}}}}"#);
        let comma = if at > 0 { "," } else { "" };
        let route = format!(
            r#"{{"match":{{"prefix":"/"}},"direct_response":{{"status":200}},"typed_per_filter_config":{{"rbac":{{"@type":"{per_route}","rbac":{rules}}}}}}}"#
        );
        write!(
            hosts,
            r#"{comma}{{"name":"c{at}","domains":["c{at}"],"routes":[{route}]}}"#
        )
        .expect("a string");
    }
    let filter = |name: &str, kind: &str| {
        format!(
            r#"{{"name":"{name}","typed_config":{{"@type":"type.googleapis.com/envoy.extensions.filters.{kind}"}}}}"#
        )
    };
    let filters = [
        filter("rbac", "http.rbac.v3.RBAC"),
        filter("router", "http.router.v3.Router"),
    ]
    .join(",");
    let address = r#"{"socket_address":{"address":"127.0.0.1","port_value":0}}"#;
    let manager = format!(
        r#"{{"@type":"type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager","stat_prefix":"x","codec_type":"AUTO","normalize_path":true,"route_config":{{"virtual_hosts":[{hosts}]}},"http_filters":[{filters}]}}"#
    );
    format!(
        r#"{{"admin":{{"address":{address}}},"static_resources":{{"listeners":[{{"name":"l","address":{address},"filter_chains":[{{"filters":[{{"name":"hcm","typed_config":{manager}}}]}}]}}]}}}}"#
    )
}

impl Envoy {
    fn start(cases: &[Case], name: &str) -> Self {
        let binary = std::env::var_os("MESH_ENVOY").expect("MESH_ENVOY names the binary");
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let place = |what: &str| folder.join(format!("rbac-{name}-{}-{what}", std::process::id()));
        let (config, admin) = (place("envoy.json"), place("admin"));
        std::fs::write(&config, configuration(cases)).expect("a file");
        let mut process = Command::new(binary)
            .arg("-c")
            .arg(&config)
            .arg("--admin-address-path")
            .arg(&admin)
            .args(["--use-dynamic-base-id", "--concurrency", "1", "-l", "info"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("Envoy starts");
        let mut log = BufReader::new(process.stderr.take().expect("a pipe")).lines();
        let mut told = Vec::new();
        while !told
            .last()
            .is_some_and(|line: &String| line.contains("starting main dispatch loop"))
        {
            match log.next() {
                Some(line) => told.push(line.expect("text")),
                None => panic!("Envoy did not start: {}", told.join("\n")),
            }
        }
        // It must not wait for somebody to read.
        std::thread::spawn(move || log.for_each(drop));
        let admin_address = std::fs::read_to_string(&admin).expect("an address");
        let mut text = String::new();
        asked_of(
            admin_address.trim().parse().expect("an address"),
            b"GET /listeners HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        )
        .read_to_string(&mut text)
        .expect("an answer");
        let (_, rest) = text.split_once("l::").expect("a listener");
        let address = rest.lines().next().expect("a line").trim().parse();
        for file in [config, admin] {
            drop(std::fs::remove_file(file));
        }
        Self {
            process,
            address: address.expect("an address"),
        }
    }

    fn answer(&self, asked: Asked<'_>, host: &str) -> Answer {
        let status = match asked.http2 {
            true => self.http2(asked, host),
            false => self.http1(asked, host),
        };
        match status {
            200 => Answer::Passes,
            403 => Answer::Denied,
            _ => Answer::Refused,
        }
    }

    fn http1(&self, asked: Asked<'_>, host: &str) -> u16 {
        let mut head = format!(
            "{} {} HTTP/1.1\r\nhost: {host}\r\n",
            asked.method, asked.target
        );
        for (name, value) in asked.lines {
            write!(head, "{name}: {value}\r\n").expect("a string");
        }
        head.push_str("connection: close\r\n\r\n");
        // Envoy keeps a connection that it closes for a second: no more is read than is wanted.
        let mut line = [0; 12];
        let mut stream = asked_of(self.address, head.as_bytes());
        stream.read_exact(&mut line).expect("an answer");
        let status = String::from_utf8_lossy(&line[9..]);
        status.parse().expect("a status")
    }

    /// One request of HTTP/2, its fields as literals; of the answer only whether `:status` is 200 (RFC 7541, A).
    fn http2(&self, asked: Asked<'_>, host: &str) -> u16 {
        let mut block = Vec::new();
        let pseudo = [
            (":method", asked.method),
            (":scheme", "http"),
            (":authority", host),
            (":path", asked.target),
        ];
        for (name, value) in pseudo.iter().chain(asked.lines) {
            block.push(0);
            for text in [name, value] {
                block.push(u8::try_from(text.len()).expect("a short text"));
                block.extend_from_slice(text.as_bytes());
            }
        }
        let length = u8::try_from(block.len()).expect("a short head");
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
        bytes.extend_from_slice(&[0, 0, length, 1, 5, 0, 0, 0, 1]);
        bytes.extend_from_slice(&block);
        let mut stream = asked_of(self.address, &bytes);
        loop {
            let mut frame = [0; 9];
            stream.read_exact(&mut frame).expect("a frame");
            let [a, b, c, kind, ..] = frame;
            let mut payload = vec![0; usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)];
            stream.read_exact(&mut payload).expect("a payload");
            match (kind, payload.first()) {
                (1, Some(0x88)) => return 200,
                (1, _) => return 403,
                (3 | 7, _) => return 400,
                _ => {}
            }
        }
    }
}

fn asked_of(address: SocketAddr, request: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(LIMIT)).expect("a limit");
    stream.write_all(request).expect("a request");
    stream
}

/// How often each answer was given by both.
fn compare(name: &str, cases: &[Case], requests: &[Asked<'_>]) -> [usize; 4] {
    let (counts, different) = differences(name, cases, requests);
    assert!(different.is_empty(), "{}", different.join("\n"));
    counts
}

/// How often each answer was given by both, and what differs.
fn differences(name: &str, cases: &[Case], requests: &[Asked<'_>]) -> ([usize; 4], Vec<String>) {
    let envoy = Envoy::start(cases, name);
    let (mut counts, mut different) = ([0; 4], Vec::new());
    for (at, case) in cases.iter().enumerate() {
        let host = format!("c{at}");
        for asked in requests {
            let (own, theirs) = (case.answer(*asked, &host), envoy.answer(*asked, &host));
            let column = match (own, theirs) {
                (Answer::Passes, Answer::Passes) => 0,
                (Answer::Denied, Answer::Denied) => 1,
                // The one way in which they may differ.
                (Answer::InDoubt, Answer::Passes) => 2,
                (Answer::Refused, Answer::Refused) => 3,
                _ => {
                    let Asked {
                        method,
                        target,
                        lines,
                        http2,
                    } = asked;
                    different.push(format!(
                        "{own:?}, Envoy {theirs:?}: {method} {target} {lines:?} {http2} by {}",
                        case.json
                    ));
                    continue;
                }
            };
            counts[column] += 1;
        }
    }
    eprintln!(
        "{name}: {counts:?} pass, are denied, are in doubt, are refused; {} differ",
        different.len()
    );
    (counts, different)
}

#[test]
#[ignore = "needs a stock Envoy: MESH_ENVOY=$(bash examples/interop/envoy.sh install), then -- --ignored"]
fn templates_are_read_as_envoy_reads_them() {
    let cases: Vec<Case> = [
        "/a/*/b",
        "/a=b/*",
        "/**",
        "/*/x",
        "/a/**/b",
        "/a/**b",
        "/",
        "/a/",
        "/*.json",
        "/{x}.json",
        "/{x=a/*/b}/c",
        "/a.b/(c)+$/*",
        "/{x=**}.json",
        "/{x=*}/{y=b/**}",
    ]
    .map(template)
    .into();
    let requests = [
        "/",
        "/a",
        "/a/",
        "/a/b",
        "/a/x/b",
        "/a/x=y/b",
        "/a/x*/b",
        "/a/x[/b",
        "/a/x]/b",
        "/a/x|/b",
        "/a/x^/b",
        "/a/x%20y/b",
        "/a/x%5B/b",
        "/a//b",
        "/a/x/y/b",
        "/a/x/b/",
        "/a=b/c",
        "/a=b/",
        "/=/x",
        "/*/x",
        "/a.json",
        "/aXjson",
        "/.json",
        "/a/b.json",
        "/a/1/b/c",
        "/a.b/(c)+$/x",
        "/aXb/(c)+$/x",
        "/a/../b",
        "/a/x/b?/c",
        "/a/x;y/b",
        "/a/c/bb",
        "/[",
        "/*",
        "/x/b/y/z",
        "/a\\x\\b",
    ]
    .map(get);
    let [passed, denied, doubted, _] = compare("templates", &cases, &requests);
    assert!(passed > 100 && denied > 50 && doubted > 5);
}

#[test]
#[ignore = "needs a stock Envoy: MESH_ENVOY=$(bash examples/interop/envoy.sh install), then -- --ignored"]
fn headers_are_read_as_envoy_reads_them() {
    let mut cases = Vec::new();
    for (kind, text) in [
        ("exact", "a"),
        ("exact", ""),
        ("exact", "a,b"),
        ("prefix", "a"),
        ("suffix", "b"),
        ("contains", "a"),
        ("safe_regex", "a,b"),
        ("safe_regex", ".*"),
    ] {
        cases.extend(string("x-a", kind, text));
    }
    cases.extend(header(
        "x-a",
        r#""range_match":{"start":1,"end":5}"#,
        &HeaderTest::Range(1, 5),
    ));
    for present in [true, false] {
        let json = format!(r#""present_match":{present}"#);
        cases.extend(header("x-a", &json, &HeaderTest::Present(present)));
    }
    cases.extend(string("cookie", "safe_regex", ".*a=1; b=2.*"));
    cases.extend(string("cookie", "exact", "a=1"));
    cases.extend(string(":path", "exact", "/a?b"));
    cases.extend(string("host", "prefix", "c"));
    cases.extend(string(":method", "exact", "GET"));
    let lines: [&[(&str, &str)]; 15] = [
        &[],
        &[("x-a", "a")],
        &[("x-a", "b")],
        &[("x-a", "a"), ("x-a", "b")],
        &[("x-a", "b"), ("x-a", "a")],
        &[("x-a", "a,b")],
        &[("x-a", "")],
        &[("x-a", ""), ("x-a", "a")],
        &[("x-a", "3")],
        &[("x-a", "3"), ("x-a", "9")],
        &[("x-a", "+3")],
        &[("x-a", "3.0")],
        &[("x-a", "9223372036854775808")],
        &[("cookie", "a=1"), ("cookie", "b=2")],
        &[("cookie", "a=1; b=2")],
    ];
    let http1 = lines.map(with);
    let http2 = http1.map(|asked| Asked {
        http2: true,
        ..asked
    });
    let [passed, denied, doubted, refused] = compare("headers", &cases, &[http1, http2].concat());
    assert!(passed > 500 && denied > 300 && doubted == 0 && refused == 0);
}

#[test]
#[ignore = "needs a stock Envoy: MESH_ENVOY=$(bash examples/interop/envoy.sh install), then -- --ignored"]
fn heads_are_refused_as_envoy_refuses_them() {
    let cases = [path(".*"), path("/a"), path("/")];
    let of = |method, target, lines| Asked {
        method,
        target,
        lines,
        http2: false,
    };
    let requests = [
        get("/a"),
        get("/a?"),
        get("/a/."),
        get("/%61"),
        get("/b/../a"),
        get("/a;x"),
        get("/"),
        get("*"),
        get("a"),
        get("/\u{e9}"),
        of("OPTIONS", "*", &[]),
        of("CONNECT", "c0:80", &[]),
        of("get", "/a", &[]),
        of("Post", "/a", &[]),
        // Envoy takes the target's authority where the Host header names another; here both are refused.
        of("GET", "/a", &[("host", "c0")]),
    ];
    let [passed, denied, _, refused] = compare("heads", &cases, &requests);
    assert!(passed > 5 && denied > 10 && refused > 20);
}

/// Rules that are not the same are found to differ.
#[test]
#[ignore = "needs a stock Envoy: MESH_ENVOY=$(bash examples/interop/envoy.sh install), then -- --ignored"]
fn other_rules_differ() {
    let cases = [
        ("/a/*/b", "/a/*"),
        ("/**", "/*"),
        ("/{x}.json", "/*"),
        ("/a=b/*", "/a/*"),
    ]
    .map(|(theirs, own)| Case {
        own: template(own).own,
        ..template(theirs)
    });
    let requests = ["/a/x/b", "/a/b/c", "/a.json", "/a", "/a=b/c"].map(get);
    let (_, different) = differences("control", &cases, &requests);
    assert!(different.len() >= cases.len(), "{different:?}");
}
