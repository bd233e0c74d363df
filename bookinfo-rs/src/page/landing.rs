//! The landing page: what calls what, and two ways in.

use super::{document, escape};

/// The landing page, with where details, reviews and ratings are called.
pub fn landing(details: &str, reviews: &str, ratings: &str) -> String {
    let row = |depth: u8, base: &str, endpoint: &str| {
        format!(
            "<tr><td class=\"depth-{depth}\"><code>{}</code></td><td><code>{endpoint}</code></td></tr>\n",
            escape(base)
        )
    };
    let rows = [
        row(0, details, "details"),
        row(1, details, "details"),
        row(1, reviews, "reviews"),
        row(2, ratings, "ratings"),
    ];
    document(&format!(
        "<header class=\"bar\"><div class=\"wide\"><a class=\"brand\" href=\"/productpage\">BookInfo Sample</a>\
         </div></header>\n<main class=\"wide narrow\">\n<h1>Bookinfo</h1>\n\
         <p class=\"lead\">Hello! This is a simple bookstore application consisting of three services as shown \
         below</p>\n<table class=\"tree\"><thead><tr><th>name</th><th>endpoint</th></tr></thead>\n<tbody>\n{}</tbody>\
         </table>\n<p class=\"ways\"><a class=\"button\" href=\"/productpage?u=normal\">Normal user</a> \
         <a class=\"button quiet\" href=\"/productpage?u=test\">Test user</a></p>\n</main>\n",
        rows.concat()
    ))
}
