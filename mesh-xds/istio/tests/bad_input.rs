//! Every kind of wrong input with its whole message: file, line, column, and what is allowed.
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "a test may fail, and may be a long table"
)]

mod common;

use common::*;
use mesh_istio::{Config, Severity, analyze};

fn networking(kind: &str, rest: &str) -> String {
    format!("apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{ name: x }}\n{rest}")
}

fn security(kind: &str, rest: &str) -> String {
    format!("apiVersion: security.istio.io/v1\nkind: {kind}\nmetadata: {{ name: x }}\n{rest}")
}

#[track_caller]
fn rejects(text: &str, expected: &[&str]) {
    let rejected = reject(text);
    let found: Vec<String> = rejected.to_string().lines().map(str::to_owned).collect();
    assert_eq!(found, expected, "\n{text}");
    assert_eq!(rejected.diagnostics.len(), expected.len());
    assert!(
        rejected
            .diagnostics
            .iter()
            .all(|d| d.severity == Severity::Error)
    );
}

const UNCERTIFIED: &str = "for which the mesh has no certificates; refusing is safer than plaintext. Where its workloads have \
     some, say so: --certificates for meshctl apply, analyze and control-plane (or --authority for the last); a program that \
     reads a folder by itself needs a control plane for that";

#[test]
fn what_is_no_yaml() {
    rejects(
        "a: [1, 2\nb: c\n",
        &["test.yaml:2:2: error: invalid YAML: illegal placement of ':' indicator"],
    );
    rejects(
        "a: \"open\n",
        &["test.yaml:1:4: error: invalid YAML: unclosed quote"],
    );
    rejects(
        "a: 1\na: 2\n",
        &["test.yaml:2:1: error: invalid YAML: duplicate mapping key: a"],
    );
    rejects(
        "a: *nowhere\n",
        &["test.yaml:1:4: error: invalid YAML: alias references unknown anchor"],
    );
    let deep = format!("a: {}{}\n", "[".repeat(100), "]".repeat(100));
    rejects(
        &deep,
        &[
            "test.yaml:1:52: error: invalid YAML: lists and mappings stand in each other more than 48 deep",
        ],
    );
    let deep: String = (0..60).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
    rejects(
        &deep,
        &[
            "test.yaml:49:49: error: invalid YAML: lists and mappings stand in each other more than 48 deep",
        ],
    );
    rejects(
        "a: &x\n  b: *x\n",
        &[
            "test.yaml:2:6: error: invalid YAML: an alias stands inside of its own anchor, so its value would never end",
        ],
    );
}

/// The reader's names for its limits are none of the author's business.
#[test]
fn what_is_too_much_yaml() {
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..9 {
        let alias = format!("*a{}", n - 1);
        laughs += &format!("a{n}: &a{n} [{}]\n", vec![alias; 10].join(", "));
    }
    rejects(
        &laughs,
        &[
            "test.yaml:6:45: error: invalid YAML: the document is too large, it may have 1000000 keys, values, lists and mappings with what its aliases repeat; split it with `---` lines",
        ],
    );
}

#[test]
fn each_document_tells_of_its_own_fault() {
    let text = format!(
        "{REVIEWS}---\na: [\n---\n{}---\nkind: X\n",
        networking("Gateway", "spec: { servers: [], x: 1 }\n")
    );
    let lines = REVIEWS.lines().count() as u64;
    let places: Vec<(u64, u64)> = reject(&text)
        .diagnostics
        .iter()
        .map(|d| (d.line, d.column))
        .collect();
    assert_eq!(
        places[1..],
        [(lines + 7, 9), (lines + 7, 22), (lines + 9, 1)]
    );
    assert!((lines + 2..=lines + 3).contains(&places[0].0), "{places:?}");
}

