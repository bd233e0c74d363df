//! `Sidecar`: what is left of the mesh for the nodes that it is for.

mod common;

use common::*;
use mesh_xds::{Node, Resources};

fn service(namespace: &str, name: &str, ports: &[u32]) -> String {
    let ports = ports
        .iter()
        .map(|port| format!("{{ number: {port}, name: http-{port}, protocol: HTTP }}"));
    let ports = ports.collect::<Vec<_>>().join(", ");
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{ name: {name}, namespace: {namespace} }}\nspec:\n  \
         hosts: [{name}.{namespace}.svc.cluster.local]\n  resolution: STATIC\n  ports: [ {ports} ]\n  endpoints: [ {{ address: 10.0.0.1 }} ]\n"
    )
}

fn sidecar(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{ name: {name}, namespace: {namespace} }}\nspec: {spec}\n"
    )
}

fn mesh() -> String {
    service("default", "a", &[80, 81])
        + &service("default", "b", &[80])
        + &service("other", "a", &[80])
        + &service("other", "c", &[80])
}

/// The services with clusters, as `name.namespace:port`.
fn clusters(resources: &Resources) -> Vec<String> {
    let names = resources.clusters.keys().filter_map(|name| {
        let [_, port, "", host] = name.split('|').collect::<Vec<_>>()[..] else {
            return None;
        };
        Some(format!(
            "{}:{port}",
            host.strip_suffix(".svc.cluster.local")?
        ))
    });
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// The virtual hosts of a table but for the last, which is for all others.
fn hosts(resources: &Resources, table: &str) -> Vec<String> {
    let table = routes(resources, table).virtual_hosts;
    let names = table[..table.len() - 1].iter();
    names
        .map(|host| host.name.replace(".svc.cluster.local", ""))
        .collect()
}

fn told(text: &str, node: &Node) -> Resources {
    load(text).config.resources(node)
}

#[test]
fn hosts_by_namespace_and_name() {
    let all = [
        "a.default:80",
        "a.default:81",
        "a.other:80",
        "b.default:80",
        "c.other:80",
    ];
    let of = |egress: &str| {
        let text = mesh() + &sidecar("default", "s", egress);
        let resources = told(&text, &client());
        // Clusters and the tables of ports tell the same.
        let mut routed = hosts(&resources, "80");
        routed.sort();
        let known = clusters(&resources);
        let on_80: Vec<String> = known
            .iter()
            .filter(|name| name.ends_with(":80"))
            .cloned()
            .collect();
        assert_eq!(routed, on_80, "{egress}");
        known
    };
    assert_eq!(of("{}"), all);
    assert_eq!(of("{ egress: [ { hosts: ['*/*'] } ] }"), all);
    assert_eq!(
        of("{ egress: [ { hosts: ['./*'] } ] }"),
        ["a.default:80", "a.default:81", "b.default:80"]
    );
    assert_eq!(of("{ egress: [ { hosts: ['~/*'] } ] }"), [""; 0]);
    assert_eq!(
        of("{ egress: [ { hosts: ['other/*', ./b.default.svc.cluster.local] } ] }"),
        ["a.other:80", "b.default:80", "c.other:80"]
    );
    assert_eq!(
        of("{ egress: [ { hosts: ['*/*.other.svc.cluster.local'] } ] }"),
        ["a.other:80", "c.other:80"]
    );
}

#[test]
fn ports_have_entries_of_their_own() {
    let spec = "{ egress: [ { port: { number: 80, protocol: HTTP, name: x }, hosts: [./a.default.svc.cluster.local] }, { hosts: ['other/*'] } ] }";
    let resources = told(&(mesh() + &sidecar("default", "s", spec)), &client());
    assert_eq!(
        clusters(&resources),
        ["a.default:80", "a.other:80", "c.other:80"]
    );
    // The table of the port has the hosts of its entry alone.
    assert_eq!(hosts(&resources, "80"), ["a.default:80"]);
    assert!(!resources.routes.contains_key("81"));
}

#[test]
fn the_nearest_of_several_counts() {
    let only = |name: &str| format!("egress: [ {{ hosts: ['*/{name}.svc.cluster.local'] }} ]");
    let root = sidecar("istio-system", "r", &format!("{{ {} }}", only("c.other")));
    let own = sidecar("default", "z", &format!("{{ {} }}", only("b.default")));
    let picked = sidecar(
        "default",
        "zz",
        &format!(
            "{{ workloadSelector: {{ labels: {{ app: productpage }} }}, {} }}",
            only("a.other")
        ),
    );
    let text = mesh() + &root + &own + &picked;
    let of = |node: &Node| clusters(&told(&text, node));
    assert_eq!(of(&client()), ["a.other:80"]);
    assert_eq!(of(&Node::sidecar("x", "default")), ["b.default:80"]);
    assert_eq!(of(&Node::sidecar("x", "other")), ["c.other:80"]);
    // Gateways are none of its business.
    let gateway = Node::router("gw", "default", [("app", "productpage")]);
    assert_eq!(of(&gateway).len(), 5);
}

#[test]
fn calls_to_the_unknown() {
    let last = |spec: &str, mesh_says: &str| {
        let mesh_config = format!(
            "---\napiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\nmetadata: {{ name: m }}\nspec: {{ outboundTrafficPolicy: {{ mode: {mesh_says} }} }}\n"
        );
        let resources = told(
            &(mesh() + &mesh_config + &sidecar("default", "s", spec)),
            &client(),
        );
        routes(&resources, "80")
            .virtual_hosts
            .last()
            .expect("a host")
            .name
            .clone()
    };
    assert_eq!(
        last(
            "{ outboundTrafficPolicy: { mode: REGISTRY_ONLY } }",
            "ALLOW_ANY"
        ),
        "block_all"
    );
    assert_eq!(
        last(
            "{ outboundTrafficPolicy: { mode: ALLOW_ANY } }",
            "REGISTRY_ONLY"
        ),
        "allow_any"
    );
    // The message's own default, as protobuf has it.
    assert_eq!(
        last("{ outboundTrafficPolicy: {} }", "ALLOW_ANY"),
        "block_all"
    );
    assert_eq!(last("{}", "REGISTRY_ONLY"), "block_all");
}

/// A rule of an imported host brings the clusters of its destinations; one of another host is not seen.
#[test]
fn rules_and_where_they_lead() {
    let rule = |name: &str, to: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: {name} }}\nspec: {{ hosts: [{name}], http: [ {{ route: [ {{ destination: {{ host: {to} }} }} ] }} ] }}\n"
        )
    };
    let spec = "{ egress: [ { hosts: [./a.default.svc.cluster.local] } ] }";
    let text = mesh()
        + &rule("a", "c.other.svc.cluster.local")
        + &rule("b", "a.other.svc.cluster.local")
        + &sidecar("default", "s", spec);
    let resources = told(&text, &client());
    assert_eq!(
        clusters(&resources),
        ["a.default:80", "a.default:81", "c.other:80"]
    );
    assert_eq!(hosts(&resources, "80"), ["a.default:80"]);
    let table = routes(&resources, "80");
    assert_eq!(
        target(&host_routes(&table, "a.default.svc.cluster.local:80")[0]),
        "outbound|80||c.other.svc.cluster.local"
    );
}

#[test]
fn what_is_wrong_is_told_at_once() {
    let spec = "{ ingress: [], egress: [ { hosts: ['*/*'] }, { port: { protocol: HTTP }, hosts: [a, 'A_/b', './-'] }, { hosts: [] } ] }";
    let told = reject(&sidecar("default", "s", spec)).to_string();
    for wanted in [
        "spec.egress[0] has no port: it must be the last",
        "spec.egress[1].port.number is missing",
        "spec.egress[1].hosts: \"a\" must be namespace/host",
        "before '/' stands '*', '.', '~' or a namespace, not \"A_\"",
        "spec.egress[1].hosts: \"-\" is no host name",
        "spec.egress[2].hosts must name at least one host",
    ] {
        assert!(told.contains(wanted), "{wanted}\n{told}");
    }
    let notes = load(&sidecar("default", "s", "{ ingress: [ { anything: 1 } ] }")).notes;
    assert!(
        notes[0].message.contains("spec.ingress has no effect"),
        "{notes:?}"
    );
}
