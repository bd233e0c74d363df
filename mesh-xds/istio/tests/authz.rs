//! `AuthorizationPolicy` as the RBAC filters of `virtualInbound`.

use std::net::IpAddr;

use envoy_types::pb::envoy::config::listener::v3::{FilterChain, Listener, filter};
use envoy_types::pb::envoy::config::rbac::v3::permission::Rule;
use envoy_types::pb::envoy::config::rbac::v3::principal::Identifier;
use envoy_types::pb::envoy::config::rbac::v3::{
    Permission, Policy, Principal, Rbac as Rules, rbac,
};
use envoy_types::pb::envoy::extensions::filters::http::rbac::v3::Rbac as HttpRbac;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_filter,
};
use envoy_types::pb::envoy::extensions::filters::network::rbac::v3::Rbac as NetworkRbac;
use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use mesh_istio::{Config, Options, Rejected};
use mesh_xds::Node;
use prost::Message;

const SERVICE: &str = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: a, namespace: default }
spec:
  hosts: [a.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [ { number: 80, name: http, protocol: HTTP }, { number: 81, name: tcp, protocol: TCP } ]
  endpoints: [ { address: 127.0.31.1, labels: { app: a }, serviceAccount: a } ]
---
";

fn parse(policies: &str, certificates: bool) -> Result<Config, Rejected> {
    let text = format!("{SERVICE}{policies}");
    let options = Options::default().certificates(certificates);
    let loaded = options.parse([("test.yaml".into(), text)])?;
    Ok(loaded.config)
}

fn policy(name: &str, spec: &str) -> String {
    policy_in("default", name, spec)
}

fn policy_in(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{ name: {name}, namespace: {namespace} }}\nspec: {spec}\n---\n"
    )
}

fn dry(policy: &str) -> String {
    policy.replace(
        " }\nspec",
        ", annotations: { \"istio.io/dry-run\": \"true\" } }\nspec",
    )
}

fn node() -> Node {
    Node::sidecar("a", "default").with_ip(IpAddr::from([127, 0, 31, 1]))
}

fn listener(policies: &str) -> Listener {
    let config = parse(policies, true).unwrap_or_else(|e| panic!("{e}\n\n{policies}"));
    let listeners = config.resources(&node()).listeners;
    Listener::decode(listeners["virtualInbound"].value.as_slice()).expect("a listener")
}

fn chain<'a>(listener: &'a Listener, name: &str) -> &'a FilterChain {
    let mut chains = listener.filter_chains.iter();
    chains.find(|chain| chain.name == name).expect(name)
}

/// The filters of policies that a request passes, in order.
fn http(policies: &str) -> Vec<HttpRbac> {
    let listener = listener(policies);
    let last = chain(&listener, "0.0.0.0_80")
        .filters
        .last()
        .expect("as it is built");
    let Some(filter::ConfigType::TypedConfig(any)) = &last.config_type else {
        panic!("no configuration")
    };
    let manager = HttpConnectionManager::decode(any.value.as_slice()).expect("as it is built");
    let (router, filters) = manager.http_filters.split_last().expect("as it is built");
    assert_eq!(router.name, "envoy.filters.http.router");
    let filters = filters.iter().map(|filter| {
        assert_eq!(filter.name, "envoy.filters.http.rbac");
        let Some(http_filter::ConfigType::TypedConfig(any)) = &filter.config_type else {
            panic!("no configuration")
        };
        HttpRbac::decode(any.value.as_slice()).expect("as it is built")
    });
    filters.collect()
}

/// The same for a connection that is not read.
fn tcp(policies: &str) -> Vec<NetworkRbac> {
    let listener = listener(policies);
    let (proxy, filters) = chain(&listener, "0.0.0.0_81")
        .filters
        .split_last()
        .expect("as it is built");
    assert_eq!(proxy.name, "envoy.filters.network.tcp_proxy");
    let filters = filters.iter().map(|filter| {
        assert_eq!(filter.name, "envoy.filters.network.rbac");
        let Some(filter::ConfigType::TypedConfig(any)) = &filter.config_type else {
            panic!("no configuration")
        };
        NetworkRbac::decode(any.value.as_slice()).expect("as it is built")
    });
    filters.collect()
}