#[test]
fn what_is_no_object() {
    rejects(
        "- 1\n",
        &[
            "test.yaml:1:1: error: a document must be a mapping with apiVersion, kind, metadata, not a list",
        ],
    );
    rejects(
        "apiVersion: v1\n",
        &["test.yaml:1:1: error: kind is missing or no string"],
    );
    rejects(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: { namespace: a }\nspec: {}\n",
        &["test.yaml:3:11: error: Gateway: metadata.name is missing"],
    );
    rejects(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: { name: ../x, namespace: A_b, labels: { a: 1 } }\nspec: { servers: [ { port: { number: 80, name: a, protocol: HTTP }, hosts: [a] } ] }\n",
        &[
            "test.yaml:3:13: error: Gateway A_b/../x: metadata.name may hold lower-case letters, digits, '-' and '.', not \"../x\"",
            "test.yaml:3:25: error: Gateway A_b/../x: metadata.namespace may hold lower-case letters, digits and '-', not \"A_b\"",
            "test.yaml:3:54: error: Gateway A_b/../x: metadata.labels.a must be a string, not the number 1; put it in quotes",
        ],
    );
    rejects(
        &networking("Gateway", "sepc: {}\n"),
        &[
            "test.yaml:2:1: error: Gateway default/x: spec is missing",
            "test.yaml:4:1: error: Gateway: unknown field \"sepc\" in the document; allowed are: apiVersion, kind, metadata, spec, status",
        ],
    );
}

#[test]
fn kinds_that_nobody_knows() {
    rejects(
        &networking("VirtualSevice", "spec: {}\n"),
        &[
            "test.yaml:2:1: error: VirtualSevice default/x: Istio has no kind VirtualSevice in networking.istio.io/v1; \
           served are ServiceEntry, WorkloadEntry, DestinationRule, VirtualService, Gateway, Sidecar; known are also \
           EnvoyFilter, WorkloadGroup, ProxyConfig (networking.istio.io), PeerAuthentication, AuthorizationPolicy, \
           RequestAuthentication (security.istio.io), Telemetry (telemetry.istio.io), WasmPlugin (extensions.istio.io); and MeshConfig (mesh.istio.io)",
        ],
    );
    rejects(
        "apiVersion: example.com/v1\nkind: Foo\nmetadata: { name: x }\n",
        &[
            "test.yaml:2:1: error: Foo default/x: Foo of example.com/v1 is no kind of Istio (networking.istio.io, \
           security.istio.io, telemetry.istio.io, extensions.istio.io, install.istio.io, mesh.istio.io), Kubernetes or Gateway API",
        ],
    );
    rejects(
        "apiVersion: networking.istio.io/v2\nkind: Gateway\nmetadata: { name: x }\n",
        &[
            "test.yaml:2:1: error: Gateway default/x: apiVersion must be one of networking.istio.io/v1, \
           networking.istio.io/v1beta1, networking.istio.io/v1alpha3, not \"networking.istio.io/v2\"",
        ],
    );
    rejects(
        "apiVersion: v1\nkind: List\nmetadata: { name: x }\n",
        &[
            "test.yaml:2:1: error: List default/x: a List is not read; write its items as documents of their own",
        ],
    );
}

