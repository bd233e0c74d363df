//! `meshctl analyze`: what is wrong with rules, before they are applied.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use mesh_istio::{Analysis, Finding, Level, Options};
use serde_json::json;

use crate::failure::Failure;

/// What to look at.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 when nothing as bad as the failure threshold was found, 79 when something was \
                        (as istioctl), 2 when the command line is wrong or a path cannot be read, 1 when the output \
                        cannot be written."
)]
pub(crate) struct Args {
    /// YAML files, folders of them, or - for standard input: together they are one configuration.
    #[arg(value_name = "FILE|DIR|-", required = true)]
    paths: Vec<PathBuf>,
    /// The workloads of the mesh have certificates: rules that demand mutual TLS are taken.
    #[arg(long)]
    certificates: bool,
    /// Lines of text if not given.
    #[arg(short, long)]
    output: Option<Output>,
    /// The exit code is 79 when a finding is as bad as this or worse.
    #[arg(
        long,
        value_name = "LEVEL",
        default_value = "error",
        ignore_case = true
    )]
    failure_threshold: Threshold,
    /// Findings less bad than this are not shown.
    #[arg(long, value_name = "LEVEL", default_value = "info", ignore_case = true)]
    output_threshold: Threshold,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    Json,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Threshold {
    Info,
    Warning,
    Error,
}

impl Threshold {
    fn level(self) -> Level {
        match self {
            Self::Info => Level::Info,
            Self::Warning => Level::Warning,
            Self::Error => Level::Error,
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let (findings, objects) = read(args)?.judged();
    let shown = findings
        .iter()
        .filter(|finding| finding.level >= args.output_threshold.level());
    let mut out = io::stdout().lock();
    match args.output {
        None => shown
            .into_iter()
            .try_for_each(|finding| writeln!(out, "{finding}"))?,
        Some(Output::Json) => {
            let all: Vec<_> = shown.map(as_json).collect();
            writeln!(out, "{:#}", json!(all))?;
        }
    }
    let names: Vec<_> = args
        .paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let names = names.join(", ");
    let threshold = args.failure_threshold.level();
    let bad = findings.iter().filter(|finding| finding.level >= threshold);
    match bad.count() {
        0 if findings.is_empty() => writeln!(
            io::stderr(),
            "Nothing was found in {names}; objects looked at: {objects}"
        )?,
        0 => {}
        count => {
            return Err(Failure::Found(format!(
                "{count} of {} findings in {names} are of the level {threshold} or worse",
                findings.len()
            )));
        }
    }
    Ok(())
}

fn read(args: &Args) -> Result<Analysis, Failure> {
    let mut analysis = Analysis::of(Options::default().certificates(args.certificates));
    for path in &args.paths {
        let unreadable = |error| {
            let path = path.display();
            Failure::Setup(format!(
                "{path} cannot be read ({error}): name a file, a folder, or - for standard input"
            ))
        };
        if path == Path::new("-") {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).map_err(unreadable)?;
            analysis.text("stdin", text);
        } else {
            std::fs::metadata(path).map_err(unreadable)?;
            analysis.path(path);
        }
    }
    Ok(analysis)
}

fn as_json(finding: &Finding) -> serde_json::Value {
    json!({
        "code": finding.code,
        "level": finding.level.to_string(),
        "message": finding.message,
        "origin": finding.object,
        "reference": finding.reference(),
        "path": finding.path,
    })
}
