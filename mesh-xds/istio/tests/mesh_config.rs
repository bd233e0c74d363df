//! `MeshConfig`: what holds for hosts that the mesh does not know.

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, LbPolicy,
};
use envoy_types::pb::envoy::config::route::v3::{RouteConfiguration, route::Action};
use mesh_istio::Config;
use mesh_xds::{Node, Resources};
use prost::Message as _;

const REVIEWS: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: reviews }
spec:
  hosts: [reviews.default.svc.cluster.local]
  resolution: STATIC
  ports: [ { number: 9080, name: http, protocol: HTTP } ]
  endpoints: [ { address: 127.0.0.1 } ]
";

fn mesh_config(spec: &str) -> String {
    format!(
        "---\napiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\nmetadata: {{ name: mesh }}\nspec: {spec}\n"
    )
}

fn parse(text: &str) -> Result<mesh_istio::Loaded, String> {
    Config::parse([("mesh.yaml".into(), text.to_owned())]).map_err(|rejected| rejected.to_string())
}

fn resources(text: &str) -> Resources {
    let loaded = parse(text).expect("accepted");
    loaded
        .config
        .resources(&Node::sidecar("productpage", "default"))
}

/// Name and action of the last virtual host of each table.
fn last(resources: &Resources, table: &str) -> (String, Action) {
    let any = &resources.routes[table];
    let table = RouteConfiguration::decode(&*any.value).expect("a table");
    let host = table.virtual_hosts.last().expect("a host").clone();
    assert_eq!(host.domains, ["*"]);
    let action = host.routes[0].action.clone().expect("an action");
    (host.name, action)
}

#[test]
fn the_policy_stands_at_the_end_of_every_table() {
    for allowing in [
        String::new(),
        mesh_config("{}"),
        mesh_config("{ outboundTrafficPolicy: {} }"),
        mesh_config("{ outboundTrafficPolicy: { mode: ALLOW_ANY } }"),
    ] {
        let resources = resources(&format!("{REVIEWS}{allowing}"));
        for table in ["80", "9080"] {
            let (name, action) = last(&resources, table);
            assert_eq!(name, "allow_any");
            assert!(matches!(action, Action::Route(_)));
        }
    }
    let only = mesh_config("{ outboundTrafficPolicy: { mode: REGISTRY_ONLY } }");
    let resources = resources(&format!("{REVIEWS}{only}"));
    for table in ["80", "9080"] {
        let (name, action) = last(&resources, table);
        assert_eq!(name, "block_all");
        assert!(matches!(action, Action::DirectResponse(answer) if answer.status == 502));
    }
}

#[test]
fn fields_of_istio_are_noted_and_others_refused() {
    let loaded = parse(&mesh_config(
        "{ trustDomain: example.com, enableTracing: true }",
    ))
    .expect("accepted");
    assert_eq!(loaded.notes.len(), 1, "{:?}", loaded.notes);
    for (spec, wanted) in [
        (
            "{ outboundTrafficPolicies: {} }",
            "unknown field \"outboundTrafficPolicies\"",
        ),
        (
            "{ outboundTrafficPolicy: { mod: ALLOW_ANY } }",
            "unknown field \"mod\"",
        ),
        (
            "{ outboundTrafficPolicy: { mode: REGISTRY } }",
            "spec.outboundTrafficPolicy.mode must be one of ALLOW_ANY, REGISTRY_ONLY",
        ),
        (
            "{ outboundTrafficPolicy: REGISTRY_ONLY }",
            "must be a mapping",
        ),
    ] {
        let said = parse(&mesh_config(spec)).expect_err("refused");
        assert!(said.contains(wanted), "{said}");
    }
    let other = mesh_config("{}").replace("v1alpha1", "v1");
    assert!(parse(&other).is_err_and(|said| said.contains("mesh.istio.io/v1alpha1")));
}

#[test]
fn there_is_one_of_it() {
    let another = mesh_config("{}").replace("name: mesh", "name: other");
    let said = parse(&format!("{}{another}", mesh_config("{}"))).expect_err("refused");
    assert!(said.contains("the same object stands in"), "{said}");
}