#[test]
fn service_entries() {
    rejects(
        &networking("ServiceEntry", "spec:\n  hostz: [a]\n"),
        &[
            "test.yaml:5:3: error: ServiceEntry default/x: unknown field \"hostz\" in spec; allowed are: addresses, \
             endpoints, exportTo, hosts, location, ports, resolution, subjectAltNames, workloadSelector",
        ],
    );
    rejects(
        &networking("ServiceEntry", "spec:\n  location: MESH_INTERNAL\n"),
        &[
            "test.yaml:5:3: error: ServiceEntry default/x: spec.hosts must name at least one host",
            "test.yaml:5:3: error: ServiceEntry default/x: spec.ports must hold at least one port",
        ],
    );
    rejects(
        &networking(
            "ServiceEntry",
            "spec:\n  hosts: ['*']\n  resolution: STATIC\n  ports: [ { number: 80, name: a, protocol: HTTP }, { number: 80, name: a, protocol: SPDY } ]\n",
        ),
        &[
            "test.yaml:5:11: error: ServiceEntry default/x: spec.hosts: a service cannot be called \"*\"; give a name or *.SUFFIX",
            "test.yaml:6:3: error: ServiceEntry default/x: resolution STATIC needs spec.endpoints or spec.workloadSelector",
            "test.yaml:7:55: error: ServiceEntry default/x: spec.ports[1]: the number 80 is taken by another port",
            "test.yaml:7:67: error: ServiceEntry default/x: spec.ports[1]: the name \"a\" is taken by another port",
            "test.yaml:7:76: error: ServiceEntry default/x: spec.ports[1].protocol must be one of HTTP, HTTP2, GRPC, \
             GRPC-WEB, HTTP_PROXY, HTTPS, TLS, TCP, UDP, MONGO, REDIS, MYSQL, not \"SPDY\"",
        ],
    );
    rejects(
        &networking(
            "ServiceEntry",
            "spec:\n  hosts: [a.b]\n  exportTo: ['?']\n  resolution: STATIK\n  location: HERE\n  endpoints: []\n  workloadSelector: { labels: {} }\n  ports: [ { number: 70000, name: a } ]\n",
        ),
        &[
            "test.yaml:6:14: error: ServiceEntry default/x: spec.exportTo may hold '*', '.', '~' or namespaces, not \"?\"",
            "test.yaml:7:15: error: ServiceEntry default/x: spec.resolution must be one of NONE, STATIC, DNS, \
             DNS_ROUND_ROBIN, DYNAMIC_DNS, not the string \"STATIK\"",
            "test.yaml:8:13: error: ServiceEntry default/x: spec.location must be one of MESH_EXTERNAL, MESH_INTERNAL, not the string \"HERE\"",
            "test.yaml:9:3: error: ServiceEntry default/x: spec may have endpoints or a workloadSelector, not both",
            "test.yaml:11:22: error: ServiceEntry default/x: spec.ports[0].number must be a number from 1 to 65535, not the number 70000",
        ],
    );
}

/// istiod refuses them too: nobody would call them.
#[test]
fn endpoints_of_a_service_that_takes_none() {
    let reason = "spec.endpoints: resolution NONE takes none, callers go to the address that they asked for; did you mean STATIC or DNS?";
    for (resolution, line) in [("", 7), ("  resolution: NONE\n", 8)] {
        rejects(
            &networking(
                "ServiceEntry",
                &format!(
                    "spec:\n  hosts: [a.b]\n{resolution}  ports: [ {{ number: 80, name: a, protocol: HTTP }} ]\n  endpoints: [ {{ address: 10.0.0.1 }} ]\n"
                ),
            ),
            &[&format!(
                "test.yaml:{line}:3: error: ServiceEntry default/x: {reason}"
            )],
        );
    }
}

#[test]
fn workload_entries() {
    rejects(
        &networking(
            "WorkloadEntry",
            "spec: { address: vm.example.com, ports: { http: 0 }, weight: '1' }\n",
        ),
        &[
            "test.yaml:4:9: error: WorkloadEntry default/x: spec.address must be an IP address, not \"vm.example.com\"; names are looked up where resolution is DNS",
            "test.yaml:4:49: error: WorkloadEntry default/x: spec.ports.http must be a number from 1 to 65535, not the number 0",
            "test.yaml:4:62: error: WorkloadEntry default/x: spec.weight must be a number from 0 to 4294967295, not the string \"1\"",
        ],
    );
}

