//! `meshctl call`: requests through the real client stack, and where each one went.

mod report;
mod send;

use http::{HeaderName, HeaderValue, Method, Uri};

use crate::failure::Failure;
use crate::rules;

/// What to send, how often, and by which rules.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Such as `http://reviews:9080/reviews/0`. `https://` goes to the host itself, past the rules for HTTP, if the
    /// mesh lets it out.
    #[arg(value_parser = url)]
    url: Uri,
    /// GET, or POST when there is a body.
    #[arg(short = 'X', long)]
    method: Option<Method>,
    /// A header; may be given more than once.
    #[arg(short = 'H', long = "header", value_name = "K: V", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    #[arg(short = 'd', long, value_name = "BODY")]
    data: Option<String>,
    /// How many requests.
    #[arg(short = 'n', long, default_value_t = 1)]
    count: u64,
    /// Requests per second, sent on time whether or not earlier ones are answered (open loop). Milliseconds then
    /// count from the time at which a request was due.
    #[arg(long, conflicts_with = "concurrency", value_parser = rate)]
    rate: Option<f64>,
    /// How many requests are under way at once.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
    /// `json`: a line for each request. `text`: a line, and the body.
    #[arg(short, long, default_value = "text")]
    output: Output,
    #[command(flatten)]
    rules: rules::Args,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    Json,
    Text,
}

pub(crate) fn url(text: &str) -> Result<Uri, String> {
    let uri: Uri = text.parse().map_err(|error| format!("{error}"))?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(_)) => Ok(uri),
        (Some(other), Some(_)) => Err(format!(
            "its scheme is {other}; a call is of http:// or https://"
        )),
        _ => Err("it needs a scheme and a host, as in http://reviews:9080/reviews/0".to_owned()),
    }
}

pub(crate) fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text
        .split_once(':')
        .ok_or("a header is written 'name: value'")?;
    let name = name.trim().parse().map_err(|error| format!("{error}"))?;
    let value = value.trim().parse().map_err(|error| format!("{error}"))?;
    Ok((name, value))
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if (1e-3..=1e6).contains(&rate) {
        Ok(rate)
    } else {
        Err("it must be at least 0.001 and at most 1000000".to_owned())
    }
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let Args {
        url,
        method,
        headers,
        data,
        count,
        rate,
        concurrency,
        output,
        rules,
    } = args;
    let mesh = rules.mesh().await?;
    let method = method.unwrap_or_else(|| {
        if data.is_some() {
            Method::POST
        } else {
            Method::GET
        }
    });
    let call = send::Call {
        url,
        method,
        headers,
        body: data.unwrap_or_default().into(),
    };
    let pace = rate.map_or(send::Pace::Closed(concurrency), send::Pace::Open);
    let outcomes = send::start(
        mesh.client().with_call_info(),
        call,
        count,
        pace,
        output == Output::Text,
    );
    let summary = report::print(outcomes, output).await;
    mesh.shutdown().await;
    summary?.end()
}
