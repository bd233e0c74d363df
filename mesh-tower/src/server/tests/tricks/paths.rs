//! Targets that are `/admin` to somebody.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{ANY, MALFORMED, NEUTRAL, POLICY, Row, row};

const SEED: u64 = 4_711;

pub(super) fn all() -> Vec<Row<String>> {
    let mut all = dots();
    all.extend(letters());
    all.extend(slashes());
    all.extend(escapes());
    all.extend(parameters());
    all.extend(parts());
    all.extend(bytes());
    all.push(compositions());
    all
}

const TARGETS: [&str; 4] = ["admin", "admin/", "admin/users", "admin?x=1"];

/// Each beginning with each target.
fn with(beginnings: &[&str]) -> Vec<String> {
    let each = |it: &&str| TARGETS.map(|target| format!("{it}{target}"));
    beginnings.iter().flat_map(each).collect()
}

fn dots() -> Vec<Row<String>> {
    let plain = [
        "/./",
        "/../",
        "/../../",
        "/x/../",
        "/x/y/../../",
        "/x/./../",
        "/./x/../",
        "/x/.././",
        "/x/../../",
        "/.././../",
        "/x/../y/../",
    ];
    let mut escaped = Vec::new();
    for dots in ["%2e", "%2E", "%2e%2e", ".%2e", "%2e.", "%2E%2e", ".%2E"] {
        for (before, after) in [("/", "/"), ("/x/../", "/"), ("/./", "/./")] {
            escaped.push(format!("{before}{dots}{after}"));
        }
    }
    let escaped: Vec<&str> = escaped.iter().map(|it| &**it).collect();
    let up: Vec<String> = ["%2e%2e", ".%2e", "%2E.", "%2e%2E"]
        .iter()
        .flat_map(|up| with(&[&format!("/x/{up}/"), &format!("/x/y/{up}/{up}/")]))
        .collect();
    vec![
        row("dot segments", POLICY, with(&plain)),
        row("escaped dots", POLICY, with(&escaped)),
        row("escaped dots", POLICY, up),
        row(
            "dots that are names",
            NEUTRAL,
            with(&["/.../", "/..x/", "/x../", "/.x/"]),
        ),
    ]
}

/// The name with the letters escaped whose bit is set.
fn escaped(bits: usize, upper: bool) -> String {
    let letters = "admin".bytes().enumerate();
    let each = letters.map(|(at, letter)| match (bits & 1 << at, upper) {
        (0, _) => char::from(letter).to_string(),
        (_, true) => format!("%{letter:02X}"),
        (_, false) => format!("%{letter:02x}"),
    });
    each.collect()
}

fn letters() -> Vec<Row<String>> {
    let each = (1..32).flat_map(|bits| [false, true].map(|upper| escaped(bits, upper)));
    let each: Vec<String> = each
        .flat_map(|name| [format!("/{name}"), format!("//{name}/users")])
        .collect();
    let twice: Vec<String> = (1..32)
        .map(|bits| format!("/{}", escaped(bits, false).replace('%', "%25")))
        .collect();
    let others = [
        "/Admin", "/ADMIN", "/admi", "/xadmin", "/x/admin", "/%41dmin",
    ];
    vec![
        row("escaped letters", POLICY, each),
        row("escaped twice", NEUTRAL, twice),
        row("another path", NEUTRAL, others.map(str::to_owned)),
    ]
}