fn names(rules: Option<&Rules>) -> Vec<&str> {
    let mut names: Vec<_> = rules
        .into_iter()
        .flat_map(|rules| rules.policies.keys().map(String::as_str))
        .collect();
    names.sort_unstable();
    names
}

/// `permissions <- principals` of the only rule of the only policy.
fn told(spec: &str) -> String {
    let filters = http(&policy("x", spec));
    let rules = filters[0].rules.as_ref().expect("rules");
    written(&rules.policies["ns[default]-policy[x]-rule[0]"])
}

fn written(policy: &Policy) -> String {
    let permissions: Vec<_> = policy.permissions.iter().map(permission).collect();
    let principals: Vec<_> = policy.principals.iter().map(principal).collect();
    format!("{} <- {}", permissions.join(" | "), principals.join(" | "))
}

fn text(matcher: &StringMatcher) -> String {
    let case = if matcher.ignore_case { "i" } else { "" };
    match matcher.match_pattern.as_ref().expect("a pattern") {
        MatchPattern::Exact(text) => format!("{case}={text}"),
        MatchPattern::Prefix(text) => format!("{case}^{text}"),
        MatchPattern::Suffix(text) => format!("{case}${text}"),
        MatchPattern::SafeRegex(regex) => format!("~{}", regex.regex),
        other => panic!("{other:?}"),
    }
}

fn permission(of: &Permission) -> String {
    let all = |set: &[Permission]| set.iter().map(permission).collect::<Vec<_>>().join(" ");
    match of.rule.as_ref().expect("a rule") {
        Rule::AndRules(set) => format!("and({})", all(&set.rules)),
        Rule::OrRules(set) => format!("or({})", all(&set.rules)),
        Rule::NotRule(rule) => format!("not({})", permission(rule)),
        Rule::Any(true) => "any".to_owned(),
        Rule::DestinationPort(port) => format!(":{port}"),
        Rule::Header(header) => format!("{}{}", header.name, header_value(header)),
        Rule::UrlPath(path) => match path.rule.as_ref().expect("as it is built") {
            envoy_types::pb::envoy::r#type::matcher::v3::path_matcher::Rule::Path(path) => {
                format!("path{}", text(path))
            }
        },
        Rule::UriTemplate(template) => {
            let bytes = &template
                .typed_config
                .as_ref()
                .expect("as it is built")
                .value;
            // The only field of the message: a tag, a length, the text.
            format!("template={}", String::from_utf8_lossy(&bytes[2..]))
        }
        other => panic!("{other:?}"),
    }
}

fn header_value(header: &envoy_types::pb::envoy::config::route::v3::HeaderMatcher) -> String {
    use envoy_types::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
    match header
        .header_match_specifier
        .as_ref()
        .expect("as it is built")
    {
        HeaderMatchSpecifier::PresentMatch(true) => "?".to_owned(),
        HeaderMatchSpecifier::StringMatch(matcher) => text(matcher),
        other => panic!("{other:?}"),
    }
}