#[test]
fn destination_rules() {
    rejects(
        &networking(
            "DestinationRule",
            "spec:\n  host: a\n  trafficPolicy: { tls: { mode: ISTIO_MUTUAL }, loadBalancer: { simple: FASTEST } }\n  subsets: [ { name: a }, { name: a }, { labels: {} } ]\n",
        ),
        &[
            &format!(
                "test.yaml:6:27: error: DestinationRule default/x: spec.trafficPolicy.tls.mode ISTIO_MUTUAL demands TLS, {UNCERTIFIED}"
            ),
            "test.yaml:6:73: error: DestinationRule default/x: spec.trafficPolicy.loadBalancer.simple must be one of \
             UNSPECIFIED, LEAST_REQUEST, ROUND_ROBIN, RANDOM, LEAST_CONN, PASSTHROUGH, not the string \"FASTEST\"",
            "test.yaml:7:29: error: DestinationRule default/x: spec.subsets[1].name: there is another subset \"a\" in this rule",
            "test.yaml:7:40: error: DestinationRule default/x: spec.subsets[2].name must be given and not be empty",
        ],
    );
}

#[test]
fn virtual_services() {
    let http = |rest: &str| {
        networking(
            "VirtualService",
            &format!("spec:\n  hosts: [a]\n  http:\n{rest}"),
        )
    };
    rejects(
        &http(
            "  - match: [ { headers: { x: { exact: 5 }, Y: {} } } ]\n    timeout: 5\n    route: []\n",
        ),
        &[
            "test.yaml:7:39: error: VirtualService default/x: spec.http[0].match[0].headers.x.exact must be a string, not the number 5; put it in quotes",
            "test.yaml:7:44: error: VirtualService default/x: spec.http[0].match[0].headers: \"Y\" is no lower-case header name",
            "test.yaml:8:14: error: VirtualService default/x: spec.http[0].timeout must be a duration such as 1h, 1m, 1.5s or 10ms, not the number 5",
            "test.yaml:9:5: error: VirtualService default/x: spec.http[0].route must hold at least one destination",
        ],
    );
    rejects(
        &http("  - match: [ { uri: { regex: '(' } }, { uri: { exact: a, prefix: b } } ]\n"),
        &[
            "test.yaml:7:5: error: VirtualService default/x: spec.http[0] must have one of route, redirect, directResponse, delegate, not 0",
            "test.yaml:7:23: error: VirtualService default/x: spec.http[0].match[0].uri.regex \"(\" is no regular expression: unclosed group",
            "test.yaml:7:46: error: VirtualService default/x: spec.http[0].match[1].uri must have one of exact, prefix, regex, not 2",
        ],
    );
    rejects(
        &http(
            "  - route: [ { destination: { host: b }, weight: -1 } ]\n  - route: [ { destination: { host: b } }, { destination: { host: c } } ]\n",
        ),
        &[
            "test.yaml:7:50: error: VirtualService default/x: spec.http[0].route[0].weight must be a number from 0 to 2147483647, not the number -1",
            "test.yaml:8:5: error: VirtualService default/x: spec.http[1].route: the weights add up to 0; allowed are 1 to 4294967295",
        ],
    );
    rejects(
        &networking("VirtualService", "spec:\n  hosts: ['a_b', '*', c, c]\n"),
        &[
            "test.yaml:5:3: error: VirtualService default/x: spec must have http routes (or tls or tcp, which have no effect yet)",
            "test.yaml:5:11: error: VirtualService default/x: spec.hosts: \"a_b\" is no host name: the part \"a_b\" may hold only letters, digits and '-', and '-' not at its ends",
            "test.yaml:5:18: error: VirtualService default/x: spec.hosts: \"*\" is for gateways only; name the gateways in spec.gateways, without mesh",
            "test.yaml:5:26: error: VirtualService default/x: spec.hosts: \"c\" stands there twice",
        ],
    );
}

/// One server with this after its port's number and name, and what is told of it.
#[track_caller]
fn rejects_server(rest: &str, expected: &[&str]) {
    let server = format!("{{ port: {{ number: 443, name: a, {rest} }}");
    let text = networking("Gateway", &format!("spec: {{ servers: [ {server} ] }}\n"));
    let rejected = reject(&text);
    let found: Vec<_> = rejected.diagnostics.iter().map(|d| &*d.message).collect();
    assert_eq!(found, expected, "\n{text}");
}