fn slashes() -> Vec<Row<String>> {
    let double = [
        "//", "///", "////////", "/x/..//", "//x/..//", "//./", "/.//",
    ];
    let mut encoded = Vec::new();
    for slash in ["%2f", "%2F", "%5c", "%5C", "\\"] {
        for pattern in [
            "/_",
            "/__",
            "/x_.._",
            "/x/.._",
            "/x_../",
            "/._",
            "/_._",
            "/x_y/.._.._",
            "/%2e_",
        ] {
            encoded.push(pattern.replace('_', slash));
        }
    }
    let (mut escaped, mut back) = (Vec::new(), Vec::new());
    for beginning in &encoded {
        match beginning.contains('\\') {
            true => back.extend(with(&[beginning])),
            false => escaped.extend(with(&[beginning])),
        }
    }
    let behind = [
        "%2fusers",
        "%5cusers",
        "\\users",
        "%2f",
        "/%2e%2e/admin",
        "%2f..%2fadmin",
    ];
    let behind = behind.map(|it| format!("/admin{it}"));
    let twice = [
        "/%252fadmin",
        "/x/..%252fadmin",
        "/%255cadmin",
        "/x%252f..%252fadmin",
    ];
    vec![
        row("double slashes", POLICY, with(&double)),
        // The empty segment is the one that the dots lead out of.
        row("double slashes", NEUTRAL, with(&["/x//../"])),
        row("escaped slashes", POLICY, escaped),
        row("escaped slashes", POLICY, behind),
        row("backslashes", POLICY, back),
        row("escaped twice", NEUTRAL, twice.map(str::to_owned)),
    ]
}

fn escapes() -> Vec<Row<String>> {
    let mut nested = Vec::new();
    for (at, letter) in "admin".bytes().enumerate() {
        let hex = format!("{letter:02x}");
        let (high, low) = hex.split_at(1);
        let digits = [high.as_bytes()[0], low.as_bytes()[0]].map(|digit| format!("%{digit:02x}"));
        let names = [
            format!("%{}{low}", digits[0]),
            format!("%{high}{}", digits[1]),
            format!("%{}{}", digits[0], digits[1]),
        ];
        for name in names {
            let (before, after) = ("admin".split_at(at).0, &"admin"[at + 1..]);
            nested.push(format!("/{before}{name}{after}"));
            nested.push(format!("//{before}{name}{after}/users"));
        }
    }
    let broken = [
        "/%",
        "/%a",
        "/%zzadmin",
        "/%u0061dmin",
        "/%0xadmin",
        "/%-1admin",
        "/% 61dmin",
        "/%6",
        "/x%2",
        "/%G1dmin",
        "/\\x61dmin",
        "/&#97;dmin",
        "/+admin",
    ];
    let (spaced, broken): (Vec<&str>, Vec<&str>) = broken.iter().partition(|it| it.contains(' '));
    let owned = |all: Vec<&str>| all.into_iter().map(str::to_owned).collect::<Vec<_>>();
    vec![
        row("escapes in escapes", MALFORMED, nested),
        row("broken escapes", NEUTRAL, owned(broken)),
        row("broken escapes", MALFORMED, owned(spaced)),
    ]
}

fn parameters() -> Vec<Row<String>> {
    let dots = [
        "/x/..;/",
        "/x/..;y=1/",
        "/.;/",
        "/.;y/",
        "/x/y/..;/..;/",
        "/x/..;;/",
        "/..;/",
    ];
    let escaped = ["/x/%2e%2e;/", "/x/.%2e;y/", "/%2e;/"];
    let behind = [";", ";x=1", ";/users", ";x/..", ";..", ",x"].map(|it| format!("/admin{it}"));
    let (up, behind): (Vec<String>, Vec<String>) =
        behind.into_iter().partition(|it| it.ends_with("/.."));
    vec![
        row("parameters", POLICY, with(&dots)),
        row("parameters", MALFORMED, with(&escaped)),
        row("parameters", POLICY, behind),
        row("parameters", NEUTRAL, up),
        row("parameters", NEUTRAL, with(&["/;/", "/;x=1/", "/x;y/"])),
    ]
}

