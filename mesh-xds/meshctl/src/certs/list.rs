//! `meshctl certs DIR`: a line for each workload's folder.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use mesh_control_plane::ca::{Authority, Held, NotHeld};
use serde_json::json;

use super::span;
use crate::failure::Failure;

/// Where the launcher of Bookinfo puts the folders.
const WORKLOADS: &str = "workloads";

/// What to list.
#[derive(Debug, clap::Args)]
#[group(skip)] // flattened beside the commands
pub(crate) struct Args {
    /// A folder with a certificate (cert-chain.pem, key.pem and root-cert.pem, or tls.crt, tls.key and ca.crt), or one of
    /// such folders, as `bookinfo` prints it. Exit code 1 if one of the certificates cannot be used. The folder of an
    /// authority is shown as one, and not judged.
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// A table if not given.
    #[arg(short, long)]
    output: Option<Output>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    Json,
}

/// A folder and what is in it.
struct Row {
    name: String,
    what: What,
}

enum What {
    /// Of a workload.
    Held(Result<Held, NotHeld>),
    /// What signs those of workloads.
    Authority,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let dir = args.dir.as_deref().unwrap_or_else(|| Path::new("."));
    let now = SystemTime::now();
    let rows = rows(dir)?;
    let mut out = io::stdout().lock();
    match args.output {
        None => table(&mut out, &rows, now)?,
        Some(Output::Json) => {
            let all: Vec<_> = rows.iter().map(|row| row.json(now)).collect();
            writeln!(out, "{:#}", json!(all))?;
        }
    }
    match rows.iter().filter(|row| row.fault(now).is_some()).count() {
        0 => Ok(()),
        bad => {
            let workloads = rows.iter().filter(|row| row.is_workload()).count();
            Err(Failure::No(format!(
                "{bad} of {workloads} certificates cannot be used"
            )))
        }
    }
}

fn rows(dir: &Path) -> Result<Vec<Row>, Failure> {
    let inner = dir.join(WORKLOADS);
    let dir = if inner.is_dir() { &inner } else { dir };
    let row = |folder: &Path| Row {
        name: folder
            .canonicalize()
            .ok()
            .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
            .unwrap_or_else(|| folder.display().to_string()),
        what: match Authority::lies_in(folder) {
            true => What::Authority,
            false => What::Held(Held::read(folder)),
        },
    };
    if ["cert-chain.pem", "tls.crt"]
        .iter()
        .any(|name| dir.join(name).exists())
    {
        return Ok(vec![row(dir)]);
    }
    let unreadable = |error: io::Error| {
        let dir = dir.display();
        Failure::Setup(format!(
            "the folder of certificates {dir} cannot be read ({error}): name another one"
        ))
    };
    let mut folders = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    folders.sort();
    match folders.is_empty() {
        true => Err(Failure::Setup(format!(
            "the folder {} holds no certificate and no folders: `bookinfo` prints where its certificates are",
            dir.display()
        ))),
        false => Ok(folders.iter().map(|folder| row(folder)).collect()),
    }
}

impl Row {
    /// Why it cannot be used.
    fn fault(&self, now: SystemTime) -> Option<String> {
        match &self.what {
            What::Held(Ok(held)) => held.fault(now),
            What::Held(Err(error)) => Some(error.to_string()),
            What::Authority => None,
        }
    }

    fn is_workload(&self) -> bool {
        matches!(self.what, What::Held(_))
    }

    fn cells(&self, now: SystemTime) -> [String; 6] {
        let none = || "-".to_owned();
        let state = match self.is_workload() {
            true => self.fault(now).unwrap_or_else(|| "ok".to_owned()),
            false => "authority".to_owned(),
        };
        let What::Held(Ok(held)) = &self.what else {
            return [self.name.clone(), none(), none(), none(), none(), state];
        };
        let left = held.not_after.duration_since(now);
        let left = left.map_or_else(|over| format!("-{}", span(over.duration())), span);
        let age = now.duration_since(held.written).unwrap_or_default();
        [
            self.name.clone(),
            held.identity.to_string(),
            held.issuer.clone(),
            left,
            format!("{} ago", span(age)),
            state,
        ]
    }

    fn json(&self, now: SystemTime) -> serde_json::Value {
        let seconds = |time: SystemTime| {
            let since = time.duration_since(SystemTime::UNIX_EPOCH);
            since.map_or(0, |since| since.as_secs())
        };
        if !self.is_workload() {
            return json!({ "authority": self.name });
        }
        let mut all = json!({ "workload": self.name, "fault": self.fault(now) });
        if let What::Held(Ok(held)) = &self.what {
            all["identity"] = json!(held.identity.as_str());
            all["issuer"] = json!(held.issuer);
            all["serial"] = json!(held.serial);
            all["notBefore"] = json!(seconds(held.not_before));
            all["notAfter"] = json!(seconds(held.not_after));
            all["rotated"] = json!(seconds(held.written));
        }
        all
    }
}

fn table(out: &mut impl Write, rows: &[Row], now: SystemTime) -> io::Result<()> {
    let title = [
        "WORKLOAD",
        "IDENTITY",
        "ISSUER",
        "EXPIRES IN",
        "ROTATED",
        "STATE",
    ];
    let mut lines = vec![title.map(str::to_owned)];
    lines.extend(rows.iter().map(|row| row.cells(now)));
    let width = |column: usize| {
        let all = lines.iter().map(|line| line[column].chars().count());
        all.max().unwrap_or_default()
    };
    let [a, b, c, d, e] = [0, 1, 2, 3, 4].map(width);
    for [workload, identity, issuer, left, age, state] in &lines {
        writeln!(
            out,
            "{workload:a$}   {identity:b$}   {issuer:c$}   {left:d$}   {age:e$}   {state}"
        )?;
    }
    Ok(())
}