#[test]
fn tls_of_a_gateway_that_says_too_little_or_too_much() {
    let server = "protocol: HTTPS }, hosts: ['*']";
    let tls = |tls: &str| format!("{server}, tls: {{ {tls} }}");
    rejects_server(
        server,
        &["spec.servers[0].tls is missing: the protocol is HTTPS"],
    );
    rejects_server(
        &tls("mode: SIMPLE"),
        &[
            "spec.servers[0].tls.mode SIMPLE needs serverCertificate",
            "spec.servers[0].tls.mode SIMPLE needs privateKey",
        ],
    );
    rejects_server(
        &tls("mode: MUTUAL, serverCertificate: /a, privateKey: /b"),
        &["spec.servers[0].tls.mode MUTUAL needs caCertificates"],
    );
    rejects_server(
        &tls("mode: SIMPLE, serverCertificate: /a~b, privateKey: /b"),
        &["spec.servers[0].tls.serverCertificate must not hold '~'"],
    );
    rejects_server(
        &tls("mode: ISTIO_MUTUAL, privateKey: /b"),
        &[
            &format!("spec.servers[0].tls.mode ISTIO_MUTUAL demands TLS, {UNCERTIFIED}"),
            "spec.servers[0].tls.privateKey: under ISTIO_MUTUAL the certificate is the gateway's own",
        ],
    );
    rejects_server(
        &tls(
            "mode: SIMPLE, serverCertificate: /a, privateKey: /b, minProtocolVersion: TLSV1_3, maxProtocolVersion: TLSV1_2",
        ),
        &["spec.servers[0].tls.maxProtocolVersion: is below minProtocolVersion"],
    );
    rejects_server(
        &tls("mode: SIMPLE, serverCertificate: /a, privateKey: /b, maxProtocolVersion: TLSV1_1"),
        &["spec.servers[0].tls.maxProtocolVersion: nothing below TLS 1.2 is spoken"],
    );
    rejects_server(
        &tls("mode: SIMPLE, credentialName: a, caCrl: /c"),
        &[
            "spec.servers[0].tls.credentialName is not served: no secret is looked up by name; name files by \
             serverCertificate, privateKey and caCertificates",
            "spec.servers[0].tls.caCrl is not served: lists of withdrawn certificates are not read",
        ],
    );
    rejects_server(
        &tls("mode: EASY"),
        &[
            "spec.servers[0].tls.mode must be one of PASSTHROUGH, SIMPLE, MUTUAL, AUTO_PASSTHROUGH, ISTIO_MUTUAL, \
             OPTIONAL_MUTUAL, not the string \"EASY\"",
        ],
    );
}

#[test]
fn servers_of_a_gateway_that_are_not_served() {
    let https = "protocol: HTTPS }, hosts: ['*'], tls:";
    let unread = "no connection is passed on unread; write SIMPLE, MUTUAL or ISTIO_MUTUAL";
    rejects_server(
        &format!("{https} {{}}"),
        &[&format!(
            "spec.servers[0].tls.mode is missing, which is PASSTHROUGH: {unread}"
        )],
    );
    rejects_server(
        &format!("{https} {{ mode: AUTO_PASSTHROUGH }}"),
        &[&format!(
            "spec.servers[0].tls.mode AUTO_PASSTHROUGH is not served: {unread}"
        )],
    );
    rejects_server(
        &format!("{https} {{ mode: OPTIONAL_MUTUAL }}"),
        &[
            "spec.servers[0].tls.mode OPTIONAL_MUTUAL is not served: a client without a certificate would be let in; \
             write MUTUAL or SIMPLE",
        ],
    );
    rejects_server(
        "protocol: TLS }, hosts: ['*'], tls: { mode: SIMPLE }",
        &[
            "spec.servers[0].port.protocol TLS is not served: what is within is routed as HTTP only; write HTTPS",
        ],
    );
    rejects_server(
        "protocol: HTTP }, hosts: ['*'], tls: { httpsRedirect: true, privateKey: /b }",
        &[
            "spec.servers[0].tls.privateKey: a server of plaintext (HTTP) has no certificate; write protocol HTTPS",
        ],
    );
    rejects_server(
        "protocol: HTTP }, hosts: ['*'], tls: { mode: SIMPLE }",
        &[
            "spec.servers[0].tls.mode: a server of plaintext (HTTP) has no certificate; write protocol HTTPS",
        ],
    );
    rejects_server(
        "protocol: HTTP }, hosts: ['*'], bind: here",
        &["spec.servers[0].bind must be an IP address, not \"here\""],
    );
    let twice = "protocol: HTTP }, hosts: [a] }, { port: { number: 80, name: a, protocol: HTTP }, hosts: [b]";
    rejects_server(
        twice,
        &["spec.servers[1].port.name: \"a\" stands there twice"],
    );
}

