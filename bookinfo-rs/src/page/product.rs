//! The product page: the book, its details, its reviews, and what went wrong with either.

use serde_json::Value;

use super::{document, escape};

/// The rows of the details table: label and JSON field.
const ROWS: [(&str, &str); 7] = [
    ("ISBN-10", "ISBN-10"),
    ("ISBN-13", "ISBN-13"),
    ("Publisher", "publisher"),
    ("Pages", "pages"),
    ("Type", "type"),
    ("Language", "language"),
    ("Year", "year"),
];

/// What the page shows.
#[derive(Debug, Clone, Copy)]
pub struct ProductView<'a> {
    /// The book's title.
    pub title: &'a str,
    /// Its description: our own HTML, shown as it is.
    pub description_html: &'a str,
    /// Who is signed in.
    pub user: Option<&'a str>,
    /// The answer of details, or the apology.
    pub details: Result<&'a Value, &'a str>,
    /// The answer of reviews, or the apology.
    pub reviews: Result<&'a Value, &'a str>,
}

/// The product page.
pub fn product(view: &ProductView<'_>) -> String {
    let details = match view.details {
        Ok(book) => table(book),
        Err(text) => failure("Error fetching product details", text),
    };
    let reviews = match view.reviews {
        Ok(page) => self::reviews(page),
        Err(text) => failure("Error fetching product reviews", text),
    };
    document(&format!(
        "{}<section class=\"hero\"><div class=\"wide hero-grid\">{COVER}<div>\n<h1>{}</h1>\n\
         <p class=\"lead\">{}</p>\n<p><a class=\"button\" href=\"https://istio.io\">Learn more about Istio</a></p>\n\
         </div></div></section>\n<main class=\"wide columns\">\n\
         <section class=\"card\">\n<h2>Book Details</h2>\n{details}</section>\n\
         <section>\n<h2>Book Reviews</h2>\n{reviews}</section>\n</main>\n",
        bar(view.user),
        escape(view.title),
        view.description_html,
    ))
}

/// A drawn book: two masks on a cover.
const COVER: &str = "<svg class=\"cover\" viewBox=\"0 0 120 160\" role=\"img\" aria-label=\"A book\">\
    <rect x=\"4\" y=\"4\" width=\"112\" height=\"152\" rx=\"6\" fill=\"#7c2d3e\"/>\
    <rect x=\"4\" y=\"4\" width=\"14\" height=\"152\" rx=\"6\" fill=\"#5b1f2d\"/>\
    <path d=\"M36 50h30v22a15 18 0 0 1-30 0z\" fill=\"#f5e6c8\"/>\
    <path d=\"M58 82h34v24a17 19 0 0 1-34 0z\" fill=\"#e3b95b\"/>\
    <path d=\"M43 60h5M54 60h5M44 72q7 8 14 0M66 92h6M79 92h6M68 110q8-9 16 0\" \
    stroke=\"#5b1f2d\" stroke-width=\"3\" fill=\"none\" stroke-linecap=\"round\"/></svg>";

fn bar(user: Option<&str>) -> String {
    let right = match user {
        Some(user) => {
            let name = escape(user);
            let initial = escape(
                &user
                    .chars()
                    .take(1)
                    .flat_map(char::to_uppercase)
                    .collect::<String>(),
            );
            format!(
                "<span class=\"who\"><span class=\"avatar\" aria-hidden=\"true\">{initial}</span>{name}</span> \
                 <a class=\"button quiet\" href=\"logout\">Sign out</a>"
            )
        }
        // A dialog without script.
        None => "<details class=\"sign-in\"><summary class=\"button\">Sign in</summary>\
             <form method=\"post\" action=\"login\" name=\"login_form\">\
             <label>Username <input name=\"username\" autocomplete=\"username\" required></label>\
             <label>Password <input name=\"passwd\" type=\"password\" autocomplete=\"off\"></label>\
             <button class=\"button\" type=\"submit\">Sign in</button></form></details>"
            .to_owned(),
    };
    format!(
        "<header class=\"bar\"><div class=\"wide\"><a class=\"brand\" href=\"/productpage\">BookInfo Sample</a>\
         <div class=\"right\">{right}</div></div></header>\n"
    )
}