fn principal(of: &Principal) -> String {
    let all = |set: &[Principal]| set.iter().map(principal).collect::<Vec<_>>().join(" ");
    match of.identifier.as_ref().expect("an identifier") {
        Identifier::AndIds(set) => format!("and({})", all(&set.ids)),
        Identifier::OrIds(set) => format!("or({})", all(&set.ids)),
        Identifier::NotId(id) => format!("not({})", principal(id)),
        Identifier::Any(true) => "any".to_owned(),
        Identifier::Authenticated(name) => {
            text(name.principal_name.as_ref().expect("as it is built"))
        }
        Identifier::DirectRemoteIp(block) => {
            format!(
                "{}/{}",
                block.address_prefix,
                block.prefix_len.expect("as it is built").value
            )
        }
        Identifier::Header(header) => format!("{}{}", header.name, header_value(header)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn filters_stand_in_istios_order() {
    let policies = [
        policy("allow", "{ rules: [ {} ] }"),
        policy("deny", "{ action: DENY, rules: [ {}, {} ] }"),
        policy("audit", "{ action: AUDIT, rules: [ {} ] }"),
        dry(&policy("tried", "{ action: DENY, rules: [ {} ] }")),
    ]
    .concat();
    let filters = http(&policies);
    let actions: Vec<_> = filters
        .iter()
        .map(|filter| filter.rules.as_ref().expect("as it is built").action())
        .collect();
    assert_eq!(
        actions,
        [rbac::Action::Log, rbac::Action::Deny, rbac::Action::Allow]
    );
    assert_eq!(
        names(filters[1].rules.as_ref()),
        [
            "ns[default]-policy[deny]-rule[0]",
            "ns[default]-policy[deny]-rule[1]"
        ]
    );
    assert_eq!(
        names(filters[1].shadow_rules.as_ref()),
        ["ns[default]-policy[tried]-rule[0]"]
    );
    assert_eq!(filters[1].shadow_rules_stat_prefix, "istio_dry_run_deny_");
    assert_eq!(filters[2].shadow_rules, None);
    assert_eq!(tcp(&policies).len(), 3);
}

/// A mesh with these providers, and a service of theirs.
fn providers(list: &str) -> String {
    format!(
        "{}apiVersion: mesh.istio.io/v1alpha1
kind: MeshConfig
metadata: {{ name: mesh, namespace: istio-system }}
spec: {{ extensionProviders: [ {list} ] }}
---
",
        SERVICE
            .replace("31.1", "31.2")
            .replace("app: a", "app: ext")
            .replace("name: a,", "name: ext,")
            .replace("[a.", "[ext.")
            .replace("serviceAccount: a", "serviceAccount: ext")
    )
}

fn by_grpc(name: &str, more: &str) -> String {
    format!(
        "{{ name: {name}, envoyExtAuthzGrpc: {{ service: ext.default.svc.cluster.local, port: 80 {more} }} }}"
    )
}

fn custom(name: &str, provider: &str) -> String {
    let spec = format!("{{ action: CUSTOM, provider: {{ name: {provider} }}, rules: [ {{}} ] }}");
    policy(name, &spec)
}

/// What a provider is asked about stands before everything else, and before the tokens.
#[test]
fn who_asks_stands_before_all_that_enforces() {
    let jwt = "apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: { name: jwt, namespace: default }
spec: { jwtRules: [ { issuer: i, jwks: '{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}' } ] }
---
";
    let rules = [
        &providers(&by_grpc("p", "")),
        jwt,
        &policy("deny", "{ action: DENY, rules: [ {} ] }"),
        &custom("ask", "p"),
    ];
    let listener = listener(&rules.concat());
    let last = chain(&listener, "0.0.0.0_80").filters.last();
    let Some(filter::ConfigType::TypedConfig(any)) = &last.expect("a filter").config_type else {
        panic!("no configuration")
    };
    let manager = HttpConnectionManager::decode(any.value.as_slice()).expect("as it is built");
    let names = manager.http_filters.iter().map(|it| {
        let name = it.name.rsplit('.').next();
        name.expect("a name").to_owned()
    });
    let names: Vec<_> = names.collect();
    assert_eq!(names, ["rbac", "ext_authz", "jwt_authn", "rbac", "router"]);
}

/// Whom nobody can be asked about is refused: of no such provider, of a service that is not known, and of two at once.
#[test]
fn where_nobody_can_be_asked_the_rules_refuse() {
    let away = by_grpc("away", "").replace("ext.default", "nobody.default");
    let both = format!("{}, {away}, {}", by_grpc("p", ""), by_grpc("q", ""));
    let mesh = providers(&both);
    for asked in [&["none"][..], &["away"], &["p", "q"]] {
        let policies = asked.iter().map(|provider| custom(provider, provider));
        let filters = http(&format!("{mesh}{}", policies.collect::<String>()));
        assert_eq!(filters.len(), asked.len(), "{asked:?}");
        for (filter, provider) in filters.iter().zip(asked) {
            let rules = filter.rules.as_ref().expect("rules that are enforced");
            assert_eq!(rules.action(), rbac::Action::Deny);
            let name = format!(
                "istio-ext-authz-{provider}-ns[default]-policy[{provider}]-rule[0]-deny-due-to-bad-CUSTOM-action"
            );
            assert_eq!(names(Some(rules)), [name]);
            assert_eq!(filter.shadow_rules, None);
        }
    }
}

#[test]
fn faults_of_providers_are_told_with_their_place() {
    let http = |more: &str| {
        format!(
            "{{ name: p, envoyExtAuthzHttp: {{ service: ext.default.svc.cluster.local, port: 80 {more} }} }}"
        )
    };
    let cases = [
        (
            by_grpc("P", ""),
            "extensionProviders[0].name \"P\" must be 1 to 63",
        ),
        (
            format!("{0}, {0}", by_grpc("p", "")),
            "is that of another provider, too",
        ),
        (
            by_grpc("p", ", statusOnError: '999'"),
            "statusOnError \"999\" is no status",
        ),
        (
            by_grpc("p", ", includeRequestBodyInCheck: {}"),
            "maxRequestBytes is missing",
        ),
        (by_grpc("p", ", pathPrefix: /a"), "pathPrefix"),
        (
            "{ name: p, envoyExtAuthzGrpc: { port: 80 } }".to_owned(),
            "service is missing",
        ),
        (
            "{ name: p, envoyExtAuthzGrpc: { service: a.b } }".to_owned(),
            "port is missing",
        ),
        (http(", pathPrefix: a"), "must begin with a slash"),
        (
            http(", includeRequestHeadersInCheck: ['*']"),
            "may not hold \"*\"",
        ),
        (
            http(", includeAdditionalHeadersInCheck: { a: '%REQ(b)%' }"),
            "are format strings",
        ),
    ];
    for (list, expected) in cases {
        let rejected = parse(&providers(&list), true).expect_err(&list).to_string();
        assert!(rejected.contains(expected), "{list}: {rejected}");
    }
    // Of others a note says that they have no effect.
    parse(
        &providers("{ name: t, zipkin: { service: a, port: 1 } }"),
        true,
    )
    .expect("a mesh");
}

#[test]
fn a_dry_run_alone_enforces_nothing() {
    for action in ["ALLOW", "DENY"] {
        let filters = http(&dry(&policy(
            "x",
            &format!("{{ action: {action}, rules: [ {{}} ] }}"),
        )));
        assert_eq!(filters.len(), 1);
        assert_eq!(filters[0].rules, None, "{action}");
        assert_eq!(names(filters[0].shadow_rules.as_ref()).len(), 1);
    }
}

#[test]
fn a_policy_without_rules_matches_nobody() {
    for spec in [
        "{}",
        "{ rules: [] }",
        "{ selector: { matchLabels: { app: a } } }",
    ] {
        assert_eq!(told(spec), "not(any) <- not(any)", "{spec}");
    }
    assert_eq!(told("{ rules: [ {} ] }"), "and(any) <- and(any)");
}

#[test]
fn policies_are_for_a_namespace_or_a_workload() {
    let mesh = |spec: &str| http(&policy_in("istio-system", "x", spec)).len();
    assert_eq!(mesh("{}"), 1);
    assert_eq!(mesh("{ selector: { matchLabels: { app: a } } }"), 1);
    assert_eq!(mesh("{ selector: { matchLabels: { app: b } } }"), 0);
    assert_eq!(http(&policy_in("other", "x", "{}")).len(), 0);
    assert_eq!(
        http(&policy("x", "{ selector: { matchLabels: { app: b } } }")).len(),
        0
    );
}

#[test]
fn what_a_caller_must_be() {
    let from = |source: &str| {
        let spec = format!("{{ rules: [ {{ from: [ {{ source: {{ {source} }} }} ] }} ] }}");
        told(&spec)
            .strip_prefix("and(any) <- ")
            .expect("as it is built")
            .to_owned()
    };
    for (source, expected) in [
        (
            "principals: [cluster.local/ns/a/sa/b]",
            "and(or(=spiffe://cluster.local/ns/a/sa/b))",
        ),
        ("principals: ['*']", "and(or(~.+))"),
        ("principals: ['*/sa/b']", "and(or(~spiffe://.*/sa/b))"),
        ("principals: ['td/ns/*']", "and(or(^spiffe://td/ns/))"),
        (
            "namespaces: [a, 'b*']",
            "and(or(~.*/ns/a/.* ~.*/ns/b.*/.*))",
        ),
        ("notNamespaces: [a]", "and(not(or(~.*/ns/a/.*)))"),
        (
            "serviceAccounts: [b, n/c.d]",
            r"and(or(~spiffe://.+/ns/default/(.+/|)sa/b(/.+)? ~spiffe://.+/ns/n/(.+/|)sa/c\.d(/.+)?))",
        ),
        ("trustDomains: [td]", "and(or(^spiffe://td/))"),
        ("trustDomains: ['*.td']", r"and(or(~spiffe://[^/]*\.td/.*))"),
        (
            "ipBlocks: [10.0.0.0/8, 10.1.2.3]",
            "and(or(10.0.0.0/8 10.1.2.3/32))",
        ),
        (
            "namespaces: [a], ipBlocks: [10.0.0.1], principals: [x]",
            "and(or(=spiffe://x) or(~.*/ns/a/.*) or(10.0.0.1/32))",
        ),
    ] {
        assert_eq!(from(source), expected, "{source}");
    }
}

#[test]
fn what_a_call_must_be() {
    let to = |operation: &str| {
        let spec = format!("{{ rules: [ {{ to: [ {{ operation: {{ {operation} }} }} ] }} ] }}");
        told(&spec)
            .strip_suffix(" <- and(any)")
            .expect("as it is built")
            .to_owned()
    };
    for (operation, expected) in [
        (
            "hosts: [A.b, '*.c', 'd*', '*']",
            "and(or(:authorityi=A.b :authorityi$.c :authorityi^d :authority?))",
        ),
        ("methods: [GET]", "and(or(:method=GET))"),
        (
            "notMethods: [GET, PUT]",
            "and(not(or(:method=GET :method=PUT)))",
        ),
        (
            "paths: [/a, '/b*', '*/c', '*']",
            "and(or(path=/a path^/b path$/c path~.+))",
        ),
        (
            "paths: ['/a/{*}/b', '/c/{**}']",
            "and(or(template=/a/*/b template=/c/**))",
        ),
        ("ports: ['80']", "and(or(:80))"),
        (
            "ports: ['80'], hosts: [a], methods: [GET]",
            "and(or(:authorityi=a) or(:method=GET) or(:80))",
        ),
    ] {
        assert_eq!(to(operation), expected, "{operation}");
    }
}

#[test]
fn conditions_hold_with_each_source_and_operation() {
    let spec = "{ rules: [ {
        from: [ { source: { namespaces: [a] } }, { source: { namespaces: [b] } } ],
        to: [ { operation: { methods: [GET] } } ],
        when: [ { key: 'request.headers[x]', values: [v], notValues: [w] }, { key: destination.port, values: ['80'] } ] } ] }";
    assert_eq!(
        told(spec),
        "and(or(:method=GET) or(:80)) <- and(or(~.*/ns/a/.*) or(x=v) not(or(x=w))) | and(or(~.*/ns/b/.*) or(x=v) not(or(x=w)))"
    );
}