#[test]
fn what_would_secure_a_call_is_refused() {
    rejects(
        &security(
            "PeerAuthentication",
            "spec: { mtls: { mode: STRICT }, portLevelMtls: { 80: { mode: WRONG }, 81: { mode: STRICT } } }\n",
        ),
        &[
            &format!(
                "test.yaml:4:17: error: PeerAuthentication default/x: spec.mtls.mode STRICT demands mutual TLS, {UNCERTIFIED}"
            ),
            "test.yaml:4:62: error: PeerAuthentication default/x: spec.portLevelMtls.80.mode must be one of UNSET, DISABLE, PERMISSIVE, STRICT, not the string \"WRONG\"",
            &format!(
                "test.yaml:4:77: error: PeerAuthentication default/x: spec.portLevelMtls.81.mode STRICT demands mutual TLS, {UNCERTIFIED}"
            ),
        ],
    );
    rejects(
        &security("PeerAuthentication", "spec: { mtls: STRICT }\n"),
        &[
            "test.yaml:4:15: error: PeerAuthentication default/x: spec.mtls must be a mapping, not the string \"STRICT\"",
        ],
    );
    rejects(
        &security("AuthorizationPolicy", "spec: {}\n"),
        &[&format!(
            "test.yaml:2:1: error: AuthorizationPolicy default/x: an AuthorizationPolicy demands identities of callers, {UNCERTIFIED}"
        )],
    );
    rejects(
        &security("RequestAuthentication", "spec: {}\n"),
        &[&format!(
            "test.yaml:2:1: error: RequestAuthentication default/x: a RequestAuthentication demands verification of callers, {UNCERTIFIED}"
        )],
    );
    for mode in ["SIMPLE", "MUTUAL", "ISTIO_MUTUAL"] {
        for policy in [
            format!(
                "trafficPolicy: {{ portLevelSettings: [ {{ port: {{ number: 1 }}, tls: {{ mode: {mode} }} }} ] }}"
            ),
            format!("subsets: [ {{ name: a, trafficPolicy: {{ tls: {{ mode: {mode} }} }} }} ]"),
        ] {
            let rejected = reject(&networking(
                "DestinationRule",
                &format!("spec:\n  host: a\n  {policy}\n"),
            ));
            assert!(
                rejected
                    .to_string()
                    .contains("refusing is safer than plaintext"),
                "{rejected}"
            );
        }
    }
}