/// `resolution: NONE`: a host that callers may dial, and that has no addresses here.
#[test]
fn a_host_without_addresses_is_dialled_by_its_callers() {
    let outside = REVIEWS
        .replace("name: reviews }", "name: outside }")
        .replace(
            "hosts: [reviews.default.svc.cluster.local]",
            "hosts: [api.example.com]",
        )
        .replace("resolution: STATIC", "resolution: NONE")
        .replace("  endpoints: [ { address: 127.0.0.1 } ]\n", "");
    let name = "outbound|9080||api.example.com";
    let resources = resources(&format!("{outside}---{REVIEWS}"));
    let cluster = Cluster::decode(&*resources.clusters[name].value).expect("a cluster");
    let dialled = ClusterDiscoveryType::Type(DiscoveryType::OriginalDst.into());
    assert_eq!(cluster.cluster_discovery_type, Some(dialled));
    assert_eq!(cluster.lb_policy(), LbPolicy::ClusterProvided);
    assert!(cluster.eds_cluster_config.is_none() && !resources.endpoints.contains_key(name));
    let table = RouteConfiguration::decode(&*resources.routes["9080"].value).expect("a table");
    let host = &table.virtual_hosts[0];
    assert_eq!(
        (host.name.as_str(), &*host.domains[0]),
        ("api.example.com:9080", "api.example.com")
    );
}

/// The file `mesh.yaml` as istiod's `--meshConfig` takes it; a file of another name is no such thing.
#[test]
fn a_file_of_its_own_without_a_kind() {
    let files = |name: &str, text: &str| {
        Config::parse([
            ("reviews.yaml".into(), REVIEWS.to_owned()),
            (name.into(), text.to_owned()),
        ])
        .map_err(|rejected| rejected.to_string())
    };
    let text = "# the mesh\nrootNamespace: istio-system\ntrustDomain: cluster.local\noutboundTrafficPolicy: { mode: REGISTRY_ONLY }\n";
    let loaded = files("folder/mesh.yaml", text).expect("accepted");
    let resources = loaded.config.resources(&Node::sidecar("a", "default"));
    assert_eq!(last(&resources, "9080").0, "block_all");
    let said = files("mesh.yaml", "rootNamespac: a\nconnectTimeout: 0s\n").expect_err("refused");
    assert!(
        said.contains("unknown field \"rootNamespac\" in mesh"),
        "{said}"
    );
    assert!(
        said.contains("mesh.connectTimeout must be 1ms or more"),
        "{said}"
    );
    let said = files("other.yaml", text).expect_err("refused");
    assert!(said.contains("kind is missing"), "{said}");
}

#[test]
fn what_holds_for_all_clusters() {
    let mesh = mesh_config(
        "{ connectTimeout: 3s, h2UpgradePolicy: UPGRADE, tcpKeepalive: { probes: 4 }, defaultServiceExportTo: ['.'] }",
    );
    let config = parse(&format!("{REVIEWS}{mesh}")).expect("accepted").config;
    let own = config.resources(&Node::sidecar("a", "default"));
    let name = "outbound|9080||reviews.default.svc.cluster.local";
    let cluster = Cluster::decode(&*own.clusters[name].value).expect("a cluster");
    assert_eq!(cluster.connect_timeout.map(|d| d.seconds), Some(3));
    assert_eq!(cluster.typed_extension_protocol_options.len(), 1);
    let keepalive = cluster
        .upstream_connection_options
        .and_then(|o| o.tcp_keepalive);
    assert_eq!(
        keepalive.and_then(|k| k.keepalive_probes).map(|n| n.value),
        Some(4)
    );
    // Also of calls to hosts that the mesh does not know.
    let outside = Cluster::decode(&*own.clusters["PassthroughCluster"].value).expect("a cluster");
    assert!(outside.upstream_connection_options.is_some());
    let other = config.resources(&Node::sidecar("a", "other"));
    assert!(!other.clusters.contains_key(name));
}