#[test]
fn a_connection_is_denied_more_and_allowed_less() {
    let rule = "rules: [ { from: [ { source: { namespaces: [a] } } ], to: [ { operation: { methods: [GET], ports: ['81'] } } ] } ]";
    let allowed = tcp(&policy("x", &format!("{{ {rule} }}")));
    assert_eq!(names(allowed[0].rules.as_ref()), [""; 0]);
    assert_eq!(
        allowed[0].rules.as_ref().expect("as it is built").action(),
        rbac::Action::Allow
    );
    let denied = tcp(&policy("x", &format!("{{ action: DENY, {rule} }}")));
    let rules = denied[0].rules.as_ref().expect("as it is built");
    assert_eq!(
        written(&rules.policies["ns[default]-policy[x]-rule[0]"]),
        "and(or(:81)) <- and(or(~.*/ns/a/.*))"
    );
    assert_eq!(denied[0].stat_prefix, "tcp.");
}

#[test]
fn principals_are_meant_in_every_trust_domain_of_the_mesh() {
    let mesh = "apiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\nmetadata: { name: m }\nspec: { trustDomain: td, trustDomainAliases: [old] }\n---\n";
    let spec = "{ rules: [ { from: [ { source: { principals: [td/ns/a/sa/b, cluster.local/ns/a/sa/c, other/ns/a/sa/d, '*/ns/a/sa/e'] } } ] } ] }";
    let filters = http(&format!("{mesh}{}", policy("x", spec)));
    let rules = filters[0].rules.as_ref().expect("as it is built");
    assert_eq!(
        written(&rules.policies["ns[default]-policy[x]-rule[0]"]),
        "and(any) <- and(or(=spiffe://td/ns/a/sa/b =spiffe://old/ns/a/sa/b =spiffe://td/ns/a/sa/c =spiffe://old/ns/a/sa/c \
         =spiffe://other/ns/a/sa/d ~spiffe://.*/ns/a/sa/e))"
    );
}