#[test]
fn what_has_no_effect_is_noted() {
    let text = [
        networking(
            "VirtualService",
            "spec:\n  hosts: [a]\n  tcp: [ { anything: 1 } ]\n  http:\n  - match: [ { queryParams: { a: { exact: b } } } ]\n    fault: { delay: { exponentialDelay: 1s }, abort: { http2Error: REFUSED_STREAM } }\n    mirror: { host: c }\n    corsPolicy: {}\n    headers: {}\n    rewrite: { uri: / }\n    route: [ { destination: { host: b }, headers: {} } ]\n  - redirect: { uri: /x, prefixRewrite: / }\n  - directResponse: { status: 503 }\n  - delegate: { name: d }\n",
        ),
        networking(
            "DestinationRule",
            "spec:\n  host: a\n  trafficPolicy:\n    tunnel: {}\n    proxyProtocol: {}\n    outlierDetection: { consecutiveErrors: 3 }\n    connectionPool: { http: { http2KeepAlive: {} } }\n",
        ),
        networking(
            "ServiceEntry",
            "spec:\n  hosts: [a.example.com]\n  addresses: [10.0.0.1]\n  resolution: DYNAMIC_DNS\n  ports: [ { number: 80, name: http, protocol: HTTP } ]\n",
        ),
        security("PeerAuthentication", "spec: { mtls: { mode: PERMISSIVE } }\n"),
        networking("Sidecar", "spec: { ingress: [ {} ] }\n"),
        networking("EnvoyFilter", "spec: {}\n"),
        networking("WorkloadGroup", "spec: {}\n"),
        networking("ProxyConfig", "spec: {}\n"),
        "apiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: { name: x }\n".to_owned(),
        "apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: { name: x }\n".to_owned(),
        "apiVersion: v1\nkind: Service\nmetadata: { name: x }\nspec: { ports: [] }\n".to_owned(),
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: { name: x }\n".to_owned(),
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: x }\n".to_owned(),
        "apiVersion: gateway.networking.k8s.io/v1\nkind: TLSRoute\nmetadata: { name: x }\n".to_owned(),
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: { name: x }\n".to_owned(),
    ]
    .join("---\n");
    let loaded = load(&text);
    assert!(
        loaded
            .notes
            .iter()
            .all(|n| n.severity == Severity::NotSupported && n.line > 0 && n.column > 0)
    );
    let notes: Vec<String> = loaded
        .notes
        .iter()
        .map(|n| {
            format!(
                "{}:{}: {}",
                n.line,
                n.object.split(' ').next().unwrap(),
                n.message
            )
        })
        .collect();
    let field = |line: u64, kind: &str, path: &str| {
        format!("{line}:{kind}: {path} has no effect in this version")
    };
    for (line, path) in [
        (6, "spec.tcp"),
        (9, "spec.http[0].fault.delay.exponentialDelay"),
        (9, "spec.http[0].fault.abort.http2Error"),
        (15, "spec.http[1].redirect.prefixRewrite"),
    ] {
        assert!(
            notes.contains(&field(line, "VirtualService", path)),
            "{path}: {notes:#?}"
        );
    }
    let delegate = "17:VirtualService: there is no delegate VirtualService default/d (one without hosts): the route is left out";
    assert!(notes.iter().any(|note| note == delegate), "{notes:#?}");
    let of_rules = notes.iter().filter(|n| n.contains(":VirtualService: "));
    assert_eq!(of_rules.count(), 5, "the rest is served: {notes:#?}");
    for path in [
        "tunnel",
        "proxyProtocol",
        "outlierDetection.consecutiveErrors",
        "connectionPool.http.http2KeepAlive",
    ] {
        let end = format!("spec.trafficPolicy.{path} has no effect in this version");
        assert!(
            notes.iter().any(|n| n.ends_with(&end)),
            "{path}: {notes:#?}"
        );
    }
    assert!(notes.iter().any(|n| {
        n.contains("spec.resolution DYNAMIC_DNS: the service is left out; STATIC, DNS, DNS_ROUND_ROBIN and NONE are served")
    }));
    for kind in [
        "EnvoyFilter",
        "WorkloadGroup",
        "ProxyConfig",
        "PeerAuthentication",
        "Telemetry",
        "WasmPlugin",
        "ServiceAccount",
        "Deployment",
        "TLSRoute",
        "Gateway",
    ] {
        assert!(
            notes
                .iter()
                .any(|n| n.contains(&format!(":{kind}: the kind {kind}"))),
            "{kind}: {notes:#?}"
        );
    }
    assert_eq!(loaded.config.objects().count(), 15);
}