fn table(book: &Value) -> String {
    let row = |(label, field): (&str, &str)| {
        let text = match book.get(field) {
            None | Some(Value::Null) => return String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        format!(
            "<tr><th scope=\"row\">{label}</th><td>{}</td></tr>\n",
            escape(&text)
        )
    };
    format!(
        "<table class=\"facts\"><tbody>\n{}</tbody></table>\n",
        ROWS.into_iter().map(row).collect::<String>()
    )
}

fn failure(heading: &str, text: &str) -> String {
    format!(
        "<div class=\"failure\"><h3 class=\"text-red-500\">{heading}</h3><p>{}</p></div>\n",
        escape(text)
    )
}

fn reviews(page: &Value) -> String {
    let reviews = page
        .get("reviews")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let served_by = text(page, "podname");
    let cluster = text(page, "clustername");
    // The service writes the word when it has no cluster.
    let on_cluster = if cluster.is_empty() || cluster == "null" {
        String::new()
    } else {
        format!(" on cluster <b>{}</b>", escape(cluster))
    };
    let cards: String = reviews.iter().map(review).collect();
    format!(
        "{cards}<p class=\"served\">Reviews served by: <code>{}</code>{on_cluster}</p>\n",
        escape(served_by)
    )
}

fn review(review: &Value) -> String {
    format!(
        "<article class=\"card review\">{}<blockquote>&quot;{}&quot;</blockquote>\
         <p class=\"by\">{}</p></article>\n",
        review.get("rating").map(rating).unwrap_or_default(),
        escape(text(review, "text")),
        escape(text(review, "reviewer")),
    )
}

fn rating(rating: &Value) -> String {
    let Some(stars) = rating.get("stars").and_then(Value::as_u64) else {
        let why = rating
            .get("error")
            .and_then(Value::as_str)
            .unwrap_or("Ratings service is currently unavailable");
        return format!("<p class=\"text-red-500\">{}</p>", escape(why));
    };
    let full = usize::try_from(stars.min(5)).unwrap_or(5);
    let color = escape(text(rating, "color"));
    let glyphs = [
        vec![("star", '\u{2605}'); full],
        vec![("star empty", '\u{2606}'); 5 - full],
    ]
    .concat();
    let glyphs: String = glyphs
        .into_iter()
        .map(|(class, glyph)| format!("<span class=\"{class} text-{color}-500\">{glyph}</span>"))
        .collect();
    format!("<p class=\"stars\" role=\"img\" aria-label=\"{full} of 5 stars\">{glyphs}</p>")
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn page(
        details: Result<&Value, &str>,
        reviews: Result<&Value, &str>,
        user: Option<&str>,
    ) -> String {
        product(&ProductView {
            title: "T",
            description_html: "<b>D</b>",
            user,
            details,
            reviews,
        })
    }

    #[test]
    fn what_services_and_users_write_is_escaped() {
        let evil = "<script>alert('x')</script>\"";
        let book = json!({"publisher": evil, "pages": 3});
        let reviews = json!({"podname": evil, "clustername": evil, "reviews": [
            {"reviewer": evil, "text": evil, "rating": {"stars": 9, "color": evil}},
            {"reviewer": "r", "text": "t", "rating": {"error": evil}},
        ]});
        let html = page(Ok(&book), Ok(&reviews), Some(evil));
        assert!(!html.contains("<script"), "{html}");
        assert!(!html.contains("alert('"), "{html}");
        assert!(html.contains("<b>D</b>"));
    }

    #[test]
    fn stars_are_counted_and_coloured() {
        let reviews = json!({"podname": "reviews-v3", "clustername": "null", "reviews": [
            {"reviewer": "r", "text": "t", "rating": {"stars": 4, "color": "red"}},
        ]});
        let html = page(Err("Sorry"), Ok(&reviews), None);
        assert_eq!(html.matches('\u{2605}').count(), 4);
        assert_eq!(html.matches('\u{2606}').count(), 1);
        assert_eq!(html.matches("text-red-500\">\u{2605}").count(), 4);
        assert!(html.contains("Error fetching product details</h3><p>Sorry"));
        assert!(!html.contains("on cluster"));
        assert!(html.contains("Sign in"));
    }
}
