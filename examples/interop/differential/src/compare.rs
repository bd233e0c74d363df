//! Two sets of resources, one by one.

use std::collections::BTreeSet;

use mesh_istio::Options;

use crate::case::{Case, Client};
use crate::control;
use crate::diff::{UNSET, diff};
use crate::failure::{Doing, Failure, Result};
use crate::istiod::Refused;
use crate::kind::Kind;
use crate::known::Difference;
use crate::sides::{self, Resources};
use crate::tree::{Protos, Tree};

/// What came out of a case.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) differences: Vec<Difference>,
    /// Resources that both sides have.
    pub(crate) resources: usize,
    /// Scalars in them, on istiod's side.
    pub(crate) values: usize,
    /// Whether istiod had no endpoint for a node, and ours had.
    is_empty: bool,
    /// The lies that were told, and what was seen of each.
    pub(crate) lies: Vec<(&'static str, Vec<Difference>)>,
}

/// A case through both sides. With `lie`, also what is seen when ours is made wrong.
pub(crate) async fn case(case: &Case, protos: &Protos, lie: bool) -> Result<Outcome> {
    let outcome = under_one(case, protos, lie).await?;
    if outcome.is_empty {
        // Now and then an istiod loses every endpoint as it starts, and never finds them. What stays so under a second
        // one is a difference.
        return under_one(case, protos, lie).await;
    }
    Ok(outcome)
}

/// The same, under one istiod.
async fn under_one(case: &Case, protos: &Protos, lie: bool) -> Result<Outcome> {
    let scratch = tempfile::tempdir().doing("a temporary folder")?;
    let istiod = case
        .istiod(scratch.path())
        .map_err(|error| error.of(&case.name))?;
    let folder = case.folder()?;
    let mut outcome = Outcome::default();
    let (istiod, config) = match (
        istiod,
        Options::default().certificates(true).load(folder.path()),
    ) {
        (Ok(istiod), Ok(loaded)) => (istiod, loaded.config),
        // Both refuse it; in which words is not compared.
        (Err(_), Err(_)) => {
            outcome.values = 1;
            return Ok(outcome);
        }
        (istiod, config) => {
            outcome.differences = refused(case, istiod.err(), config.err());
            return Ok(outcome);
        }
    };
    for client in &case.clients {
        let ours = sides::ours(&config, client);
        let istiods = sides::settled(istiod.address(), client, &ours, protos);
        let istiods = istiods
            .await
            .map_err(|error| error.of(&format!("{}, {client}", case.name)))?;
        outcome.is_empty |= sides::has_lost_all(&istiods, &ours);
        let compared = outcome.values;
        let place = Place {
            case,
            client,
            protos,
        };
        outcome.add(&place, &istiods, &ours);
        if outcome.values == compared {
            return Err(Failure::new(format!(
                "{}: {client} has nothing to compare",
                case.name
            )));
        }
        if lie {
            for (what, key, wrong) in control::lies(&ours) {
                let mut seen = Outcome::default();
                if let Some(right) = istiods.get(&key) {
                    let one = |any| Resources::from([(key.clone(), any)]);
                    seen.add(&place, &one(right.clone()), &one(wrong));
                    outcome.lies.push((what, seen.differences));
                }
            }
        }
    }
    Ok(outcome)
}

/// A folder that only one of the two takes.
fn refused(
    case: &Case,
    istiod: Option<Refused>,
    ours: Option<mesh_istio::Rejected>,
) -> Vec<Difference> {
    let of = |path: &str, values: String| Difference {
        case: case.name.clone(),
        node: "-".to_owned(),
        kind: "Folder".to_owned(),
        path: path.to_owned(),
        values,
    };
    let diagnostics = ours.into_iter().flat_map(|rejected| rejected.diagnostics);
    let by_us = diagnostics.map(|diagnostic| {
        let file = diagnostic
            .file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        of(&file, format!("accepted | {}", diagnostic.message))
    });
    let by_istiod = istiod
        .into_iter()
        .map(|Refused(reason)| of("", format!("{reason} | accepted")));
    by_us.chain(by_istiod).collect()
}

/// Whose resources are compared.
struct Place<'a> {
    case: &'a Case,
    client: &'a Client,
    protos: &'a Protos,
}

impl Outcome {
    fn add(&mut self, place: &Place<'_>, istiods: &Resources, ours: &Resources) {
        let keys: BTreeSet<_> = istiods.keys().chain(ours.keys()).collect();
        for key in keys {
            let (kind, name) = key;
            let tree = |of: &Resources| of.get(key).map(|any| place.protos.tree(any));
            let mut add = |path: &str, istiod: &str, ours: &str| {
                self.differences.push(Difference {
                    case: place.case.name.clone(),
                    node: place.client.to_string(),
                    kind: kind.to_string(),
                    path: format!("{name} {path}").trim_end().to_owned(),
                    values: format!("{istiod} | {ours}"),
                });
            };
            match (tree(istiods), tree(ours)) {
                (Some(istiod), Some(ours)) => {
                    for found in diff(&istiod, &ours) {
                        add(&found.path, &found.istiod, &found.ours);
                    }
                    self.resources += 1;
                    self.values += istiod.leaves();
                }
                (Some(istiod), None) if !is_answer_to_nobody(*kind, &istiod) => {
                    add("", "present", UNSET)
                }
                (None, Some(_)) => add("", UNSET, "present"),
                _ => {}
            }
        }
    }
}

/// istiod answers a name that it does not know with a resource that has only the name.
fn is_answer_to_nobody(kind: Kind, tree: &Tree) -> bool {
    let field = match kind {
        Kind::Route => "virtual_hosts",
        Kind::Endpoints => "endpoints",
        Kind::Listener | Kind::Cluster => return false,
    };
    tree.at(&[field]).is_none()
}
