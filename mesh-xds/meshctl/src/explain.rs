//! `meshctl explain`: what the rules say of a request, with the reasons. Nothing is sent.
//!
//! Exit code 0 if such a request can get to an endpoint, to the host that it asks for, or to an answer that a route
//! gives; 1 if none can; 2 if there are no rules to ask.

mod json;

use std::io::Write;

use http::{HeaderName, HeaderValue, Method, Request, Uri};
use mesh_tower::Mesh;
use mesh_tower::explain::{Explanation, Way};

use crate::call::{Output, header, url};
use crate::failure::Failure;
use crate::rules;

/// The request, and by which rules.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Such as `http://reviews:9080/reviews/0`.
    #[arg(value_parser = url)]
    url: Uri,
    #[arg(short = 'X', long, default_value = "GET")]
    method: Method,
    /// A header; may be given more than once.
    #[arg(short = 'H', long = "header", value_name = "K: V", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// `json`: one object. `text`: to be read.
    #[arg(short, long, default_value = "text")]
    output: Output,
    /// A control plane, as `127.0.0.1:15010`, in place of a folder or a bootstrap.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "config")]
    xds: Option<String>,
    #[command(flatten)]
    rules: rules::Args,
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let Args {
        url,
        method,
        headers,
        output,
        xds,
        rules,
    } = args;
    let host = url.host().unwrap_or_default().to_owned();
    let folder = rules.clone();
    let is_of_folder = xds.is_none();
    let mesh: Mesh = match xds {
        Some(address) => rules.mesh_of(&address)?,
        None => rules.mesh().await?,
    };
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = url;
    for (name, value) in headers {
        request.headers_mut().append(name, value);
    }
    let explanation = mesh.explain(&request).await;
    let mut out = std::io::stdout();
    match output {
        Output::Json => writeln!(out, "{}", json::of(&explanation))?,
        Output::Text => {
            write!(out, "{explanation}")?;
            if is_of_folder && is_unknown(&explanation) {
                let alike = folder.services_like(&host)?;
                if !alike.is_empty() {
                    writeln!(out, "the rules have {}", alike.join(", "))?;
                }
            }
        }
    }
    mesh.shutdown().await;
    match explanation.reaches() > 0.0 {
        true => Ok(()),
        // It has been said.
        false => Err(Failure::No(String::new())),
    }
}

/// Whether no service of the mesh has this host and port, so that `outboundTrafficPolicy` decides.
fn is_unknown(explanation: &Explanation) -> bool {
    matches!(&explanation.way, Way::Routes(candidates, _) if candidates.policy().is_some())
}