#[test]
fn without_certificates_a_policy_is_refused() {
    let policy = policy(
        "x",
        "{ rules: [ { from: [ { source: { principals: [a] } } ] } ] }",
    );
    let rejected = parse(&policy, false).unwrap_err().to_string();
    assert!(
        rejected.contains("demands identities of callers"),
        "{rejected}"
    );
    parse(&policy, true).expect("as it is built");
}

/// Each of these specs is refused with this text.
fn refused<const N: usize>(cases: [(String, &str); N]) {
    for (spec, expected) in cases {
        let rejected = parse(&policy("x", &spec), true)
            .expect_err(&spec)
            .to_string();
        assert!(rejected.contains(expected), "{spec}: {rejected}");
    }
}

#[test]
fn faults_are_told_with_their_place() {
    refused([
        (
            "{ action: CUSTOM, rules: [ {} ] }".to_owned(),
            "14:9: error: AuthorizationPolicy default/x: spec.provider.name is missing",
        ),
        (
            "{ action: CUSTOM, provider: { name: x } }".to_owned(),
            "spec.rules is missing: a CUSTOM without rules asks about nobody",
        ),
        (
            "{ action: CUSTOM, provider: { name: x }, rules: [ { from: [ { source: { principals: [a] } } ] } ] }".to_owned(),
            "spec.rules[0] has principals, which the action CUSTOM does not take",
        ),
        (
            "{ action: CUSTOM, provider: { name: x }, rules: [ { when: [ { key: 'request.auth.claims[a]', values: [b] } ] } ] }".to_owned(),
            "spec.rules[0] has claims of tokens, which",
        ),
        (
            "{ targetRefs: [ {} ] }".to_owned(),
            "spec.targetRefs is not served",
        ),
        (
            "{ provider: { name: x } }".to_owned(),
            "spec.provider goes with the action CUSTOM alone",
        ),
        ("{ action: DENY }".to_owned(), "spec.rules is missing"),
        (
            "{ action: ALLOWED }".to_owned(),
            "spec.action must be one of ALLOW, DENY, AUDIT, CUSTOM",
        ),
        (
            "{ rules: [ { from: [] } ] }".to_owned(),
            "spec.rules[0].from must hold at least one entry",
        ),
        (
            "{ rules: [ { from: [ {} ] } ] }".to_owned(),
            "spec.rules[0].from[0].source is missing",
        ),
    ]);
    let audit = dry(&policy("x", "{ action: AUDIT, rules: [ {} ] }"));
    let rejected = parse(&audit, true).unwrap_err().to_string();
    assert!(
        rejected.contains("istio.io/dry-run goes with ALLOW and DENY"),
        "{rejected}"
    );
    let custom = "{ action: CUSTOM, provider: { name: x }, rules: [ {} ] }";
    let rejected = parse(&dry(&policy("x", custom)), true).unwrap_err();
    let rejected = rejected.to_string();
    assert!(rejected.contains("CUSTOM is not tried"), "{rejected}");
    let neither = audit.replace("\"true\"", "maybe");
    let rejected = parse(&neither, true).unwrap_err().to_string();
    assert!(
        rejected.contains("must be \"true\" or \"false\""),
        "{rejected}"
    );
}

