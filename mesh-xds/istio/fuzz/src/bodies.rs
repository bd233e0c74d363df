//! The bodies of the fuzz targets: each holds for every input.

use mesh_istio::Config;
use mesh_xds::ads::Machine;
use mesh_xds::{Node, ResourceType, Wanted};

/// Whatever a text compiles to, the client takes all of it.
pub fn yaml(input: &[u8]) -> Result<(), String> {
    yaml_by(input, |rejected| rejected)
}

/// The control: a client that refuses what it hears of.
pub fn yaml_broken(input: &[u8]) -> Result<(), String> {
    yaml_by(input, |_| Some("all is refused".to_owned()))
}

fn yaml_by(input: &[u8], judged: fn(Option<String>) -> Option<String>) -> Result<(), String> {
    let text = String::from_utf8_lossy(input).into_owned();
    let Ok(loaded) = Config::parse([("a.yaml".into(), text)]) else {
        return Ok(());
    };
    for node in [
        Node::sidecar("a", "default"),
        Node::router("a", "default", [("istio", "ingressgateway")]),
    ] {
        let resources = loaded.config.resources(&node);
        let mut machine = Machine::new(node, "a.yaml");
        for name in resources.of(ResourceType::Route).keys() {
            // Of tables under another name, those of single hosts, the client wants none.
            if let Ok(table) = name.parse() {
                machine.want(Wanted::Table(table));
            }
        }
        machine.replaced(&"1".into(), &resources);
        // Clusters are looked into when a route first names them.
        machine.assemble(std::time::Instant::now());
        machine.replaced(&"2".into(), &resources);
        let rejected = machine.status().rejected.first().map(ToString::to_string);
        let has_any = !resources.of(ResourceType::Route).is_empty();
        let judged = if has_any { judged(rejected) } else { rejected };
        if let Some(text) = judged {
            return Err(text);
        }
    }
    Ok(())
}
