//! `meshctl apply` and `meshctl delete`: all files of a command, or none of them.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use mesh_istio::{Action, Applied, Options};

use crate::failure::{Failure, readable};
use crate::kind::qualified;

/// What to edit.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A YAML file, a folder of them, or - for standard input; may be given more than once.
    #[arg(short, long, value_name = "FILE|DIR|-", required = true)]
    filename: Vec<PathBuf>,
    /// The folder to edit.
    #[arg(long, value_name = "DIR", env = "MESH_CONFIG")]
    config: PathBuf,
    /// The workloads that are ruled by the folder have certificates of the mesh: rules that demand mutual TLS are taken.
    #[arg(long)]
    certificates: bool,
}

impl Args {
    fn options(&self) -> Options {
        Options::default().certificates(self.certificates)
    }
}

pub(crate) fn apply(args: &Args) -> Result<(), Failure> {
    readable(&args.config)?;
    let files = read(&args.filename)?;
    if files.len() > 1 {
        // One by one first: an error then has the file and the line in which it stands.
        args.options().parse(files.clone())?;
    }
    let (text, source) = one_text(files);
    let applied = args.options().apply(&args.config, &text, &source)?;
    let mut out = io::stdout().lock();
    for Applied {
        group,
        kind,
        name,
        action,
        ..
    } in &applied
    {
        let verb = match action {
            Action::Created => "created",
            Action::Configured => "configured",
            Action::Unchanged | Action::Deleted | Action::NotFound => "unchanged",
        };
        writeln!(out, "{}/{name} {verb}", qualified(kind, group))?;
    }
    warn_unsupported(args, &applied)
}

/// Tells what of the written objects is accepted and has no effect, as the control plane will log it.
fn warn_unsupported(args: &Args, applied: &[Applied]) -> Result<(), Failure> {
    let notes = args.options().load(&args.config)?.notes;
    let mut err = io::stderr().lock();
    for note in notes
        .iter()
        .filter(|note| applied.iter().any(|a| a.file == note.file))
    {
        writeln!(err, "{note}")?;
    }
    Ok(())
}

pub(crate) fn delete(args: &Args) -> Result<(), Failure> {
    readable(&args.config)?;
    let (text, source) = one_text(read(&args.filename)?);
    let applied = mesh_istio::delete(&args.config, &text, &source)?;
    let mut missing = Vec::new();
    let mut out = io::stdout().lock();
    for Applied {
        group,
        kind,
        namespace,
        name,
        action,
        ..
    } in &applied
    {
        if *action == Action::NotFound {
            missing.push(format!(
                "{} {name:?} not found in namespace {namespace}",
                qualified(kind, group)
            ));
        } else {
            writeln!(out, "{} {name:?} deleted", qualified(kind, group))?;
        }
    }
    if missing.is_empty() {
        Ok(())
    } else {
        Err(Failure::No(missing.join("\n")))
    }
}

/// The texts of all named files, those of a folder in the order of their names.
fn read(names: &[PathBuf]) -> Result<Vec<(PathBuf, String)>, Failure> {
    let mut files = Vec::new();
    for name in names {
        if name == Path::new("-") {
            let mut text = String::new();
            io::stdin()
                .read_to_string(&mut text)
                .map_err(|error| unreadable(Path::new("standard input"), &error))?;
            files.push((PathBuf::from("<stdin>"), text));
        } else if name.is_dir() {
            let before = files.len();
            read_dir(name, &mut files)?;
            if files.len() == before {
                let name = name.display();
                return Err(Failure::Setup(format!(
                    "{name} holds no .yaml or .yml file: name another folder with -f"
                )));
            }
        } else {
            files.push((name.clone(), read_file(name)?));
        }
    }
    Ok(files)
}

fn read_dir(dir: &Path, files: &mut Vec<(PathBuf, String)>) -> Result<(), Failure> {
    let entries =
        std::fs::read_dir(dir).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
    let mut paths: Vec<_> = entries
        .map_err(|error| unreadable(dir, &error))?
        .iter()
        .map(|e| e.path())
        .collect();
    paths.sort();
    for path in paths {
        let extension = path.extension().and_then(OsStr::to_str);
        // A link may lead back to where it stands.
        if std::fs::symlink_metadata(&path).is_ok_and(|it| it.is_dir()) {
            read_dir(&path, files)?;
        } else if matches!(extension, Some("yaml" | "yml")) {
            let text = read_file(&path)?;
            files.push((path, text));
        }
    }
    Ok(())
}

fn read_file(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::Setup(format!(
        "{} cannot be read ({error}): name another file with -f",
        path.display()
    ))
}

/// One edit of all files: the folder must never hold half of a command.
fn one_text(mut files: Vec<(PathBuf, String)>) -> (String, PathBuf) {
    if files.len() == 1
        && let Some((path, text)) = files.pop()
    {
        return (text, path);
    }
    let names: Vec<_> = files
        .iter()
        .map(|(path, _)| path.display().to_string())
        .collect();
    let texts: Vec<_> = files.into_iter().map(|(_, text)| text).collect();
    (texts.join("\n---\n"), names.join(",").into())
}