#[test]
fn faults_of_sources() {
    let from = |source: &str| format!("{{ rules: [ {{ from: [ {{ source: {source} }} ] }} ] }}");
    refused([
        (
            from("{}"),
            "spec.rules[0].from[0].source must say something",
        ),
        (
            from("{ ipBlocks: [10.0.0.0/33] }"),
            "\"10.0.0.0/33\" is no IP address",
        ),
        (from("{ ipBlocks: [''] }"), "a value must not be empty"),
        (
            from("{ serviceAccounts: [a], principals: [b] }"),
            "may have serviceAccounts or principals, not both",
        ),
        (
            from("{ serviceAccounts: [a/b/c] }"),
            "must be NAME or NAMESPACE/NAME",
        ),
        (from("{ principals: ['*(a'] }"), "after '*' may stand"),
        (from("{ namespaces: ['a(b'] }"), "is no namespace"),
        (
            from("{ trustDomains: ['a*b'] }"),
            "with one '*' at an end at most",
        ),
        (from("{ principal: [a] }"), "unknown field \"principal\""),
    ]);
}

#[test]
fn one_slip_is_one_error() {
    let said = |spec: &str| {
        let rejected = parse(&policy("x", spec), true).unwrap_err();
        let messages: Vec<_> = rejected
            .diagnostics
            .iter()
            .map(|d| d.message.clone())
            .collect();
        messages
    };
    for (spec, unknown) in [
        (
            "{ rules: [ { from: [ { source: { principal: [a] } } ] } ] }",
            "principal",
        ),
        ("{ rules: [ { from: [ { sources: {} } ] } ] }", "sources"),
        (
            "{ rules: [ { to: [ { operation: { method: [GET] } } ] } ] }",
            "method",
        ),
        (
            "{ rules: [ { when: [ { keys: source.ip, values: [10.0.0.1] } ] } ] }",
            "keys",
        ),
        (
            "{ rules: [ { when: [ { key: source.ip, value: [10.0.0.1] } ] } ] }",
            "value",
        ),
        ("{ action: DENY, rule: [ {} ] }", "rule"),
    ] {
        let messages = said(spec);
        assert_eq!(messages.len(), 1, "{messages:?}");
        let start = format!("unknown field {unknown:?} in ");
        assert!(messages[0].starts_with(&start), "{messages:?}");
    }
    // What is there and says nothing is told beside it.
    let both = said("{ rules: [ { to: [ { operation: {} } ] } ], x: 1 }");
    assert_eq!(both.len(), 2, "{both:?}");
}