#[test]
fn what_is_refused_is_not_without_effect() {
    let about = |mode: &str| {
        let spec = format!("spec: {{ mtls: {{ mode: {mode} }} }}\n");
        let findings = analyze([("test.yaml".into(), security("PeerAuthentication", &spec))]);
        let told = findings.iter().map(|f| (f.code, f.message.clone()));
        told.collect::<Vec<_>>()
    };
    let refused = format!("spec.mtls.mode STRICT demands mutual TLS, {UNCERTIFIED}");
    assert_eq!(about("STRICT"), [("IST0106", refused)]);
    let idle = "the kind PeerAuthentication has no effect where the mesh has no certificates";
    assert_eq!(about("PERMISSIVE"), [("MESH0001", idle.to_owned())]);
}

#[test]
fn one_object_in_two_places() {
    let gateway = networking(
        "Gateway",
        "spec: { servers: [ { port: { number: 80, name: a, protocol: HTTP }, hosts: [a] } ] }\n",
    );
    let files = [
        ("a.yaml".into(), gateway.clone()),
        ("b/c.yml".into(), format!("\n\n---\n{gateway}")),
    ];
    let rejected = Config::parse(files).expect_err("two of one");
    assert_eq!(
        rejected.to_string(),
        "b/c.yml:5:1: error: Gateway default/x: the same object stands in a.yaml:2; remove one of the two"
    );
    // The default namespace is a namespace.
    let named = gateway.replace("name: x", "name: x, namespace: default");
    assert!(Config::parse([("a.yaml".into(), gateway.clone()), ("b.yaml".into(), named)]).is_err());
    let other = gateway.replace("name: x", "name: x, namespace: other");
    assert!(Config::parse([("a.yaml".into(), gateway), ("b.yaml".into(), other)]).is_ok());
}

#[test]
fn folders() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let message = Config::load(&missing).unwrap_err().to_string();
    assert!(
        message.starts_with(&format!("{}: error: cannot be read: ", missing.display())),
        "{message}"
    );

    std::fs::create_dir(dir.path().join("sub")).unwrap();
    std::fs::write(dir.path().join("sub/a.yml"), REVIEWS).unwrap();
    std::fs::write(
        dir.path().join("b.yaml"),
        "\u{feff}# nothing\n---\n---\n# here\n...\n",
    )
    .unwrap();
    std::fs::write(dir.path().join(".hidden.yaml"), "a: [").unwrap();
    std::fs::write(dir.path().join("notes.txt"), "a: [").unwrap();
    assert_eq!(
        Config::load(dir.path()).unwrap().config.objects().count(),
        4
    );

    std::fs::write(dir.path().join("c.yaml"), [0xff, 0xfe]).unwrap();
    let message = Config::load(dir.path()).unwrap_err().to_string();
    assert!(
        message.contains("c.yaml:1:1: error: the byte 0xFF is not UTF-8"),
        "{message}"
    );
}

#[test]
fn forms_of_documents() {
    let crlf = REVIEWS.replace('\n', "\r\n");
    assert_eq!(load(&crlf).config.objects().count(), 4);
    let text = "%YAML 1.2\n--- # first\n{apiVersion: v1, kind: Pod, metadata: {name: a}}\n...\n# between\n\
                ---\n--- {apiVersion: v1, kind: Pod, metadata: {name: b}}\n---\napiVersion: v1\nkind: Pod\n\
                metadata:\n  name: c\ndata: |\n  a\n  ---\n  b\n";
    let loaded = load(text);
    let found: Vec<(&str, u64)> = loaded
        .config
        .objects()
        .map(|o| (o.name.as_str(), o.line))
        .collect();
    assert_eq!(found, [("a", 3), ("b", 7), ("c", 10)]);
}
