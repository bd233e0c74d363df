//! The pages, rendered on the server: no script, no asset from elsewhere.
//!
//! Texts and class names that tests of the original look for (`<title>`, the error sentences, `Reviews served by:`,
//! `text-red-500`) are kept; everything that a service or a user wrote is escaped.

mod escape;
mod landing;
mod product;

pub use escape::escape;
pub use landing::landing;
pub use product::{ProductView, product};

/// The style sheet, also inlined into every page.
pub const STYLE: &str = include_str!("page/style.css");

/// A whole document around `body`, which is HTML.
fn document(body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Simple Bookstore App</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )
}
