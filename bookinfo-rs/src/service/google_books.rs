//! Google Books' volumes API: what details v2 reads of it, and the stand-in that the launcher runs for it.

use axum::Router;
use axum::routing::get;
use http::StatusCode;
use serde::Deserialize;

use super::details::Book;
use super::json;

const QUERY: &str = "www.googleapis.com/books/v1/volumes?q=isbn:0486424618";

/// What details v2 calls: port 443, or with `DO_NOT_ENCRYPT=true` port 80 in the clear (a mesh may encrypt on the way).
pub fn url(plain: bool) -> String {
    let scheme = if plain { "http" } else { "https" };
    format!("{scheme}://{QUERY}")
}

/// An answer that does not describe a book.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// Not JSON of the expected shape.
    #[error("the answer is not a list of volumes: {0}")]
    Json(#[from] serde_json::Error),
    /// An empty list.
    #[error("the answer lists no volume")]
    Empty,
}

#[derive(Debug, Deserialize)]
struct Volumes {
    #[serde(default)]
    items: Vec<Volume>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Volume {
    volume_info: Info,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    #[serde(default)]
    authors: Vec<String>,
    #[serde(default)]
    published_date: String,
    #[serde(default)]
    print_type: String,
    #[serde(default)]
    page_count: i64,
    #[serde(default)]
    publisher: String,
    #[serde(default)]
    language: String,
    #[serde(default)]
    industry_identifiers: Vec<Identifier>,
}

#[derive(Debug, Deserialize)]
struct Identifier {
    #[serde(rename = "type")]
    kind: String,
    identifier: String,
}

/// The first volume of an answer, as details shows it.
///
/// # Errors
/// When the answer holds no volume.
pub fn read(id: i64, body: &[u8]) -> Result<Book, BookError> {
    let volumes: Volumes = serde_json::from_slice(body)?;
    let info = volumes
        .items
        .into_iter()
        .next()
        .ok_or(BookError::Empty)?
        .volume_info;
    let isbn = |kind: &str| {
        let found = info
            .industry_identifiers
            .iter()
            .find(|identifier| identifier.kind == kind);
        found
            .map(|identifier| identifier.identifier.clone())
            .unwrap_or_default()
    };
    let known = |is: bool, name: &str| {
        if is {
            name.to_owned()
        } else {
            "unknown".to_owned()
        }
    };
    Ok(Book {
        id,
        isbn10: isbn("ISBN_10"),
        isbn13: isbn("ISBN_13"),
        kind: known(info.print_type == "BOOK", "paperback"),
        language: known(info.language == "en", "English"),
        // `2002`, `2002-05` and `2002-05-01` all occur.
        year: info
            .published_date
            .split('-')
            .next()
            .and_then(|year| year.parse().ok())
            .unwrap_or_default(),
        pages: info.page_count,
        publisher: info.publisher,
        author: info.authors.into_iter().next().unwrap_or_default(),
    })
}

/// A server that answers as Google Books would for Bookinfo's one book.
pub fn stand_in() -> Router {
    let volumes = serde_json::json!({
        "kind": "books#volumes",
        "totalItems": 1,
        "items": [{"volumeInfo": {
            "title": "The Comedy of Errors",
            "authors": ["William Shakespeare"],
            "publisher": "A stand-in for Google Books",
            "publishedDate": "2002-05-01",
            "industryIdentifiers": [
                {"type": "ISBN_10", "identifier": "0486424618"},
                {"type": "ISBN_13", "identifier": "9780486424613"},
            ],
            "pageCount": 67,
            "printType": "BOOK",
            "language": "en",
        }}],
    });
    Router::new().route(
        "/books/v1/volumes",
        get(async move || json(StatusCode::OK, &volumes)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_volume_and_refuses_what_is_none() {
        let body = br#"{"items":[{"volumeInfo":{"publishedDate":"2002","printType":"MAGAZINE","language":"de"}}]}"#;
        let book = read(3, body).unwrap();
        assert_eq!(
            (book.id, book.year, &*book.kind, &*book.language),
            (3, 2002, "unknown", "unknown")
        );
        assert!(matches!(read(0, b"{}"), Err(BookError::Empty)));
        assert!(matches!(read(0, b"<html>"), Err(BookError::Json(_))));
    }
}