fn parts() -> Vec<Row<String>> {
    let query = ["?", "??", "?/../x", "?#", "?%00", "?a=b&c", "?x=%2fpublic"]
        .map(|it| format!("/admin{it}"));
    let elsewhere = [
        "/?/admin",
        "/x?/../admin",
        "/?path=/admin",
        "/x?_method=DELETE",
        "/?x-role=a",
        "/%3fadmin",
        "/x%3f/admin",
        "/%23/admin",
    ];
    let fragment = ["#", "#x", "#/../x", "?x#y"].map(|it| format!("/admin{it}"));
    let hidden = ["/#/admin", "/x#/../admin", "/x?y#/admin"];
    vec![
        row("queries", POLICY, query),
        row("queries", NEUTRAL, elsewhere.map(str::to_owned)),
        row("fragments", POLICY, fragment),
        row("fragments", NEUTRAL, hidden.map(str::to_owned)),
    ]
}

fn bytes() -> Vec<Row<String>> {
    let overlong = [
        "/%c0%afadmin",
        "/x/%c0%ae%c0%ae/admin",
        "/x/%c0%2e%c0%2e/admin",
        "/%e0%80%afadmin",
        "/x/%e0%80%ae%e0%80%ae/admin",
        "/%f0%80%80%afadmin",
        "/%c1%a1dmin",
        "/%e0%81%a1dmin",
        "/x/..%c0%afadmin",
        "/x/..%c1%9cadmin",
        "/%f8%80%80%80%afadmin",
    ];
    let wide = [
        "/%ef%bd%81dmin",
        "/%ef%bc%8fadmin",
        "/x/%ef%bc%8e%ef%bc%8e/admin",
        "/%e2%88%95admin",
        "/%d0%b0dmin",
    ];
    let raw = [
        "/\u{ff41}dmin",
        "/\u{ff0f}admin",
        "/\u{2215}admin",
        "/\u{430}dmin",
        "/\u{e9}",
        "/x/\u{2025}/admin",
    ];
    let controls: Vec<String> = [0, 1, 7, 8, 9, 10, 11, 12, 13, 27, 32, 127]
        .iter()
        .flat_map(|byte| {
            [
                format!("/%{byte:02x}admin"),
                format!("/x/..%{byte:02x}/admin"),
            ]
        })
        .collect();
    let behind: Vec<String> = [0, 9, 10, 13, 32, 127]
        .map(|byte| format!("/admin%{byte:02x}"))
        .into();
    let bare: Vec<String> = ['\0', '\u{1}', '\u{8}', '\u{b}', '\u{1b}', '\u{7f}']
        .iter()
        .flat_map(|byte| {
            [
                format!("/{byte}admin"),
                format!("/admin{byte}"),
                format!("/x/.{byte}./admin"),
            ]
        })
        .collect();
    vec![
        row("overlong", NEUTRAL, overlong.map(str::to_owned)),
        row("look-alike letters", NEUTRAL, wide.map(str::to_owned)),
        row(
            "bytes that are not ASCII",
            MALFORMED,
            raw.map(str::to_owned),
        ),
        row("NUL and controls", NEUTRAL, controls),
        row("NUL and controls", POLICY, behind),
        row("NUL and controls", MALFORMED, bare),
    ]
}

/// Of pieces that mean something. What is expected of each, nobody has written down: that it is not served is what counts.
fn compositions() -> Row<String> {
    const PIECES: [&str; 24] = [
        "/", "/", "//", ".", "..", "/../", "/./", "%2e", "%2E", "%2f", "%5C", "\\", "admin",
        "admin", "%61dmin", "adm%69n", "x", ";", "..;", "%25", "%", "%00", "?", "%3b",
    ];
    let mut dice = StdRng::seed_from_u64(SEED);
    let mut one = || {
        let count = dice.random_range(2..9);
        let pieces = (0..count).map(|_| PIECES[dice.random_range(0..PIECES.len())]);
        let mut path: String = pieces.collect();
        path.insert(0, '/');
        path
    };
    let all: Vec<String> = (0..300).map(|_| one()).collect();
    row("compositions", ANY, all)
}