#[test]
fn faults_of_operations_and_conditions() {
    let to =
        |operation: &str| format!("{{ rules: [ {{ to: [ {{ operation: {operation} }} ] }} ] }}");
    let when = |condition: &str| format!("{{ rules: [ {{ when: [ {{ {condition} }} ] }} ] }}");
    refused([
        (to("{ ports: ['65536'] }"), "must be a port"),
        (to("{ paths: ['/{**}/{*}'] }"), "{**} must be the last"),
        (
            to("{ paths: ['/a{*}'] }"),
            "braces stand for whole segments",
        ),
        (when("values: [a]"), "key is missing"),
        (when("key: source.ip"), "must have values or notValues"),
        (
            when("key: source.name, values: [a]"),
            "spec.rules[0].when[0].key must be one of request.headers[NAME]",
        ),
        (
            when("key: 'request.headers[]', values: [a]"),
            "must have a name",
        ),
        (
            when("key: 'request.headers[a', values: [a]"),
            "must end in ']'",
        ),
    ]);
}

#[test]
fn two_compilations_give_the_same_bytes() {
    let policies: String = (0..8)
        .map(|i| policy(&format!("p{i}"), "{ rules: [ {}, {} ] }"))
        .collect();
    let first = parse(&policies, true)
        .expect("as it is built")
        .resources(&node());
    for _ in 0..20 {
        assert_eq!(
            parse(&policies, true)
                .expect("as it is built")
                .resources(&node()),
            first
        );
    }
}
