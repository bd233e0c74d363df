//! `meshctl get`: the objects of a folder.

use std::io::{self, Write};
use std::path::PathBuf;

use mesh_istio::{Config, Object};
use serde_json::{Value, json};

use crate::failure::{Failure, readable};
use crate::kind::{all, qualified, singular};

/// What to list.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this kind; plurals and short names (vs, dr, gw, se, we) are known too.
    kind: Option<String>,
    /// Only the object of this name.
    #[arg(requires = "kind")]
    name: Option<String>,
    /// Only this namespace; all of them otherwise.
    #[arg(short, long)]
    namespace: Option<String>,
    /// A table if not given.
    #[arg(short, long)]
    output: Option<Output>,
    /// The folder to read.
    #[arg(long, value_name = "DIR", env = "MESH_CONFIG")]
    config: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    Yaml,
    Json,
    Name,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    readable(&args.config)?;
    let config = Config::load(&args.config)?.config;
    let kind = args.kind.as_deref().map(singular);
    let found: Vec<_> = (config.objects())
        .filter(|o| kind.as_ref().is_none_or(|kind| singular(&o.kind) == *kind))
        .filter(|o| args.name.as_ref().is_none_or(|name| o.name == *name))
        .filter(|o| {
            args.namespace
                .as_ref()
                .is_none_or(|namespace| o.namespace == *namespace)
        })
        .collect();
    if found.is_empty() {
        return nothing(args);
    }
    let mut out = io::stdout().lock();
    match args.output {
        None => table(&mut out, &found)?,
        Some(Output::Name) => {
            for object in found {
                let kind = qualified(&object.kind, object.group());
                writeln!(out, "{kind}/{}", object.name)?;
            }
        }
        Some(Output::Yaml) => {
            for (index, object) in found.iter().enumerate() {
                let separator = if index > 0 { "---\n" } else { "" };
                writeln!(out, "{separator}{}", object.yaml.trim())?;
            }
        }
        Some(Output::Json) => writeln!(out, "{:#}", as_json(&found, args.name.is_some())?)?,
    }
    Ok(())
}

/// An unknown kind and an absent name are errors; an empty list is not, as with kubectl.
fn nothing(args: &Args) -> Result<(), Failure> {
    let kind = args.kind.as_deref().map(singular);
    if let Some(unknown) = kind.as_deref().filter(|kind| !all().any(|it| it == *kind)) {
        let known: Vec<_> = all().collect();
        let known = known.join(", ");
        return Err(Failure::No(format!(
            "no kind is called {unknown:?}; there are {known}"
        )));
    }
    let place = args.config.display();
    let namespace = args
        .namespace
        .as_ref()
        .map(|n| format!(" namespace {n} of"))
        .unwrap_or_default();
    if let (Some(kind), Some(name)) = (&args.kind, &args.name) {
        return Err(Failure::No(format!(
            "{}/{name} not found in{namespace} {place}",
            singular(kind)
        )));
    }
    if args.output == Some(Output::Json) {
        writeln!(
            io::stdout(),
            "{:#}",
            json!({ "apiVersion": "v1", "kind": "List", "items": [] })
        )?;
    }
    writeln!(io::stderr(), "No resources found in{namespace} {place}")?;
    Ok(())
}

fn table(out: &mut impl Write, objects: &[&Object]) -> io::Result<()> {
    let rows: Vec<[String; 4]> = (objects.iter())
        .map(|o| {
            [
                o.kind.clone(),
                o.namespace.clone(),
                o.name.clone(),
                format!("{}:{}", o.file.display(), o.line),
            ]
        })
        .collect();
    let title = ["KIND", "NAMESPACE", "NAME", "FILE"].map(str::to_owned);
    let width = |column: usize| {
        rows.iter()
            .chain([&title])
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or_default()
    };
    let (kind, namespace, name) = (width(0), width(1), width(2));
    for [a, b, c, d] in [&title].into_iter().chain(&rows) {
        writeln!(out, "{a:kind$}   {b:namespace$}   {c:name$}   {d}")?;
    }
    Ok(())
}

/// The object, when one was asked for by name and is the only one; else a `List`.
fn as_json(objects: &[&Object], named: bool) -> Result<Value, Failure> {
    let mut items = Vec::new();
    for object in objects {
        let value: Value = serde_saphyr::from_str(&object.yaml).map_err(|error| {
            Failure::No(format!(
                "{} in {}: {error}",
                object.id(),
                object.file.display()
            ))
        })?;
        items.push(value);
    }
    if named && items.len() == 1 {
        return Ok(items.remove(0));
    }
    Ok(json!({ "apiVersion": "v1", "kind": "List", "items": items }))
}