#[test]
fn retries_that_routes_do_not_say() {
    let mesh = mesh_config("{ defaultHttpRetryPolicy: { attempts: 7, retryOn: '503' } }");
    let service = "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: reviews }\nspec:\n  hosts: [reviews]\n  \
                   http: [ { match: [ { uri: { prefix: /own } } ], retries: { attempts: 1 }, route: [ { destination: { host: reviews } } ] }, { route: [ { destination: { host: reviews } } ] } ]\n";
    let counts = |text: &str| {
        let table =
            RouteConfiguration::decode(&*resources(text).routes["9080"].value).expect("a table");
        let routes = table.virtual_hosts[0].routes.clone().into_iter();
        let counts = routes.map(|route| match route.action {
            Some(Action::Route(action)) => action
                .retry_policy
                .and_then(|r| r.num_retries)
                .map(|n| n.value),
            other => panic!("{other:?}"),
        });
        counts.collect::<Vec<_>>()
    };
    assert_eq!(counts(&format!("{REVIEWS}{mesh}")), [Some(7)]);
    assert_eq!(
        counts(&format!("{REVIEWS}{service}{mesh}")),
        [Some(1), Some(7)]
    );
    assert_eq!(counts(&format!("{REVIEWS}{service}")), [Some(1), Some(2)]);
    let none = mesh_config("{ defaultHttpRetryPolicy: { attempts: 0 } }");
    assert_eq!(counts(&format!("{REVIEWS}{none}")), [None]);
}

#[test]
fn rules_of_the_root_namespace_and_their_default_visibility() {
    let rule = "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: { name: all, namespace: roots }\nspec: { host: '*', trafficPolicy: { loadBalancer: { simple: RANDOM } } }\n";
    let of = |mesh: &str| {
        let resources = resources(&format!("{REVIEWS}{rule}{}", mesh_config(mesh)));
        let name = "outbound|9080||reviews.default.svc.cluster.local";
        Cluster::decode(&*resources.clusters[name].value)
            .expect("a cluster")
            .lb_policy()
    };
    assert_eq!(of("{ rootNamespace: roots }"), LbPolicy::Random);
    assert_eq!(of("{}"), LbPolicy::LeastRequest);
    assert_eq!(
        of("{ rootNamespace: roots, defaultDestinationRuleExportTo: ['.'] }"),
        LbPolicy::LeastRequest
    );
}

/// Of rules that say nothing of it; of Gateway API's as well.
#[test]
fn the_default_visibility_of_virtual_services() {
    let rule = |spec: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: a, namespace: default }}\nspec: {{ hosts: [reviews], {spec}http: [ {{ name: ours, route: [ {{ destination: {{ host: reviews }} }} ] }} ] }}\n"
        )
    };
    let route = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: { name: a, namespace: default }\nspec: { parentRefs: [ { group: '', kind: Service, name: reviews } ], rules: [ { name: ours, backendRefs: [ { name: reviews, port: 9080 } ] } ] }\n";
    let private = mesh_config("{ defaultVirtualServiceExportTo: ['.'] }");
    let known_in = |rule: &str, mesh: &str| {
        let config = parse(&format!("{REVIEWS}{rule}{mesh}"))
            .expect("accepted")
            .config;
        ["default", "other"].map(|namespace| {
            let resources = config.resources(&Node::sidecar("a", namespace));
            let any = &resources.routes["9080"];
            let table = RouteConfiguration::decode(&*any.value).expect("a table");
            table.virtual_hosts[0].routes[0].name == "ours"
        })
    };
    for own in [&*rule(""), route] {
        assert_eq!(known_in(own, ""), [true, true], "{own}");
        assert_eq!(known_in(own, &private), [true, false], "{own}");
    }
    // What the rule itself says comes first.
    assert_eq!(known_in(&rule("exportTo: ['*'], "), &private), [true, true]);
}

#[test]
fn how_long_a_looked_up_name_counts() {
    let service = REVIEWS
        .replace("resolution: STATIC", "resolution: DNS")
        .replace("address: 127.0.0.1", "address: reviews.example.com");
    #[allow(deprecated, reason = "it is what istiod sends")]
    let rate = |mesh: &str| {
        let resources = resources(&format!("{service}{mesh}"));
        let name = "outbound|9080||reviews.default.svc.cluster.local";
        let cluster = Cluster::decode(&*resources.clusters[name].value).expect("a cluster");
        let rate = cluster.dns_refresh_rate.expect("a rate");
        (rate.seconds, rate.nanos)
    };
    assert_eq!(rate(""), (60, 0));
    let said = mesh_config("{ dnsRefreshRate: 1.5s }");
    assert_eq!(rate(&said), (1, 500_000_000));
}
